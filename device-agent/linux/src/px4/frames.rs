//! Frames on one connection: signed if there is a key, and then heard only if they are.

use std::fmt;

use wasmbed_px4::{Config, Deframer, Frame, Framer, Message, SENT_BYTES, Source};

use super::{KEY_BYTES, signing::Signing};

/// What vehicles are told and what is heard of them, its fields not looked at: values that no list of this program has
/// must not make a message disappear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) id: u32,
    pub(super) payload: Vec<u8>,
}

/// A message and who sent it.
pub(super) type Heard = (Source, Fields);

/// Both directions of one connection.
pub(super) struct Frames {
    framer: Framer,
    signing: Option<Signing>,
}

impl fmt::Debug for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frames").field("framer", &self.framer).finish_non_exhaustive()
    }
}

impl Frames {
    pub(super) fn new(own: Config, key: Option<[u8; KEY_BYTES]>) -> Self {
        Frames { framer: Framer::new(own), signing: key.map(Signing::new) }
    }

    pub(super) fn encode(&mut self, message: &Message) -> Vec<u8> {
        let mut out = [0; SENT_BYTES];
        let frame = self.framer.frame(message, self.signing.is_some(), &mut out);
        if let Some(signing) = &self.signing {
            signing.sign(frame);
        }
        frame.to_vec()
    }

    /// The messages that are complete with these bytes; what is none is passed over.
    pub(super) fn decode(&self, stream: &mut Deframer, bytes: &[u8]) -> Vec<Heard> {
        let mut heard = Vec::new();
        stream.hear(bytes, |frame| heard.extend(self.accepted(frame)));
        heard
    }

    fn accepted(&self, frame: &Frame<'_>) -> Option<Heard> {
        let source = frame.source();
        let Source { system, component } = source;
        if let Some(signing) = &self.signing
            && (!frame.is_signed() || !signing.is_valid(system, component, frame.bytes()))
        {
            return None;
        }
        Some((source, Fields { id: frame.id(), payload: frame.payload().to_vec() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmbed_px4::Vehicles;

    const OWN: Config = Config { system: 245, component: 191, vehicles: 1 };

    fn heartbeat() -> Message {
        Vehicles::new(OWN).poll_message(0).expect("it says that it is there")
    }

    #[test]
    fn with_a_key_only_what_is_signed_with_it_is_heard() {
        let (mut signed, mut plain) = (Frames::new(OWN, Some([1; 32])), Frames::new(OWN, None));
        let mut other = Frames::new(OWN, Some([2; 32]));
        let receiver = Frames::new(OWN, Some([1; 32]));
        let message = signed.encode(&heartbeat());
        let heard = |bytes: &[u8]| receiver.decode(&mut Deframer::default(), bytes).len();
        assert_eq!(heard(&plain.encode(&heartbeat())), 0);
        assert_eq!(heard(&other.encode(&heartbeat())), 0);
        assert_eq!(heard(&message), 1);
        assert_eq!(heard(&message), 0, "it is said again by somebody else");
        assert_eq!(heard(&signed.encode(&heartbeat())), 1);
        let hears_all = Frames::new(OWN, None);
        assert_eq!(hears_all.decode(&mut Deframer::default(), &message).len(), 1);
    }
}
