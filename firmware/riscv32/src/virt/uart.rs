//! The serial port and its way to the processor.

use wasmbed_firmware_common::ns16550::Ns16550;

use super::machine::{Interrupt, Plic, Priority};

/// The serial port.
// SAFETY: it is at this address on this machine, and nothing else uses it.
pub static UART: Ns16550<0x1000_0000, 1> = unsafe { Ns16550::new() };

/// Switches port and receive interrupt on.
pub(super) fn start() {
    UART.start();
    let context = Plic::new().ctx0();
    context.threshold().reset();
    // SAFETY: the handler and its rings are static and ready.
    unsafe {
        Plic::new().priorities().set_priority(Interrupt::Uart, Priority::P1);
        context.enables().enable(Interrupt::Uart);
        Plic::new().enable();
    }
}

/// Switches the port's interrupts off, as they are after a reset.
pub(super) fn stop() {
    UART.stop();
    Plic::new().ctx0().enables().disable(Interrupt::Uart);
}
