//! Sensors by number, with the unit of what they measure.

use core::fmt;

/// How many analogue inputs have a number.
pub const ADC_INPUTS: u8 = 16;
/// Number of the first analogue input.
const ADC_BASE: i32 = 16;

/// Something a device can measure. Readings are thousandths of the [`unit`](Sensor::unit).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sensor {
    /// 0: temperature near the device, in thousandths of a degree Celsius.
    Temperature,
    /// 1: relative humidity, in thousandths of a percent.
    Humidity,
    /// 2: air pressure, in thousandths of a pascal.
    Pressure,
    /// 3: illuminance, in thousandths of a lux.
    Light,
    /// 4: supply voltage, in millivolts.
    Supply,
    /// 16 to 31: an analogue input, 0 to 15, in millivolts.
    Adc(u8),
}

impl Sensor {
    /// The sensor with this number.
    pub const fn from_id(id: i32) -> Option<Sensor> {
        Some(match id {
            0 => Sensor::Temperature,
            1 => Sensor::Humidity,
            2 => Sensor::Pressure,
            3 => Sensor::Light,
            4 => Sensor::Supply,
            ADC_BASE.. if id < ADC_BASE + ADC_INPUTS as i32 => Sensor::Adc((id - ADC_BASE) as u8),
            _ => return None,
        })
    }

    /// Its number.
    pub const fn id(self) -> i32 {
        match self {
            Sensor::Temperature => 0,
            Sensor::Humidity => 1,
            Sensor::Pressure => 2,
            Sensor::Light => 3,
            Sensor::Supply => 4,
            Sensor::Adc(input) => ADC_BASE + input as i32,
        }
    }

    /// What a thousand of its readings are.
    pub const fn unit(self) -> Unit {
        match self {
            Sensor::Temperature => Unit::Celsius,
            Sensor::Humidity => Unit::Percent,
            Sensor::Pressure => Unit::Pascal,
            Sensor::Light => Unit::Lux,
            Sensor::Supply | Sensor::Adc(_) => Unit::Volt,
        }
    }
}

/// A unit of measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    /// Degrees Celsius.
    Celsius,
    /// Percent.
    Percent,
    /// Pascal.
    Pascal,
    /// Lux.
    Lux,
    /// Volt.
    Volt,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Unit::Celsius => "°C",
            Unit::Percent => "%",
            Unit::Pascal => "Pa",
            Unit::Lux => "lx",
            Unit::Volt => "V",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_names_one_sensor_or_none() {
        let known: std::vec::Vec<i32> = (-2..100).filter(|id| Sensor::from_id(*id).is_some()).collect();
        assert!(known.iter().all(|id| Sensor::from_id(*id).map(Sensor::id) == Some(*id)));
        assert_eq!(known.len(), 5 + usize::from(ADC_INPUTS));
        assert_eq!(Sensor::from_id(31), Some(Sensor::Adc(15)));
        assert_eq!(Sensor::from_id(32), None);
        assert_eq!(Sensor::from_id(i32::MIN), None);
    }
}
