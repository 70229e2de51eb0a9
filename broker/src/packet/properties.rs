//! The property block of MQTT 5.

use super::read::Reader;
use super::{Violation, reason};
use crate::topic;

/// All properties this broker looks at, whichever packet they came with.
#[derive(Debug, Default)]
pub(super) struct Properties {
    pub(super) session_expiry_s: Option<u32>,
    pub(super) receive_maximum: Option<u16>,
    pub(super) maximum_packet_bytes: Option<u32>,
    pub(super) will_delay_s: Option<u32>,
    pub(super) message_expiry_s: Option<u32>,
    pub(super) identifier: Option<u32>,
    pub(super) wants_authentication: bool,
    /// What a PUBLISH or a will passes on unchanged, as on the wire.
    pub(super) passed_on: Vec<u8>,
}

const PAYLOAD_FORMAT: u8 = 1;
const MESSAGE_EXPIRY: u8 = 2;
const CONTENT_TYPE: u8 = 3;
const RESPONSE_TOPIC: u8 = 8;
const CORRELATION_DATA: u8 = 9;
const SUBSCRIPTION_IDENTIFIER: u8 = 11;
const SESSION_EXPIRY: u8 = 17;
const AUTHENTICATION_METHOD: u8 = 21;
const AUTHENTICATION_DATA: u8 = 22;
const REQUEST_PROBLEM_INFORMATION: u8 = 23;
const WILL_DELAY: u8 = 24;
const REQUEST_RESPONSE_INFORMATION: u8 = 25;
const SERVER_REFERENCE: u8 = 28;
const REASON_STRING: u8 = 31;
const RECEIVE_MAXIMUM: u8 = 33;
const TOPIC_ALIAS_MAXIMUM: u8 = 34;
const TOPIC_ALIAS: u8 = 35;
const USER_PROPERTY: u8 = 38;
const MAXIMUM_PACKET_SIZE: u8 = 39;

/// Properties of CONNECT.
pub(super) const CONNECT: &[u8] = &[
    SESSION_EXPIRY,
    AUTHENTICATION_METHOD,
    AUTHENTICATION_DATA,
    REQUEST_PROBLEM_INFORMATION,
    REQUEST_RESPONSE_INFORMATION,
    RECEIVE_MAXIMUM,
    TOPIC_ALIAS_MAXIMUM,
    USER_PROPERTY,
    MAXIMUM_PACKET_SIZE,
];
/// Properties of the will in CONNECT.
pub(super) const WILL: &[u8] = &[
    PAYLOAD_FORMAT,
    MESSAGE_EXPIRY,
    CONTENT_TYPE,
    RESPONSE_TOPIC,
    CORRELATION_DATA,
    WILL_DELAY,
    USER_PROPERTY,
];
/// Properties of PUBLISH from a client. A topic alias is known so that it can be refused by name.
pub(super) const PUBLISH: &[u8] = &[
    PAYLOAD_FORMAT,
    MESSAGE_EXPIRY,
    CONTENT_TYPE,
    RESPONSE_TOPIC,
    CORRELATION_DATA,
    TOPIC_ALIAS,
    USER_PROPERTY,
];
/// Properties of PUBACK, PUBREC, PUBREL and PUBCOMP.
pub(super) const ACK: &[u8] = &[REASON_STRING, USER_PROPERTY];
/// Properties of SUBSCRIBE.
pub(super) const SUBSCRIBE: &[u8] = &[SUBSCRIPTION_IDENTIFIER, USER_PROPERTY];
/// Properties of UNSUBSCRIBE.
pub(super) const UNSUBSCRIBE: &[u8] = &[USER_PROPERTY];
/// Properties of DISCONNECT from a client.
pub(super) const DISCONNECT: &[u8] = &[SESSION_EXPIRY, REASON_STRING, USER_PROPERTY, SERVER_REFERENCE];

impl Properties {
    /// Reads one block; only `allowed` properties, each once except user properties.
    pub(super) fn read(packet: &mut Reader, allowed: &[u8]) -> Result<Self, Violation> {
        let len = packet.variable()? as usize;
        let mut block = packet.take(len)?;
        let mut properties = Properties::default();
        let mut seen = 0_u64;
        while !block.is_empty() {
            let start = block.rest();
            let kind = block.u8()?;
            if !allowed.contains(&kind) {
                return Err(Violation::protocol("a property does not belong in this packet"));
            }
            if kind != USER_PROPERTY && seen & (1 << kind) != 0 {
                return Err(Violation::protocol("a property comes twice"));
            }
            seen |= 1 << kind;
            properties.read_one(kind, &mut block)?;
            if matches!(
                kind,
                PAYLOAD_FORMAT | CONTENT_TYPE | RESPONSE_TOPIC | CORRELATION_DATA | USER_PROPERTY
            ) {
                properties.passed_on.extend_from_slice(&start[..start.len() - block.rest().len()]);
            }
        }
        Ok(properties)
    }

    fn read_one(&mut self, kind: u8, block: &mut Reader) -> Result<(), Violation> {
        match kind {
            PAYLOAD_FORMAT | REQUEST_PROBLEM_INFORMATION | REQUEST_RESPONSE_INFORMATION => {
                if block.u8()? > 1 {
                    return Err(Violation::protocol("a yes-or-no property is neither 0 nor 1"));
                }
            }
            MESSAGE_EXPIRY => self.message_expiry_s = Some(block.u32()?),
            CONTENT_TYPE | REASON_STRING | SERVER_REFERENCE => drop(block.text()?),
            RESPONSE_TOPIC => {
                if !topic::is_name(block.text()?.as_str()) {
                    return Err(Violation::protocol("the response topic is not a topic name"));
                }
            }
            CORRELATION_DATA | AUTHENTICATION_DATA => drop(block.binary()?),
            SUBSCRIPTION_IDENTIFIER => match block.variable()? {
                0 => return Err(Violation::protocol("the subscription identifier is 0")),
                identifier => self.identifier = Some(identifier),
            },
            SESSION_EXPIRY => self.session_expiry_s = Some(block.u32()?),
            AUTHENTICATION_METHOD => {
                block.text()?;
                self.wants_authentication = true;
            }
            WILL_DELAY => self.will_delay_s = Some(block.u32()?),
            RECEIVE_MAXIMUM => match block.u16()? {
                0 => return Err(Violation::protocol("the receive maximum is 0")),
                maximum => self.receive_maximum = Some(maximum),
            },
            TOPIC_ALIAS_MAXIMUM => drop(block.u16()?),
            TOPIC_ALIAS => {
                return Err(Violation {
                    reason: reason::BAD_TOPIC_ALIAS,
                    what: "topic aliases are not offered",
                });
            }
            USER_PROPERTY => {
                block.text()?;
                block.text()?;
            }
            MAXIMUM_PACKET_SIZE => match block.u32()? {
                0 => return Err(Violation::protocol("the maximum packet size is 0")),
                bytes => self.maximum_packet_bytes = Some(bytes),
            },
            _ => return Err(Violation::malformed("unknown property")),
        }
        Ok(())
    }
}
