//! Exceptions and panics: say it and keep it; the board resets.

use core::{
    fmt, iter,
    panic::PanicInfo,
    sync::atomic::{AtomicBool, Ordering},
};

use wasmbed_firmware_common::{
    crash::{self, Place},
    trace::Callers,
};

use crate::{
    cpu::{disable_interrupts, stack_pointer},
    stack,
};

static CRASHING: AtomicBool = AtomicBool::new(false);

/// What the vector in `core.s` keeps of a program.
#[derive(Debug)]
#[repr(C)]
pub struct TrapFrame {
    /// a0 to a11.
    registers: [u32; 12],
    sar: u32,
    pc: u32,
    cause: u32,
    address: u32,
}

/// A panic: its message, and the calls that led to it.
pub fn panic(info: &PanicInfo<'_>, uptime_ms: u64, say: impl FnOnce(fmt::Arguments<'_>)) {
    let callers = Callers::find(stack::from(stack_pointer()), follows_call);
    let place = Place { pc: callers.innermost(), uptime_ms };
    crash(place, format_args!("{}; from{callers}", info.message()), say);
}

/// An exception, and the calls that led to it.
pub fn exception(frame: &TrapFrame, uptime_ms: u64, say: impl FnOnce(fmt::Arguments<'_>)) {
    let TrapFrame { registers: [return_address, stack_pointer, ..], pc, cause, address, .. } = *frame;
    let what = if stack::is_below(address) { "stack overflow" } else { "exception" };
    // Where the program does not call, only the register has it.
    let words = iter::once(&return_address).chain(stack::from(stack_pointer as usize));
    let callers = Callers::find(words, follows_call);
    let text = format_args!("{what} {cause:#x}, address {address:#x}; from {pc:x}{callers}");
    crash(Place { pc, uptime_ms }, text, say);
}

/// Keeps a crash and tells it to `say`. A crash in here is neither kept nor told.
fn crash(place: Place, text: fmt::Arguments<'_>, say: impl FnOnce(fmt::Arguments<'_>)) {
    disable_interrupts();
    if !CRASHING.swap(true, Ordering::Relaxed) {
        crash::with_record(|record| record.crash_with(place, text));
        say(text);
    }
}

/// Whether code at this address would run after a call: it is behind a `callx0`, the only call that is compiled to.
/// A function's address is not: what lies before it are literals.
fn follows_call(word: u32) -> bool {
    unsafe extern "C" {
        static __stext: u8;
        static __etext: u8;
    }
    let code = &raw const __stext as u32 + 3..&raw const __etext as u32;
    if !code.contains(&word) {
        return false;
    }
    // SAFETY: the address lies inside the code with at least three bytes before it.
    let [low, middle, high] = unsafe { (word as *const [u8; 3]).sub(1).read() };
    low == 0xc0 && middle & 0xf0 == 0 && high == 0
}
