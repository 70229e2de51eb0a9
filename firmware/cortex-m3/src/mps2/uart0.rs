//! UART0, of the Cortex-M System Design Kit (Arm DDI 0479, section 4.3), with a ring in each direction.
//!
//! It has one byte of buffer each way. Bytes to send go straight out while it takes them; only when it is busy does
//! its interrupt fetch the rest.

use core::sync::atomic::{AtomicBool, Ordering};

use cortex_m::peripheral::NVIC;
use volatile_register::RW;
use wasmbed_firmware_common::ring::Ring;

use super::{Irq, UART0_RECEIVE, UART0_SEND};

/// Holds the window of a link with four blocks of 1 KiB under way, for as long as a module runs.
const RX_BYTES: usize = 8192;
const TX_BYTES: usize = 4096;

/// What ends a frame of the link.
const FRAME_END: u8 = 0;

static RX: Ring<RX_BYTES> = Ring::new();
static TX: Ring<TX_BYTES> = Ring::new();
static ATTENTION: AtomicBool = AtomicBool::new(false);

/// Looks at the transmitter before waiting for it is given up.
const PATIENCE: u32 = 100_000;

#[repr(C)]
struct Uart {
    data: RW<u32>,
    state: RW<u32>,
    control: RW<u32>,
    /// Writing a one ends an interrupt.
    interrupt: RW<u32>,
    divisor: RW<u32>,
}

fn uart() -> &'static Uart {
    // SAFETY: the registers are at this address on this board, and each access to them is one word.
    unsafe { &*(0x4000_4000 as *const Uart) }
}

const STATE_SEND_FULL: u32 = 1 << 0;
const SENDER: u32 = 1 << 0;
const RECEIVER: u32 = 1 << 1;
const SENDER_INTERRUPT: u32 = 1 << 2;
const RECEIVER_INTERRUPT: u32 = 1 << 3;
const ON: u32 = SENDER | RECEIVER | RECEIVER_INTERRUPT;
const SENT: u32 = 1 << 0;
const RECEIVED: u32 = 1 << 1;

/// Switches transmitter, receiver and receive interrupt on.
pub(super) fn start(divisor: u32) {
    write(&uart().divisor, divisor);
    write(&uart().control, ON);
    for irq in [UART0_RECEIVE, UART0_SEND] {
        // SAFETY: the handlers and their rings are static and ready.
        unsafe { NVIC::unmask(Irq(irq)) };
    }
}

/// Leaves everything as it is after a reset, once everything queued is sent.
pub(super) fn stop() {
    flush();
    write(&uart().control, 0);
    write(&uart().interrupt, SENT | RECEIVED);
    for irq in [UART0_RECEIVE, UART0_SEND] {
        NVIC::mask(Irq(irq));
        NVIC::unpend(Irq(irq));
    }
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

/// How many bytes [`queue`] takes now.
pub fn room() -> usize {
    TX.room()
}

/// Queues bytes; what does not fit is left out.
pub fn queue(bytes: &[u8]) {
    TX.write(bytes);
    critical_section::with(|_| pump());
}

/// Waits until everything queued is sent.
pub fn flush() {
    let _ = (0..PATIENCE).any(|_| TX.is_empty() && !is_full());
}

/// To be called by the handler of the receive interrupt.
pub fn on_received() {
    write(&uart().interrupt, RECEIVED);
    let byte = uart().data.read() as u8;
    RX.push(byte);
    if byte == FRAME_END || RX.room() < RX_BYTES / 2 {
        ATTENTION.store(true, Ordering::Relaxed);
    }
}

/// To be called by the handler of the send interrupt.
pub fn on_sent() {
    write(&uart().interrupt, SENT);
    pump();
}

/// Sends `bytes` by polling, past the ring; for a firmware that is about to reset.
pub fn send_now(bytes: &[u8]) {
    for byte in bytes {
        if (0..PATIENCE).any(|_| !is_full()) {
            write(&uart().data, (*byte).into());
        }
    }
}

/// Sends while the transmitter takes bytes; its interrupt is on while there are more.
fn pump() {
    loop {
        while !is_full() {
            let Some(byte) = TX.pop() else {
                write(&uart().control, ON);
                return;
            };
            write(&uart().data, byte.into());
        }
        write(&uart().control, ON | SENDER_INTERRUPT);
        // What was sent before that interrupts nobody.
        if is_full() {
            return;
        }
    }
}

fn is_full() -> bool {
    uart().state.read() & STATE_SEND_FULL != 0
}

fn write(register: &RW<u32>, value: u32) {
    // SAFETY: this module alone uses the registers; handlers and critical sections exclude each other. No value here
    // makes the port touch memory.
    unsafe { register.write(value) };
}
