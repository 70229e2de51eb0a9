//! The SPI buses, PL022 (Arm DDI 0194) as masters: 8 bits, most significant first, mode 0.
//!
//! Bus 0 is that of the header, bus 2 that of the ADC, buses 3 and 4 are those of the shields; bus 1 has the display.
//! A chip that is always selected is chip 0.

use volatile_register::{RO, RW};
use wasmbed_abi::Errno;

/// Where the buses' registers are.
const BUSES: [usize; 5] = [0x4002_0000, 0x4002_1000, 0x4002_5000, 0x4002_6000, 0x4002_7000];
/// Looks at the status before a byte is given up; at 1 MHz one takes 8 microseconds.
const PATIENCE: u32 = 100_000;

#[repr(C)]
struct Pl022 {
    format: RW<u32>,
    control: RW<u32>,
    data: RW<u32>,
    status: RO<u32>,
    prescaler: RW<u32>,
}

const EIGHT_BITS: u32 = 7;
const ON: u32 = 1 << 1;
/// 25 MHz / 26 = 0.96 MHz, which every chip keeps up with.
const DIVISOR: u32 = 26;
const RECEIVED: u32 = 1 << 2;

/// Exchanges bytes in place.
///
/// # Errors
/// [`Errno::NotFound`] if there is no such bus or chip, [`Errno::Io`] if a byte does not come back in time.
pub(super) fn transfer(bus: u32, chip_select: u32, bytes: &mut [u8]) -> Result<(), Errno> {
    let base = BUSES.get(bus as usize).filter(|_| chip_select == 0).ok_or(Errno::NotFound)?;
    // SAFETY: the registers are at this address on this board; `transfer` alone uses them, in thread mode.
    let spi = unsafe { &*(*base as *const Pl022) };
    write(&spi.prescaler, DIVISOR);
    write(&spi.format, EIGHT_BITS);
    write(&spi.control, ON);
    for byte in bytes {
        write(&spi.data, (*byte).into());
        if !(0..PATIENCE).any(|_| spi.status.read() & RECEIVED != 0) {
            return Err(Errno::Io);
        }
        *byte = spi.data.read() as u8;
    }
    Ok(())
}

fn write(register: &RW<u32>, value: u32) {
    // SAFETY: the bus touches no memory.
    unsafe { register.write(value) };
}
