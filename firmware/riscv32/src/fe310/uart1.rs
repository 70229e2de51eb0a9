//! UART1 as the line to a serial NOR chip.
//!
//! Who waits for the chip sleeps until a byte of its answer has come; what the link receives meanwhile is put
//! away by its own interrupt.

use wasmbed_firmware_common::flash::SerialLine;

use super::{interrupts::UART1, uart::Uart};
use crate::{clock::Clock, plic};

/// Time a chip has for an answer, in milliseconds: a host that is busy with other things may be slow.
const ANSWER_MS: u64 = 400;
/// Who waits takes what comes at once.
const RX_BYTES: usize = 64;

// SAFETY: UART1 is there on this chip, and only this module uses it.
static PORT: Uart<RX_BYTES> = unsafe { Uart::new(0x1002_3000) };

/// The line.
pub struct Uart1 {
    clock: Clock,
    /// An answer comes before this or not at all.
    until_ms: u64,
}

impl Uart1 {
    /// Switches port and receive interrupt on; `clock` runs already.
    pub fn start(clock: Clock) -> Self {
        PORT.start();
        // SAFETY: the handler and its ring are static and ready.
        unsafe { plic::enable(UART1) };
        Uart1 { clock, until_ms: 0 }
    }
}

impl SerialLine for Uart1 {
    fn send(&mut self, bytes: &[u8]) {
        // What is left of an answer to another request.
        while PORT.pop().is_some() {}
        PORT.send(bytes);
        self.until_ms = self.clock.now_ms() + ANSWER_MS;
    }

    fn receive(&mut self) -> Option<u8> {
        loop {
            if let Some(byte) = PORT.pop() {
                return Some(byte);
            }
            if self.clock.now_ms() >= self.until_ms {
                return None;
            }
            self.clock.wake_at(self.until_ms);
            critical_section::with(|_| {
                if PORT.is_empty() {
                    // An interrupt that is pending ends this at once, also while it is masked.
                    riscv::asm::wfi();
                }
            });
        }
    }
}

/// Leaves everything as it is after a reset.
pub fn stop() {
    PORT.stop();
    plic::disable(UART1);
}

pub(super) fn on_interrupt() {
    PORT.on_interrupt(|_, _| {});
}
