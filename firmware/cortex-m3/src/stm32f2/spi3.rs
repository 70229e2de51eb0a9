//! SPI3 as a master (RM0033, section 25.3): 8 bits, most significant first, mode 0. Its NSS pin selects the chip for
//! as long as the peripheral is on, which is one transfer.

use stm32f2::stm32f215::SPI3;
use wasmbed_abi::Errno;

/// What the clock of the peripheral is divided by.
pub use stm32f2::stm32f215::spi1::cr1::BR as Divisor;

/// Looks at the status before a byte is given up; at 1 MHz one takes 8 microseconds.
const PATIENCE: u32 = 100_000;

/// The bus.
pub struct Spi3 {
    spi: SPI3,
    /// Reading the data register clocks a byte: QEMU (hw/ssi/stm32f2xx_spi.c) sends what was received last and
    /// returns the answer to that.
    reading_clocks: bool,
}

impl Spi3 {
    /// Sets the bus up; it stays off between transfers.
    pub fn start(spi: SPI3, divisor: Divisor) -> Self {
        // Out of reset QEMU sets this bit, which the chip only ever has as an I2S (RM0033, section 25.5.3).
        let reading_clocks = spi.sr().read().udr().bit_is_set();
        spi.cr2().write(|w| w.ssoe().set_bit());
        spi.cr1().write(|w| w.mstr().set_bit().br().variant(divisor));
        Spi3 { spi, reading_clocks }
    }

    /// Leaves everything as it is after a reset.
    pub fn stop(&mut self) {
        self.spi.cr1().reset();
        self.spi.cr2().reset();
    }

    /// Exchanges bytes in place.
    ///
    /// In QEMU bytes are either sent or received: the last ones that are zero are received, those before them sent,
    /// and zeros take their place.
    ///
    /// # Errors
    /// [`Errno::Io`] if a byte does not come back in time.
    pub fn transfer(&mut self, bytes: &mut [u8]) -> Result<(), Errno> {
        self.spi.cr1().modify(|_, w| w.spe().set_bit());
        let exchanged = self.exchange(bytes);
        let _ = (0..PATIENCE).any(|_| self.spi.sr().read().bsy().bit_is_clear());
        self.spi.cr1().modify(|_, w| w.spe().clear_bit());
        exchanged
    }

    fn exchange(&mut self, bytes: &mut [u8]) -> Result<(), Errno> {
        if self.reading_clocks {
            let sent = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            let (sent, received) = bytes.split_at_mut_checked(sent).ok_or(Errno::Io)?;
            sent.iter_mut().for_each(|byte| self.write(core::mem::take(byte)));
            received.iter_mut().for_each(|byte| *byte = self.read());
            return Ok(());
        }
        for byte in bytes {
            self.write(*byte);
            let has_come = (0..PATIENCE).any(|_| self.spi.sr().read().rxne().bit_is_set());
            *byte = if has_come { self.read() } else { return Err(Errno::Io) };
        }
        Ok(())
    }

    fn write(&self, byte: u8) {
        // SAFETY: a byte is data to send.
        self.spi.dr().write(|w| unsafe { w.bits(byte.into()) });
    }

    fn read(&self) -> u8 {
        self.spi.dr().read().bits() as u8
    }
}
