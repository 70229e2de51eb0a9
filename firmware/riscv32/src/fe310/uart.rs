//! A serial port of the FE310 (manual, "Universal Asynchronous Receiver/Transmitter"), with a small ring for what it
//! receives and none for what it sends: memory is scarce on this chip.
//!
//! A full ring switches the receiver's interrupt off until there is room. What the port cannot keep meanwhile is
//! lost on a line without flow control, and made up for by whoever speaks there; QEMU holds its host back.

use core::sync::atomic::{AtomicBool, Ordering};

use riscv_peripheral::common::{RW, Reg};
use wasmbed_firmware_common::ring::Ring;

/// 115 200 baud from the oscillator that runs after a reset, about 13.8 MHz.
const DIVISOR: u32 = 119;
const ENABLE: u32 = 1;
/// In `txdata`: the port takes nothing now; in `rxdata`: there was nothing to read.
const FULL_OR_EMPTY: u32 = 1 << 31;
/// In `ie`: more bytes were received than the watermark, 0.
const RECEIVED: u32 = 1 << 1;

/// Looks at the transmitter before waiting for it is given up.
const PATIENCE: u32 = 100_000;

/// One port, with `N` bytes for what was received.
pub(super) struct Uart<const N: usize> {
    base: usize,
    received: Ring<N>,
    /// Whether the interrupt is off because the ring was full.
    is_held: AtomicBool,
}

struct Registers {
    txdata: Reg<u32, RW>,
    rxdata: Reg<u32, RW>,
    txctrl: Reg<u32, RW>,
    rxctrl: Reg<u32, RW>,
    ie: Reg<u32, RW>,
    div: Reg<u32, RW>,
}

impl<const N: usize> Uart<N> {
    /// The port with its registers at `base`.
    ///
    /// # Safety
    ///
    /// A port of this kind is there, and nothing else uses it.
    pub(super) const unsafe fn new(base: usize) -> Self {
        Uart { base, received: Ring::new(), is_held: AtomicBool::new(false) }
    }

    fn registers(&self) -> Registers {
        let at = |offset: usize| (self.base + offset) as *mut u32;
        // SAFETY: the promise made to `new`.
        unsafe {
            Registers {
                txdata: Reg::new(at(0x00)),
                rxdata: Reg::new(at(0x04)),
                txctrl: Reg::new(at(0x08)),
                rxctrl: Reg::new(at(0x0c)),
                ie: Reg::new(at(0x10)),
                div: Reg::new(at(0x18)),
            }
        }
    }

    /// Switches transmitter, receiver and the receiver's interrupt on.
    pub(super) fn start(&self) {
        let port = self.registers();
        port.div.write(DIVISOR);
        port.txctrl.write(ENABLE);
        port.rxctrl.write(ENABLE);
        port.ie.write(RECEIVED);
    }

    /// Switches everything off, as it is after a reset.
    pub(super) fn stop(&self) {
        let port = self.registers();
        port.ie.write(0);
        port.rxctrl.write(0);
        port.txctrl.write(0);
    }

    /// Moves received bytes into `out` and returns how many there were.
    pub(super) fn read(&self, out: &mut [u8]) -> usize {
        let read = self.received.read(out);
        self.resume();
        read
    }

    /// Takes the oldest received byte.
    pub(super) fn pop(&self) -> Option<u8> {
        let byte = self.received.pop();
        self.resume();
        byte
    }

    /// Whether nothing was received that was not taken.
    pub(super) fn is_empty(&self) -> bool {
        self.received.is_empty()
    }

    fn resume(&self) {
        if self.is_held.swap(false, Ordering::Relaxed) {
            self.registers().ie.write(RECEIVED);
        }
    }

    /// Takes in what was received, one byte after the other; the handler's part. `note` is told each, and whether
    /// more than half of the ring is in use.
    pub(super) fn on_interrupt(&self, mut note: impl FnMut(u8, bool)) {
        let port = self.registers();
        let mut room = self.received.room();
        while room > 0 {
            let word = port.rxdata.read();
            if word & FULL_OR_EMPTY != 0 {
                return;
            }
            self.received.push(word as u8);
            room -= 1;
            note(word as u8, room < N / 2);
        }
        port.ie.write(0);
        self.is_held.store(true, Ordering::Relaxed);
    }

    /// Sends `bytes` and waits until the port has taken them.
    pub(super) fn send(&self, bytes: &[u8]) {
        let port = self.registers();
        for byte in bytes {
            if (0..PATIENCE).any(|_| port.txdata.read() & FULL_OR_EMPTY == 0) {
                port.txdata.write((*byte).into());
            }
        }
    }
}
