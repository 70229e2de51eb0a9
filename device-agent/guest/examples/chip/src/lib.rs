//! Publishes on the channel `chip` which flash chip is on an SPI bus: manufacturer, kind and size, each as a byte in
//! hexadecimal (its answer to 0x9F, JEDEC JESD216).
//!
//! Settings: `bus`, 3 if absent, and `chip-select`, 0 if absent.
#![no_std]

use wasmbed_guest::{Errno, Module, Result, bus, config_number, module, telemetry};

const READ_ID: u8 = 0x9f;
/// Chips send three bytes and what else they have to say of themselves; QEMU's send six in any case.
const ANSWER_BYTES: usize = 6;
const ID_BYTES: usize = 3;

struct Chip {
    bus: u32,
    chip_select: u32,
    failed: bool,
}

impl Module for Chip {
    fn start() -> Result<Self> {
        let bus = config_number("bus")?.unwrap_or(3);
        let chip_select = config_number("chip-select")?.unwrap_or(0);
        Ok(Chip { bus, chip_select, failed: false })
    }

    fn tick(&mut self) {
        self.failed = self.publish().is_err();
    }

    fn healthy(&mut self) -> bool {
        !self.failed
    }
}

module!(Chip);

impl Chip {
    fn publish(&self) -> Result<()> {
        let mut bytes = [0; 1 + ANSWER_BYTES];
        bytes[0] = READ_ID;
        bus::spi_transfer(self.bus, self.chip_select, &mut bytes)?;
        let mut text = [0; 2 * ID_BYTES];
        for (digits, byte) in text.chunks_exact_mut(2).zip(&bytes[1..]) {
            digits.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
        }
        // Nobody there: the line floats high or is held low.
        if bytes[1] == 0xff || bytes[1] == 0 {
            return Err(Errno::Io);
        }
        // An ID that does not get through is followed by the next one.
        telemetry("chip", text).ok();
        Ok(())
    }
}

fn digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
}
