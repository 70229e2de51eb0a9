//! A board's own way to its broker, past the serial link.

#[cfg(feature = "ip")]
use alloc::boxed::Box;
use alloc::rc::Rc;
use core::{cell::RefCell, fmt};

use wasmbed_core::Token;
use wasmbed_wire::{bridge::ToBoard, topic::Up};

use crate::{modules::Keeper, port::Full};

/// Holds the MQTT session that otherwise the bridge at the far end of the serial link holds, and answers as it does.
/// Nothing here waits. Times are in milliseconds since the device started.
pub trait Uplink {
    /// Drops the session there is, without a DISCONNECT, and opens one with this last will. What comes of it is
    /// [`ToBoard::Session`].
    fn open(&mut self, now_ms: u64, keep_alive_s: u16, will: &[u8]);

    /// Queues a message with its topic's own delivery; at quality of service 1, [`ToBoard::Acked`] follows.
    ///
    /// # Errors
    /// If there is no session, or no room.
    fn publish(&mut self, now_ms: u64, topic: Up, payload: &[u8], token: Token) -> Result<(), Full>;

    /// Whether a message of so many bytes, its topic included, would be queued, or there is no session for it.
    fn has_room(&self, bytes: usize) -> bool;

    /// Moves packets and returns what there is to know; to be called until that is nothing. Why a session ended
    /// is told to `say`.
    fn poll(&mut self, now_ms: u64, say: &mut dyn FnMut(fmt::Arguments<'_>)) -> Option<ToBoard<'_>>;

    /// Sends what is queued.
    fn transmit(&mut self, now_ms: u64);

    /// When to poll again even if nothing arrives.
    fn next_deadline(&mut self, now_ms: u64) -> Option<u64>;
}

/// Where an uplink has random bytes from: the same place as the modules.
pub struct Entropy(
    #[cfg_attr(not(feature = "ip"), expect(dead_code, reason = "only uplinks draw from it"))]
    pub(crate)  Rc<RefCell<Keeper>>,
);

/// The uplink of whatever board this is.
#[cfg(feature = "ip")]
pub type AnyUplink = Box<dyn Uplink>;

/// Firmware without a network has no uplink, which the compiler knows: bootloaders have no room for what never runs.
#[cfg(not(feature = "ip"))]
pub enum AnyUplink {}

#[cfg(not(feature = "ip"))]
impl Uplink for AnyUplink {
    fn open(&mut self, _: u64, _: u16, _: &[u8]) {
        match *self {}
    }

    fn publish(&mut self, _: u64, _: Up, _: &[u8], _: Token) -> Result<(), Full> {
        match *self {}
    }

    fn has_room(&self, _: usize) -> bool {
        match *self {}
    }

    fn poll(&mut self, _: u64, _: &mut dyn FnMut(fmt::Arguments<'_>)) -> Option<ToBoard<'_>> {
        match *self {}
    }

    fn transmit(&mut self, _: u64) {
        match *self {}
    }

    fn next_deadline(&mut self, _: u64) -> Option<u64> {
        match *self {}
    }
}
