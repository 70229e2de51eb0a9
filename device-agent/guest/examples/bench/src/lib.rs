//! Work as CoreMark has it, to compare boards: each tick goes through a list, multiplies matrices, runs a
//! state machine over a text, and folds all results into one checksum (CRC-16/ARC).
//!
//! A tick is the same work every time. Every tenth tick publishes the checksum on the channel `bench`; it
//! must be the same on every device. It is not CoreMark, and its numbers cannot be compared with it.
#![no_std]

mod crc;
mod list;
mod matrix;
mod state;

use wasmbed_guest::{Module, Result, Text, module, telemetry, timer_set};

/// Ticks between two publications.
const PUBLISH_EVERY: u32 = 10;

struct Bench {
    ticks: u32,
}

impl Module for Bench {
    fn start() -> Result<Self> {
        timer_set(100)?;
        Ok(Bench { ticks: 0 })
    }

    fn tick(&mut self) {
        let checksum = run();
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

/// One iteration. The seed is hidden from the compiler, which would do the work itself otherwise.
fn run() -> u16 {
    let seed = core::hint::black_box(0x3415);
    let checksum = list::run(seed, 0);
    let checksum = matrix::run(seed, checksum);
    state::run(seed, checksum)
}
