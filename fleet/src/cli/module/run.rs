//! `wasmbed module run`: a module on this machine, within the limits of a device class.
//!
//! It goes the way of a device's module: admission, the class's compiler and runtime, `init`, `health`, then
//! ticks at its interval with `health` in between. Time is the run's own unless asked for otherwise: ticks
//! follow each other at once and the clock stands still inside of them, so that a run is the same each time.
//! A module that fails is not started again.

mod buses;
mod device;
mod outside;
mod report;
mod script;

use std::{collections::BTreeMap, path::PathBuf, str::FromStr, time::Instant};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use wasmbed_abi::Capabilities;
use wasmbed_runtime::{Instance, Runtime, Settings, Stopped};
use wasmbed_wire::limits::Class;

use self::{
    device::{Clock, Device},
    report::{Event, Sink},
    script::Script,
};
use super::{Common, read};
use crate::{artifacts, cli::deploy::setting};

/// Ticks of a run that nothing else ends.
const TICKS: u64 = 10;
/// Time between two calls of `health`, in milliseconds, as on devices.
const HEALTH_MS: u64 = 10_000;

#[derive(Debug, Args)]
pub(in crate::cli) struct Run {
    /// The file
    file: PathBuf,
    /// The device class whose limits and features hold: mcu, mpu or riscv
    #[arg(long, default_value_t = Class::Mcu)]
    class: Class,
    /// End after so many ticks [default: 10, if there is no --for]
    #[arg(long, value_name = "N")]
    ticks: Option<u64>,
    /// End after so much time of the device, such as 500ms, 30s, 5m or 1h
    #[arg(long = "for", value_name = "TIME")]
    length: Option<Length>,
    /// A setting that the module reads; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
    /// Sensors and inputs over time (TOML): [sensors] temperature = 21.5, adc0 = [{ at_ms = 0, value = 1.2 }]; [gpio]
    /// 4 = true
    #[arg(long, value_name = "FILE")]
    peripherals: Option<PathBuf>,
    /// Wait between ticks as a device does
    #[arg(long)]
    realtime: bool,
    /// Instructions that count as a millisecond on classes whose calls are limited by fuel; 1000 are those of a
    /// microcontroller at about 64 MHz
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    fuel_per_ms: u32,
}

/// A length of time, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Length(u64);

impl FromStr for Length {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unit = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(unit);
        let unit_ms = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err("write a whole number and ms, s, m or h, such as 30s"),
        };
        let number: u64 =
            number.parse().map_err(|_| "write a whole number and ms, s, m or h, such as 30s")?;
        number.checked_mul(unit_ms).map(Length).ok_or("that is too long")
    }
}

impl Run {
    pub(super) fn run(self, common: &Common) -> Result<()> {
        let sink = report::printer(common.json);
        let class = self.class;
        // Native code needs the stack of its class, which is more than other threads have.
        let thread = std::thread::Builder::new().stack_size(Runtime::thread_stack_bytes(class));
        let thread = thread.spawn(move || self.run_here(sink)).context("cannot start a thread")?;
        thread.join().map_err(|_| anyhow!("the run ended unexpectedly"))?
    }

    /// Runs the module on this thread.
    fn run_here(self, sink: Sink) -> Result<()> {
        let wasm = read(&self.file)?;
        let script = self.peripherals.as_deref().map_or(Ok(Script::default()), Script::read)?;
        let clock = if self.realtime { Clock::Real(Instant::now()) } else { Clock::Virtual(0) };
        let settings: BTreeMap<String, String> = self.settings.iter().cloned().collect();
        let mut device = Device::new(clock, script, settings, sink);

        let stack_bytes = self.admit(&wasm, &mut device)?;
        let runtime = self.runtime(stack_bytes)?;
        let module = runtime.load_wasm(&wasm).with_context(|| self.file.display().to_string())?;
        let granted = Settings { capabilities: Capabilities::all(self.class) };
        let mut instance = match runtime.instantiate(&module, device, granted) {
            Ok(instance) => instance,
            Err(error) => bail!("the module does not start: {error}"),
        };
        let ran = self.drive(&mut instance);
        if let Err(error) = &ran {
            instance.host_mut().say(Event::Failed { reason: format!("{error:#}") });
        }
        // Nobody listens any more: no failure of the module.
        instance.host_mut().heard()?;
        ran
    }

    /// Returns the stack that its calls take at most, in bytes.
    fn admit(&self, wasm: &[u8], device: &mut Device) -> Result<u32> {
        let checked = artifacts::check(wasm);
        let report = checked.classes.into_iter().find(|report| report.class == self.class);
        let report = report.with_context(|| format!("class {} says nothing", self.class))?;
        if !report.admitted {
            let broken = report.violations.iter().map(|v| format!("{}: {}; {}", v.rule, v.found, v.limit));
            let broken: Vec<String> = broken.collect();
            bail!("class {} refuses {}\n  {}", self.class, self.file.display(), broken.join("\n  "));
        }
        report.warnings.into_iter().for_each(|warning| device.say(Event::Warning(warning)));
        let most = self.class.limits().stack_bytes;
        Ok(checked.stack_bytes.map_or(most, |bytes| bytes.min(most)))
    }

    fn runtime(&self, stack_bytes: u32) -> Result<Runtime> {
        if self.class == Class::Mpu {
            return Ok(Runtime::new(self.class)?);
        }
        let runtime = Runtime::bytecode(self.class, stack_bytes as usize)?;
        runtime.set_fuel_per_ms(self.fuel_per_ms);
        Ok(runtime)
    }

    fn drive(&self, instance: &mut Instance<Device>) -> Result<()> {
        check("init", instance.init())?;
        check("health", instance.health())?;
        let memory_bytes = instance.stats().memory_bytes;
        let interval_ms = instance.interval_ms();
        instance.host_mut().say(Event::Started { class: self.class, memory_bytes, interval_ms });
        let max_ticks = self.ticks.unwrap_or(if self.length.is_some() { u64::MAX } else { TICKS });
        let end_ms = self.length.map_or(u64::MAX, |Length(ms)| ms);
        let (mut ticks, mut most_fuel, mut next_ms, mut asked_ms) = (0, 0, 0, 0);
        while ticks < max_ticks && next_ms <= end_ms && instance.host().is_heard() {
            instance.host_mut().wait_until(next_ms);
            let start_ms = instance.host().now_ms();
            instance.tick().map_err(|stopped| anyhow!("tick {}: {stopped}", ticks + 1))?;
            ticks += 1;
            let fuel = instance.stats().last_fuel;
            most_fuel = most_fuel.max(fuel);
            instance.host_mut().say(Event::Tick { number: ticks, fuel });
            if start_ms.saturating_sub(asked_ms) >= HEALTH_MS {
                check("health", instance.health())?;
                asked_ms = start_ms;
            }
            next_ms = start_ms.saturating_add(instance.interval_ms().into());
        }
        if self.length.is_some() && ticks < max_ticks {
            instance.host_mut().wait_until(end_ms);
        }
        let memory_bytes = instance.stats().memory_bytes;
        instance.host_mut().say(Event::Ended { ticks, memory_bytes, most_fuel });
        Ok(())
    }
}

/// Stops a module that says it cannot go on, as devices do.
fn check(call: &str, answer: Result<i32, Stopped>) -> Result<()> {
    match answer {
        Ok(0) => Ok(()),
        Ok(status) => bail!("{call} answered {status}; 0 is expected"),
        Err(stopped) => bail!("{call}: {stopped}"),
    }
}

#[cfg(test)]
pub(super) mod tests;
