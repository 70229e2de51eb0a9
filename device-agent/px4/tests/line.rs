//! What may come from vehicles, or from whoever else is on the line.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

// The fuzz target, so that ordinary tests run it too.
#[path = "../fuzz/src/lib.rs"]
#[allow(unreachable_pub, reason = "it is a crate of its own for the fuzzer")]
mod entries;

use proptest::prelude::*;

proptest! {
    #[test]
    fn nothing_that_comes_breaks_a_promise(data in proptest::collection::vec(any::<u8>(), 0..600)) {
        entries::line(&data);
    }
}
