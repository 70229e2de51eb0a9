//! Work as CoreMark has it, to compare boards: each tick goes through a list, multiplies matrices, runs a
//! state machine over a text, and folds all results into one checksum (CRC-16/ARC).
//!
//! A tick is the same work every time. Every tenth tick publishes the checksum on the channel `bench`; it
//! must be the same on every device. It is not CoreMark, and its numbers cannot be compared with it.
#![no_std]

use wasmbed_guest::{Module, Result, Text, module, telemetry, timer_set};
use wasmbed_workloads::iteration;

/// Ticks between two publications.
const PUBLISH_EVERY: u32 = 10;
const SEED: u16 = 0x3415;

struct Bench {
    ticks: u32,
}

impl Module for Bench {
    fn start() -> Result<Self> {
        timer_set(100)?;
        Ok(Bench { ticks: 0 })
    }

    fn tick(&mut self) {
        // Hidden from the compiler, which would do the work itself otherwise.
        let checksum = iteration(core::hint::black_box(SEED));
        self.ticks += 1;
        if self.ticks.is_multiple_of(PUBLISH_EVERY) {
            let mut text = Text::<8>::new();
            text.push_int(i64::from(checksum));
            // The next one says the same.
            telemetry("bench", text).ok();
        }
    }
}

module!(Bench);
