//! Calls with any arguments, and what they leave behind.

use std::{cell::RefCell, fmt::Write as _, rc::Rc, sync::LazyLock};

use wasmbed_abi::{Call, Capabilities, Errno, IMPORT_MODULE, ValueType};
use wasmbed_runtime::{Runtime, Settings, Stopped};
use wasmbed_wire::limits::Class;

use crate::{
    Obliging,
    arguments::{GIVEN, GIVEN_AT, import, made},
};

/// The module's memory, in bytes.
pub const MEMORY_BYTES: i32 = 65_536;
/// What every byte of it is before the calls, but for the name at the place that is given.
const FILL: u8 = 0xa5;
/// Most calls of one input of a fuzzer.
const MOST_CALLS: usize = 16;
/// The channel on which a module tells what became of its calls.
const REPORT: &str = "report";

/// Whose the module's memory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// Of one thread.
    Own,
    /// Of several, of which only one runs.
    Shared,
}

impl Memory {
    /// Every kind.
    pub const ALL: [Memory; 2] = [Memory::Own, Memory::Shared];
}

/// What became of calls that a module made one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// What each answered, as its low 32 bits; an error if the module was stopped.
    pub answers: Result<Vec<i32>, Stopped>,
    /// The first and last byte of memory that they changed.
    pub changed: Option<(i32, i32)>,
}

impl Attempt {
    /// The error that the last call answered, if it did.
    pub fn errno(&self) -> Option<Errno> {
        let code = self.answers.as_ref().ok()?.last()?;
        Errno::ALL.iter().copied().find(|errno| errno.code() == *code)
    }
}

/// Makes calls in a fresh memory on a device of class MPU that has everything.
pub fn attempt(memory: Memory, calls: &[(Call, Vec<i64>)]) -> Attempt {
    static RUNTIME: LazyLock<Runtime> =
        LazyLock::new(|| Runtime::new(Class::Mpu).expect("the engine starts"));
    let wasm = wat::parse_str(module(memory, calls)).expect("the module is valid text");
    let module = RUNTIME.load_wasm(&wasm).expect("the class takes it");
    let settings = Settings { capabilities: Capabilities::all(Class::Mpu) };
    let told = Rc::new(RefCell::new(Vec::new()));
    let device = Obliging::telling(REPORT, Rc::clone(&told));
    let mut instance = RUNTIME.instantiate(&module, device, settings).expect("it starts");
    if let Err(stopped) = instance.tick() {
        return Attempt { answers: Err(stopped), changed: None };
    }
    let words: Vec<i32> =
        told.borrow().as_chunks::<4>().0.iter().map(|word| i32::from_le_bytes(*word)).collect();
    let [first, last, answers @ ..] = &words[..] else { panic!("the module told {words:?}") };
    let changed = (*first <= *last).then_some((*first, *last));
    Attempt { answers: Ok(answers.to_vec()), changed }
}

/// Any bytes as a sequence of calls: the entry point of a fuzzer.
///
/// # Panics
/// If a call stops the module, or answers with a number that is neither success nor an error there is.
pub fn any_calls(data: &[u8]) {
    let mut data = data.iter().copied();
    let mut calls = Vec::new();
    while let Some(which) = data.next()
        && calls.len() < MOST_CALLS
    {
        let call = Call::ALL[usize::from(which) % Call::ALL.len()];
        let arguments: Vec<i64> = call.params().iter().map(|_| number(&mut data)).collect();
        calls.push((call, arguments));
    }
    for memory in Memory::ALL {
        let answers = attempt(memory, &calls).answers.expect("no call stops a module");
        for ((call, arguments), answer) in calls.iter().zip(answers) {
            let is_plain = call.signature().results[0] == ValueType::I64;
            let is_known = Errno::ALL.iter().any(|errno| errno.code() == answer);
            assert!(is_plain || answer >= 0 || is_known, "{memory:?}: {call:?} {arguments:?}: {answer}");
        }
    }
}

