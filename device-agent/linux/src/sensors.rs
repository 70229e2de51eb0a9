//! What a Linux device can measure.

use std::{fs, path::PathBuf};

use wasmbed_abi::{Errno, Sensor};

/// Where Linux shows the temperatures it knows, in thousandths of a degree Celsius.
const THERMAL: &str = "/sys/class/thermal";

/// Sensors of the device.
#[derive(Debug, Clone)]
pub(crate) struct Sensors {
    dir: Option<PathBuf>,
    simulate: bool,
}

impl Sensors {
    /// A sensor with a file in `dir` (`temperature`, `adc3`, …, thousandths of the unit as text) reads that
    /// file. With `simulate`, what the machine lacks is made up.
    pub(crate) fn new(dir: Option<PathBuf>, simulate: bool) -> Self {
        Sensors { dir, simulate }
    }

    pub(crate) fn read(&self, sensor: Sensor, uptime_ms: u64) -> Result<i64, Errno> {
        if let Some(reading) = self.file_reading(sensor) {
            return reading;
        }
        let thermal = if sensor == Sensor::Temperature { thermal_zone() } else { None };
        match thermal {
            Some(reading) => Ok(reading),
            None if self.simulate => Ok(simulated(sensor, uptime_ms)),
            None => Err(Errno::NotFound),
        }
    }

    fn file_reading(&self, sensor: Sensor) -> Option<Result<i64, Errno>> {
        let text = fs::read_to_string(self.dir.as_ref()?.join(name(sensor))).ok()?;
        Some(text.trim().parse().map_err(|_| Errno::Io))
    }
}

fn name(sensor: Sensor) -> String {
    match sensor {
        Sensor::Temperature => "temperature".into(),
        Sensor::Humidity => "humidity".into(),
        Sensor::Pressure => "pressure".into(),
        Sensor::Light => "light".into(),
        Sensor::Supply => "supply".into(),
        Sensor::Adc(input) => format!("adc{input}"),
    }
}

/// The first thermal zone that answers.
fn thermal_zone() -> Option<i64> {
    let mut zones: Vec<_> =
        fs::read_dir(THERMAL).ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    zones.sort();
    zones.iter().find_map(|zone| fs::read_to_string(zone.join("temp")).ok()?.trim().parse().ok())
}

/// A plausible value that goes up and down within two minutes, so that a change can be seen.
fn simulated(sensor: Sensor, uptime_ms: u64) -> i64 {
    let (low, high) = match sensor {
        Sensor::Temperature => (20_000, 25_000),
        Sensor::Humidity => (40_000, 60_000),
        Sensor::Pressure => (100_900_000, 101_700_000),
        Sensor::Light => (100_000, 400_000),
        Sensor::Supply => (3_270, 3_330),
        Sensor::Adc(_) => (0, 3_300),
    };
    let at = (uptime_ms % 120_000).cast_signed();
    let rise = if at < 60_000 { at } else { 120_000 - at };
    low + (high - low) * rise / 60_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_what_a_sensor_reads() -> std::io::Result<()> {
        let dir = tempfile::tempdir()?;
        fs::write(dir.path().join("adc2"), "1234\n")?;
        fs::write(dir.path().join("supply"), "full")?;
        let sensors = Sensors::new(Some(dir.path().to_owned()), false);
        assert_eq!(sensors.read(Sensor::Adc(2), 0), Ok(1234));
        assert_eq!(sensors.read(Sensor::Supply, 0), Err(Errno::Io));
        assert_eq!(sensors.read(Sensor::Adc(3), 0), Err(Errno::NotFound));
        Ok(())
    }

    #[test]
    fn a_simulated_sensor_stays_in_its_range() {
        let readings: Vec<i64> =
            (0..240_000).step_by(1_000).map(|at| simulated(Sensor::Temperature, at)).collect();
        assert_eq!(readings.iter().min(), Some(&20_000));
        assert_eq!(readings.iter().max(), Some(&25_000));
    }
}
