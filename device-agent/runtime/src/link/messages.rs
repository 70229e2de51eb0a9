//! Calls about messages. What an instance subscribed to is kept here; the host only carries.

use alloc::{string::String, vec::Vec};

use wasmbed_abi::{Errno, MAX_MESSAGE_BYTES, MAX_SUBSCRIPTIONS};
use wasmtime::Caller;

use super::{Args, bytes, channel, charge, memory, room, ros};
use crate::{Host, instance::Guest};

/// What an instance hears, and what it is being told.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    /// Channels, and topics of ROS 2, which begin with `/` as no channel does; by number. An ended one leaves its place
    /// to the next.
    subscriptions: Vec<Option<String>>,
    /// The message that is being delivered.
    pub(crate) delivered: Option<Vec<u8>>,
}

impl Mailbox {
    /// The number of the subscription to a channel or topic.
    pub(crate) fn subscription(&self, name: &str) -> Option<i32> {
        let nth = self.subscriptions.iter().position(|known| known.as_deref() == Some(name))?;
        i32::try_from(nth).ok()
    }

    pub(super) fn subscribe(&mut self, name: &str) -> Result<i32, Errno> {
        if let Some(known) = self.subscription(name) {
            return Ok(known);
        }
        let mut kept = String::new();
        kept.try_reserve_exact(name.len()).map_err(|_| Errno::NoSpace)?;
        kept.push_str(name);
        if let Some(free) = self.subscriptions.iter_mut().find(|place| place.is_none()) {
            *free = Some(kept);
        } else if self.subscriptions.len() < MAX_SUBSCRIPTIONS {
            self.subscriptions.try_reserve(1).map_err(|_| Errno::NoSpace)?;
            self.subscriptions.push(Some(kept));
        }
        self.subscription(name).ok_or(Errno::NoSpace)
    }

    /// Ends a subscription and returns what it was to.
    pub(super) fn unsubscribe(&mut self, number: i32) -> Result<String, Errno> {
        let place = usize::try_from(number).ok().and_then(|nth| self.subscriptions.get_mut(nth));
        place.and_then(Option::take).ok_or(Errno::NotFound)
    }
}

pub(super) fn publish<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let (memory, guest) = memory(caller)?;
    let channel = channel(&memory, args)?;
    let payload = bytes(&memory, args, MAX_MESSAGE_BYTES)?;
    guest.host.publish(channel, &payload)?;
    let carried = payload.len() as u64;
    charge(caller, carried);
    Ok(0)
}

pub(super) fn subscribe<H: Host>(
    caller: &mut Caller<'_, Guest<H>>,
    args: &mut Args<'_>,
) -> Result<i32, Errno> {
    let (memory, guest) = memory(caller)?;
    let channel = channel(&memory, args)?;
    guest.mailbox.subscribe(channel.as_str())
}

pub(super) fn unsubscribe<H: Host>(
    caller: &mut Caller<'_, Guest<H>>,
    args: &mut Args<'_>,
) -> Result<i32, Errno> {
    let guest = caller.data_mut();
    let name = guest.mailbox.unsubscribe(args.i32())?;
    ros::unsubscribed(guest, &name);
    Ok(0)
}

pub(super) fn message_read<H: Host>(
    caller: &mut Caller<'_, Guest<H>>,
    args: &mut Args<'_>,
) -> Result<i32, Errno> {
    let (mut memory, guest) = memory(caller)?;
    let out = room(&memory, args, usize::MAX)?;
    let message = guest.mailbox.delivered.as_deref().ok_or(Errno::NotFound)?;
    let len = message.len();
    if out.len() < len {
        return Err(Errno::NoSpace);
    }
    memory.write(out.start..out.start + len, message)?;
    charge(caller, len as u64);
    i32::try_from(len).map_err(|_| Errno::NoSpace)
}