/// A number of one of the sizes that matter: small, at the end of the memory, or anything.
fn number(data: &mut impl Iterator<Item = u8>) -> i64 {
    let mut byte = || data.next().unwrap_or(0);
    match byte() % 4 {
        0 => byte().into(),
        1 => i64::from(MEMORY_BYTES) - i64::from(byte()),
        2 => u16::from_le_bytes([byte(), byte()]).into(),
        _ => i32::from_le_bytes([byte(), byte(), byte(), byte()]).into(),
    }
}

/// Fills its memory, makes the calls, looks for what has changed, and tells.
fn module(memory: Memory, calls: &[(Call, Vec<i64>)]) -> String {
    let mut text = String::from("(module\n");
    for call in
        Call::ALL.iter().filter(|call| **call == Call::Telemetry || calls.iter().any(|(c, _)| c == *call))
    {
        let _ = writeln!(text, "{}", import(*call, IMPORT_MODULE));
    }
    let pages = MEMORY_BYTES / 65_536;
    let _ = match memory {
        Memory::Own => writeln!(text, r#"(memory (export "memory") {pages} {pages})"#),
        Memory::Shared => writeln!(
            text,
            r#"(import "env" "memory" (memory {pages} {pages} shared)) (export "memory" (memory 0))
            (func (export "thread_start") (param i32 i32))"#
        ),
    };
    let _ = writeln!(
        text,
        r#"(data $name "{GIVEN}") (data $report "{REPORT}")
        (func (export "message") (param i32 i32)) (func (export "gpio_edge") (param i32 i32))
        (func (export "service_request") (param i32 i32 i32))
        (func $prepare
            (memory.fill (i32.const 0) (i32.const {FILL}) (i32.const {MEMORY_BYTES}))
            (memory.init $name (i32.const {GIVEN_AT}) (i32.const 0) (i32.const {given})))
        (func $was (param $at i32) (result i32)
            (if (i32.lt_u (i32.sub (local.get $at) (i32.const {GIVEN_AT})) (i32.const {given}))
                (then (return (i32.and (i32.const 255) (i32.shr_u (i32.const {word})
                    (i32.shl (i32.sub (local.get $at) (i32.const {GIVEN_AT})) (i32.const 3)))))))
            (i32.const {FILL}))
        (func $is_changed (param $at i32) (result i32)
            (i32.ne (i32.load8_u (local.get $at)) (call $was (local.get $at))))
        (func (export "tick") (local $first i32) (local $last i32)"#,
        given = GIVEN.len(),
        word = GIVEN.bytes().rev().fold(0, |word, byte| word << 8 | u32::from(byte)),
    );
    for nth in 0..calls.len() {
        let _ = write!(text, " (local $answer{nth} i32)");
    }
    text.push_str(" (call $prepare)\n");
    for (nth, (call, arguments)) in calls.iter().enumerate() {
        let _ = writeln!(text, "(local.set $answer{nth} {})", made(*call, arguments));
    }
    let _ = writeln!(
        text,
        "(local.set $last (i32.const {}))
        (block $found (loop $next
            (br_if $found (i32.ge_s (local.get $first) (i32.const {MEMORY_BYTES})))
            (br_if $found (call $is_changed (local.get $first)))
            (local.set $first (i32.add (local.get $first) (i32.const 1)))
            (br $next)))
        (block $found (loop $next
            (br_if $found (i32.lt_s (local.get $last) (i32.const 0)))
            (br_if $found (call $is_changed (local.get $last)))
            (local.set $last (i32.sub (local.get $last) (i32.const 1)))
            (br $next)))
        (i32.store (i32.const 16) (local.get $first))
        (i32.store (i32.const 20) (local.get $last))",
        MEMORY_BYTES - 1
    );
    for nth in 0..calls.len() {
        let _ = writeln!(text, "(i32.store (i32.const {}) (local.get $answer{nth}))", 24 + nth * 4);
    }
    let _ = writeln!(
        text,
        "(memory.init $report (i32.const 0) (i32.const 0) (i32.const {name}))
        (drop (call $telemetry (i32.const 0) (i32.const {name}) (i32.const 16) (i32.const {})))))",
        8 + calls.len() * 4,
        name = REPORT.len(),
    );
    text
}
