//! Calls for buses.

use wasmbed_abi::{Errno, I2C_ADDRESSES, MAX_BUS_BYTES, span};
use wasmtime::Caller;

use super::{Args, Copied, charge, memory, number};
use crate::{Host, instance::Guest};

/// Fuel of a byte on a bus: what a board does in the time it takes at 100 kHz, and at 1 MHz.
const I2C_BYTE_FUEL: u64 = 100;
const SPI_BYTE_FUEL: u64 = 10;

pub(super) fn i2c_transfer<H: Host>(
    caller: &mut Caller<'_, Guest<H>>,
    args: &mut Args<'_>,
) -> Result<i32, Errno> {
    let (bus, address) = (number(args)?, args.i32());
    let (mut memory, guest) = memory(caller)?;
    let write = Copied::<MAX_BUS_BYTES>::take(&memory, args)?;
    let room = span(memory.len(), args.i32(), args.i32(), MAX_BUS_BYTES)?;
    let carried = write.get().len() + room.len();
    let address = u8::try_from(address).ok().filter(|address| I2C_ADDRESSES.contains(address));
    let address = address.filter(|_| carried > 0).ok_or(Errno::Invalid)?;
    let done = memory.fill(room, |read| {
        guest.host.i2c_transfer(bus, address, write.get(), read)?;
        Ok(read.len())
    });
    charge(caller, carried as u64 * I2C_BYTE_FUEL);
    done.map(|_| 0)
}

pub(super) fn spi_transfer<H: Host>(
    caller: &mut Caller<'_, Guest<H>>,
    args: &mut Args<'_>,
) -> Result<i32, Errno> {
    let (bus, chip_select) = (number(args)?, number(args)?);
    let (mut memory, guest) = memory(caller)?;
    let (write_ptr, read_ptr, len) = (args.i32(), args.i32(), args.i32());
    let given = span(memory.len(), write_ptr, len, MAX_BUS_BYTES)?;
    let room = span(memory.len(), read_ptr, len, MAX_BUS_BYTES)?;
    let mut buffer = [0; MAX_BUS_BYTES];
    let bytes = buffer.get_mut(..given.len()).filter(|bytes| !bytes.is_empty()).ok_or(Errno::Invalid)?;
    bytes.copy_from_slice(&memory.read(given)?);
    let done = guest.host.spi_transfer(bus, chip_select, bytes);
    if done.is_ok() {
        memory.write(room, bytes)?;
    }
    let carried = bytes.len() as u64;
    charge(caller, carried * SPI_BYTE_FUEL);
    done.map(|()| 0)
}
