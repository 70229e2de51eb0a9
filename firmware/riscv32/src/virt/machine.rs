//! Addresses and interrupt numbers of the machine.

use riscv_peripheral::{
    common::{RW, Reg},
    plic_codegen,
};

use crate::clock::Clock;

/// The machine's clock: 10 MHz.
// SAFETY: the CLINT's registers are at these addresses on this machine.
pub const CLOCK: Clock = unsafe { Clock::new(0x0200_bff8, 0x0200_4000, 10_000) };

/// Writing [`TEST_RESET`] here resets the machine.
// SAFETY: the test device is at this address on this machine.
const TEST: Reg<u32, RW> = unsafe { Reg::new(0x0010_0000 as *mut u32) };
const TEST_RESET: u32 = 0x7777;

/// Harts of the machine.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[riscv::pac_enum(unsafe HartIdNumber)]
pub(super) enum Hart {
    /// The only one.
    H0 = 0,
}

/// Sources of the interrupt controller that are used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[riscv::pac_enum(unsafe ExternalInterruptNumber)]
pub(super) enum Interrupt {
    /// The network controller.
    Network = 1,
    /// The serial port.
    Uart = 10,
}

/// Interrupt priorities.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[riscv::pac_enum(unsafe PriorityNumber)]
pub(super) enum Priority {
    /// Never interrupts.
    P0 = 0,
    /// The only one in use.
    P1 = 1,
}

plic_codegen!(pub(super) Plic, base 0x0c00_0000, harts [Hart::H0 => 0]);

/// Resets the machine; memory keeps its contents.
pub fn reset() -> ! {
    TEST.write(TEST_RESET);
    loop {
        riscv::asm::wfi();
    }
}
