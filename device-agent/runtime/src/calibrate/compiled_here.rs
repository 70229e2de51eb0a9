//! The loop where there is a compiler.

use std::vec::Vec;

use wasmbed_wire::limits::Class;
use wasmtime::{Engine, Error, Module, Result};

use crate::{CompileError, Target, compile};

const LOOP: &str = include_str!("loop.wat");

pub(super) fn module(engine: &Engine) -> Result<Module> {
    Module::new(engine, wat::parse_str(LOOP).map_err(|error| Error::msg(error.to_string()))?)
}

/// The loop that boards time at their start, as their firmware carries it.
///
/// # Errors
/// If the compiler refuses it, which would be a mistake of this crate.
pub fn measuring_loop() -> core::result::Result<Vec<u8>, CompileError> {
    let wasm = wat::parse_str(LOOP).map_err(|error| CompileError::new(Error::msg(error.to_string())))?;
    compile(&wasm, Target::Pulley32, Class::Mcu)
}
