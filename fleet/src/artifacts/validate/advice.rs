//! What is admitted and yet may fail or be slow.

use wasmbed_wire::limits::Class;

use super::{
    code::Function,
    facts::Facts,
    stack::{self, Deepest, Stack},
};
use crate::{api::Violation, artifacts::violation};

/// Targets of a `br_table`; beyond it is mostly a table of data that was written as code.
const MAX_TARGETS: u32 = 256;
/// Fewer instructions say nothing about how they were made.
const MIN_INSTRUCTIONS: u64 = 100;
/// Of this many instructions one may read the local that was just written. Not optimised, Rust and
/// AssemblyScript have one of 60 to 80, C one of 16; optimised, they have none.
const DETOURS_ONE_OF: u64 = 200;
/// Fewer accesses to memory that are not aligned cost nothing to speak of.
const MIN_MISALIGNED: u64 = 4;
/// Of this many accesses one may not be aligned: compilers copy arrays of bytes so, one of 4 in the examples.
const MISALIGNED_ONE_OF: u64 = 3;

/// What authors are warned of; nothing here refuses a module.
pub(super) fn of(facts: &Facts, stack: &Stack, class: Class) -> Vec<Violation> {
    [
        stack_depth(stack, class),
        start(facts, class),
        alignment(facts),
        branch_tables(facts),
        optimization(facts),
        debug(facts),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn stack_depth(stack: &Stack, class: Class) -> Option<Violation> {
    let limit_bytes = class.limits().stack_bytes;
    let limit = format!("{limit_bytes} bytes on class {class}; a call that needs more is stopped");
    match &stack.deepest {
        // Refused for it.
        _ if stack.always.is_some() => None,
        Err(cycle) => {
            Some(violation("stack", format!("no bound, as functions call each other: {cycle}"), limit))
        }
        Ok(Deepest { bytes, chain }) if *bytes > limit_bytes.into() => {
            Some(violation("stack", format!("up to {bytes} bytes of stack in {chain}"), limit))
        }
        Ok(_) => None,
    }
}

/// Start functions that may take long; the others are as good as data.
fn start(facts: &Facts, class: Class) -> Option<Violation> {
    let index = facts.start?;
    let is_loop = |index: &u32| facts.function(*index).is_some_and(|function| function.has_loop);
    let looping = stack::reached(facts, index).into_iter().find(is_loop)?;
    let found = if looping == index {
        format!("the start function ({}) loops", facts.name(index))
    } else {
        format!("the start function ({}) may call {}, which loops", facts.name(index), facts.name(looping))
    };
    let limit = format!(
        "{} ms on class {class}, before `init`; if it is stopped, the module does not start",
        class.limits().call_ms
    );
    Some(violation("start", found, limit))
}

fn alignment(facts: &Facts) -> Option<Violation> {
    let misaligned = sum(facts, |function| function.misaligned);
    let accesses = sum(facts, |function| function.accesses);
    if misaligned < MIN_MISALIGNED || misaligned * MISALIGNED_ONE_OF <= accesses {
        return None;
    }
    let functions = facts.functions.iter().filter(|function| function.misaligned > 0).count();
    let (name, most) = most(facts, |function| function.misaligned)?;
    let place = match functions {
        1 => format!("in {name}"),
        _ => format!("in {functions} functions, most ({most}) in {name}"),
    };
    Some(violation(
        "alignment",
        format!(
            "{misaligned} of {accesses} accesses to memory with less than their natural alignment, {place}"
        ),
        format!("up to one of {MISALIGNED_ONE_OF}; boards may read such values byte by byte"),
    ))
}

fn branch_tables(facts: &Facts) -> Option<Violation> {
    let (name, targets) =
        most(facts, |function| function.targets).filter(|(_, targets)| *targets > MAX_TARGETS)?;
    Some(violation(
        "branch-table",
        format!("a br_table of {targets} targets in {name}"),
        format!("up to {MAX_TARGETS} are usual; a table of data is smaller"),
    ))
}

fn optimization(facts: &Facts) -> Option<Violation> {
    let instructions = sum(facts, |function| function.instructions);
    let detours = sum(facts, |function| function.detours);
    if instructions < MIN_INSTRUCTIONS || detours * DETOURS_ONE_OF <= instructions {
        return None;
    }
    Some(violation(
        "optimization",
        format!("{detours} of {instructions} instructions read a local that was just written"),
        format!("up to one of {DETOURS_ONE_OF} in optimised code; build with -Os or --release"),
    ))
}

fn debug(facts: &Facts) -> Option<Violation> {
    (facts.debug_bytes > 0).then(|| {
        violation(
            "debug",
            format!("{} bytes for debuggers", facts.debug_bytes),
            "0; strip them (strip = true in the release profile, -Wl,--strip-all, or wasm-strip)",
        )
    })
}

fn sum(facts: &Facts, count: impl Fn(&Function) -> u32) -> u64 {
    facts.functions.iter().map(|function| u64::from(count(function))).sum()
}

/// The function with most of something, and how much.
fn most(facts: &Facts, count: impl Fn(&Function) -> u32) -> Option<(String, u32)> {
    let counts = facts.functions.iter().map(count).enumerate().filter(|(_, count)| *count > 0);
    // The first of equals.
    let (position, count) = counts.rev().max_by_key(|(_, count)| *count)?;
    Some((facts.name(facts.index_of(position)), count))
}
