//! USART2 as the line to a serial NOR chip.
//!
//! Who waits for the chip sleeps until a byte of its answer has come; what the link receives meanwhile is put
//! away by its own interrupt. Looking at the receiver all the time instead would be three times slower in
//! QEMU, where that keeps the byte from being delivered.

use stm32f2::stm32f215::{Interrupt, NVIC, USART2};
use wasmbed_firmware_common::{flash::SerialLine, ring::Ring};
use wasmbed_wire::nor::MAX_FRAME_BYTES;

use crate::clock;

/// Time a chip has for an answer, in milliseconds: a host that is busy with other things may be slow.
const ANSWER_MS: u64 = 400;
/// Looks at the transmitter before waiting for it is given up.
const PATIENCE: u32 = 100_000;

/// Holds one answer: the chip says nothing unasked.
static RX: Ring<MAX_FRAME_BYTES> = Ring::new();

/// The line.
pub struct Usart2 {
    usart: USART2,
    /// An answer comes before this or not at all.
    until_ms: u64,
    /// Whether the clock wakes this up then.
    is_timed: bool,
}

impl Usart2 {
    /// Switches transmitter, receiver and receive interrupt on. The clock runs already.
    pub fn start(usart: USART2, baud_divisor: u16) -> Self {
        // SAFETY: every value of 16 bits is a divisor.
        usart.brr().write(|w| unsafe { w.bits(baud_divisor) });
        usart.cr1().write(|w| w.ue().set_bit().te().set_bit().re().set_bit().rxneie().set_bit());
        // SAFETY: the handler and its ring are static and ready.
        unsafe { NVIC::unmask(Interrupt::USART2) };
        Usart2 { usart, until_ms: 0, is_timed: false }
    }
}

impl SerialLine for Usart2 {
    fn send(&mut self, bytes: &[u8]) {
        // What is left of an answer to another request.
        while RX.pop().is_some() {}
        for byte in bytes {
            if (0..PATIENCE).any(|_| self.usart.sr().read().txe().bit_is_set()) {
                // SAFETY: a byte is data to send.
                self.usart.dr().write(|w| unsafe { w.bits((*byte).into()) });
            }
        }
        self.until_ms = clock::now_ms() + ANSWER_MS;
        self.is_timed = false;
    }

    fn receive(&mut self) -> Option<u8> {
        loop {
            if let Some(byte) = RX.pop() {
                return Some(byte);
            }
            // Each look at the clock costs an emulator dear: none for what a byte has ended.
            if !self.is_timed {
                if clock::now_ms() >= self.until_ms {
                    return None;
                }
                critical_section::with(|cs| clock::wake_at(cs, self.until_ms));
                self.is_timed = true;
            }
            critical_section::with(|_| {
                if RX.is_empty() {
                    // An interrupt that is pending ends this at once, also while it is masked.
                    cortex_m::asm::wfi();
                }
            });
            self.is_timed = !RX.is_empty();
        }
    }
}

/// Leaves everything as it is after a reset.
pub fn stop() {
    // SAFETY: who calls this uses the line no more.
    let usart = unsafe { USART2::steal() };
    usart.cr1().reset();
    usart.brr().reset();
    NVIC::mask(Interrupt::USART2);
    NVIC::unpend(Interrupt::USART2);
}

/// To be called by the USART2 interrupt handler.
pub fn on_interrupt() {
    // SAFETY: reading the data register is this handler's alone.
    let usart = unsafe { USART2::steal() };
    if usart.sr().read().rxne().bit_is_set() {
        RX.push(usart.dr().read().dr().bits() as u8);
    }
}
