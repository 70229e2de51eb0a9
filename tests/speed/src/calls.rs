//! Calls into a module and out of it.

use wasmbed_figures::{line, plain_ratio};
use wasmtime::Result;

use crate::{
    machine::{bare_linux, bare_pulley, ours_linux, ours_pulley, wasmi},
    race::Times,
    text::{self, CALLS},
};

pub(crate) fn print() -> Result<()> {
    into()?;
    out_of("call out, plain", "dispatch", &text::calls_plain()?)?;
    out_of("call out, slices", "checks", &text::calls_slices()?)
}

/// The ticks of a module on all engines, with the checks of ours and without.
fn on_every_engine(wasm: &[u8]) -> Result<Times<'_>> {
    Times::of_ticks(vec![
        ("linux", Box::new(ours_linux(wasm)?)),
        ("pulley", Box::new(ours_pulley(wasm)?)),
        ("wasmi", Box::new(wasmi(wasm)?)),
        ("linux engine", Box::new(bare_linux(wasm)?)),
        ("pulley engine", Box::new(bare_pulley(wasm)?)),
    ])
}

/// A tick that does nothing.
fn into() -> Result<()> {
    let wasm = text::empty()?;
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

/// A tick that calls the host again and again; the loop around the calls is measured with them. `part` names what
/// the runtime does in such a call.
fn out_of(what: &str, part: &str, wasm: &[u8]) -> Result<()> {
    let times = on_every_engine(wasm)?;
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
