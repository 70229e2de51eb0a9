//! MQTT 3.1.1 and 5 packets as a server sees them: strict reading, compact writing.
//!
//! Reading never panics and never allocates more than the frame it was given. The router's own packet reader is not
//! used: it panics on packets a client must not send, accepts malformed ones, and hides quality of service and packet
//! id.

pub(crate) mod frame;
mod properties;
mod read;
pub(crate) mod write;

use bytes::Bytes;

pub(crate) use read::{connect, packet};

/// Protocol version of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    V311,
    V5,
}

/// Quality of service; the numbers are those on the wire.
#[allow(clippy::enum_variant_names, reason = "these are the standard's names")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Qos {
    AtMostOnce = 0,
    AtLeastOnce = 1,
    ExactlyOnce = 2,
}

impl Qos {
    pub(crate) fn from_bits(bits: u8) -> Option<Self> {
        [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce].into_iter().find(|qos| *qos as u8 == bits)
    }
}

/// Reason codes of MQTT 5 that this broker sends or looks at.
pub(crate) mod reason {
    pub(crate) const SUCCESS: u8 = 0x00;
    pub(crate) const DISCONNECT_WITH_WILL: u8 = 0x04;
    pub(crate) const NO_SUBSCRIPTION_EXISTED: u8 = 0x11;
    pub(crate) const UNSPECIFIED: u8 = 0x80;
    pub(crate) const MALFORMED: u8 = 0x81;
    pub(crate) const PROTOCOL_ERROR: u8 = 0x82;
    pub(crate) const UNSUPPORTED_VERSION: u8 = 0x84;
    pub(crate) const BAD_CLIENT_ID: u8 = 0x85;
    pub(crate) const BAD_CREDENTIALS: u8 = 0x86;
    pub(crate) const NOT_AUTHORIZED: u8 = 0x87;
    pub(crate) const SERVER_UNAVAILABLE: u8 = 0x88;
    pub(crate) const SERVER_BUSY: u8 = 0x89;
    pub(crate) const SHUTTING_DOWN: u8 = 0x8B;
    pub(crate) const BAD_AUTHENTICATION_METHOD: u8 = 0x8C;
    pub(crate) const KEEP_ALIVE_TIMEOUT: u8 = 0x8D;
    pub(crate) const TAKEN_OVER: u8 = 0x8E;
    pub(crate) const BAD_FILTER: u8 = 0x8F;
    pub(crate) const BAD_TOPIC: u8 = 0x90;
    pub(crate) const PACKET_ID_NOT_FOUND: u8 = 0x92;
    pub(crate) const RECEIVE_MAXIMUM_EXCEEDED: u8 = 0x93;
    pub(crate) const BAD_TOPIC_ALIAS: u8 = 0x94;
    pub(crate) const PACKET_TOO_LARGE: u8 = 0x95;
    pub(crate) const QUOTA_EXCEEDED: u8 = 0x97;
    pub(crate) const NO_SHARED_SUBSCRIPTIONS: u8 = 0x9E;
}

/// A violation of the protocol; the connection ends with `reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub(crate) struct Violation {
    /// Reason code for the DISCONNECT or CONNACK of MQTT 5.
    pub(crate) reason: u8,
    /// What was wrong, for the log.
    pub(crate) what: &'static str,
}

impl Violation {
    pub(crate) const fn malformed(what: &'static str) -> Self {
        Violation { reason: reason::MALFORMED, what }
    }

    pub(crate) const fn protocol(what: &'static str) -> Self {
        Violation { reason: reason::PROTOCOL_ERROR, what }
    }
}

/// CONNECT.
#[derive(Debug, Clone)]
pub(crate) struct Connect {
    pub(crate) version: Version,
    pub(crate) clean_start: bool,
    /// Seconds; 0 is none.
    pub(crate) keep_alive_s: u16,
    pub(crate) client_id: String,
    pub(crate) will: Option<Will>,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Bytes>,
    /// Seconds; for 3.1.1 the longest or zero, from `clean_start`.
    pub(crate) session_expiry_s: u32,
    pub(crate) receive_maximum: u16,
    pub(crate) maximum_packet_bytes: Option<u32>,
    /// The client wants an authentication exchange.
    pub(crate) wants_authentication: bool,
}

/// The message to publish when the client is lost.
#[derive(Debug, Clone)]
pub(crate) struct Will {
    pub(crate) publish: Publish,
    pub(crate) delay_s: u32,
}

/// PUBLISH, also the body of a will.
#[derive(Debug, Clone)]
pub(crate) struct Publish {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    /// 0 for [`Qos::AtMostOnce`].
    pub(crate) id: u16,
    pub(crate) expiry_s: Option<u32>,
    /// Properties that travel unchanged, as on the wire.
    pub(crate) properties: Vec<u8>,
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ack {
    pub(crate) id: u16,
    pub(crate) reason: u8,
}

/// When a new subscription gets the retained messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RetainHandling {
    Always,
    IfNew,
    Never,
}

/// One filter of a SUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) filter: String,
    pub(crate) qos: Qos,
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
    pub(crate) retain_handling: RetainHandling,
}

/// Any packet a client may send after CONNECT.
#[derive(Debug, Clone)]
pub(crate) enum Packet {
    Publish(Publish),
    PubAck(Ack),
    PubRec(Ack),
    PubRel(Ack),
    PubComp(Ack),
    Subscribe { id: u16, requests: Vec<Request>, identifier: Option<u32> },
    Unsubscribe { id: u16, filters: Vec<String> },
    PingReq,
    Disconnect { reason: u8, session_expiry_s: Option<u32> },
}

#[cfg(test)]
mod tests;
