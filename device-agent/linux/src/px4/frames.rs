//! Frames of MAVLink: of both versions when heard, of version 2 when sent, signed if there is a key.

use std::{
    collections::VecDeque,
    convert::Infallible,
    fmt,
    io::{self, Read},
};

use mavlink_core::{
    Dialect, MAVLinkMessageRaw, MAVLinkV2MessageRaw, MavHeader, MavlinkReader, MavlinkVersion,
    error::{MessageReadError, ParserError},
};
use wasmbed_px4::{Config, MAX_PAYLOAD_BYTES, Message, Source, extra_crc};

use super::{
    KEY_BYTES,
    signing::{SIGNATURE_BYTES, Signing},
};

/// `MAVLINK_IFLAG_SIGNED`.
const SIGNED: u8 = 1;

/// What vehicles are told and what is heard of them, its fields not looked at: values that no list of this program has
/// must not make a message disappear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) id: u32,
    pub(super) payload: Vec<u8>,
}

/// A message and who sent it.
pub(super) type Heard = (Source, Fields);

struct Spoken;

impl Dialect for Spoken {
    type Message = Fields;
    type EncodeError = Infallible;

    fn message_id(&self, message: &Fields) -> u32 {
        message.id
    }

    fn extra_crc(&self, id: u32) -> Option<u8> {
        extra_crc(id)
    }

    fn decode(&self, _: MavlinkVersion, id: u32, payload: &[u8]) -> Result<Fields, ParserError> {
        Ok(Fields { id, payload: payload.to_vec() })
    }

    /// Without the zeros at its end, of which the first byte is none (MAVLink guide, Payload truncation).
    fn encode(&self, _: MavlinkVersion, message: &Fields, out: &mut [u8]) -> Result<usize, Infallible> {
        let len = message.payload.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
        out.iter_mut().zip(&message.payload).for_each(|(place, byte)| *place = *byte);
        Ok(len.min(MAX_PAYLOAD_BYTES))
    }
}

/// Both directions of one connection.
pub(super) struct Frames {
    own: Config,
    sequence: u8,
    signing: Option<Signing>,
}

impl fmt::Debug for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frames").field("own", &self.own).finish_non_exhaustive()
    }
}

impl Frames {
    pub(super) fn new(own: Config, key: Option<[u8; KEY_BYTES]>) -> Self {
        Frames { own, sequence: 0, signing: key.map(Signing::new) }
    }

    pub(super) fn encode(&mut self, message: &Message) -> Vec<u8> {
        let header = MavHeader {
            system_id: self.own.system.into(),
            component_id: self.own.component,
            sequence: self.sequence,
        };
        self.sequence = self.sequence.wrapping_add(1);
        let fields = Fields { id: message.id, payload: message.payload().to_vec() };
        let mut raw = MAVLinkV2MessageRaw::new();
        if self.signing.is_some() {
            *raw.incompatibility_flags_mut() = SIGNED;
        }
        // What is sent is spoken, so this does not fail.
        if raw.serialize_message_with_dialect(header, &Spoken, &fields).is_err() {
            return Vec::new();
        }
        let mut frame = raw.raw_bytes().to_vec();
        if let Some(signing) = &self.signing {
            signing.sign(&mut frame);
        }
        frame
    }

    /// The messages that are complete with these bytes; what is none is passed over.
    pub(super) fn decode(&self, stream: &mut Stream, bytes: &[u8]) -> Vec<Heard> {
        stream.0.get_mut().0.extend(bytes);
        let mut heard = Vec::new();
        loop {
            match stream.0.read_any_raw_message_with_dialect(&Spoken) {
                Ok(raw) => heard.extend(self.accepted(&raw)),
                Err(MessageReadError::Parse(_)) => {}
                Err(MessageReadError::Io(_)) => return heard,
            }
        }
    }

