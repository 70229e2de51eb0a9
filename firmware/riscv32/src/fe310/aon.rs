//! The always-on domain: its watchdog is the only thing on the chip that resets it (FE310-G000 manual, "Watchdog
//! Timer"). QEMU before 8.1 has no such domain; it lets its timer count at another rate, too.

use core::arch::asm;

use riscv_peripheral::common::{RW, Reg};

/// Rate of the timer on the chip, in Hz: that of the domain's crystal.
const CRYSTAL_HZ: u32 = 32_768;
/// Rate of the timer in a QEMU without the domain, in Hz.
const WITHOUT_HZ: u32 = 10_000_000;

/// Lets the next write to another register of the watchdog through.
const UNLOCK: u32 = 0x0051_f15e;
const RESET_ENABLE: u32 = 1 << 8;
const ENABLE_ALWAYS: u32 = 1 << 12;
/// Longest wait, in ticks.
const LONGEST: u32 = 0xffff;

// SAFETY: the watchdog's registers are at these addresses on this chip.
const WATCHDOG: Watchdog = unsafe {
    Watchdog {
        config: Reg::new(0x1000_0000 as *mut u32),
        key: Reg::new(0x1000_001c as *mut u32),
        compare: Reg::new(0x1000_0020 as *mut u32),
    }
};

/// Where the processor begins after a reset, in the mask ROM.
const RESET_VECTOR: u32 = 0x1004;

struct Watchdog {
    config: Reg<u32, RW>,
    key: Reg<u32, RW>,
    compare: Reg<u32, RW>,
}

/// Rate of the machine timer, in Hz.
pub fn timer_hz() -> u32 {
    if is_there() { CRYSTAL_HZ } else { WITHOUT_HZ }
}

/// Resets the chip; memory keeps its contents. Without the domain the program starts over at the reset vector, and
/// everything is as it is. Interrupts are disabled.
pub fn reset() -> ! {
    if is_there() {
        WATCHDOG.write(&WATCHDOG.compare, 1);
        WATCHDOG.write(&WATCHDOG.config, RESET_ENABLE | ENABLE_ALWAYS);
        loop {
            riscv::asm::nop();
        }
    }
    // SAFETY: the code there expects nothing, and nothing of this program is in use any more.
    unsafe { asm!("jr {vector}", vector = in(reg) RESET_VECTOR, options(noreturn)) }
}

/// Whether the domain keeps what is written to it.
fn is_there() -> bool {
    WATCHDOG.write(&WATCHDOG.compare, LONGEST);
    WATCHDOG.compare.read() == LONGEST
}

impl Watchdog {
    fn write(&self, register: &Reg<u32, RW>, value: u32) {
        self.key.write(UNLOCK);
        register.write(value);
    }
}
