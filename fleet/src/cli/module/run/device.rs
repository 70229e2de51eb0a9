//! The device that a module believes to run on.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use anyhow::Result;
use wasmbed_abi::{Destination, Errno, FilePath, STORE_BYTES, STORE_VALUES, Sensor};
use wasmbed_runtime::Host;
use wasmbed_sandbox::Files;
use wasmbed_wire::{Channel, topic::Level};

use super::{
    outside::Outside,
    report::{Event, Line, Sink},
    script::{self, Script},
};

/// What keys are made from: the same in each run, so that two runs are the same, and no secret.
const SECRET: [u8; 32] = *b"wasmbed module run: not a secret";

/// Time as the device counts it, in milliseconds.
pub(super) enum Clock {
    /// Stands still but for [`Device::wait_until`], so that a run is the same each time.
    Virtual(u64),
    /// That of this machine.
    Real(Instant),
}

pub(super) struct Device {
    clock: Clock,
    script: Script,
    settings: BTreeMap<String, String>,
    /// Levels the module drove.
    outputs: BTreeMap<u32, bool>,
    /// Values it stored.
    values: BTreeMap<String, Vec<u8>>,
    outside: Outside,
    /// What it was told once that it is missing.
    missing: BTreeSet<String>,
    sink: Sink,
    /// Why lines cannot be written any more.
    broken: Option<anyhow::Error>,
}

impl Device {
    pub(super) fn new(clock: Clock, script: Script, settings: BTreeMap<String, String>, sink: Sink) -> Self {
        let outside = Outside::new(&script.allow_network);
        let (outputs, values, missing) = Default::default();
        Device { clock, script, settings, outputs, values, outside, missing, sink, broken: None }
    }

    /// Milliseconds since the device started.
    pub(super) fn now_ms(&self) -> u64 {
        match self.clock {
            Clock::Virtual(now_ms) => now_ms,
            Clock::Real(start) => u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Lets time pass.
    pub(super) fn wait_until(&mut self, at_ms: u64) {
        let now_ms = self.now_ms();
        match &mut self.clock {
            Clock::Virtual(now_ms) => *now_ms = at_ms.max(*now_ms),
            Clock::Real(_) => {
                std::thread::sleep(std::time::Duration::from_millis(at_ms.saturating_sub(now_ms)));
            }
        }
    }

    /// Says what happened.
    pub(super) fn say(&mut self, event: Event) {
        if self.broken.is_none() {
            let line = Line { at_ms: self.now_ms(), event };
            self.broken = (self.sink)(&line).err();
        }
    }

    /// Whether what happens can still be said.
    pub(super) fn is_heard(&self) -> bool {
        self.broken.is_none()
    }

    /// Whether all that happened could be said.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn heard(&mut self) -> Result<()> {
        self.broken.take().map_or(Ok(()), Err)
    }

    /// Says once what there is not.
    fn found<T>(&mut self, what: impl FnOnce() -> String, answer: Result<T, Errno>) -> Result<T, Errno> {
        if answer.as_ref().is_err_and(|error| matches!(error, Errno::NotFound | Errno::Denied)) {
            let what = what();
            if self.missing.insert(what.clone()) {
                self.say(Event::Missing { what });
            }
        }
        answer
    }

    fn files(&mut self) -> Result<&Files, Errno> {
        self.outside.files()
    }
}

impl Host for Device {
    fn log(&mut self, level: Level, line: &str) -> Result<(), Errno> {
        self.say(Event::Log { level: level.name(), line: line.to_owned() });
        Ok(())
    }

    fn telemetry(&mut self, channel: Channel, payload: &[u8]) -> Result<(), Errno> {
        self.say(Event::telemetry(channel.as_str(), payload));
        Ok(())
    }

    fn publish(&mut self, channel: Channel, payload: &[u8]) -> Result<(), Errno> {
        self.say(Event::message(channel.as_str(), payload));
        Ok(())
    }

    fn uptime_ms(&mut self) -> u64 {
        self.now_ms()
    }

    fn sensor_read(&mut self, sensor: Sensor) -> Result<i64, Errno> {
        let reading = self.script.sensor(sensor, self.now_ms());
        self.found(|| format!("sensor {}", script::name(sensor)), reading)
    }

    fn gpio_write(&mut self, pin: u32, high: bool) -> Result<(), Errno> {
        if self.outputs.insert(pin, high) != Some(high) {
            self.say(Event::Gpio { pin, high });
        }
        Ok(())
    }

