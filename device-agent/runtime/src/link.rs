//! The host functions: arguments are checked here, once for all hosts.

mod bus;
#[cfg(feature = "std")]
mod files;
mod messages;
#[cfg(feature = "std")]
mod network;
#[cfg(feature = "ros")]
mod ros;
#[cfg(feature = "security")]
mod security;
#[cfg(not(feature = "std"))]
mod unsupported;
#[cfg(feature = "px4")]
mod vehicle;

#[cfg(not(feature = "std"))]
use unsupported as files;
#[cfg(not(feature = "std"))]
use unsupported as network;
#[cfg(not(feature = "ros"))]
use unsupported as ros;
#[cfg(not(feature = "security"))]
use unsupported as security;
#[cfg(not(feature = "px4"))]
use unsupported as vehicle;

use alloc::vec::Vec;
use core::{mem::MaybeUninit, ops::Range};

use wasmbed_abi::{
    Call, Capabilities, Edges, Errno, Export, INTERVAL_MS, MAX_KEY_BYTES, MAX_LOG_BYTES, MAX_TELEMETRY_BYTES,
    MAX_VALUE_BYTES, Sensor, ValueType, span,
};
use wasmbed_wire::{Channel, MAX_NAME_BYTES, topic::Level};
use wasmtime::{Caller, Extern, Func, Store, ValRaw};

use crate::{
    Host, Module,
    instance::Guest,
    memory::{Bytes, GuestMemory, View},
    meter::HOST_CALL_FUEL,
    threads::{self, Main},
};

pub(crate) use messages::Mailbox;

/// Memory that one function of the host takes, in bytes; more than it ever is.
const FUNCTION_BYTES: usize = 192;
/// Longest answer of any call, in bytes: room beyond it is not used.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// Bytes `sensor_read` writes.
const READING_BYTES: i32 = 8;

/// What the module imports, in its order: functions of the host, and the memory that threads share. What is not
/// `granted` answers that it is not supported.
pub(crate) fn link<H: Host>(
    store: &mut Store<Guest<H>>,
    module: &Module,
    granted: Capabilities,
    threads: Option<&Main>,
) -> wasmtime::Result<Vec<Extern>> {
    let mut externs = Vec::new();
    externs.try_reserve_exact(module.inner.imports().len())?;
    // The engine has no way to make such functions that says when memory is short; so it is looked for first.
    Vec::<u8>::new().try_reserve_exact(module.imports.len() * FUNCTION_BYTES)?;
    let mut calls = module.imports.iter();
    for import in module.declared_imports() {
        // Loading has checked that functions are of their call's type, and that the rest is a memory.
        let Some(ty) = import.ty().func().cloned() else {
            externs.extend(threads.map(Main::memory));
            continue;
        };
        if let Some(call) = calls.next().map(|import| import.call) {
            let is_granted = granted.contains(call.capability());
            let body = move |caller: Caller<'_, Guest<H>>, values: &mut [MaybeUninit<ValRaw>]| {
                answer(call, is_granted, caller, values);
                Ok(())
            };
            #[allow(unsafe_code, reason = "typed functions would be compiled once for each type and device")]
            // SAFETY: `answer` reads the parameters that the call has and writes its one result, both of the types
            // in its signature; loading has checked that the import has just that signature.
            let function = unsafe { Func::new_unchecked(&mut *store, ty, body) };
            externs.push(function.into());
        }
    }
    externs.extend(threads.into_iter().flat_map(|threads| threads.waits(store)));
    Ok(externs)
}

/// Not generic over calls, so that a board carries it once.
fn answer<H: Host>(
    call: Call,
    is_granted: bool,
    mut caller: Caller<'_, Guest<H>>,
    values: &mut [MaybeUninit<ValRaw>],
) {
    let params = values.get(..call.signature().params.len()).unwrap_or_default();
    #[allow(unsafe_code, reason = "see `link`")]
    // SAFETY: a call comes with all its parameters, which lie in front.
    let mut args = Args(unsafe { params.assume_init_ref() });
    let result = match (is_granted, call.signature().results) {
        (true, _) => carry_out(call, &mut caller, &mut args),
        (false, [ValueType::I64]) => ValRaw::i64(Errno::Unsupported.code().into()),
        (false, _) => status(Err(Errno::Unsupported)),
    };
    if let Some(slot) = values.first_mut() {
        slot.write(result);
    }
    charge(&mut caller, HOST_CALL_FUEL);
}

