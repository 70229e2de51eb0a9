//! Faults and panics: say it, keep it, reset.

use core::{
    fmt,
    panic::PanicInfo,
    sync::atomic::{AtomicBool, Ordering},
};

use cortex_m::peripheral::SCB;
use cortex_m_rt::ExceptionFrame;
use wasmbed_firmware_common::crash::{self, Place};

use crate::clock;

static CRASHING: AtomicBool = AtomicBool::new(false);

/// Keeps a crash, tells it to `say` and resets. A crash in here resets without more words.
pub fn crash(pc: u32, text: fmt::Arguments<'_>, say: impl FnOnce(fmt::Arguments<'_>)) -> ! {
    cortex_m::interrupt::disable();
    if !CRASHING.swap(true, Ordering::Relaxed) {
        let place = Place { pc, uptime_ms: clock::now_ms() };
        crash::with_record(|record| record.crash_with(place, text));
        say(text);
    }
    SCB::sys_reset()
}

/// A panic in words: message and place.
pub fn panic(info: &PanicInfo<'_>, say: impl FnOnce(fmt::Arguments<'_>)) -> ! {
    crash(0, format_args!("{info}"), say)
}

/// A hard fault in words: the fault status registers say which kind it was.
pub fn hard_fault(frame: Option<&ExceptionFrame>, say: impl FnOnce(fmt::Arguments<'_>)) -> ! {
    const CFSR: *const u32 = 0xe000_ed28 as *const u32;
    const BFAR: *const u32 = 0xe000_ed38 as *const u32;
    // SAFETY: both registers exist on every ARMv7-M core and may be read at any time.
    let (status, address) = unsafe { (CFSR.read_volatile(), BFAR.read_volatile()) };
    let (pc, lr) = frame.map_or((0, 0), |frame| (frame.pc(), frame.lr()));
    let text = format_args!(
        "hard fault at {pc:#010x}, called from {lr:#010x}, CFSR {status:#010x}, address {address:#010x}"
    );
    crash(pc, text, say)
}
