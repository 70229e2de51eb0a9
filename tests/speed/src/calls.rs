//! Calls into a module and out of it.

use wasmbed_figures::{line, plain_ratio};
use wasmtime::Result;

use crate::{
    assemble,
    machine::{Bare, Ours, Wasmi},
    race::Times,
};

/// Calls out of a module in each tick; the loop around them is measured with them.
const CALLS: u32 = 1000;

const EMPTY: &str = r#"(module
    (memory (export "memory") 1 1)
    (func (export "tick"))
    (func (export "health") (result i32) (i32.const 0)))"#;

pub(crate) fn print() -> Result<()> {
    into()?;
    let clock = r#"(import "wasmbed" "uptime_ms" (func $call (result i64)))"#;
    out_of("call out, plain", "dispatch", clock, "(drop (call $call))")?;
    let telemetry = r#"(import "wasmbed" "telemetry" (func $call (param i32 i32 i32 i32) (result i32)))"#;
    let call = "(drop (call $call (i32.const 0) (i32.const 2) (i32.const 8) (i32.const 8)))";
    out_of("call out, slices", "checks", telemetry, call)
}

/// The ticks of a module on all engines, with the checks of ours and without.
fn on_every_engine(wasm: &[u8]) -> Result<Times<'_>> {
    Times::of_ticks(vec![
        ("linux", Box::new(Ours::linux(wasm)?)),
        ("pulley", Box::new(Ours::pulley(wasm)?)),
        ("wasmi", Box::new(Wasmi::new(wasm)?)),
        ("linux engine", Box::new(Bare::linux(wasm)?)),
        ("pulley engine", Box::new(Bare::pulley(wasm)?)),
    ])
}

/// A tick that does nothing.
fn into() -> Result<()> {
    let wasm = assemble(EMPTY)?;
    let times = on_every_engine(&wasm)?;
    for subject in ["linux", "pulley", "wasmi"] {
        line(subject, "call into a module", times.median(subject), "ns");
    }
    line("linux", "call in: limits", times.difference("linux", "linux engine"), "ns");
    line("pulley", "call in: limits", times.difference("pulley", "pulley engine"), "ns");
    plain_ratio("linux", "call in: wasmi / ours", times.ratio("wasmi", "linux"));
    plain_ratio("pulley", "call in: wasmi / ours", times.ratio("wasmi", "pulley"));
    Ok(())
}

/// A tick that calls the host again and again. `part` names what the runtime does in such a call.
fn out_of(what: &str, part: &str, import: &str, call: &str) -> Result<()> {
    let wasm = assemble(&format!(
        r#"(module
            {import}
            (memory (export "memory") 1 1)
            (data (i32.const 0) "up")
            (func (export "tick") (local $left i32)
                (local.set $left (i32.const {CALLS}))
                (loop $again
                    {call}
                    (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1))))))
            (func (export "health") (result i32) (i32.const 0)))"#
    ))?;
    let times = on_every_engine(&wasm)?;
    let each = f64::from(CALLS);
    for subject in ["linux", "pulley", "wasmi"] {
        line(subject, what, times.median(subject) / each, "ns");
    }
    // The engine calls a function that looks at nothing; everything else is the runtime's.
    let part = format!("{what}: {part}");
    line("linux", &part, times.difference("linux", "linux engine") / each, "ns");
    line("pulley", &part, times.difference("pulley", "pulley engine") / each, "ns");
    Ok(())
}
