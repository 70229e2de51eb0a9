//! Addresses and interrupt numbers of the machine.

use core::ptr;

use wasmbed_firmware_common::ns16550::Ns16550;

use crate::{clock::Clock, cpu::wait_for_interrupt};

/// The processor's clock: 10 MHz in QEMU.
pub static CLOCK: Clock = Clock::new(10_000);

/// The serial port.
// SAFETY: it is at this address on this machine, and nothing else uses it.
pub static UART: Ns16550<0xfd05_0020, 4> = unsafe { Ns16550::new() };
/// The number of its interrupt.
pub(super) const UART_INTERRUPT: u32 = 0;

/// Writing [`RESET`] here resets the machine.
const RESET_REGISTER: *mut u32 = 0xfd02_0010 as *mut u32;
const RESET: u32 = 0xdead;

/// Resets the machine; memory keeps its contents, but for the bootloader's.
pub fn reset() -> ! {
    // SAFETY: the register is at this address on this machine; nothing of this program is needed any more.
    unsafe { ptr::write_volatile(RESET_REGISTER, RESET) };
    loop {
        // SAFETY: nothing goes on here but the reset.
        unsafe { wait_for_interrupt() };
    }
}
