//! Messages between modules and the middleware.

use std::{fmt, sync::Arc};

use ros2_client::Message;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{SeqAccess, Visitor},
    ser::SerializeTuple,
};
use wasmbed_abi::Errno;

use crate::{
    MAX_BYTES,
    layout::{ENCAPSULATION, Layout, Mismatch},
};

/// A message in CDR, without encapsulation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Body(pub(crate) Vec<u8>);

impl Message for Body {}

impl Serialize for Body {
    /// As the bytes that it is.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (words, rest) = self.0.as_chunks::<8>();
        let mut tuple = serializer.serialize_tuple(words.len() + rest.len())?;
        for word in words {
            tuple.serialize_element(&u64::from_le_bytes(*word))?;
        }
        for byte in rest {
            tuple.serialize_element(byte)?;
        }
        tuple.end()
    }
}

impl<'de> Deserialize<'de> for Body {
    /// All the bytes there are. Peers are little-endian machines, as all that ROS 2 supports are.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;

        impl<'de> Visitor<'de> for Bytes {
            type Value = Body;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a message in CDR")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Body, A::Error> {
                let mut bytes = Vec::new();
                // What is left at the end is no error: a number that is cut off takes nothing from the rest.
                while let Ok(Some(word)) = all.next_element::<u64>() {
                    bytes.extend_from_slice(&word.to_le_bytes());
                }
                while let Ok(Some(byte)) = all.next_element::<u8>() {
                    bytes.push(byte);
                }
                Ok(Body(bytes))
            }
        }

        deserializer.deserialize_tuple(usize::MAX, Bytes)
    }
}

/// How modules see the messages of a topic, or one side of a service.
#[derive(Debug, Clone)]
pub(crate) enum Codec {
    /// Bytes, held against the layout where there is one.
    Cdr(Option<Arc<Layout>>),
    Json(Arc<Layout>),
}

impl Codec {
    /// What a module says.
    pub(crate) fn outward(&self, said: &[u8]) -> Result<Body, Refused> {
        if said.len() > MAX_BYTES {
            let reason = format!("{} bytes are more than {MAX_BYTES}", said.len());
            return Err(Refused::new(Errno::TooLong, reason));
        }
        let refused = |mismatch: Mismatch| Refused::new(Errno::Invalid, mismatch.to_string());
        match self {
            Codec::Json(layout) => Ok(Body(layout.to_cdr(said).map_err(refused)?)),
            Codec::Cdr(layout) => {
                let body = said.strip_prefix(&ENCAPSULATION).ok_or_else(|| {
                    let found = said.get(..ENCAPSULATION.len()).unwrap_or(said);
                    let reason = format!("it begins with {found:02x?}, not with {ENCAPSULATION:02x?}");
                    Refused::new(Errno::Invalid, reason)
                })?;
                Ok(Body(message(layout.as_deref(), body).map_err(refused)?.to_vec()))
            }
        }
    }

    /// What a module is told.
    pub(crate) fn inward(&self, Body(body): &Body) -> Result<Vec<u8>, Mismatch> {
        match self {
            Codec::Json(layout) => layout.to_json(body),
            Codec::Cdr(_) if body.len() > MAX_BYTES - ENCAPSULATION.len() => {
                Err(Mismatch::new(format!("{} bytes are more than {MAX_BYTES}", body.len())))
            }
            Codec::Cdr(layout) => Ok([&ENCAPSULATION[..], message(layout.as_deref(), body)?].concat()),
        }
    }
}

/// The message at the start of these bytes, of a layout if it is known.
fn message<'b>(layout: Option<&Layout>, bytes: &'b [u8]) -> Result<&'b [u8], Mismatch> {
    let len = layout.map_or(Ok(bytes.len()), |layout| layout.check(bytes))?;
    Ok(bytes.get(..len).unwrap_or(bytes))
}

/// Why something that a module says goes nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refused {
    /// What the module is answered.
    pub errno: Errno,
    /// For people.
    reason: String,
}

impl Refused {
    /// For this reason, which a module is told as this number.
    pub fn new(errno: Errno, reason: String) -> Self {
        Refused { errno, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustdds::{
        RepresentationIdentifier,
        serialization::{deserialize_from_cdr_with_rep_id, to_writer_with_rep_id},
    };

    #[test]
    fn a_body_is_the_bytes_between_any_others() {
        for len in [0, 1, 7, 8, 9, 31, 1000] {
            let body = Body((0..len).map(|nth| nth as u8).collect());
            let mut cdr = Vec::new();
            to_writer_with_rep_id(&mut cdr, &body, RepresentationIdentifier::CDR_LE).expect("bytes");
            assert_eq!(cdr, body.0);
            let read = deserialize_from_cdr_with_rep_id::<Body>(&cdr, RepresentationIdentifier::CDR_LE);
            let (read, len) = read.expect("bytes");
            assert_eq!((read, len), (body, cdr.len()));
        }
    }

    #[test]
    fn bytes_of_a_type_that_nobody_defined_pass_as_they_are() {
        let codec = Codec::Cdr(None);
        assert_eq!(codec.outward(b"\0\x01\0\0abc"), Ok(Body(b"abc".to_vec())));
        assert_eq!(codec.inward(&Body(b"abc".to_vec())), Ok(b"\0\x01\0\0abc".to_vec()));
        for (said, errno) in
            [(&b"\0\0\0\0abc"[..], Errno::Invalid), (b"", Errno::Invalid), (b"\0\x01\0", Errno::Invalid)]
        {
            assert_eq!(codec.outward(said).map_err(|refused| refused.errno), Err(errno), "{said:?}");
        }
        let long = vec![0; MAX_BYTES + 1];
        assert_eq!(codec.outward(&long).map_err(|refused| refused.errno), Err(Errno::TooLong));
        assert!(codec.inward(&Body(long)).is_err());
    }
}
