//! The second flash bank: provisioning at its beginning, firmware slots behind.

use core::ptr;

use wasmbed_firmware_common::flash::{Chips, ParallelNor};

const BASE: usize = 0x2200_0000;
const BYTES: u32 = 0x200_0000;
const SECTOR_BYTES: u32 = 0x4_0000;

/// The flash that holds the firmware slots.
pub type Flash = ParallelNor<Bank>;

/// The bank's bus.
#[derive(Debug)]
pub struct Bank(());

/// The bank; only one may be in use.
pub(super) const fn flash() -> Flash {
    ParallelNor::new(Bank(()), BYTES, SECTOR_BYTES)
}

impl Chips for Bank {
    const COUNT: u32 = 2;

    fn read(&mut self, offset: u32) -> u32 {
        assert!(offset < BYTES);
        // SAFETY: the bank is at these addresses on this machine, and reading it changes nothing.
        unsafe { ptr::read_volatile((BASE + offset as usize) as *const u32) }
    }

    fn write(&mut self, offset: u32, word: u32) {
        assert!(offset < BYTES);
        // SAFETY: writes are commands to the chips. What they change is referred to by nobody: the only
        // references into this bank are to the provisioning, in a sector that holds nothing else.
        unsafe { ptr::write_volatile((BASE + offset as usize) as *mut u32, word) };
    }
}
