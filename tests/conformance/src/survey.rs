//! What a device answers.

use std::fmt::Write as _;

use wasmbed_abi::{Call, Errno, OPTIONAL_IMPORT_MODULE};

use crate::arguments::{GIVEN, GIVEN_AT, good, import, made};

/// The channel the answers are published on.
pub const CHANNEL: &str = "survey";
/// Where they are gathered.
const ANSWERS_AT: usize = 1_024;
const MEMORY_BYTES: usize = 4_096;

/// A module, as text, that makes every call once in its first tick, in the table's order, and publishes what each
/// answered with every tick: 32 bits each, little-endian.
pub fn survey() -> String {
    let mut text = String::from("(module\n");
    for call in Call::ALL {
        let _ = writeln!(text, "{}", import(*call, OPTIONAL_IMPORT_MODULE));
    }
    let _ = writeln!(
        text,
        r#"(memory (export "memory") {MEMORY_BYTES} {MEMORY_BYTES} (pagesize 1))
        (data (i32.const 0) "{CHANNEL}") (data (i32.const {GIVEN_AT}) "{GIVEN}")
        (global $asked (mut i32) (i32.const 0))
        (func (export "message") (param i32 i32)) (func (export "gpio_edge") (param i32 i32))
        (func (export "service_request") (param i32 i32 i32))
        (func $ask (global.set $asked (i32.const 1))"#
    );
    for (nth, call) in Call::ALL.iter().enumerate() {
        let at = ANSWERS_AT + nth * 4;
        let _ = writeln!(text, "(i32.store (i32.const {at}) {})", made(*call, &good(*call)));
    }
    let _ = writeln!(
        text,
        r#") (func (export "tick") (if (i32.eqz (global.get $asked)) (then (call $ask)))
        (drop (call $telemetry (i32.const 0) (i32.const {}) (i32.const {ANSWERS_AT}) (i32.const {})))))"#,
        CHANNEL.len(),
        Call::ALL.len() * 4
    );
    text
}

/// Whether each call did anything, from what the module published; none if that is something else.
pub fn answers(payload: &[u8]) -> Option<Vec<(Call, Result<i32, Errno>)>> {
    let (codes, rest) = payload.as_chunks::<4>();
    if codes.len() != Call::ALL.len() || !rest.is_empty() {
        return None;
    }
    let read = |code: &[u8; 4]| {
        let code = i32::from_le_bytes(*code);
        Errno::ALL.iter().find(|errno| errno.code() == code).map_or(Ok(code), |errno| Err(*errno))
    };
    Some(Call::ALL.iter().copied().zip(codes.iter().map(read)).collect())
}
