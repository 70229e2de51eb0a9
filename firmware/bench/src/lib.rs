//! What running modules costs on a board: instructions and memory, on our runtime and natively, or on another
//! interpreter (feature `wasmi`), for which there is an image of its own. The image that ships has none of this.
//!
//! It prints one figure a line on the board's serial port, `<what> <whose> <number>`, and `done` at the end; the
//! benchmark on the host compares them. Instructions are counted by the clock: the emulator advances it by one
//! nanosecond for each.
//!
//! Whose: `native`; `ours`, as devices have it; `engine`, ours without what the runtime adds to wasmtime;
//! `uncounted`, that without counting fuel; `least`, ours with a small module and hardly a stack; `wasmi`; `wasmi-fuel`, that with counting fuel. Figures that end with
//! `-result` are what a workload came to.
//!
//! Not here: ratios and aims (`tests/speed`), the modules (made there too, and named by `WASMBED_BENCH_MODULES`).
#![no_std]

extern crate alloc;

mod memory;
mod modules;
mod speed;
mod stack;

use core::fmt;

use wasmbed_firmware_common::{Class, heap::Heap};
use wasmbed_runtime::Runtime;
use wasmtime::Result;

/// Whether this image has the other interpreter.
const IS_WASMI: bool = cfg!(feature = "wasmi");

/// The board it runs on.
pub struct Board {
    /// The class whose limits modules have.
    pub class: Class,
    /// Its heap, on which nothing lies yet.
    pub heap: &'static Heap,
    /// Its clock, in microseconds.
    pub now_us: fn() -> u64,
    /// Sends bytes and waits until they are gone.
    pub send: fn(&[u8]),
}

impl Board {
    /// Measures and tells everything.
    pub fn measure(&self) {
        match memory::measure(self).and_then(|()| stack::used_by(self, speed::measure).map(drop)) {
            Ok(()) => self.line(format_args!("done")),
            Err(error) => self.line(format_args!("failed: {error:#}")),
        }
    }

    fn figure(&self, what: &str, whose: &str, figure: u64) {
        self.line(format_args!("{what} {whose} {figure}"));
    }

    fn line(&self, text: fmt::Arguments<'_>) {
        let mut port = Port(self.send);
        // The port takes everything.
        let _ = fmt::write(&mut port, format_args!("{text}\n"));
    }

    /// The WebAssembly stack that modules have on this board, in bytes.
    fn stack_bytes(&self) -> usize {
        self.class.limits().stack_bytes as usize
    }

    /// A runtime with such a stack and limits that are never reached.
    fn runtime(&self, stack_bytes: usize) -> Result<Runtime> {
        let runtime = Runtime::bytecode(self.class, stack_bytes)?;
        runtime.set_fuel_per_ms(u32::MAX);
        Ok(runtime)
    }
}

struct Port(fn(&[u8]));

impl fmt::Write for Port {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        (self.0)(text.as_bytes());
        Ok(())
    }
}
