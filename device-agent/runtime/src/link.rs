//! The host functions: arguments are checked here, once for all hosts.

mod bus;
#[cfg(feature = "std")]
mod files;
mod messages;
#[cfg(feature = "std")]
mod network;
#[cfg(feature = "std")]
mod ros;
#[cfg(feature = "security")]
mod security;
#[cfg(not(feature = "std"))]
mod unsupported;
#[cfg(feature = "std")]
mod vehicle;

#[cfg(not(feature = "std"))]
use unsupported as files;
#[cfg(not(feature = "std"))]
use unsupported as network;
#[cfg(not(feature = "std"))]
use unsupported as ros;
#[cfg(not(feature = "security"))]
use unsupported as security;
#[cfg(not(feature = "std"))]
use unsupported as vehicle;

use alloc::vec::Vec;
use core::mem::MaybeUninit;

use wasmbed_abi::{
    Call, Capabilities, Edges, Errno, Export, INTERVAL_MS, MAX_KEY_BYTES, MAX_LOG_BYTES, MAX_TELEMETRY_BYTES,
    MAX_VALUE_BYTES, Sensor, ValueType, span,
};
use wasmbed_wire::{Channel, topic::Level};
use wasmtime::{Caller, Extern, Func, Memory, Store, ValRaw};

use crate::{Host, Module, instance::Guest, meter::HOST_CALL_FUEL};

pub(crate) use messages::Mailbox;

/// Memory that one function of the host takes, in bytes; more than it ever is.
const FUNCTION_BYTES: usize = 192;
/// Bytes `sensor_read` writes.
const READING_BYTES: i32 = 8;

/// The host's functions in the order the module imports them; what is not `granted` answers that it is not
/// supported.
pub(crate) fn link<H: Host>(
    store: &mut Store<Guest<H>>,
    module: &Module,
    granted: Capabilities,
) -> wasmtime::Result<Vec<Extern>> {
    let mut externs = Vec::new();
    externs.try_reserve_exact(module.imports.len())?;
    // The engine has no way to make such functions that says when memory is short; so it is looked for first.
    Vec::<u8>::new().try_reserve_exact(module.imports.len() * FUNCTION_BYTES)?;
    for (import, known) in module.inner.imports().zip(module.imports.iter()) {
        let call = known.call;
        let is_granted = granted.contains(call.capability());
        // Loading has checked that it is a function of the call's type.
        if let Some(ty) = import.ty().func() {
            let body = move |caller: Caller<'_, Guest<H>>, values: &mut [MaybeUninit<ValRaw>]| {
                answer(call, is_granted, caller, values);
                Ok(())
            };
            #[allow(unsafe_code, reason = "typed functions would be compiled once for each type and device")]
            // SAFETY: `answer` reads the parameters that the call has and writes its one result, both of the types
            // in its signature; loading has checked that the import has just that signature.
            let function = unsafe { Func::new_unchecked(&mut *store, ty.clone(), body) };
            externs.push(function.into());
        }
    }
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
        | Call::GetVehicleLocalPosition => status(vehicle::answer(call, caller, args)),
        Call::PublishMessage
        | Call::SubscribeTopic
        | Call::CreateServiceClient
        | Call::CallService
        | Call::ServiceResponse
        | Call::CreateService
        | Call::SendResponse
        | Call::GetAvailableTopics
        | Call::GetNodeInfo => status(ros::answer(call, caller, args)),
    }
}

fn log<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let level = usize::try_from(args.i32()).ok().and_then(|level| Level::ALL.get(level).copied());
    let (memory, guest) = memory(caller)?;
    let line = text(bytes(memory, args, MAX_LOG_BYTES)?)?;
    guest.host.log(level.ok_or(Errno::Invalid)?, line)?;
    Ok(0)
}

fn telemetry<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let (memory, guest) = memory(caller)?;
    let channel = channel(memory, args)?;
    let payload = bytes(memory, args, MAX_TELEMETRY_BYTES)?;
    guest.host.telemetry(channel, payload)?;
    let carried = payload.len() as u64;
    charge(caller, carried);
    Ok(0)
}

