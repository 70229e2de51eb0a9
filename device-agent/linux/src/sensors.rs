//! What a Linux device can measure and drive.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use wasmbed_abi::{Edges, Errno, Sensor};

use crate::worker::Line;

/// Where Linux shows the temperatures it knows, in thousandths of a degree Celsius.
const THERMAL: &str = "/sys/class/thermal";
/// Pins of a simulated device.
const PINS: usize = 32;

/// Sensors and pins of the device; clones are the same device.
#[derive(Debug, Clone)]
pub(crate) struct Peripherals {
    dir: Option<PathBuf>,
    simulate: bool,
    pins: Arc<Pins>,
}

/// Pins that only modules drive.
#[derive(Debug, Default)]
struct Pins {
    levels: Mutex<[bool; PINS]>,
    watchers: Mutex<Vec<Watcher>>,
}

/// A module that is told when a pin changes.
#[derive(Debug)]
struct Watcher {
    pin: u32,
    edges: Edges,
    line: Weak<Line>,
}

impl Peripherals {
    /// A sensor with a file in `dir` (`temperature`, `adc3`, …, thousandths of the unit as text) reads that
    /// file. With `simulate`, what the machine lacks is made up.
    pub(crate) fn new(dir: Option<PathBuf>, simulate: bool) -> Self {
        Peripherals { dir, simulate, pins: Arc::default() }
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

    pub(crate) fn write_pin(&self, pin: u32, high: bool) -> Result<(), Errno> {
        let nth = self.pin(pin)?;
        let before = std::mem::replace(&mut lock(&self.pins.levels)[nth], high);
        if before != high {
            self.tell(pin, high);
        }
        Ok(())
    }

    pub(crate) fn read_pin(&self, pin: u32) -> Result<bool, Errno> {
        self.pin(pin).map(|nth| lock(&self.pins.levels)[nth])
    }

    /// Has changes of a pin told to a module from now on.
    pub(crate) fn watch_pin(&self, pin: u32, edges: Edges, line: &Weak<Line>) -> Result<(), Errno> {
        self.pin(pin)?;
        let mut watchers = lock(&self.pins.watchers);
        watchers.retain(|watcher| !(watcher.pin == pin && watcher.line.ptr_eq(line)));
        if edges != Edges::default() {
            watchers.push(Watcher { pin, edges, line: Weak::clone(line) });
        }
        Ok(())
    }

    fn tell(&self, pin: u32, high: bool) {
        lock(&self.pins.watchers).retain(|watcher| {
            let Some(line) = watcher.line.upgrade() else { return false };
            if watcher.pin == pin && watcher.edges.watch(high) {
                line.gpio_edge(pin, high);
            }
            true
        });
    }

    /// Its place among the pins there are.
    fn pin(&self, pin: u32) -> Result<usize, Errno> {
        if !self.simulate {
            return Err(Errno::Unsupported);
        }
        usize::try_from(pin).ok().filter(|nth| *nth < PINS).ok_or(Errno::NotFound)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
        let peripherals = Peripherals::new(Some(dir.path().to_owned()), false);
        assert_eq!(peripherals.read(Sensor::Adc(2), 0), Ok(1234));
        assert_eq!(peripherals.read(Sensor::Supply, 0), Err(Errno::Io));
        assert_eq!(peripherals.read(Sensor::Adc(3), 0), Err(Errno::NotFound));
        Ok(())
    }

    #[test]
    fn a_simulated_sensor_stays_in_its_range() {
        let readings: Vec<i64> =
            (0..240_000).step_by(1_000).map(|at| simulated(Sensor::Temperature, at)).collect();
        assert_eq!(readings.iter().min(), Some(&20_000));
        assert_eq!(readings.iter().max(), Some(&25_000));
    }

    #[test]
    fn only_a_simulated_device_has_pins() {
        let plain = Peripherals::new(None, false);
        assert_eq!(plain.write_pin(1, true), Err(Errno::Unsupported));
        let simulated = Peripherals::new(None, true);
        assert_eq!(simulated.write_pin(1, true), Ok(()));
        assert_eq!(simulated.read_pin(1), Ok(true));
        assert_eq!(simulated.read_pin(32), Err(Errno::NotFound));
    }
}