    fn gpio_read(&mut self, pin: u32) -> Result<bool, Errno> {
        let level = self.script.input(pin, self.now_ms());
        let level = level.unwrap_or_else(|| self.outputs.get(&pin).copied().ok_or(Errno::NotFound));
        self.found(|| format!("pin {pin}"), level)
    }

    fn i2c_transfer(&mut self, bus: u32, address: u8, write: &[u8], read: &mut [u8]) -> Result<(), Errno> {
        let done = self.script.buses.i2c((bus, address), write, read, self.now_ms());
        self.found(|| format!("i2c bus {bus}"), done)
    }

    fn spi_transfer(&mut self, bus: u32, chip_select: u32, bytes: &mut [u8]) -> Result<(), Errno> {
        let done = self.script.buses.spi((bus, chip_select), bytes, self.now_ms());
        self.found(|| format!("chip {chip_select} of spi bus {bus}"), done)
    }

    fn kv_get(&mut self, key: &str, out: &mut [u8]) -> Result<usize, Errno> {
        let value = self.values.get(key).ok_or(Errno::NotFound)?;
        out.get_mut(..value.len()).ok_or(Errno::NoSpace)?.copy_from_slice(value);
        Ok(value.len())
    }

    fn kv_set(&mut self, key: &str, value: &[u8]) -> Result<(), Errno> {
        let others = self.values.iter().filter(|(other, _)| *other != key);
        let (count, bytes) =
            others.fold((0, 0), |(count, bytes), (key, value)| (count + 1, bytes + key.len() + value.len()));
        if count >= STORE_VALUES || bytes + key.len() + value.len() > STORE_BYTES {
            return Err(Errno::NoSpace);
        }
        self.values.insert(key.to_owned(), value.to_vec());
        Ok(())
    }

    fn kv_remove(&mut self, key: &str) -> Result<(), Errno> {
        self.values.remove(key).map(drop).ok_or(Errno::NotFound)
    }

    fn secret(&mut self) -> Result<[u8; 32], Errno> {
        Ok(SECRET)
    }

    fn random(&mut self, out: &mut [u8]) -> Result<(), Errno> {
        getrandom::fill(out).map_err(|_| Errno::Io)
    }

    fn file_read(&mut self, path: FilePath<'_>, offset: u64, out: &mut [u8]) -> Result<usize, Errno> {
        self.files()?.read(path, offset, out)
    }

    fn file_write(&mut self, path: FilePath<'_>, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.files()?.write(path, offset, bytes)
    }

    fn file_size(&mut self, path: FilePath<'_>) -> Result<u64, Errno> {
        self.files()?.size(path)
    }

    fn file_truncate(&mut self, path: FilePath<'_>, size: u64) -> Result<(), Errno> {
        self.files()?.truncate(path, size)
    }

    fn file_remove(&mut self, path: FilePath<'_>) -> Result<(), Errno> {
        self.files()?.remove(path)
    }

    fn file_rename(&mut self, from: FilePath<'_>, to: FilePath<'_>) -> Result<(), Errno> {
        self.files()?.rename(from, to)
    }

    fn file_list(&mut self, nth: u32, out: &mut [u8]) -> Result<usize, Errno> {
        self.files()?.list(nth, out)
    }

    fn net_connect(&mut self, destination: Destination<'_>) -> Result<u32, Errno> {
        let opened = self.outside.connections().and_then(|connections| connections.connect(destination));
        self.found(|| format!("way to {destination}"), opened)
    }

    fn net_send(&mut self, number: u32, bytes: &[u8]) -> Result<usize, Errno> {
        self.outside.connections()?.send(number, bytes)
    }

    fn net_receive(&mut self, number: u32, out: &mut [u8]) -> Result<usize, Errno> {
        self.outside.connections()?.receive(number, out)
    }

    fn net_close(&mut self, number: u32) -> Result<(), Errno> {
        self.outside.connections()?.close(number)
    }

    fn config_get(&mut self, key: &str, out: &mut [u8]) -> Result<usize, Errno> {
        let value = self.settings.get(key).ok_or(Errno::NotFound)?;
        out.get_mut(..value.len()).ok_or(Errno::NoSpace)?.copy_from_slice(value.as_bytes());
        Ok(value.len())
    }
}
