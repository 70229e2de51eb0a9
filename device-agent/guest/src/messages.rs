//! Messages within the instance's own topics, `up/msg/{instance}/…` and `dn/msg/{instance}/…` below the device's.
//!
//! A module that listens says so to [`module!`](crate::module!): `module!(Valve, message);`.

use crate::{Errno, Result, errno::check, raw};

/// A channel the module listens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscription(i32);

impl Subscription {
    pub(crate) fn numbered(number: u32) -> Self {
        Subscription(number.cast_signed())
    }
}

/// A message that is being delivered.
#[derive(Debug)]
pub struct Message {
    /// The channel or [topic](crate::ros) it came on.
    pub subscription: Subscription,
    /// Its length, in bytes.
    pub len: usize,
}

impl Message {
    pub(crate) fn new(subscription: i32, len: i32) -> Self {
        Message { subscription: Subscription(subscription), len: len.cast_unsigned() as usize }
    }

    /// Its bytes, kept in `buffer`.
    ///
    /// # Errors
    /// `NoSpace` if the buffer is smaller than [`Message::len`].
    pub fn read<'a>(&self, buffer: &'a mut [u8]) -> Result<&'a [u8]> {
        // SAFETY: pointer and length are those of the buffer.
        let len = check(unsafe { raw::message_read(buffer.as_mut_ptr(), buffer.len()) })? as usize;
        buffer.get(..len).ok_or(Errno::NoSpace)
    }
}

/// Publishes at most 1024 bytes on a channel named with 1 to 32 of `a-z`, `0-9` and `-`.
///
/// # Errors
/// `Busy` if the link is behind: the message is lost. `TooLong` on devices that take fewer bytes.
pub fn publish(channel: &str, payload: impl AsRef<[u8]>) -> Result<()> {
    let payload = payload.as_ref();
    // SAFETY: both pointers go with the length of what they point to.
    let answer = unsafe { raw::publish(channel.as_ptr(), channel.len(), payload.as_ptr(), payload.len()) };
    check(answer).map(drop)
}

/// Listens to a channel from now on, with [`Module::message`](crate::Module::message).
///
/// # Errors
/// `NoSpace` beyond 16 channels.
pub fn subscribe(channel: &str) -> Result<Subscription> {
    // SAFETY: pointer and length are those of a string.
    let answer = unsafe { raw::subscribe(channel.as_ptr(), channel.len()) };
    check(answer).map(Subscription::numbered)
}

/// Listens to it no longer.
///
/// # Errors
/// `NotFound` if it has ended already.
pub fn unsubscribe(subscription: Subscription) -> Result<()> {
    check(raw::unsubscribe(subscription.0)).map(drop)
}
