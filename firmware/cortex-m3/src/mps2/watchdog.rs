//! The watchdog (Arm DDI 0479, section 4.4): unfed, it first interrupts the core with an NMI, which nothing masks, and
//! resets the board if that does not.

use volatile_register::{RO, RW, WO};

/// Time without a round of the loop, in seconds. Longer than anything the loop waits for: the longest is a handshake
/// with the broker, about two at 25 MHz.
pub(super) const SECONDS: u32 = 6;
/// Its clock.
const HZ: u32 = 25_000_000;
const INTERRUPT_AND_RESET: u32 = 0b11;
/// Lets the registers be written to.
const UNLOCK: u32 = 0x1acc_e551;

#[repr(C)]
struct Registers {
    load: RW<u32>,
    value: RO<u32>,
    control: RW<u32>,
    clear: WO<u32>,
    raw: RO<u32>,
}

fn registers() -> &'static Registers {
    // SAFETY: the registers are at this address on this board, and each access to them is one word.
    unsafe { &*(0x4000_8000 as *const Registers) }
}

/// Has the board watched from now on: [`feed`] it.
pub(super) fn start() {
    let lock = 0x4000_8c00 as *const WO<u32>;
    // SAFETY: the registers are this function's alone, and touch no memory.
    unsafe {
        (*lock).write(UNLOCK);
        registers().load.write(SECONDS * HZ);
        registers().control.write(INTERRUPT_AND_RESET);
    }
}

/// Begins the time anew.
pub(super) fn feed() {
    // SAFETY: as above; before [`start`] it does nothing.
    unsafe { registers().clear.write(0) };
}

/// Whether it is the watchdog that interrupts.
pub(super) fn has_expired() -> bool {
    registers().raw.read() & 1 == 1
}
