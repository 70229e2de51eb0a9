//! USART1 with a ring in each direction.
//!
//! Received bytes are put away by the interrupt handler. Bytes to send go straight out while the
//! transmitter takes them; only when it is busy does its interrupt fetch the rest.

use core::sync::atomic::{AtomicBool, Ordering};

use stm32f2::stm32f215::{Interrupt, NVIC, USART1};
use wasmbed_firmware_common::ring::Ring;

/// Holds the window of a link with three blocks of 1 KiB under way, for as long as a module runs.
const RX_BYTES: usize = 4608;
/// Holds one frame.
const TX_BYTES: usize = 1280;

/// What ends a frame of the link.
const FRAME_END: u8 = 0;

static RX: Ring<RX_BYTES> = Ring::new();
static TX: Ring<TX_BYTES> = Ring::new();
static ATTENTION: AtomicBool = AtomicBool::new(false);

/// Looks at the transmitter before waiting for it is given up.
const PATIENCE: u32 = 100_000;

/// Switches transmitter, receiver and receive interrupt on.
pub fn start(usart: &USART1, baud_divisor: u16) {
    // SAFETY: every value of 16 bits is a divisor.
    usart.brr().write(|w| unsafe { w.bits(baud_divisor) });
    usart.cr1().write(|w| w.ue().set_bit().te().set_bit().re().set_bit().rxneie().set_bit());
    // SAFETY: the handler and its rings are static and ready.
    unsafe { NVIC::unmask(Interrupt::USART1) };
}

/// Leaves everything as it is after a reset, once everything queued is sent.
pub fn stop() {
    flush();
    let usart = usart();
    usart.cr1().reset();
    usart.brr().reset();
    NVIC::mask(Interrupt::USART1);
    NVIC::unpend(Interrupt::USART1);
}

/// Moves received bytes into `out` and returns how many there were.
pub fn read(out: &mut [u8]) -> usize {
    RX.read(out)
}

/// Whether something worth waking up for was received since the last call: the end of a frame, or more
/// than half of the ring.
pub fn take_attention() -> bool {
    ATTENTION.swap(false, Ordering::Relaxed)
}

/// How many bytes [`write`] takes now.
pub fn room() -> usize {
    TX.room()
}

/// Queues bytes; what does not fit is left out.
pub fn write(bytes: &[u8]) {
    TX.write(bytes);
    critical_section::with(|_| pump(&usart()));
}

/// Waits until everything queued is sent.
pub fn flush() {
    let sent = || TX.is_empty() && usart().sr().read().tc().bit_is_set();
    let _ = (0..PATIENCE).any(|_| sent());
}

/// To be called by the USART1 interrupt handler.
pub fn on_interrupt() {
    let usart = usart();
    // Each look at the registers costs an emulator dear, so there is one for each byte.
    let status = usart.sr().read();
    if status.rxne().bit_is_set() {
        let byte = usart.dr().read().dr().bits() as u8;
        RX.push(byte);
        if byte == FRAME_END || RX.room() < RX_BYTES / 2 {
            ATTENTION.store(true, Ordering::Relaxed);
        }
    }
    if status.txe().bit_is_set() && !TX.is_empty() {
        pump(&usart);
    }
}

/// Sends `bytes` by polling, past the ring; for a firmware that is about to reset.
pub fn send_now(bytes: &[u8]) {
    let usart = usart();
    for byte in bytes {
        if (0..PATIENCE).any(|_| usart.sr().read().txe().bit_is_set()) {
            // SAFETY: a byte is data to send.
            usart.dr().write(|w| unsafe { w.bits((*byte).into()) });
        }
    }
}

fn usart() -> USART1 {
    // SAFETY: only this module uses the registers; handler and critical sections exclude each other.
    unsafe { USART1::steal() }
}

fn pump(usart: &USART1) {
    while usart.sr().read().txe().bit_is_set() {
        let Some(byte) = TX.pop() else { break };
        // SAFETY: a byte is data to send.
        usart.dr().write(|w| unsafe { w.bits(byte.into()) });
    }
    let more = !TX.is_empty();
    usart.cr1().modify(|_, w| w.txeie().bit(more));
}
