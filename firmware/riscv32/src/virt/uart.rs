//! The serial port, a 16550, with a ring in each direction.

use core::sync::atomic::{AtomicBool, Ordering};

use riscv_peripheral::common::{RO, RW, Reg};
use wasmbed_firmware_common::ring::Ring;

use super::machine::UART;
use crate::plic;

/// Holds the window of a link with four blocks of 1 KiB under way, for as long as a module runs.
const RX_BYTES: usize = 8192;
const TX_BYTES: usize = 4096;
/// Bytes the transmitter takes at once when it is empty.
const FIFO_BYTES: usize = 16;

/// What ends a frame of the link.
const FRAME_END: u8 = 0;

static RX: Ring<RX_BYTES> = Ring::new();
static TX: Ring<TX_BYTES> = Ring::new();
static ATTENTION: AtomicBool = AtomicBool::new(false);
/// Whether the transmitter's interrupt is on.
static SENDING: AtomicBool = AtomicBool::new(false);

/// Looks at the transmitter before waiting for it is given up.
const PATIENCE: u32 = 1_000_000;

const BASE: usize = 0x1000_0000;
// SAFETY: the serial port's registers are at these addresses on this machine.
const PORT: Uart = unsafe {
    Uart {
        data: Reg::new(BASE as *mut u8),
        interrupts: Reg::new((BASE + 1) as *mut u8),
        fifo: Reg::new((BASE + 2) as *mut u8),
        line: Reg::new((BASE + 3) as *mut u8),
        modem: Reg::new((BASE + 4) as *mut u8),
        status: Reg::new((BASE + 5) as *mut u8),
    }
};

const RECEIVED: u8 = 1 << 0;
const SENDER_EMPTY: u8 = 1 << 1;
const FIFO_ON_AND_CLEARED: u8 = 0b111;
const EIGHT_BITS: u8 = 0b11;
const DIVISOR_ACCESS: u8 = 1 << 7;
const INTERRUPT_OUT: u8 = 1 << 3;
const STATUS_RECEIVED: u8 = 1 << 0;
const STATUS_SENDER_EMPTY: u8 = 1 << 5;
const STATUS_SENDER_IDLE: u8 = 1 << 6;

struct Uart {
    data: Reg<u8, RW>,
    interrupts: Reg<u8, RW>,
    fifo: Reg<u8, RW>,
    line: Reg<u8, RW>,
    modem: Reg<u8, RW>,
    status: Reg<u8, RO>,
}

/// Switches port and receive interrupt on.
pub fn start() {
    PORT.line.write(DIVISOR_ACCESS | EIGHT_BITS);
    // The highest rate.
    PORT.data.write(1);
    PORT.interrupts.write(0);
    PORT.line.write(EIGHT_BITS);
    PORT.fifo.write(FIFO_ON_AND_CLEARED);
    PORT.modem.write(INTERRUPT_OUT);
    PORT.interrupts.write(RECEIVED);
    // SAFETY: the handler and its rings are static and ready.
    unsafe { plic::enable(UART) };
}

/// Switches the port's interrupts off, as they are after a reset.
pub fn stop() {
    PORT.interrupts.write(0);
    PORT.modem.write(0);
    plic::disable(UART);
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
    critical_section::with(|_| pump());
}

/// Waits until everything queued is sent.
pub fn flush() {
    let _ = (0..PATIENCE).any(|_| TX.is_empty() && PORT.status.read() & STATUS_SENDER_IDLE != 0);
}

/// To be called by the handler of external interrupts.
pub fn on_interrupt() {
    plic::claim(|_| {
        // Each look at the registers costs an emulator dear, so there are no more than needed.
        while PORT.status.read() & STATUS_RECEIVED != 0 {
            let byte = PORT.data.read();
            RX.push(byte);
            if byte == FRAME_END || RX.room() < RX_BYTES / 2 {
                ATTENTION.store(true, Ordering::Relaxed);
            }
        }
        if SENDING.load(Ordering::Relaxed) {
            pump();
        }
    });
}

/// Sends `bytes` by polling, past the ring; for a firmware that is about to reset.
pub fn send_now(bytes: &[u8]) {
    for byte in bytes {
        if (0..PATIENCE).any(|_| PORT.status.read() & STATUS_SENDER_EMPTY != 0) {
            PORT.data.write(*byte);
        }
    }
}

fn pump() {
    if PORT.status.read() & STATUS_SENDER_EMPTY != 0 {
        for byte in (0..FIFO_BYTES).map_while(|_| TX.pop()) {
            PORT.data.write(byte);
        }
    }
    let more = !TX.is_empty();
    SENDING.store(more, Ordering::Relaxed);
    PORT.interrupts.write(if more { RECEIVED | SENDER_EMPTY } else { RECEIVED });
}
