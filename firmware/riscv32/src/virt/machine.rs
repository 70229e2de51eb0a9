//! Addresses and interrupt numbers of the machine.

use riscv_peripheral::common::{RW, Reg};

use crate::{clock::Clock, plic::Source};

/// The machine's clock: 10 MHz.
// SAFETY: the CLINT's registers are at these addresses on this machine.
pub const CLOCK: Clock = unsafe { Clock::new(0x0200_bff8, 0x0200_4000, 10_000_000) };

/// Writing [`TEST_RESET`] here resets the machine.
// SAFETY: the test device is at this address on this machine.
const TEST: Reg<u32, RW> = unsafe { Reg::new(0x0010_0000 as *mut u32) };
const TEST_RESET: u32 = 0x7777;

/// The interrupts of the machine.
pub(super) const NETWORK: Source = Source(1);
pub(super) const UART: Source = Source(10);

/// Resets the machine; memory keeps its contents.
pub fn reset() -> ! {
    TEST.write(TEST_RESET);
    loop {
        riscv::asm::wfi();
    }
}
