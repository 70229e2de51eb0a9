//! A message on its way through the broker, and the form in which the router carries it.
//!
//! The router overwrites or drops what it does not understand (quality of service, retain flag, expiry, who
//! published). So all of that travels in one opaque head beside the payload; both are reference counted and a
//! message is cheap to clone.

use bytes::{BufMut, Bytes, BytesMut};

use crate::packet::Qos;

/// Payloads up to this size are copied out of the connection's read buffer; a larger one owns its buffer anyway.
const COPY_BELOW_BYTES: usize = 32 * 1024;

const RETAIN: u8 = 0b100;
const NO_DEADLINE: u64 = u64::MAX;
const FIXED_BYTES: usize = 1 + 8 + 8 + 2;

/// What a client published, immutable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// flags, origin, deadline, length of the topic, topic, properties as on the wire
    head: Bytes,
    payload: Bytes,
}

/// The parts of a [`Message`].
#[derive(Debug, Clone)]
pub(crate) struct Parts<'a> {
    /// A valid topic name, at most [`crate::topic::MAX_BYTES`] long.
    pub(crate) topic: &'a str,
    pub(crate) payload: &'a Bytes,
    /// The MQTT 5 properties that travel unchanged, encoded as on the wire.
    pub(crate) properties: &'a [u8],
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    /// The session that published.
    pub(crate) origin: u64,
    /// When it expires, in milliseconds of the broker's clock.
    pub(crate) deadline_ms: Option<u64>,
}

impl Message {
    pub(crate) fn new(parts: &Parts<'_>) -> Self {
        let mut head = BytesMut::with_capacity(FIXED_BYTES + parts.topic.len() + parts.properties.len());
        head.put_u8(parts.qos as u8 | if parts.retain { RETAIN } else { 0 });
        head.put_u64(parts.origin);
        head.put_u64(parts.deadline_ms.unwrap_or(NO_DEADLINE));
        head.put_u16(parts.topic.len() as u16);
        head.put_slice(parts.topic.as_bytes());
        head.put_slice(parts.properties);
        let payload = if parts.payload.len() <= COPY_BELOW_BYTES {
            Bytes::copy_from_slice(parts.payload)
        } else {
            parts.payload.clone()
        };
        Message { head: head.freeze(), payload }
    }

    /// The inverse of [`Message::head`] and [`Message::payload`]; `None` for bytes that are no head.
    pub(crate) fn from_router(head: Bytes, payload: Bytes) -> Option<Self> {
        let topic_len = usize::from(u16::from_be_bytes(head.get(17..FIXED_BYTES)?.try_into().ok()?));
        std::str::from_utf8(head.get(FIXED_BYTES..FIXED_BYTES + topic_len)?).ok()?;
        Some(Message { head, payload })
    }

    pub(crate) fn head(&self) -> &Bytes {
        &self.head
    }

    pub(crate) fn payload(&self) -> &Bytes {
        &self.payload
    }

    pub(crate) fn topic(&self) -> &str {
        std::str::from_utf8(&self.head[FIXED_BYTES..self.topic_end()]).unwrap_or_default()
    }

    pub(crate) fn properties(&self) -> &[u8] {
        &self.head[self.topic_end()..]
    }

    pub(crate) fn qos(&self) -> Qos {
        Qos::from_bits(self.head[0] & 0b11).unwrap_or(Qos::AtMostOnce)
    }

    pub(crate) fn retain(&self) -> bool {
        self.head[0] & RETAIN != 0
    }

    pub(crate) fn origin(&self) -> u64 {
        self.number(1)
    }

    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        Some(self.number(9)).filter(|deadline| *deadline != NO_DEADLINE)
    }

    /// Whether it may still be delivered at `now_ms`.
    pub(crate) fn is_alive(&self, now_ms: u64) -> bool {
        self.deadline_ms().is_none_or(|deadline| now_ms < deadline)
    }

    /// Memory it holds, without what the containers around it need.
    pub(crate) fn size_bytes(&self) -> usize {
        self.head.len() + self.payload.len()
    }

    fn topic_end(&self) -> usize {
        FIXED_BYTES + usize::from(u16::from_be_bytes([self.head[17], self.head[18]]))
    }

    fn number(&self, at: usize) -> u64 {
        self.head[at..at + 8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_survives_the_router() {
        let payload = Bytes::from_static(b"42");
        let parts = Parts {
            topic: "p/v1/pump-7/up/tm/temp",
            payload: &payload,
            properties: b"\x03\x00\x01j",
            qos: Qos::ExactlyOnce,
            retain: true,
            origin: 7,
            deadline_ms: Some(1234),
        };
        let sent = Message::new(&parts);
        let got = Message::from_router(sent.head().clone(), sent.payload().clone()).expect("a head");
        assert_eq!(got, sent);
        assert_eq!(got.topic(), parts.topic);
        assert_eq!(got.properties(), parts.properties);
        assert_eq!((got.qos(), got.retain(), got.origin()), (Qos::ExactlyOnce, true, 7));
        assert_eq!((got.deadline_ms(), got.is_alive(1233), got.is_alive(1234)), (Some(1234), true, false));
    }

    #[test]
    fn other_bytes_are_no_head() {
        let sent = Message::new(&Parts {
            topic: "t",
            payload: &Bytes::new(),
            properties: &[],
            qos: Qos::AtMostOnce,
            retain: false,
            origin: 0,
            deadline_ms: None,
        });
        assert_eq!(sent.deadline_ms(), None);
        for len in 0..sent.head().len() {
            assert_eq!(Message::from_router(sent.head().slice(..len), Bytes::new()), None, "{len} bytes");
        }
    }
}
