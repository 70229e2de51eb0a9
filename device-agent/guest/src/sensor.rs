//! Sensors by name.

/// Something a device can measure. Readings are in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sensor {
    /// Temperature near the device, in thousandths of a degree Celsius.
    Temperature,
    /// Relative humidity, in thousandths of a percent.
    Humidity,
    /// Air pressure, in thousandths of a pascal.
    Pressure,
    /// Illuminance, in thousandths of a lux.
    Light,
    /// Supply voltage, in millivolts.
    Supply,
    /// An analogue input, 0 to 15, in millivolts.
    Adc(u8),
}

impl Sensor {
    pub(crate) const fn id(self) -> i32 {
        match self {
            Sensor::Temperature => 0,
            Sensor::Humidity => 1,
            Sensor::Pressure => 2,
            Sensor::Light => 3,
            Sensor::Supply => 4,
            Sensor::Adc(input) => 16 + input as i32,
        }
    }
}