fn sensor_read<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let sensor = Sensor::from_id(args.i32());
    let (memory, guest) = memory(caller)?;
    let out = span(memory.len(), args.i32(), READING_BYTES, READING_BYTES as usize)?;
    let reading = guest.host.sensor_read(sensor.ok_or(Errno::NotFound)?)?;
    memory.get_mut(out).ok_or(Errno::Fault)?.copy_from_slice(&reading.to_le_bytes());
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
    let (memory, guest) = memory(caller)?;
    let key = Key::take(memory, args)?;
    let out = room(memory, args, usize::MAX)?;
    let len = guest.host.config_get(key.text()?, out)?;
    i32::try_from(len).map_err(|_| Errno::NoSpace)
}

fn kv_get<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let (memory, guest) = memory(caller)?;
    let key = Key::take(memory, args)?;
    let out = room(memory, args, usize::MAX)?;
    let len = guest.host.kv_get(key.stored()?, out)?;
    charge(caller, len as u64);
    i32::try_from(len).map_err(|_| Errno::NoSpace)
}

fn kv_set<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let (memory, guest) = memory(caller)?;
    let key = Key::take(memory, args)?;
    let value = bytes(memory, args, MAX_VALUE_BYTES)?;
    let len = value.len();
    guest.host.kv_set(key.stored()?, value)?;
    charge(caller, len as u64);
    Ok(0)
}

fn kv_remove<H: Host>(caller: &mut Caller<'_, Guest<H>>, args: &mut Args<'_>) -> Result<i32, Errno> {
    let (memory, guest) = memory(caller)?;
    let key = Key::take(memory, args)?;
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
fn room<'m>(memory: &'m mut [u8], args: &mut Args<'_>, most_bytes: usize) -> Result<&'m mut [u8], Errno> {
    let room = span(memory.len(), args.i32(), args.i32(), usize::MAX)?;
    let end = room.end.min(room.start.saturating_add(most_bytes));
    memory.get_mut(room.start..end).ok_or(Errno::Fault)
}

fn bytes<'m>(memory: &'m [u8], args: &mut Args<'_>, max_bytes: usize) -> Result<&'m [u8], Errno> {
    let (ptr, len) = (args.i32(), args.i32());
    memory.get(span(memory.len(), ptr, len, max_bytes)?).ok_or(Errno::Fault)
}

fn channel(memory: &[u8], args: &mut Args<'_>) -> Result<Channel, Errno> {
    text(bytes(memory, args, usize::MAX)?)?.parse().map_err(|_| Errno::Invalid)
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
    fn take(memory: &[u8], args: &mut Args<'_>) -> Result<Self, Errno> {
        let given = bytes(memory, args, MAX)?;
        let mut copy = Copied { bytes: [0; MAX], len: given.len() };
        copy.bytes.get_mut(..given.len()).ok_or(Errno::TooLong)?.copy_from_slice(given);
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

    #[cfg(feature = "std")]
    fn f32(&mut self) -> f32 {
        let Some((first, rest)) = self.0.split_first() else { return 0.0 };
        self.0 = rest;
        f32::from_bits(first.get_f32())
    }
}

fn memory<'a, H: Host>(
    caller: &'a mut Caller<'_, Guest<H>>,
) -> Result<(&'a mut [u8], &'a mut Guest<H>), Errno> {
    let memory = match caller.data().memory {
        Some(memory) => memory,
        None => find_memory(caller)?,
    };
    Ok(memory.data_and_store_mut(caller))
}

/// Looked up by the first call that needs it, which may be made by the module's start function.
fn find_memory<H: Host>(caller: &mut Caller<'_, Guest<H>>) -> Result<Memory, Errno> {
    let memory =
        caller.get_export(Export::Memory.name()).and_then(Extern::into_memory).ok_or(Errno::Fault)?;
    caller.data_mut().memory = Some(memory);
    Ok(memory)
}

fn charge<H: Host>(caller: &mut Caller<'_, Guest<H>>, fuel: u64) {
    // Native code has no fuel; its calls are limited by a clock.
    if let Ok(left) = caller.get_fuel() {
        // Fails only without fuel, see above.
        let _ = caller.set_fuel(left.saturating_sub(fuel));
    }
}
