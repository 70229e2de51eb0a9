//! Tries a module on this machine: `cargo run -p wasmbed-runtime --example try -- FILE [CLASS] [TICKS]`.
//!
//! Compiles it as the fleet does for a board of the class (`mcu` if none is given), runs it as the board
//! does, and prints what it says and what it costs.
#![allow(unsafe_code, reason = "runs what it just compiled")]

use std::{error::Error, time::Instant};

use wasmbed_abi::{Capabilities, Errno, Sensor};
use wasmbed_runtime::{Host, Runtime, Settings, Target, compile};
use wasmbed_wire::{Channel, limits::Class, topic::Level};

struct Terminal(Instant);

impl Host for Terminal {
    fn log(&mut self, level: Level, line: &str) -> Result<(), Errno> {
        println!("log {}: {line}", level.name());
        Ok(())
    }

    fn telemetry(&mut self, channel: Channel, payload: &[u8]) -> Result<(), Errno> {
        println!("telemetry {channel}: {}", String::from_utf8_lossy(payload));
        Ok(())
    }

    fn uptime_ms(&mut self) -> u64 {
        self.0.elapsed().as_millis() as u64
    }

    fn sensor_read(&mut self, sensor: Sensor) -> Result<i64, Errno> {
        match sensor {
            Sensor::Temperature => Ok(23_470),
            _ => Err(Errno::NotFound),
        }
    }

    fn gpio_write(&mut self, pin: u32, high: bool) -> Result<(), Errno> {
        println!("pin {pin}: {}", if high { "high" } else { "low" });
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let file = args.next().ok_or("give a module: a .wasm or .wat file")?;
    let class: Class = args.next().map_or(Ok(Class::Mcu), |class| class.parse())?;
    let ticks: u32 = args.next().map_or(Ok(3), |ticks| ticks.parse())?;

    let wasm = wat::parse_file(&file)?;
    let runtime = Runtime::bytecode(class, class.limits().stack_bytes as usize)?;
    let start = Instant::now();
    let fuel_per_ms = runtime.calibrate(|| start.elapsed().as_micros() as u64)?;
    let for_board = compile(&wasm, Target::Pulley32, class)?;
    println!(
        "{} bytes of WebAssembly, {} for boards, {fuel_per_ms} fuel/ms here",
        wasm.len(),
        for_board.len()
    );

    let here = compile(&wasm, Target::HERE, class)?;
    // SAFETY: just compiled.
    let module = unsafe { runtime.load_copied(&here) }?;
    let settings = Settings { capabilities: Capabilities::all(class) };
    let mut instance = runtime.instantiate(&module, Terminal(start), settings)?;
    println!("init answers {}", instance.init()?);
    for _ in 0..ticks {
        instance.tick()?;
    }
    let stats = instance.stats();
    println!(
        "health answers {}; {} bytes of memory, {} fuel for the last tick",
        instance.health()?,
        stats.memory_bytes,
        stats.last_fuel
    );
    Ok(())
}
