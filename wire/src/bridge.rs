//! Datagrams between a board on a serial link and the bridge that holds its MQTT connection.
//!
//! The board speaks its own part of the topics (`up/…`, `dn/…`); the bridge adds the front, so a board
//! cannot name another device. One datagram is one [`crate::link`] payload:
//! kind, then the fields in order, integers little-endian, the last field up to the end.

use crate::topic::MAX_BYTES;

/// What a board says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FromBoard<'a> {
    /// Open (or reopen) the MQTT connection with this last will for `up/state`.
    Open {
        /// MQTT keep-alive, in seconds.
        keep_alive_s: u16,
        /// Payload of the will: [`crate::message::State`].
        will: &'a [u8],
    },
    /// Publish; quality of service and retain follow from the topic ([`crate::topic::Up::delivery`]).
    Publish {
        /// Returned in [`ToBoard::Acked`] once the broker has a message of quality of service 1.
        token: u16,
        /// An [`crate::topic::Up`] topic.
        topic: &'a str,
        /// The message.
        payload: &'a [u8],
    },
}

/// What the bridge says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToBoard<'a> {
    /// The MQTT connection is up and subscribed, or is gone.
    Session {
        /// Whether it is up.
        up: bool,
    },
    /// The broker has the publish with this token.
    Acked {
        /// The token of the publish.
        token: u16,
    },
    /// A message arrived.
    Deliver {
        /// A [`crate::topic::Down`] topic.
        topic: &'a str,
        /// The message.
        payload: &'a [u8],
    },
}

/// Bytes that a [`FromBoard::Publish`] or [`ToBoard::Deliver`] needs around its payload at most.
pub const OVERHEAD_BYTES: usize = 4 + MAX_BYTES;

/// The datagram is not one of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// The datagram does not fit the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLarge;

const OPEN: u8 = 0x01;
const PUBLISH: u8 = 0x02;
const SESSION: u8 = 0x81;
const ACKED: u8 = 0x82;
const DELIVER: u8 = 0x83;

impl<'a> FromBoard<'a> {
    /// Writes the datagram to `out` and returns its length.
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, TooLarge> {
        match *self {
            FromBoard::Open { keep_alive_s, will } => {
                let [lo, hi] = keep_alive_s.to_le_bytes();
                join(out, &[&[OPEN, lo, hi], will])
            }
            FromBoard::Publish { token, topic, payload } => {
                let [lo, hi] = token.to_le_bytes();
                let len = u8::try_from(topic.len()).map_err(|_| TooLarge)?;
                join(out, &[&[PUBLISH, lo, hi, len], topic.as_bytes(), payload])
            }
        }
    }

    /// Reads a datagram.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        match bytes {
            [OPEN, lo, hi, will @ ..] => {
                Ok(FromBoard::Open { keep_alive_s: u16::from_le_bytes([*lo, *hi]), will })
            }
            [PUBLISH, lo, hi, len, rest @ ..] => {
                let (topic, payload) = split_topic(*len, rest)?;
                Ok(FromBoard::Publish { token: u16::from_le_bytes([*lo, *hi]), topic, payload })
            }
            _ => Err(Malformed),
        }
    }
}

impl<'a> ToBoard<'a> {
    /// Writes the datagram to `out` and returns its length.
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, TooLarge> {
        match *self {
            ToBoard::Session { up } => join(out, &[&[SESSION, u8::from(up)]]),
            ToBoard::Acked { token } => {
                let [lo, hi] = token.to_le_bytes();
                join(out, &[&[ACKED, lo, hi]])
            }
            ToBoard::Deliver { topic, payload } => {
                let len = u8::try_from(topic.len()).map_err(|_| TooLarge)?;
                join(out, &[&[DELIVER, len], topic.as_bytes(), payload])
            }
        }
    }

    /// Reads a datagram.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        match bytes {
            [SESSION, up @ (0 | 1)] => Ok(ToBoard::Session { up: *up == 1 }),
            [ACKED, lo, hi] => Ok(ToBoard::Acked { token: u16::from_le_bytes([*lo, *hi]) }),
            [DELIVER, len, rest @ ..] => {
                let (topic, payload) = split_topic(*len, rest)?;
                Ok(ToBoard::Deliver { topic, payload })
            }
            _ => Err(Malformed),
        }
    }
}

fn join(out: &mut [u8], parts: &[&[u8]]) -> Result<usize, TooLarge> {
    let mut at = 0;
    for part in parts {
        out.get_mut(at..at + part.len()).ok_or(TooLarge)?.copy_from_slice(part);
        at += part.len();
    }
    Ok(at)
}

fn split_topic(len: u8, rest: &[u8]) -> Result<(&str, &[u8]), Malformed> {
    let (topic, payload) = rest.split_at_checked(usize::from(len)).ok_or(Malformed)?;
    Ok((core::str::from_utf8(topic).map_err(|_| Malformed)?, payload))
}
