//! The first virtio transport, over MMIO (Virtual I/O Device 1.2, section 4.2), as far as its interrupt goes: it only
//! wakes the board.

use core::sync::atomic::{AtomicBool, Ordering};

use riscv_peripheral::common::{RO, Reg, WO};

/// Where its registers are, and how many bytes of them there are; the next transport's follow.
pub(super) const REGISTERS: (usize, usize) = (0x1000_1000, 0x1000);

// SAFETY: the registers are at these addresses on this machine.
const INTERRUPT_STATUS: Reg<u32, RO> = unsafe { Reg::new((REGISTERS.0 + 0x60) as *mut u32) };
// SAFETY: as above.
const INTERRUPT_ACK: Reg<u32, WO> = unsafe { Reg::new((REGISTERS.0 + 0x64) as *mut u32) };

static ATTENTION: AtomicBool = AtomicBool::new(false);

/// Whether the device has done something since the last call.
pub(super) fn take_attention() -> bool {
    ATTENTION.swap(false, Ordering::Relaxed)
}

/// To be called by the handler of external interrupts.
pub(super) fn on_interrupt() {
    INTERRUPT_ACK.write(INTERRUPT_STATUS.read());
    ATTENTION.store(true, Ordering::Relaxed);
}
