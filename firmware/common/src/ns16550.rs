//! The serial port most machines have, a 16550 (National Semiconductor PC16550D), with a ring in each direction.
//!
//! Not here: where its interrupt comes from and goes to.

use core::{
    ptr,
    sync::atomic::{AtomicBool, Ordering},
};

use crate::ring::Ring;

/// Holds the window of a link with four blocks of 1 KiB under way, for as long as a module runs.
const RX_BYTES: usize = 8192;
const TX_BYTES: usize = 4096;
/// Bytes the transmitter takes at once when it is empty.
const FIFO_BYTES: usize = 16;

/// What ends a frame of the link.
const FRAME_END: u8 = 0;

/// Looks at the transmitter before waiting for it is given up.
const PATIENCE: u32 = 1_000_000;

// Registers, by number.
const DATA: usize = 0;
const INTERRUPTS: usize = 1;
const FIFO: usize = 2;
const LINE: usize = 3;
const MODEM: usize = 4;
const STATUS: usize = 5;

const RECEIVED: u8 = 1 << 0;
const SENDER_EMPTY: u8 = 1 << 1;
const FIFO_ON_AND_CLEARED: u8 = 0b111;
const EIGHT_BITS: u8 = 0b11;
const DIVISOR_ACCESS: u8 = 1 << 7;
const INTERRUPT_OUT: u8 = 1 << 3;
const STATUS_RECEIVED: u8 = 1 << 0;
const STATUS_SENDER_EMPTY: u8 = 1 << 5;
const STATUS_SENDER_IDLE: u8 = 1 << 6;

/// The port whose first register is at `BASE`, and each further one `STRIDE` bytes behind.
pub struct Ns16550<const BASE: usize, const STRIDE: usize> {
    rx: Ring<RX_BYTES>,
    tx: Ring<TX_BYTES>,
    attention: AtomicBool,
    /// Whether the transmitter's interrupt is on.
    sending: AtomicBool,
}

impl<const BASE: usize, const STRIDE: usize> Ns16550<BASE, STRIDE> {
    /// The port.
    ///
    /// # Safety
    ///
    /// Such a port is there, and nothing else uses it.
    pub const unsafe fn new() -> Self {
        let (attention, sending) = (AtomicBool::new(false), AtomicBool::new(false));
        Ns16550 { rx: Ring::new(), tx: Ring::new(), attention, sending }
    }

    /// Switches port and receive interrupt on.
    pub fn start(&self) {
        self.set(LINE, DIVISOR_ACCESS | EIGHT_BITS);
        // The highest rate.
        self.set(DATA, 1);
        self.set(INTERRUPTS, 0);
        self.set(LINE, EIGHT_BITS);
        self.set(FIFO, FIFO_ON_AND_CLEARED);
        self.set(MODEM, INTERRUPT_OUT);
        self.set(INTERRUPTS, RECEIVED);
    }

    /// Switches the port's interrupts off, as they are after a reset.
    pub fn stop(&self) {
        self.set(INTERRUPTS, 0);
        self.set(MODEM, 0);
    }

    /// Moves received bytes into `out` and returns how many there were.
    pub fn read(&self, out: &mut [u8]) -> usize {
        self.rx.read(out)
    }

    /// Whether something worth waking up for was received since the last call: the end of a frame, or more
    /// than half of the ring.
    pub fn take_attention(&self) -> bool {
        self.attention.swap(false, Ordering::Relaxed)
    }

    /// How many bytes [`Ns16550::write`] takes now.
    pub fn room(&self) -> usize {
        self.tx.room()
    }

    /// Queues bytes; what does not fit is left out.
    pub fn write(&self, bytes: &[u8]) {
        self.tx.write(bytes);
        critical_section::with(|_| self.pump());
    }

    /// Waits until everything queued is sent.
    pub fn flush(&self) {
        let _ = (0..PATIENCE).any(|_| self.tx.is_empty() && self.has(STATUS_SENDER_IDLE));
    }

    /// To be called by the handler of its interrupt.
    pub fn on_interrupt(&self) {
        // Each look at the registers costs an emulator dear, so there are no more than needed.
        while self.has(STATUS_RECEIVED) {
            let byte = self.get(DATA);
            self.rx.push(byte);
            if byte == FRAME_END || self.rx.room() < RX_BYTES / 2 {
                self.attention.store(true, Ordering::Relaxed);
            }
        }
        if self.sending.load(Ordering::Relaxed) {
            self.pump();
        }
    }

    /// Sends `bytes` by polling, past the ring; for a firmware that is about to reset.
    pub fn send_now(&self, bytes: &[u8]) {
        for byte in bytes {
            if (0..PATIENCE).any(|_| self.has(STATUS_SENDER_EMPTY)) {
                self.set(DATA, *byte);
            }
        }
    }

    fn pump(&self) {
        if self.has(STATUS_SENDER_EMPTY) {
            for byte in (0..FIFO_BYTES).map_while(|_| self.tx.pop()) {
                self.set(DATA, byte);
            }
        }
        let more = !self.tx.is_empty();
        self.sending.store(more, Ordering::Relaxed);
        self.set(INTERRUPTS, if more { RECEIVED | SENDER_EMPTY } else { RECEIVED });
    }

    fn has(&self, status: u8) -> bool {
        self.get(STATUS) & status != 0
    }

    fn get(&self, register: usize) -> u8 {
        // SAFETY: a register of the port, by the promise made to `new`.
        unsafe { ptr::read_volatile((BASE + register * STRIDE) as *const u8) }
    }

    fn set(&self, register: usize, value: u8) {
        // SAFETY: a register of the port, by the promise made to `new`; no register refers to memory.
        unsafe { ptr::write_volatile((BASE + register * STRIDE) as *mut u8, value) }
    }
}
