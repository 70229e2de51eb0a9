//! UART0 as the line of the link.

use core::sync::atomic::{AtomicBool, Ordering};

use super::{interrupts::UART0, uart::Uart};
use crate::plic;

/// What is received between two looks of the loop; the rest of a frame waits in the line.
const RX_BYTES: usize = 128;

/// What ends a frame of the link.
const FRAME_END: u8 = 0;

// SAFETY: UART0 is there on this chip, and only this module uses it.
static PORT: Uart<RX_BYTES> = unsafe { Uart::new(0x1001_3000) };
static ATTENTION: AtomicBool = AtomicBool::new(false);

/// Switches port and receive interrupt on.
pub fn start() {
    PORT.start();
    // SAFETY: the handler and its ring are static and ready.
    unsafe { plic::enable(UART0) };
}

/// Leaves everything as it is after a reset.
pub fn stop() {
    PORT.stop();
    plic::disable(UART0);
}

/// Moves received bytes into `out` and returns how many there were.
pub fn read(out: &mut [u8]) -> usize {
    PORT.read(out)
}

/// Whether something worth waking up for was received since the last call: the end of a frame, or more
/// than half of the ring.
pub fn take_attention() -> bool {
    ATTENTION.swap(false, Ordering::Relaxed)
}

/// Sends `bytes`; they are on the line when this returns.
pub fn send(bytes: &[u8]) {
    PORT.send(bytes);
}

pub(super) fn on_interrupt() {
    PORT.on_interrupt(|byte, is_filling| {
        if byte == FRAME_END || is_filling {
            ATTENTION.store(true, Ordering::Relaxed);
        }
    });
}
