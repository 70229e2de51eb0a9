//! Ways to run a module, to be compared: natively, on our runtime, on the engine below it, and on another
//! interpreter. The same on Linux and on boards.
#![no_std]

extern crate alloc;

mod bare;
mod interpreter;
mod ours;

pub use bare::Bare;
pub use interpreter::Wasmi;
pub use ours::{Mute, Ours, start};
use wasmtime::Result;

/// Fuel that is never used up.
pub const PLENTY: u64 = 1 << 60;

/// Something with the two calls that are measured.
pub trait Machine {
    /// The work.
    ///
    /// # Errors
    /// If it was stopped.
    fn tick(&mut self) -> Result<()>;

    /// A number that depends on all work so far.
    ///
    /// # Errors
    /// If it was stopped.
    fn health(&mut self) -> Result<i32>;
}

/// The workload in this program.
pub struct Native {
    work: fn(u32) -> u32,
    last: u32,
}

impl Native {
    /// Nothing done yet.
    pub fn new(work: fn(u32) -> u32) -> Self {
        Native { work, last: 0 }
    }
}

impl Machine for Native {
    fn tick(&mut self) -> Result<()> {
        self.last = core::hint::black_box(self.work)(self.last);
        Ok(())
    }

    fn health(&mut self) -> Result<i32> {
        Ok(self.last.cast_signed())
    }
}