fn carry_out<H: Host>(call: Call, caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> ValRaw {
    match call {
        Call::UptimeMs => ValRaw::i64(caller.data_mut().host.uptime_ms().cast_signed()),
        Call::Log => status(log(caller, args)),
        Call::Telemetry => status(telemetry(caller, args)),
        Call::SensorRead => status(sensor_read(caller, args)),
        Call::GpioWrite => status(gpio_write(caller, args)),
        Call::GpioRead => status(gpio_read(caller, args)),
        Call::ConfigGet => status(config_get(caller, args)),
        Call::TimerSet => status(timer_set(caller, args)),
        Call::GpioWatch => status(gpio_watch(caller, args)),
        Call::Publish => status(messages::publish(caller, args)),
        Call::Subscribe => status(messages::subscribe(caller, args)),
        Call::Unsubscribe => status(messages::unsubscribe(caller, args)),
        Call::MessageRead => status(messages::message_read(caller, args)),
        Call::KvGet => status(kv_get(caller, args)),
        Call::KvSet => status(kv_set(caller, args)),
        Call::KvRemove => status(kv_remove(caller, args)),
        Call::Sha256
        | Call::HmacSha256
        | Call::Seal
        | Call::Open
        | Call::Ed25519Public
        | Call::Ed25519Sign
        | Call::Ed25519Verify
        | Call::Random => status(security::answer(call, caller, args)),
        Call::I2cTransfer => status(bus::i2c_transfer(caller, args)),
        Call::SpiTransfer => status(bus::spi_transfer(caller, args)),
        Call::FileSize => ValRaw::i64(files::size(caller, args).unwrap_or_else(|errno| errno.code().into())),
        Call::FileRead
        | Call::FileWrite
        | Call::FileTruncate
        | Call::FileRemove
        | Call::FileRename
        | Call::FileList => status(files::answer(call, caller, args)),
        Call::NetConnect | Call::NetSend | Call::NetReceive | Call::NetClose => {
            status(network::answer(call, caller, args))
        }
        Call::SendVehicleCommand
        | Call::ArmVehicle
        | Call::DisarmVehicle
        | Call::Takeoff
        | Call::Land
        | Call::VehicleCommandResult
        | Call::GetVehicleStatus
        | Call::GetBatteryStatus
        | Call::GetVehicleLocalPosition
        | Call::GetVehicleParameter => status(vehicle::answer(call, caller, args)),
        Call::PublishMessage
        | Call::SubscribeTopic
        | Call::CreateServiceClient
        | Call::CallService
        | Call::ServiceResponse
        | Call::CreateService
        | Call::SendResponse
        | Call::GetAvailableTopics
        | Call::GetNodeInfo => status(ros::answer(call, caller, args)),
        Call::ThreadSpawn => status(threads::spawn(caller.data_mut(), args.i32())),
    }
}

fn log<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let level = usize::try_from(args.i32()).ok().and_then(|level| Level::ALL.get(level).copied());
    let (memory, guest) = memory(caller)?;
    let line = bytes(&memory, args, MAX_LOG_BYTES)?;
    let line = text(&line)?;
    guest.host.log(level.ok_or(Errno::Invalid)?, line)?;
    Ok(0)
}

fn telemetry<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let (memory, guest) = memory(caller)?;
    let channel = channel(&memory, args)?;
    let payload = bytes(&memory, args, MAX_TELEMETRY_BYTES)?;
    guest.host.telemetry(channel, &payload)?;
    let carried = payload.len() as u64;
    charge(caller, carried);
    Ok(0)
}

fn sensor_read<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let sensor = Sensor::from_id(args.i32());
    let (mut memory, guest) = memory(caller)?;
    let out = span(memory.len(), args.i32(), READING_BYTES, READING_BYTES as usize)?;
    let reading = guest.host.sensor_read(sensor.ok_or(Errno::NotFound)?)?;
    memory.write(out, &reading.to_le_bytes())?;
    Ok(0)
}

fn gpio_write<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let pin = pin(args)?;
    let high = match args.i32() {
        0 => false,
        1 => true,
        _ => return Err(Errno::Invalid),
    };
    caller.data_mut().host.gpio_write(pin, high)?;
    Ok(0)
}

fn gpio_read<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let pin = pin(args)?;
    caller.data_mut().host.gpio_read(pin).map(i32::from)
}

fn gpio_watch<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let pin = pin(args)?;
    let edges = Edges::from_code(args.i32()).ok_or(Errno::Invalid)?;
    caller.data_mut().host.gpio_watch(pin, edges)?;
    Ok(0)
}

fn config_get<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let (mut memory, guest) = memory(caller)?;
    let key = Key::take(&memory, args)?;
    let out = room(&memory, args, MAX_ANSWER_BYTES)?;
    let key = key.text()?;
    let len = memory.fill(out, |out| guest.host.config_get(key, out))?;
    i32::try_from(len).map_err(|_| Errno::NoSpace)
}

fn kv_get<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let (mut memory, guest) = memory(caller)?;
    let key = Key::take(&memory, args)?;
    let out = room(&memory, args, MAX_ANSWER_BYTES)?;
    let key = key.stored()?;
    let len = memory.fill(out, |out| guest.host.kv_get(key, out))?;
    charge(caller, len as u64);
    i32::try_from(len).map_err(|_| Errno::NoSpace)
}

fn kv_set<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let (memory, guest) = memory(caller)?;
    let key = Key::take(&memory, args)?;
    let value = bytes(&memory, args, MAX_VALUE_BYTES)?;
    let len = value.len();
    guest.host.kv_set(key.stored()?, &value)?;
    charge(caller, len as u64);
    Ok(0)
}

