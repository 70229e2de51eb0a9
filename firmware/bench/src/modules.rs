//! The modules, in flash.
#![allow(unsafe_code, reason = "precompiled code is trusted by its loader")]

use core::ptr::NonNull;

use wasmbed_runtime::Runtime;
use wasmtime::{Engine, Result};

/// A module in every form.
pub(crate) struct Module {
    /// WebAssembly.
    pub(crate) wasm: &'static [u8],
    bytecode: &'static [u8],
    uncounted: &'static [u8],
    /// What its manifest would say of its stack: bytes, least significant first.
    stack: &'static [u8; 4],
}

#[repr(C, align(16))]
struct Aligned<T: ?Sized>(T);

macro_rules! file {
    ($name:expr) => {{
        static FILE: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(
            env!(
                "WASMBED_BENCH_MODULES",
                "`cargo xtask bench runtime` makes the modules and builds this image"
            ),
            "/",
            $name
        )));
        &FILE.0
    }};
}

macro_rules! module {
    ($name:literal) => {
        Module {
            wasm: file!(concat!($name, ".wasm")),
            bytecode: file!(concat!($name, ".pulley")),
            uncounted: file!(concat!($name, ".uncounted")),
            stack: include_bytes!(concat!(env!("WASMBED_BENCH_MODULES"), "/", $name, ".stack")),
        }
    };
}

/// A filter over samples.
pub(crate) static FIR: Module = module!("fir");
/// Lists, matrices and a state machine.
pub(crate) static MIXED: Module = module!("mixed");
/// A tick that does nothing.
pub(crate) static EMPTY: Module = module!("empty");
/// A thousand calls without arguments.
pub(crate) static CALLS_PLAIN: Module = module!("calls-plain");
/// A thousand calls with a name and a payload.
pub(crate) static CALLS_SLICES: Module = module!("calls-slices");
/// A module as small boards have several of.
pub(crate) static SMALL: Module = module!("small");

impl Module {
    /// What is sent to the board, and lies in its memory while the module runs.
    pub(crate) fn payload_bytes(&self) -> usize {
        self.bytecode.len()
    }

    /// As the board loads it. There is one at a time.
    pub(crate) fn load(&self, runtime: &Runtime) -> Result<wasmbed_runtime::Module> {
        self.load_with(runtime, u32::from_le_bytes(*self.stack))
    }

    /// With the stack of the runtime's own engine. There is one at a time.
    pub(crate) fn load_within(&self, runtime: &Runtime) -> Result<wasmbed_runtime::Module> {
        self.load_with(runtime, 0)
    }

    fn load_with(&self, runtime: &Runtime, stack_bytes: u32) -> Result<wasmbed_runtime::Module> {
        // SAFETY: `compile` made the bytes for this engine; they never change, and what was loaded from them
        // before has been dropped.
        Ok(unsafe { runtime.load(NonNull::from(self.bytecode), stack_bytes) }?)
    }

    /// For the engine itself. There is one at a time.
    pub(crate) fn load_bare(&self, engine: &Engine) -> Result<wasmtime::Module> {
        // SAFETY: as above.
        unsafe { wasmtime::Module::deserialize_raw(engine, NonNull::from(self.bytecode)) }
    }

    /// For an engine that does not count. There is one at a time.
    pub(crate) fn load_uncounted(&self, engine: &Engine) -> Result<wasmtime::Module> {
        // SAFETY: as above, for an engine with those settings.
        unsafe { wasmtime::Module::deserialize_raw(engine, NonNull::from(self.uncounted)) }
    }
}
