//! The serial port and its way to the processor.

use wasmbed_firmware_common::ns16550::Ns16550;

use super::machine;
use crate::plic;

/// The serial port.
// SAFETY: it is at this address on this machine, and nothing else uses it.
pub static UART: Ns16550<0x1000_0000, 1> = unsafe { Ns16550::new() };

/// Switches port and receive interrupt on.
pub(super) fn start() {
    UART.start();
    // SAFETY: the handler and its rings are static and ready.
    unsafe { plic::enable(machine::UART) };
}

/// Switches the port's interrupts off, as they are after a reset.
pub(super) fn stop() {
    UART.stop();
    plic::disable(machine::UART);
}
