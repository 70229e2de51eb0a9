//! Our runtime, as devices have it.

use wasmbed_abi::{Capabilities, Errno};
use wasmbed_runtime::{Host, Instance, Module, Runtime, Settings};
use wasmbed_wire::{Channel, topic::Level};
use wasmtime::Result;

use crate::Machine;

/// A device that does nothing with what it is asked for.
pub struct Mute;

impl Host for Mute {
    fn log(&mut self, _: Level, _: &str) -> Result<(), Errno> {
        Ok(())
    }

    fn telemetry(&mut self, _: Channel, _: &[u8]) -> Result<(), Errno> {
        Ok(())
    }

    fn uptime_ms(&mut self) -> u64 {
        0
    }
}

/// A module on our runtime, with everything it is granted.
///
/// # Errors
/// As [`Runtime::instantiate`].
pub fn start(runtime: &Runtime, module: &Module) -> Result<Instance<Mute>> {
    let settings = Settings { capabilities: Capabilities::all(runtime.class()) };
    Ok(runtime.instantiate(module, Mute, settings)?)
}

/// An instance with the runtime it belongs to.
pub struct Ours {
    /// Ends calls while it lives.
    _runtime: Runtime,
    instance: Instance<Mute>,
}

impl Ours {
    /// Makes an instance.
    ///
    /// # Errors
    /// As [`start`].
    pub fn new(runtime: Runtime, module: &Module) -> Result<Self> {
        let instance = start(&runtime, module)?;
        Ok(Ours { _runtime: runtime, instance })
    }
}

impl Machine for Ours {
    fn tick(&mut self) -> Result<()> {
        Ok(self.instance.tick()?)
    }

    fn health(&mut self) -> Result<i32> {
        Ok(self.instance.health()?)
    }
}
