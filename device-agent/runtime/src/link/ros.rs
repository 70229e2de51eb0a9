//! Calls about ROS 2.

use wasmbed_abi::{Call, Errno, MAX_ROS_BYTES, MAX_ROS_NAME_BYTES, RosName};
use wasmtime::Caller;

use super::{Args, Copied, bytes, charge, memory, number, room};
use crate::{
    Host,
    instance::Guest,
    memory::{Bytes, View},
};

pub(super) fn answer<H: Host>(
    call: Call,
    caller: &mut Caller<'_, Guest<H>>,
    args: &mut Args<'_>,
) -> Result<i32, Errno> {
    match call {
        Call::PublishMessage => publish(caller, args),
        Call::SubscribeTopic => subscribe(caller, args),
        Call::CreateServiceClient => create_client(caller, args),
        Call::CallService => call_service(caller, args),
        Call::ServiceResponse => response(caller, args),
        Call::CreateService => create_service(caller, args),
        Call::SendResponse => respond(caller, args),
        Call::GetAvailableTopics => topic(caller, args),
        Call::GetNodeInfo => node(caller, args),
        _ => Err(Errno::Unsupported),
    }
}

/// Tells the host that messages on a topic have nowhere to go any more.
pub(super) fn unsubscribed<H: Host>(guest: &mut Guest<H>, name: &str) {
    // A channel is no such name.
    if let Ok(topic) = RosName::parse(name.as_bytes()) {
        guest.host.unsubscribe_topic(topic);
    }
}

fn publish<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let (memory, guest) = memory(caller)?;
    let topic = name(&memory, args)?;
    let topic = RosName::parse(&topic)?;
    let message = bytes(&memory, args, MAX_ROS_BYTES)?;
    let carried = message.len();
    guest.host.publish_message(topic, &message)?;
    charge(caller, carried as u64);
    Ok(0)
}

fn subscribe<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let (memory, guest) = memory(caller)?;
    let topic = name(&memory, args)?;
    let topic = RosName::parse(&topic)?;
    if let Some(known) = guest.mailbox.subscription(topic.as_str()) {
        return Ok(known);
    }
    let number = guest.mailbox.subscribe(topic.as_str())?;
    if let Err(errno) = guest.host.subscribe_topic(topic) {
        guest.mailbox.unsubscribe(number)?;
        return Err(errno);
    }
    Ok(number)
}

fn create_client<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let (memory, guest) = memory(caller)?;
    let client = guest.host.create_service_client(RosName::parse(&name(&memory, args)?)?)?;
    i32::try_from(client).map_err(|_| Errno::NoSpace)
}

fn call_service<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let client = number(args)?;
    let (memory, guest) = memory(caller)?;
    let request = bytes(&memory, args, MAX_ROS_BYTES)?;
    let carried = request.len();
    let ticket = guest.host.call_service(client, &request)?;
    charge(caller, carried as u64);
    i32::try_from(ticket).map_err(|_| Errno::NoSpace)
}

fn response<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let ticket = number(args)?;
    let (mut memory, guest) = memory(caller)?;
    let out = room(&memory, args, MAX_ROS_BYTES)?;
    let len = memory.fill(out, |out| guest.host.service_response(ticket, out))?;
    written(caller, len)
}

fn create_service<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let (memory, guest) = memory(caller)?;
    let service = guest.host.create_service(RosName::parse(&name(&memory, args)?)?)?;
    i32::try_from(service).map_err(|_| Errno::NoSpace)
}

fn respond<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let ticket = number(args)?;
    let (memory, guest) = memory(caller)?;
    let response = bytes(&memory, args, MAX_ROS_BYTES)?;
    let carried = response.len();
    guest.host.send_response(ticket, &response)?;
    charge(caller, carried as u64);
    Ok(0)
}

fn topic<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let nth = number(args)?;
    let (mut memory, guest) = memory(caller)?;
    let out = room(&memory, args, MAX_ROS_BYTES)?;
    let len = memory.fill(out, |out| guest.host.available_topic(nth, out))?;
    written(caller, len)
}

fn node<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let (mut memory, guest) = memory(caller)?;
    // A copy: the answer may be written over it.
    let name = Copied::<MAX_ROS_NAME_BYTES>::take(&memory, args)?;
    let name = RosName::parse(name.get())?;
    let out = room(&memory, args, MAX_ROS_BYTES)?;
    let len = memory.fill(out, |out| guest.host.node_info(name, out))?;
    written(caller, len)
}

fn written<H: Host>(caller: &mut Caller<'_, Guest<H>>, len: usize) -> Result<i32, Errno> {
    charge(caller, len as u64);
    i32::try_from(len).map_err(|_| Errno::NoSpace)
}

fn name<'m>(memory: &'m View<'_>, args: &mut Args<'_>) -> Result<Bytes<'m>, Errno> {
    bytes(memory, args, MAX_ROS_NAME_BYTES)
}
