//! One engine, set up for a device class.

use alloc::{string::String, sync::Arc};

use wasmbed_wire::{
    RuntimeId,
    limits::{Class, Limits},
};
use wasmtime::Engine;

use crate::{Target, calibrate, meter::Meter, tunables};

/// Stack that every instance has, in bytes: where it ends on the way into the module, wasmtime cannot tell of it.
const LEAST_STACK_BYTES: u32 = 512;

/// Loads and runs the modules of one device. One is enough for all of them.
pub struct Runtime {
    pub(crate) engine: Engine,
    pub(crate) class: Class,
    pub(crate) limits: &'static Limits,
    pub(crate) meter: Arc<Meter>,
    target: Target,
}

/// The engine cannot be set up on this machine.
#[derive(Debug, thiserror::Error)]
#[error("the WebAssembly engine does not start: {0}")]
pub struct SetupError(String);

/// The machine's clock or engine did not do what a measurement needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CalibrateError {
    /// Native code is limited by a clock, not by fuel.
    #[error("this runtime measures time with a clock; there is nothing to calibrate")]
    NotMetered,
    /// The clock does not advance.
    #[error("the clock stands still; check that it runs before calibrating")]
    ClockStandsStill,
    /// The measuring loop does not run: the artifact built into this crate is not of this engine.
    #[error("the measuring loop does not run on this engine")]
    LoopFailed,
}

impl Runtime {
    /// The runtime of a board: bytecode, within its class's limits.
    ///
    /// # Errors
    /// If there is not enough memory.
    #[cfg(not(feature = "compile"))]
    pub fn new(class: Class) -> Result<Self, SetupError> {
        Self::bytecode(class, class.limits().stack_bytes as usize)
    }

    /// A runtime for bytecode with another WebAssembly stack than its class's: each instance takes
    /// `stack_bytes` of heap for it.
    ///
    /// # Errors
    /// If there is not enough memory, or `stack_bytes` is 0.
    pub fn bytecode(class: Class, stack_bytes: usize) -> Result<Self, SetupError> {
        let engine = bytecode_engine(class, stack_bytes)?;
        Ok(Self::around(engine, class, Target::HERE, Meter::fuel()))
    }

    pub(crate) fn around(engine: Engine, class: Class, target: Target, meter: Meter) -> Self {
        Runtime { engine, class, limits: class.limits(), meter: Arc::new(meter), target }
    }

    /// The engine for a module whose calls take so much stack: it owns the size of its instances' stacks. One more is
    /// about a kilobyte, and saves the rest of the class's stack in each instance.
    pub(crate) fn engine_with(&self, stack_bytes: u32) -> Result<Engine, SetupError> {
        let is_bytecode = self.fuel_per_ms().is_some();
        if is_bytecode && (1..self.limits.stack_bytes).contains(&stack_bytes) {
            return bytecode_engine(self.class, stack_bytes.max(LEAST_STACK_BYTES) as usize);
        }
        Ok(self.engine.clone())
    }

    /// The engine as modules get it, for programs that check or measure the engine itself: what they run on
    /// it is held to no module's contract and to no limit.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The class whose limits hold.
    pub fn class(&self) -> Class {
        self.class
    }

    /// What artifacts for this runtime carry in their manifest.
    pub fn id(&self) -> RuntimeId {
        self.target.runtime_id()
    }

    /// Measures how much fuel a millisecond is on this machine and limits calls accordingly. Takes less
    /// than a quarter of a second. `now_us` is a clock in microseconds.
    ///
    /// # Errors
    /// If nothing could be measured; calls then keep the limits they had.
    pub fn calibrate(&self, now_us: impl FnMut() -> u64) -> Result<u32, CalibrateError> {
        if self.fuel_per_ms().is_none() {
            return Err(CalibrateError::NotMetered);
        }
        let fuel_per_ms = calibrate::measure(&self.engine, now_us)?;
        self.set_fuel_per_ms(fuel_per_ms);
        Ok(fuel_per_ms)
    }

    /// How much fuel counts as a millisecond; none where a clock is used instead.
    pub fn fuel_per_ms(&self) -> Option<u32> {
        self.meter.fuel_per_ms()
    }

    /// Sets how much fuel counts as a millisecond, at least 1. Without effect where a clock is used.
    pub fn set_fuel_per_ms(&self, fuel_per_ms: u32) {
        self.meter.set_fuel_per_ms(fuel_per_ms);
    }
}

// Not inlined: `Config` is large, and a board's stack is deepest in calls into modules, not here.
#[inline(never)]
fn bytecode_engine(class: Class, stack_bytes: usize) -> Result<Engine, SetupError> {
    let config = tunables::bytecode(class, stack_bytes);
    #[cfg(feature = "std")]
    let config = tunables::for_target(config, Target::HERE).map_err(SetupError::new)?;
    Engine::new(&config).map_err(SetupError::new)
}

impl SetupError {
    pub(crate) fn new(reason: impl core::fmt::Display) -> Self {
        SetupError(alloc::format!("{reason:#}"))
    }
}
