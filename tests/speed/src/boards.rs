//! Boards: instructions and memory, in the emulator.

use std::path::Path;

use wasmbed_boards::Board;
use wasmbed_figures::{Aim, bytes, line, plain_ratio, ratio};
use wasmbed_wire::limits::Class;
use wasmtime::{Result, ensure};

use crate::{
    emulated::{self, Figures},
    text::CALLS,
};

/// How fast modules are to be, beside the other interpreter, which counts fuel as well.
const LEVEL: f64 = 1.0;
/// How much of its memory they are to take.
const HALF: f64 = 0.5;
/// What one more instance may take, idle, in bytes of heap.
const IDLE_BYTES: f64 = 12.0 * 1024.0;
/// What five instances may take with their module and the engine, in bytes of heap.
const FIVE_BYTES: f64 = 64.0 * 1024.0;

/// Runs the board's images and prints what they found.
pub(crate) fn print<'p>(board: &Board, mut images: impl Iterator<Item = &'p Path>) -> Result<()> {
    let mut figures = Figures::default();
    images.try_for_each(|elf| emulated::run(board, elf, &mut figures))?;
    let (name, figures) = (board.name.as_str(), &figures);
    for what in ["fir", "mixed"] {
        ensure!(figures.agree(what), "{what} does not have the same result everywhere");
    }
    work(name, figures, "fir", "FIR filter");
    work(name, figures, "mixed", "mixed integers");
    calls(name, figures);
    instances(name, figures);
    memory(name, figures);
    let has_aims = board.class == Class::Mcu;
    several(name, figures, has_aims);
    Ok(())
}

fn work(name: &str, figures: &Figures, what: &str, title: &str) {
    let of = |whose| figures.get(what, whose);
    for (whose, suffix) in [("native", "native"), ("ours", "ours"), ("wasmi-fuel", "wasmi")] {
        line(name, &format!("{title}: {suffix}"), of(whose), "instructions");
    }
    plain_ratio(name, &format!("{title}: / native"), of("ours") / of("native"));
    ratio(name, &format!("{title}: wasmi / ours"), of("wasmi-fuel") / of("ours"), Aim::AtLeast(LEVEL));
    plain_ratio(name, &format!("{title}: no fuel"), of("wasmi") / of("uncounted"));
    plain_ratio(name, &format!("{title}: with fuel"), of("engine") / of("uncounted"));
    plain_ratio(name, &format!("{title}: wasmi's fuel"), of("wasmi-fuel") / of("wasmi"));
}

fn calls(name: &str, figures: &Figures) {
    let each = f64::from(CALLS);
    for (what, title, part, count) in [
        ("call-in", "call into a module", "limits", 1.0),
        ("calls-plain", "call out, plain", "dispatch", each),
        ("calls-slices", "call out, slices", "checks", each),
    ] {
        let of = |whose| figures.get(what, whose) / count;
        line(name, &format!("{title}: ours"), of("ours"), "instructions");
        line(name, &format!("{title}: wasmi"), of("wasmi-fuel"), "instructions");
        line(name, &format!("{title}: {part}"), of("ours") - of("engine"), "instructions");
        line(name, &format!("{title}: fuel"), of("engine") - of("uncounted"), "instructions");
        plain_ratio(name, &format!("{title}: wasmi / ours"), of("wasmi-fuel") / of("ours"));
    }
}

fn instances(name: &str, figures: &Figures) {
    for (what, title) in [("load", "load a module"), ("instantiate", "instantiate")] {
        let of = |whose| figures.get(what, whose);
        line(name, &format!("{title}: ours"), of("ours"), "instructions");
        line(name, &format!("{title}: wasmi"), of("wasmi-fuel"), "instructions");
        plain_ratio(name, &format!("{title}: wasmi / ours"), of("wasmi-fuel") / of("ours"));
    }
}

/// A payload lies in memory too: ours as long as the module runs, the other's until it is translated. The stack is
/// the engine's, in native code; what modules have is on the heap.
fn memory(name: &str, figures: &Figures) {
    for (whose, suffix) in [("ours", "ours"), ("wasmi-fuel", "wasmi")] {
        for (what, title) in [
            ("payload", "payload"),
            ("stack", "stack"),
            ("heap-engine", "heap, engine"),
            ("heap-module", "heap, module"),
            ("heap-instance", "heap, instance"),
            ("heap-peak", "heap, peak"),
            ("heap-idle", "heap, one more instance"),
        ] {
            line(name, &format!("{title}: {suffix}"), figures.get(what, whose), "B");
        }
    }
    for (what, title) in [
        ("payload", "payload"),
        ("stack", "stack"),
        ("heap-engine", "heap, engine"),
        ("heap-module", "heap, module"),
        ("heap-instance", "heap, instance"),
        ("heap-peak", "heap, peak"),
    ] {
        line(name, &format!("{title}: least"), figures.get(what, "least"), "B");
    }
    let parts = ["payload", "heap-peak", "stack"];
    let all = |whose| parts.iter().map(|what| figures.get(what, whose)).sum::<f64>();
    ratio(name, "memory: ours / wasmi", all("ours") / all("wasmi-fuel"), Aim::AtMost(HALF));
}

/// What more than one instance takes; the smallest boards have aims for it.
fn several(name: &str, figures: &Figures, has_aims: bool) {
    let idle = figures.get("heap-idle", "ours");
    let five = figures.get("payload-five", "ours") + figures.get("heap-five", "ours");
    for (what, figure, most) in
        [("an idle instance", idle, IDLE_BYTES), ("five small instances", five, FIVE_BYTES)]
    {
        if has_aims {
            bytes(name, what, figure, Aim::AtMost(most));
        } else {
            line(name, what, figure, "B");
        }
    }
}