    fn accepted(&self, raw: &MAVLinkMessageRaw) -> Option<Heard> {
        // Numbers beyond are an extension that nobody here has.
        let system = u8::try_from(raw.system_id()).ok()?;
        let component = raw.component_id();
        if let Some(signing) = &self.signing {
            let frame = match raw {
                MAVLinkMessageRaw::V2(raw) if raw.incompatibility_flags() & SIGNED != 0 => raw.raw_bytes(),
                _ => return None,
            };
            let is_whole = frame.len() > SIGNATURE_BYTES;
            if !is_whole || !signing.is_valid(system, component, frame) {
                return None;
            }
        }
        let fields = Fields { id: raw.message_id(), payload: raw.payload().to_vec() };
        Some((Source { system, component }, fields))
    }
}

/// Bytes in the order they were sent, of which the last may be no message yet.
pub(super) struct Stream(MavlinkReader<Bytes>);

struct Bytes(VecDeque<u8>);

impl Stream {
    pub(super) fn new() -> Self {
        Stream(MavlinkReader::new(Bytes(VecDeque::new())))
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}

impl Read for Bytes {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() { Err(io::ErrorKind::WouldBlock.into()) } else { self.0.read(out) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmbed_px4::Vehicles;

    const OWN: Config = Config { system: 245, component: 191 };
    /// A PX4 quadrotor's heartbeat as another program frames it, in version 1 and 2.
    const V1: [u8; 17] = [0xfe, 9, 5, 1, 1, 0, 0, 0, 4, 3, 2, 12, 0x81, 4, 3, 0x8b, 0x71];
    const V2: [u8; 21] = [0xfd, 9, 0, 0, 5, 1, 1, 0, 0, 0, 0, 0, 4, 3, 2, 12, 0x81, 4, 3, 0, 0];

    fn heartbeat() -> Message {
        Vehicles::new(OWN).poll_message(0).expect("it says that it is there")
    }

    #[test]
    fn what_is_sent_is_heard_in_whichever_pieces_it_comes() {
        let mut frames = Frames::new(OWN, None);
        let bytes =
            [b"noise".as_slice(), &frames.encode(&heartbeat()), &[0xfd, 3], &frames.encode(&heartbeat())];
        let bytes = bytes.concat();
        for size in [1, 7, bytes.len()] {
            let mut stream = Stream::new();
            // A false start holds up what follows until it cannot be one.
            let rest = bytes.iter().copied().chain([0; 300]);
            let pieces: Vec<u8> = rest.collect();
            let heard: Vec<Heard> =
                pieces.chunks(size).flat_map(|piece| frames.decode(&mut stream, piece)).collect();
            assert_eq!(heard.len(), 2, "{size}");
            assert_eq!(heard[0].0, Source { system: 245, component: 191 });
            assert_eq!(heard[0].1.payload, heartbeat().payload());
        }
    }

    #[test]
    fn both_versions_are_understood() {
        let frames = Frames::new(OWN, None);
        for bytes in [&V1[..], &V2] {
            let mut bytes = bytes.to_vec();
            let end = bytes.len() - 2;
            let crc = mavlink_core::calculate_crc(&bytes[1..end], 50).to_le_bytes();
            bytes[end..].copy_from_slice(&crc);
            let heard = frames.decode(&mut Stream::new(), &bytes);
            assert_eq!(heard.len(), 1);
            assert_eq!((heard[0].0.system, heard[0].1.id, heard[0].1.payload[6]), (1, 0, 0x81));
        }
    }

    #[test]
    fn with_a_key_only_what_is_signed_with_it_is_heard() {
        let (mut signed, mut plain) = (Frames::new(OWN, Some([1; 32])), Frames::new(OWN, None));
        let mut other = Frames::new(OWN, Some([2; 32]));
        let receiver = Frames::new(OWN, Some([1; 32]));
        let message = signed.encode(&heartbeat());
        let heard = |bytes: &[u8]| receiver.decode(&mut Stream::new(), bytes).len();
        assert_eq!(heard(&plain.encode(&heartbeat())), 0);
        assert_eq!(heard(&other.encode(&heartbeat())), 0);
        assert_eq!(heard(&V1), 0);
        assert_eq!(heard(&message), 1);
        assert_eq!(heard(&message), 0, "it is said again by somebody else");
        assert_eq!(heard(&signed.encode(&heartbeat())), 1);
    }
}
