//! Chips on I2C and SPI buses. A transaction carries at most 256 bytes in each direction.

use crate::{Result, errno::check, raw};

/// Writes to the chip at an address of 7 bits, then reads from it, in one transaction; either part may be empty.
///
/// # Errors
/// `NotFound` if modules have no such bus, `Io` if no chip answers, `Unsupported` if the device has no buses.
pub fn i2c_transfer(bus: u32, address: u8, write: &[u8], read: &mut [u8]) -> Result<()> {
    let (bus, address) = (bus.cast_signed(), i32::from(address));
    let (out, room) = (read.as_mut_ptr(), read.len());
    // SAFETY: both pointers go with the length of what they point to.
    check(unsafe { raw::i2c_transfer(bus, address, write.as_ptr(), write.len(), out, room) }).map(drop)
}

/// Exchanges bytes with the chip that a chip select stands for: those that come back take the place of those that
/// were written at the same time.
///
/// # Errors
/// `NotFound` if modules have no such bus or chip select, `Unsupported` if the device has no buses.
pub fn spi_transfer(bus: u32, chip_select: u32, bytes: &mut [u8]) -> Result<()> {
    let (bus, chip_select, at) = (bus.cast_signed(), chip_select.cast_signed(), bytes.as_mut_ptr());
    // SAFETY: pointer and length are those of a slice; the device reads all of it before it writes.
    check(unsafe { raw::spi_transfer(bus, chip_select, at, at, bytes.len()) }).map(drop)
}
