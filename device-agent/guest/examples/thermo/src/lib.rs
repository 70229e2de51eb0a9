//! Publishes the temperature as a number in degrees Celsius on the channel `temperature`.
//!
//! Settings: `interval-ms`, the time between two readings; a second if absent.
#![no_std]

use wasmbed_guest::{
    Errno, Level, Module, Result, Sensor, Text, config_number, log, module, sensor_read, telemetry, timer_set,
};

/// After so many failed readings in a row the sensor counts as broken.
const TOLERATED_FAILURES: u32 = 5;

struct Thermo {
    failures: u32,
}

impl Module for Thermo {
    fn start() -> Result<Self> {
        if let Some(interval_ms) = config_number("interval-ms")? {
            timer_set(interval_ms)?;
        }
        Ok(Thermo { failures: 0 })
    }

    fn tick(&mut self) {
        match sensor_read(Sensor::Temperature) {
            Ok(thousandths) => {
                self.failures = 0;
                publish(thousandths);
            }
            Err(error) => self.failed(error),
        }
    }

    fn healthy(&mut self) -> bool {
        self.failures < TOLERATED_FAILURES
    }
}

module!(Thermo);

impl Thermo {
    fn failed(&mut self, error: Errno) {
        if self.failures == 0 {
            let mut line = Text::<48>::new();
            line.push_str("no temperature: error ").push_int(error as i64);
            // Said again when the sensor fails the next time; a lost line is no reason to stop.
            log(Level::Warn, line.as_str()).ok();
        }
        self.failures += 1;
    }
}

fn publish(thousandths: i64) {
    // Sensors are no better than a tenth of a degree.
    let tenths = thousandths / 100;
    let mut text = Text::<24>::new();
    text.push_thousandths(tenths * 100);
    // A reading that does not get through is followed by the next one.
    telemetry("temperature", text).ok();
}
