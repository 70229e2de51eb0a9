//! Native code on Linux: compiled where it runs.

use wasmbed_wire::limits::Class;
use wasmtime::Engine;

use crate::{LoadError, Module, Runtime, SetupError, Target, meter::Meter, threads, tunables, watch::Watch};

/// Left on a thread's stack for the agent itself, in bytes.
const THREAD_RESERVE_BYTES: usize = 1024 * 1024;

impl Runtime {
    /// The runtime of a Linux device: compiles modules to native code and runs them within the limits of
    /// the class. Call its instances on threads with [`thread_stack_bytes`](Self::thread_stack_bytes).
    ///
    /// # Errors
    /// If the system refuses memory or a thread, or the processor is not supported.
    pub fn new(class: Class) -> Result<Self, SetupError> {
        let config = tunables::native(class, class.limits().stack_bytes as usize);
        let engine = Engine::new(&config).map_err(SetupError::new)?;
        let watch = Watch::new(engine.clone()).map_err(SetupError::new)?;
        Ok(Self::around(engine, class, Target::Wasm, Meter::Watch(watch)))
    }

    /// Stack a thread needs to call into a module of this class, in bytes. A module that uses up its
    /// part is stopped; on a smaller stack it would take the process with it.
    pub const fn thread_stack_bytes(class: Class) -> usize {
        class.limits().stack_bytes as usize + THREAD_RESERVE_BYTES
    }

    /// Compiles a WebAssembly file and checks it against the class. Compiling a large module takes
    /// seconds.
    ///
    /// # Errors
    /// If it is no WebAssembly, or not what devices of this class accept.
    pub fn load_wasm(&self, wasm: &[u8]) -> Result<Module, LoadError> {
        let validate =
            || wasmtime::Module::validate(&self.engine, wasm).map_err(|error| format!("{error:#}"));
        let (wasm, plan) = threads::rewrite(wasm, validate).map_err(LoadError::Rejected)?;
        Module::check(wasmtime::Module::from_binary(&self.engine, &wasm), self.class, plan)
    }
}
