//! What an instance says, read.

use core::fmt;

use minicbor::Decode;
use wasmbed_wire::{
    ros::{MAX_ROS_MESSAGE_BYTES, RosCall, RosPublication, RosQuestion, RosReply, RosTaken, RosWant},
    topic::RosUp,
};

/// A message of an instance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Said<'a> {
    /// What it wants to be.
    Want(RosWant<'a>),
    /// A message on a topic.
    Publish(RosPublication<'a>),
    /// A request to a service.
    Call(RosCall<'a>),
    /// The response to a request.
    Reply(RosReply<'a>),
    /// Who is there.
    Ask(RosQuestion<'a>),
    /// What it has taken.
    Taken(RosTaken),
}

/// It is no message of its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed {
    /// Its length, in bytes.
    pub bytes: usize,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} bytes that are no message of their topic, of at most {MAX_ROS_MESSAGE_BYTES}",
            self.bytes
        )
    }
}

impl core::error::Error for Malformed {}

impl<'a> Said<'a> {
    /// Reads a message of this kind.
    ///
    /// # Errors
    /// If it is none.
    pub fn read(kind: RosUp, payload: &'a [u8]) -> Result<Self, Malformed> {
        Ok(match kind {
            RosUp::Want => Said::Want(decoded(payload)?),
            RosUp::Publish => Said::Publish(decoded(payload)?),
            RosUp::Call => Said::Call(decoded(payload)?),
            RosUp::Reply => Said::Reply(decoded(payload)?),
            RosUp::Ask => Said::Ask(decoded(payload)?),
            RosUp::Taken => Said::Taken(decoded(payload)?),
        })
    }

    /// The run of the instance that said it.
    pub fn run(&self) -> u32 {
        match self {
            Said::Want(said) => said.run,
            Said::Publish(said) => said.run,
            Said::Call(said) => said.run,
            Said::Reply(said) => said.run,
            Said::Ask(said) => said.run,
            Said::Taken(said) => said.run,
        }
    }
}

/// A message of a size that one may have.
pub(crate) fn decoded<'a, T: Decode<'a, ()>>(payload: &'a [u8]) -> Result<T, Malformed> {
    let malformed = Malformed { bytes: payload.len() };
    if payload.len() > MAX_ROS_MESSAGE_BYTES {
        return Err(malformed);
    }
    minicbor::decode(payload).map_err(|_| malformed)
}
