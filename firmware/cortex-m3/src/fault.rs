//! Faults and panics: say it, keep it, reset.

use core::{
    fmt,
    panic::PanicInfo,
    sync::atomic::{AtomicBool, Ordering},
};

use cortex_m::peripheral::SCB;
use cortex_m_rt::ExceptionFrame;
use wasmbed_firmware_common::{
    crash::{self, Place, Record},
    trace::Callers,
};

use crate::{clock, stack};

static CRASHING: AtomicBool = AtomicBool::new(false);

/// A panic: its message, and the calls that led to it.
pub fn panic(info: &PanicInfo<'_>, say: impl FnOnce(fmt::Arguments<'_>)) -> ! {
    let callers = callers();
    crash(callers.innermost(), format_args!("{}; from{callers}", info.message()), say)
}

/// A hard fault; the fault status registers say which kind it was.
pub fn hard_fault(frame: Option<&ExceptionFrame>, say: impl FnOnce(fmt::Arguments<'_>)) -> ! {
    const CFSR: *const u32 = 0xe000_ed28 as *const u32;
    const BFAR: *const u32 = 0xe000_ed38 as *const u32;
    // SAFETY: both registers exist on every ARMv7-M core and may be read at any time.
    let (status, address) = unsafe { (CFSR.read_volatile(), BFAR.read_volatile()) };
    let Some(frame) = frame else {
        // Nothing was left to put the frame on, so that nobody knows where this was.
        crash(0, format_args!("stack overflow {status:#x}"), say)
    };
    let (pc, lr, callers) = (frame.pc(), frame.lr(), callers());
    let text = format_args!("hard fault {status:#x}, address {address:#x}; from {pc:x} {lr:x}{callers}");
    crash(pc, text, say)
}

/// An interrupt that cannot be masked, from outside; the thread was at `frame`.
pub fn unmaskable(frame: Option<&ExceptionFrame>, say: impl FnOnce(fmt::Arguments<'_>)) -> ! {
    let (pc, lr) = frame.map_or((0, 0), |frame| (frame.pc(), frame.lr()));
    crash(pc, format_args!("NMI; from {pc:x} {lr:x}"), say)
}

/// The watchdog has not been fed for `seconds`; the thread was at `frame`.
pub fn hang(frame: Option<&ExceptionFrame>, seconds: u32, say: impl FnOnce(fmt::Arguments<'_>)) -> ! {
    let (pc, lr) = frame.map_or((0, 0), |frame| (frame.pc(), frame.lr()));
    let callers = callers();
    let text = format_args!("hung for {seconds} s; from {pc:x} {lr:x}{callers}");
    end(say, pc, text, Record::hang_with)
}

/// Keeps a crash, tells it to `say` and resets. A crash in here resets without more words.
fn crash(pc: u32, text: fmt::Arguments<'_>, say: impl FnOnce(fmt::Arguments<'_>)) -> ! {
    end(say, pc, text, Record::crash_with)
}

fn end(
    say: impl FnOnce(fmt::Arguments<'_>),
    pc: u32,
    text: fmt::Arguments<'_>,
    keep: impl FnOnce(&mut Record, Place, fmt::Arguments<'_>),
) -> ! {
    cortex_m::interrupt::disable();
    if !CRASHING.swap(true, Ordering::Relaxed) {
        let place = Place { pc, uptime_ms: clock::now_ms() };
        crash::with_record(|record| keep(record, place, text));
        say(text);
    }
    SCB::sys_reset()
}

fn callers() -> Callers {
    Callers::find(stack::in_use(), follows_call)
}

/// Whether code at this address would run after a call: it is odd, in flash, and behind a `bl` (two
/// halfwords) or a `blx` (one).
fn follows_call(word: u32) -> bool {
    unsafe extern "C" {
        static __stext: u16;
        static __etext: u16;
    }
    let code = &raw const __stext as u32 + 4..&raw const __etext as u32;
    if word.is_multiple_of(2) || !code.contains(&(word - 1)) {
        return false;
    }
    let after = (word - 1) as *const u16;
    // SAFETY: the address lies inside the code with at least two halfwords before it.
    let (first, second) = unsafe { (after.sub(2).read(), after.sub(1).read()) };
    let is_bl = first & 0xf800 == 0xf000 && second & 0xd000 == 0xd000;
    let is_blx = second & 0xff87 == 0x4780;
    is_bl || is_blx
}
