//! Why a module does not run any more.

use core::fmt;

use wasmbed_wire::{
    Backtrace,
    message::{Frame, Reason},
};
use wasmtime::{FrameInfo, Trap, WasmBacktrace};

/// Why a call into a module did not return. The instance is of no further use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// The module did what WebAssembly forbids.
    Trap(TrapCode),
    /// The call took longer than its limit.
    TimedOut {
        /// The limit, in milliseconds.
        limit_ms: u32,
    },
    /// The device has not enough memory for the module.
    OutOfMemory,
    /// The engine failed.
    HostError,
}

impl Stopped {
    /// How it is reported to the fleet.
    pub const fn reason(self) -> Reason {
        match self {
            Stopped::Trap(_) | Stopped::HostError => Reason::Trapped,
            Stopped::TimedOut { .. } => Reason::TimedOut,
            Stopped::OutOfMemory => Reason::OutOfMemory,
        }
    }

    pub(crate) fn from_error(error: &wasmtime::Error, limit_ms: u32) -> Self {
        match error.downcast_ref::<Trap>() {
            Some(Trap::OutOfFuel | Trap::Interrupt) => Stopped::TimedOut { limit_ms },
            Some(Trap::AllocationTooLarge) => Stopped::OutOfMemory,
            Some(trap) => Stopped::Trap(TrapCode(*trap)),
            None if out_of_memory(error) => Stopped::OutOfMemory,
            None => Stopped::HostError,
        }
    }
}

/// Where it was, innermost first, in indices and offsets of the WebAssembly file; `origin` leads back to it from what
/// was compiled.
pub(crate) fn frames(error: &wasmtime::Error, origin: impl Fn(Frame) -> Frame) -> Backtrace {
    let backtrace = error.downcast_ref::<WasmBacktrace>();
    let frames = backtrace.map(WasmBacktrace::frames).unwrap_or_default();
    let offset = |frame: &FrameInfo| frame.module_offset().and_then(|offset| u32::try_from(offset).ok());
    frames
        .iter()
        .map(|frame| Frame { function: frame.func_index(), offset: offset(frame).unwrap_or(0) })
        .map(origin)
        .collect()
}

fn out_of_memory(error: &wasmtime::Error) -> bool {
    error.is::<wasmtime::OutOfMemory>() || error.is::<alloc::collections::TryReserveError>()
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stopped::Trap(code) => write!(f, "trap {}: {code}", code.number()),
            Stopped::TimedOut { limit_ms } => write!(f, "the call took longer than {limit_ms} ms"),
            Stopped::OutOfMemory => f.write_str("the device has not enough memory for it"),
            Stopped::HostError => f.write_str("the engine failed"),
        }
    }
}

impl core::error::Error for Stopped {}

/// What exactly the module did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrapCode(Trap);

impl TrapCode {
    /// The call stack was exhausted.
    pub const STACK_OVERFLOW: TrapCode = TrapCode(Trap::StackOverflow);
    /// Memory was accessed beyond its end.
    pub const MEMORY_OUT_OF_BOUNDS: TrapCode = TrapCode(Trap::MemoryOutOfBounds);
    /// `unreachable` was executed: how a panic or an abort of the module looks.
    pub const UNREACHABLE: TrapCode = TrapCode(Trap::UnreachableCodeReached);

    /// wasmtime's number of the trap.
    pub const fn number(self) -> u8 {
        self.0 as u8
    }
}

impl fmt::Display for TrapCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
