//! From WebAssembly to what a device runs.

use wasmbed_wire::limits::Class;
use wasmtime::Engine;

use crate::{Target, tunables};

/// Why a module was not compiled.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CompileError(String);

/// Makes the payload devices of `class` load from a WebAssembly file; the same input gives the same
/// bytes. The file is validated; imports, exports and limits are the caller's to check.
///
/// # Errors
/// If the file is not WebAssembly, or uses a feature the class lacks.
pub fn compile(wasm: &[u8], target: Target, class: Class) -> Result<Vec<u8>, CompileError> {
    match target {
        Target::Wasm => {
            let config = tunables::native(class, class.limits().stack_bytes as usize);
            let engine = Engine::new(&config).map_err(CompileError::new)?;
            wasmtime::Module::validate(&engine, wasm).map_err(CompileError::new)?;
            Ok(wasm.to_vec())
        }
        Target::Pulley32 | Target::Pulley64 => {
            // The stack is the device's and leaves no trace in the artifact.
            let config = tunables::bytecode(class, class.limits().stack_bytes as usize);
            let config = tunables::for_target(config, target).map_err(CompileError::new)?;
            let engine = Engine::new(&config).map_err(CompileError::new)?;
            engine.precompile_module(wasm).map_err(CompileError::new)
        }
    }
}

impl CompileError {
    pub(crate) fn new(reason: wasmtime::Error) -> Self {
        CompileError(format!("{reason:#}"))
    }
}
