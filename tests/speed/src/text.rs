//! Modules that are written as text: what they do is what is measured.

use wasmtime::{Result, format_err};

/// Calls out of a module in each tick.
pub(crate) const CALLS: u32 = 1000;

/// A tick that does nothing.
pub(crate) fn empty() -> Result<Vec<u8>> {
    assemble(
        r#"(module
            (memory (export "memory") 1 1 (pagesize 1))
            (func (export "tick"))
            (func (export "health") (result i32) (i32.const 0)))"#,
    )
}

/// Calls without arguments.
pub(crate) fn calls_plain() -> Result<Vec<u8>> {
    let import = r#"(import "wasmbed" "uptime_ms" (func $call (result i64)))"#;
    calls(import, "(drop (call $call))")
}

/// Calls with a name and a payload.
pub(crate) fn calls_slices() -> Result<Vec<u8>> {
    let import = r#"(import "wasmbed" "telemetry" (func $call (param i32 i32 i32 i32) (result i32)))"#;
    calls(import, "(drop (call $call (i32.const 0) (i32.const 2) (i32.const 8) (i32.const 8)))")
}

/// A module as small boards have several of: a kilobyte of memory, and a tick that counts and says so.
pub(crate) fn small() -> Result<Vec<u8>> {
    assemble(
        r#"(module
            (import "wasmbed" "telemetry" (func $telemetry (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1024 1024 (pagesize 1))
            (data (i32.const 0) "count")
            (func (export "tick")
                (i32.store (i32.const 8) (i32.add (i32.load (i32.const 8)) (i32.const 1)))
                (drop (call $telemetry (i32.const 0) (i32.const 5) (i32.const 8) (i32.const 4))))
            (func (export "health") (result i32) (i32.load (i32.const 8))))"#,
    )
}

fn calls(import: &str, call: &str) -> Result<Vec<u8>> {
    assemble(&format!(
        r#"(module
            {import}
            (memory (export "memory") 16 16 (pagesize 1))
            (data (i32.const 0) "up")
            (func (export "tick") (local $left i32)
                (local.set $left (i32.const {CALLS}))
                (loop $again
                    {call}
                    (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1))))))
            (func (export "health") (result i32) (i32.const 0)))"#
    ))
}

fn assemble(text: &str) -> Result<Vec<u8>> {
    wat::parse_str(text).map_err(|error| format_err!("{error}"))
}
