//! The device that a module believes to run on.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use anyhow::Result;
use wasmbed_abi::{Errno, Sensor};
use wasmbed_runtime::Host;
use wasmbed_wire::{Channel, topic::Level};

use super::{
    report::{Event, Line, Sink},
    script::{self, Script},
};

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
    /// What it was told once that it is missing.
    missing: BTreeSet<String>,
    sink: Sink,
    /// Why lines cannot be written any more.
    broken: Option<anyhow::Error>,
}

impl Device {
    pub(super) fn new(clock: Clock, script: Script, settings: BTreeMap<String, String>, sink: Sink) -> Self {
        let (outputs, missing) = Default::default();
        Device { clock, script, settings, outputs, missing, sink, broken: None }
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
        if answer.as_ref().is_err_and(|error| *error == Errno::NotFound) {
            let what = what();
            if self.missing.insert(what.clone()) {
                self.say(Event::Missing { what });
            }
        }
        answer
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

    fn config_get(&mut self, key: &str, out: &mut [u8]) -> Result<usize, Errno> {
        let value = self.settings.get(key).ok_or(Errno::NotFound)?;
        out.get_mut(..value.len()).ok_or(Errno::NoSpace)?.copy_from_slice(value.as_bytes());
        Ok(value.len())
    }
}
