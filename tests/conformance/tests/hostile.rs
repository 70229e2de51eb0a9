//! Modules that mean no good: whatever they give a call, it answers with an error that is documented, changes no
//! byte that it was not given, and the module goes on.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use wasmbed_abi::{Call, ValueType};
use wasmbed_conformance::{Attempt, MEMORY_BYTES, Memory, any_calls, good, hostile};

fn can_fail(call: Call) -> bool {
    call.signature().results[0] == ValueType::I32
}

/// What becomes of one call, whoever has the memory. Only that starts threads for which they share it.
fn attempt(call: Call, arguments: Vec<i64>) -> Attempt {
    let calls = [(call, arguments)];
    let [own, shared] = Memory::ALL.map(|memory| wasmbed_conformance::attempt(memory, &calls));
    assert!(own == shared || call == Call::ThreadSpawn, "{calls:?}: {own:?}, and {shared:?} if it is shared");
    shared
}

/// A call with one argument replaced.
fn with(call: Call, at: usize, value: i64) -> Vec<i64> {
    let mut arguments = good(call);
    arguments[at] = value;
    arguments
}

#[test]
fn a_pointer_or_length_out_of_range_is_answered_with_an_error_and_changes_nothing() {
    for call in Call::ALL.iter().copied().filter(|call| can_fail(*call)) {
        for (at, param) in call.params().iter().enumerate() {
            if !param.ends_with("ptr") && !param.ends_with("len") && !param.ends_with("cap") {
                continue;
            }
            // The last byte is a fine place for one byte.
            for value in
                hostile(param, MEMORY_BYTES).into_iter().filter(|value| *value != i64::from(MEMORY_BYTES) - 1)
            {
                let attempt = attempt(call, with(call, at, value));
                assert!(attempt.errno().is_some(), "{}({param} = {value}): {attempt:?}", call.name());
                assert_eq!(attempt.changed, None, "{}({param} = {value})", call.name());
            }
        }
    }
}

#[test]
fn any_other_argument_is_answered_too() {
    for call in Call::ALL.iter().copied() {
        for (at, param) in call.params().iter().enumerate() {
            for value in hostile(param, MEMORY_BYTES) {
                let attempt = attempt(call, with(call, at, value));
                assert!(attempt.answers.is_ok(), "{}({param} = {value}): {attempt:?}", call.name());
            }
        }
    }
}

#[test]
fn what_is_given_and_what_is_answered_may_lie_in_one_place() {
    for call in Call::ALL.iter().copied() {
        let mut arguments = good(call);
        for (argument, param) in arguments.iter_mut().zip(call.params()) {
            if param.ends_with("ptr") {
                *argument = 64;
            }
        }
        let attempt = attempt(call, arguments);
        assert!(attempt.answers.is_ok(), "{}: {attempt:?}", call.name());
        let is_inside = attempt.changed.is_none_or(|(first, last)| first >= 64 && last < 64 + 128);
        assert!(is_inside, "{}: {attempt:?}", call.name());
    }
}

#[test]
fn a_call_that_does_its_work_changes_only_the_place_of_its_answer() {
    for call in Call::ALL.iter().copied() {
        let attempt = attempt(call, good(call));
        let is_inside = attempt.changed.is_none_or(|(first, last)| first >= 512 && last < 512 + 128);
        assert!(is_inside, "{}: {attempt:?}", call.name());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_calls_ends_with_answers(data in proptest::collection::vec(any::<u8>(), 0..200)) {
        any_calls(&data);
    }
}
