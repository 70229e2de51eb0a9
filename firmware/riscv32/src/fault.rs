//! Exceptions and panics: say it and keep it; the board resets.

use core::{
    fmt,
    panic::PanicInfo,
    sync::atomic::{AtomicBool, Ordering},
};

use riscv::register::{mcause, mepc, mtval};
use wasmbed_firmware_common::{
    crash::{self, Place},
    trace::Callers,
};

use crate::stack;

static CRASHING: AtomicBool = AtomicBool::new(false);

/// A panic: its message, and the calls that led to it.
pub fn panic(info: &PanicInfo<'_>, uptime_ms: u64, say: impl FnOnce(fmt::Arguments<'_>)) {
    let callers = Callers::find(stack::in_use(), follows_call);
    let place = Place { pc: callers.innermost(), uptime_ms };
    crash(place, format_args!("{}; from{callers}", info.message()), say);
}

/// The exception that was just taken, and the calls that led to it.
pub fn exception(what: &str, uptime_ms: u64, say: impl FnOnce(fmt::Arguments<'_>)) {
    let (pc, address, cause) = (mepc::read() as u32, mtval::read(), mcause::read().bits());
    let callers = Callers::find(stack::in_use(), follows_call);
    let text = format_args!("{what} {cause:#x}, address {address:#x}; from {pc:x}{callers}");
    crash(Place { pc, uptime_ms }, text, say);
}

/// Keeps a crash and tells it to `say`. A crash in here is neither kept nor told.
fn crash(place: Place, text: fmt::Arguments<'_>, say: impl FnOnce(fmt::Arguments<'_>)) {
    riscv::interrupt::disable();
    if !CRASHING.swap(true, Ordering::Relaxed) {
        crash::with_record(|record| record.crash_with(place, text));
        say(text);
    }
}

/// Whether code at this address would run after a call: it is in flash and behind a `jal` or `jalr` to
/// `ra` (two halfwords) or one of their short forms (one).
fn follows_call(word: u32) -> bool {
    unsafe extern "C" {
        static __stext: u16;
        static __etext: u16;
    }
    let code = &raw const __stext as u32 + 4..&raw const __etext as u32;
    if !word.is_multiple_of(2) || !code.contains(&word) {
        return false;
    }
    let after = word as *const u16;
    // SAFETY: the address lies inside the code with at least two halfwords before it.
    let (first, second) = unsafe { (after.sub(2).read(), after.sub(1).read()) };
    let is_long = matches!(first & 0x0fff, 0x0ef | 0x0e7);
    let is_short = second & 0xf07f == 0x9002 || second & 0xe003 == 0x2001;
    is_long || is_short
}
