//! ROS 2 for boards, through a gateway: both ends of the way between an instance of a module and the gateway, sans-I/O.
//!
//! [`DeviceEnd`] answers a module's calls at once and says what there is to say; [`GatewayEnd`] gives a device one thing
//! at a time. Messages may be lost, repeated and overtake each other, and either end may start again: both come to agree
//! on what the instance wants, everything the gateway tells is heard once and in order, a request is made once at most,
//! and every call ends.
//!
//! Not here: MQTT, DDS, what a module may use, and how it is called.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod calls;
mod device;
mod gateway;
mod question;
mod said;
mod wants;
mod window;

pub use device::{DeviceEnd, Event, Port};
pub use gateway::{GatewayEnd, Tell};
pub use said::{Malformed, Said};

use alloc::vec::Vec;

use minicbor::Encode;
use wasmbed_abi::Errno;
use wasmbed_wire::ros::{MAX_ROS_CONTENT_BYTES, MAX_ROS_MESSAGE_BYTES};

/// A message, where there is memory for it. What is in it has been measured before.
fn encoded(message: impl Encode<()>) -> Result<Vec<u8>, Errno> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(MAX_ROS_MESSAGE_BYTES).map_err(|_| Errno::Busy)?;
    // Vectors take everything.
    minicbor::encode(message, &mut bytes).map_err(|_| Errno::TooLong)?;
    Ok(bytes)
}

/// Whether a name and what goes with it have room in a message.
fn fits(name: &str, bytes: &[u8]) -> Result<(), Errno> {
    match name.len().saturating_add(bytes.len()) <= MAX_ROS_CONTENT_BYTES {
        true => Ok(()),
        false => Err(Errno::TooLong),
    }
}

/// A copy, where there is memory for it.
fn copied(bytes: &[u8]) -> Result<Vec<u8>, Errno> {
    let mut copy = Vec::new();
    copy.try_reserve_exact(bytes.len()).map_err(|_| Errno::NoSpace)?;
    copy.extend_from_slice(bytes);
    Ok(copy)
}

/// Copies an answer to the start of `out` and returns its length.
fn write(answer: &[u8], out: &mut [u8]) -> Result<usize, Errno> {
    out.get_mut(..answer.len()).ok_or(Errno::NoSpace)?.copy_from_slice(answer);
    Ok(answer.len())
}
