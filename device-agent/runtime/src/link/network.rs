//! Calls for the network.

use wasmbed_abi::{Call, Destination, Errno, MAX_DESTINATION_BYTES, MAX_NET_CALL_BYTES};
use wasmtime::Caller;

use super::{Args, bytes, charge, memory, number, room, text};
use crate::{Host, instance::Guest};

pub(super) fn answer<H: Host>(
    call: Call,
    caller: &mut Caller<'_, Guest<H>>,
    args: &mut Args<'_>,
) -> Result<i32, Errno> {
    match call {
        Call::NetConnect => connect(caller, args),
        Call::NetSend => send(caller, args),
        Call::NetReceive => receive(caller, args),
        Call::NetClose => close(caller, args),
        _ => Err(Errno::Unsupported),
    }
}

fn connect<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let (memory, guest) = memory(caller)?;
    let destination = bytes(&memory, args, MAX_DESTINATION_BYTES)?;
    let number = guest.host.net_connect(Destination::parse(text(&destination)?)?)?;
    i32::try_from(number).map_err(|_| Errno::NoSpace)
}

fn send<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let number = number(args)?;
    let (memory, guest) = memory(caller)?;
    let sent = guest.host.net_send(number, &bytes(&memory, args, MAX_NET_CALL_BYTES)?)?;
    charge(caller, sent as u64);
    i32::try_from(sent).map_err(|_| Errno::TooLong)
}

fn receive<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let number = number(args)?;
    let (mut memory, guest) = memory(caller)?;
    let out = room(&memory, args, MAX_NET_CALL_BYTES)?;
    if out.is_empty() {
        return Err(Errno::NoSpace);
    }
    let received = memory.fill(out, |out| guest.host.net_receive(number, out))?;
    charge(caller, received as u64);
    i32::try_from(received).map_err(|_| Errno::TooLong)
}

fn close<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let number = number(args)?;
    caller.data_mut().host.net_close(number)?;
    Ok(0)
}