fn kv_remove<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let (memory, guest) = memory(caller)?;
    let key = Key::take(&memory, args)?;
    guest.host.kv_remove(key.stored()?)?;
    Ok(0)
}

fn timer_set<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let interval_ms = u32::try_from(args.i32()).ok().filter(|interval_ms| INTERVAL_MS.contains(interval_ms));
    caller.data_mut().interval_ms = interval_ms.ok_or(Errno::Invalid)?;
    Ok(0)
}

fn status(result: Result<i32, Errno>) -> ValRaw {
    ValRaw::i32(result.unwrap_or_else(Errno::code))
}

fn pin(args: &mut Args<'_>) -> Result<u32, Errno> {
    u32::try_from(args.i32()).map_err(|_| Errno::Invalid)
}

/// What one of several is numbered: there is none below zero.
fn number(args: &mut Args<'_>) -> Result<u32, Errno> {
    u32::try_from(args.i32()).map_err(|_| Errno::NotFound)
}

/// The place for an answer, of which no more than `most_bytes` are used.
fn room(memory: &View<'_>, args: &mut Args<'_>, most_bytes: usize) -> Result<Range<usize>, Errno> {
    let room = span(memory.len(), args.i32(), args.i32(), usize::MAX)?;
    Ok(room.start..room.end.min(room.start.saturating_add(most_bytes)))
}

fn bytes<'m>(memory: &'m View<'_>, args: &mut Args<'_>, max_bytes: usize) -> Result<Bytes<'m>, Errno> {
    let (ptr, len) = (args.i32(), args.i32());
    memory.read(span(memory.len(), ptr, len, max_bytes)?)
}

/// Bytes of which more than these are never what is meant.
fn short<'m>(memory: &'m View<'_>, args: &mut Args<'_>, max_bytes: usize) -> Result<Bytes<'m>, Errno> {
    bytes(memory, args, max_bytes)
        .map_err(|errno| if errno == Errno::TooLong { Errno::Invalid } else { errno })
}

fn channel(memory: &View<'_>, args: &mut Args<'_>) -> Result<Channel, Errno> {
    text(&short(memory, args, MAX_NAME_BYTES)?)?.parse().map_err(|_| Errno::Invalid)
}

fn text(bytes: &[u8]) -> Result<&str, Errno> {
    core::str::from_utf8(bytes).map_err(|_| Errno::Invalid)
}

/// Bytes that the module gave; a copy, because the answer may be written over them.
struct Copied<const MAX: usize> {
    bytes: [u8; MAX],
    len: usize,
}

impl<const MAX: usize> Copied<MAX> {
    fn take(memory: &View<'_>, args: &mut Args<'_>) -> Result<Self, Errno> {
        let given = bytes(memory, args, MAX)?;
        let mut copy = Copied { bytes: [0; MAX], len: given.len() };
        copy.bytes.get_mut(..given.len()).ok_or(Errno::TooLong)?.copy_from_slice(&given);
        Ok(copy)
    }

    fn get(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

type Key = Copied<MAX_KEY_BYTES>;

impl Key {
    fn text(&self) -> Result<&str, Errno> {
        text(self.get())
    }

    /// As the key of a value, which has a name.
    fn stored(&self) -> Result<&str, Errno> {
        self.text().and_then(|key| if key.is_empty() { Err(Errno::Invalid) } else { Ok(key) })
    }
}

/// The parameters, taken in order. Their types were checked when the module was loaded.
struct Args<'a>(&'a [ValRaw]);

impl Args<'_> {
    fn i32(&mut self) -> i32 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first.get_i32()
    }

    #[cfg(feature = "std")]
    fn i64(&mut self) -> i64 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first.get_i64()
    }

    #[cfg(feature = "px4")]
    fn f32(&mut self) -> f32 {
        let Some((first, rest)) = self.0.split_first() else { return 0.0 };
        self.0 = rest;
        f32::from_bits(first.get_f32())
    }
}

fn memory<'a, H: Host>(caller: &'a mut Caller<'_, Guest<H>>) -> Result<(View<'a>, &'a mut Guest<H>), Errno> {
    let memory = match &caller.data().memory {
        Some(memory) => memory.clone(),
        None => find_memory(caller)?,
    };
    Ok(memory.view(caller))
}

/// Looked up by the first call that needs it, which may be made by the module's start function.
fn find_memory<H: Host>(caller: &mut Caller<'_, Guest<H>>) -> Result<GuestMemory, Errno> {
    let memory = caller.get_export(Export::Memory.name()).and_then(GuestMemory::new).ok_or(Errno::Fault)?;
    caller.data_mut().memory = Some(memory.clone());
    Ok(memory)
}

fn charge<H: Host>(caller: &mut Caller<'_, Guest<H>>, fuel: u64) {
    // Native code has no fuel; its calls are limited by a clock.
    if let Ok(left) = caller.get_fuel() {
        // Fails only without fuel, see above.
        let _ = caller.set_fuel(left.saturating_sub(fuel));
    }
}
