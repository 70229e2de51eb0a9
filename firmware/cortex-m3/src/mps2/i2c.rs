//! The I2C buses: two wires each, moved by software (Arm DDI 0389, section 4.13).
//!
//! Bus 0 has the touch screen, bus 1 the audio codec, buses 2 and 3 are those of the shields. 100 kHz; nobody may
//! stretch the clock.

use cortex_m::asm;
use volatile_register::RW;
use wasmbed_abi::Errno;

/// Where the buses' registers are.
const BUSES: [usize; 4] = [0x4002_2000, 0x4002_3000, 0x4002_9000, 0x4002_a000];
const CLOCK: u32 = 1 << 0;
const DATA: u32 = 1 << 1;
/// Half of a bit at 25 MHz.
const HALF_BIT_CYCLES: u32 = 125;

#[repr(C)]
struct Wires {
    /// Reading tells what the wires are; writing ones lets them go.
    set: RW<u32>,
    /// Writing ones pulls wires low.
    clear: RW<u32>,
}

/// Writes to a chip and then reads from it, in one transaction.
///
/// # Errors
/// [`Errno::NotFound`] if there is no such bus, [`Errno::Io`] if nobody answers.
pub(super) fn transfer(bus: u32, address: u8, write: &[u8], read: &mut [u8]) -> Result<(), Errno> {
    let base = BUSES.get(bus as usize).ok_or(Errno::NotFound)?;
    // SAFETY: the registers are at this address on this board; `transfer` alone uses them, in thread mode.
    let bus = Bus(unsafe { &*(*base as *const Wires) });
    let done = bus.exchange(address, write, read);
    bus.stop();
    done
}

struct Bus(&'static Wires);

impl Bus {
    fn exchange(&self, address: u8, write: &[u8], read: &mut [u8]) -> Result<(), Errno> {
        if !write.is_empty() || read.is_empty() {
            self.start();
            self.send(address << 1)?;
            write.iter().try_for_each(|byte| self.send(*byte))?;
        }
        if let Some(last) = read.len().checked_sub(1) {
            self.start();
            self.send(address << 1 | 1)?;
            for (nth, place) in read.iter_mut().enumerate() {
                *place = (0..8).fold(0, |byte, _| byte << 1 | u8::from(self.bit(true)));
                // Not acknowledging the last one ends it.
                self.bit(nth == last);
            }
        }
        Ok(())
    }

    /// Begins a transaction, or another part of one.
    fn start(&self) {
        self.release(DATA);
        self.release(CLOCK);
        self.pull(DATA);
        self.pull(CLOCK);
    }

    fn stop(&self) {
        self.pull(DATA);
        self.release(CLOCK);
        self.release(DATA);
    }

    fn send(&self, byte: u8) -> Result<(), Errno> {
        for nth in (0..8).rev() {
            self.bit(byte >> nth & 1 == 1);
        }
        if self.bit(true) { Err(Errno::Io) } else { Ok(()) }
    }

    /// Sends a bit and returns what the wire was; a one lets the chip say what it is.
    fn bit(&self, high: bool) -> bool {
        if high {
            self.release(DATA)
        } else {
            self.pull(DATA)
        }
        self.release(CLOCK);
        let heard = self.0.set.read() & DATA != 0;
        self.pull(CLOCK);
        heard
    }

    fn release(&self, wire: u32) {
        // SAFETY: the wires touch no memory.
        unsafe { self.0.set.write(wire) };
        asm::delay(HALF_BIT_CYCLES);
    }

    fn pull(&self, wire: u32) {
        // SAFETY: the wires touch no memory.
        unsafe { self.0.clear.write(wire) };
        asm::delay(HALF_BIT_CYCLES);
    }
}
