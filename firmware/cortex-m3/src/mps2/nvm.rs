//! The PSRAM, 16 MiB that QEMU keeps in a file: provisioning at its beginning, firmware slots behind.

use core::ptr;

use wasmbed_firmware_common::flash::{Mapped, Memory};

const BASE: usize = 0x2100_0000;
const BYTES: u32 = 0x100_0000;
const SECTOR_BYTES: u32 = 0x1000;

/// The flash that holds the firmware slots.
pub type Flash = Mapped<Nvm>;

/// The memory.
#[derive(Debug)]
pub struct Nvm(());

/// The memory; only one may be in use.
pub(super) const fn flash() -> Flash {
    Mapped::new(Nvm(()), BYTES, SECTOR_BYTES)
}

impl Memory for Nvm {
    fn read(&self, offset: u32, out: &mut [u8]) {
        assert!(offset as usize + out.len() <= BYTES as usize);
        // SAFETY: the memory is at these addresses on this board, and nothing refers to it mutably.
        unsafe {
            ptr::copy_nonoverlapping((BASE + offset as usize) as *const u8, out.as_mut_ptr(), out.len())
        };
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) {
        assert!(offset as usize + bytes.len() <= BYTES as usize);
        // SAFETY: as above. What changes is referred to by nobody: the only references into this memory are to
        // the provisioning, in a sector that holds nothing else.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), (BASE + offset as usize) as *mut u8, bytes.len()) };
    }
}
