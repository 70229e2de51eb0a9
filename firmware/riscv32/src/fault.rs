//! Exceptions and panics: say it, keep it, reset.

use core::{
    fmt,
    panic::PanicInfo,
    sync::atomic::{AtomicBool, Ordering},
};

use riscv::register::{mcause, mepc, mtval};
use wasmbed_firmware_common::crash::{self, Place};

static CRASHING: AtomicBool = AtomicBool::new(false);

/// Keeps a crash and tells it to `say`. A crash in here is neither kept nor told.
pub fn crash(place: Place, text: fmt::Arguments<'_>, say: impl FnOnce(fmt::Arguments<'_>)) {
    riscv::interrupt::disable();
    if !CRASHING.swap(true, Ordering::Relaxed) {
        crash::with_record(|record| record.crash_with(place, text));
        say(text);
    }
}

/// A panic in words: message and place.
pub fn panic(info: &PanicInfo<'_>, uptime_ms: u64, say: impl FnOnce(fmt::Arguments<'_>)) {
    crash(Place { pc: 0, uptime_ms }, format_args!("{info}"), say);
}

/// The exception that was just taken, in words.
pub fn exception(what: &str, uptime_ms: u64, say: impl FnOnce(fmt::Arguments<'_>)) {
    let (pc, address, cause) = (mepc::read() as u32, mtval::read(), mcause::read().bits());
    let text = format_args!("{what} at {pc:#010x}, mcause {cause:#x}, address {address:#010x}");
    crash(Place { pc, uptime_ms }, text, say);
}
