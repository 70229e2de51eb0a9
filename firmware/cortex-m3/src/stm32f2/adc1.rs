//! ADC1 and the sensors on it: a Sensirion SHT3x-ARP on the inputs of A0 (temperature) and A1 (humidity).
//!
//! That sensor's outputs are fractions of the supply, which is the converter's reference, so that the
//! supply cancels out. QEMU's converter makes values up: they rise by 7 from one to the next.

use stm32f2::stm32f215::ADC1;
use wasmbed_abi::{Errno, Sensor};

/// The largest result.
const FULL_SCALE: i64 = 4095;
/// The reference, in millivolts.
const REFERENCE_MV: i64 = 3300;
/// The inputs of A0 and A1, PC0 and PC1.
const TEMPERATURE_INPUT: u8 = 10;
const HUMIDITY_INPUT: u8 = 11;
/// Looks at the converter before its result is taken; a conversion takes about a microsecond.
const PATIENCE: u32 = 1_000;

/// The converter.
pub struct Adc1 {
    adc: ADC1,
}

impl Adc1 {
    /// Switches the converter on: 12 bits, one conversion at a time.
    pub fn start(adc: ADC1) -> Self {
        adc.cr2().write(|w| w.adon().set_bit());
        Adc1 { adc }
    }

    /// Leaves everything as it is after a reset.
    pub fn stop(&mut self) {
        self.adc.cr2().reset();
    }

    /// Measures, in thousandths of the sensor's unit.
    ///
    /// # Errors
    /// [`Errno::NotFound`] if there is no such sensor.
    pub fn sensor(&mut self, sensor: Sensor) -> Result<i64, Errno> {
        let line = |fraction: i64, offset: i64, span: i64| offset + span * fraction / FULL_SCALE;
        match sensor {
            Sensor::Temperature => Ok(line(self.convert(TEMPERATURE_INPUT), -66_875, 218_750)),
            Sensor::Humidity => Ok(line(self.convert(HUMIDITY_INPUT), -12_500, 125_000)),
            Sensor::Adc(input) => Ok(line(self.convert(input), 0, REFERENCE_MV)),
            _ => Err(Errno::NotFound),
        }
    }

    fn convert(&mut self, input: u8) -> i64 {
        // SAFETY: inputs have numbers from 0 to 18.
        self.adc.sqr3().write(|w| unsafe { w.sq1().bits(input) });
        self.adc.cr2().modify(|_, w| w.swstart().set_bit());
        // QEMU's converter is done at once and never says so.
        let _ = (0..PATIENCE).any(|_| self.adc.sr().read().eoc().bit_is_set());
        i64::from(self.adc.dr().read().bits() & FULL_SCALE as u32)
    }
}
