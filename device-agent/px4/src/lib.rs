//! Vehicles under an autopilot that speaks MAVLink, such as PX4: what they are told and what is heard of them.
//!
//! [`Vehicles`] is without I/O and clock: messages and time come in, messages go out, in MAVLink's encoding but without
//! frames. A thin driver puts them into frames and finds those that come ([`Framer`], [`Deframer`]), and carries them over
//! UDP, TCP or a serial line.
//!
//! Each command is sent until somebody acknowledges it, and has an end: an answer, or nobody answered. A vehicle is known
//! from its first heartbeat on and never forgotten while there is room; what was heard of it grows old instead.
//!
//! Not here: signatures, who may command, and what a mission is.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod frames;
mod messages;
mod order;
mod requests;
mod vehicle;
mod vehicles;

pub use frames::{Deframer, Ends, Frame, Framer, SENT_BYTES};
pub use messages::Message;
pub use order::Order;
pub use vehicles::{COMPONENT, Config, Owner, SYSTEM, Source, Vehicles};
