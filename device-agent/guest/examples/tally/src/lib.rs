//! Counts how often it was started, whatever ended it, and publishes the count on the channel `tally`.
//!
//! Needs a device that stores values.
#![no_std]

use wasmbed_guest::{Errno, Module, Result, Text, module, store, telemetry};

/// Where the count is, as four bytes, little-endian.
const KEY: &str = "starts";
const TEXT_BYTES: usize = 12;

struct Tally {
    starts: u32,
}

impl Module for Tally {
    fn start() -> Result<Self> {
        let mut count = [0; 4];
        match store::get(KEY, &mut count) {
            Ok(_) | Err(Errno::NotFound) => {}
            Err(error) => return Err(error),
        }
        let starts = u32::from_le_bytes(count).saturating_add(1);
        // Before it is told: a count that was told is never told again.
        store::set(KEY, starts.to_le_bytes())?;
        Ok(Tally { starts })
    }

    fn tick(&mut self) {
        let mut text = Text::<TEXT_BYTES>::new();
        text.push_int(self.starts.into());
        // What does not get through is told again with the next tick.
        telemetry("tally", text.as_ref()).ok();
    }
}

module!(Tally);
