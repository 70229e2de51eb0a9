//! What a module sees of the world: sensors, pins and chips over time, from a file.
//!
//! ```toml
//! [sensors]                  # in the unit of the sensor
//! temperature = 21.5
//! adc0 = [{ at_ms = 0, value = 1.2 }, { at_ms = 5000, value = 1.8 }, { at_ms = 9000, fault = true }]
//!
//! [gpio]                     # inputs, by number
//! 4 = [{ at_ms = 0, value = false }, { at_ms = 2500, value = true }]
//!
//! [i2c."1.0x48"]             # bus 1, address 0x48: bytes that are written, and those that are read then
//! 00 = "19 00"
//!
//! [spi."3.0"]                # bus 3, chip select 0: how transfers begin, and what comes back from their start on
//! 9f = "00 ef 40 14"
//!
//! [network]                  # real connections, with --realtime: nothing is allowed but this
//! allow = ["tcp:127.0.0.1:1883", "udp:*.example.org:*"]
//! ```
//!
//! A value holds from its time on; before the first one and for what is not named, there is no such sensor
//! or pin.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use wasmbed_abi::{ADC_INPUTS, Errno, Pattern, Sensor};

use super::buses::{self, Buses};

/// Largest reading, in its unit: its thousandths fit where the module reads them.
const MAX_READING: f64 = 9e15;

/// Sensors by number, in thousandths of their unit, inputs by pin, chips, and where connections may go.
#[derive(Debug, Default)]
pub(super) struct Script {
    sensors: BTreeMap<i32, Course<i64>>,
    inputs: BTreeMap<u32, Course<bool>>,
    pub(super) buses: Buses,
    /// Patterns separated by spaces.
    pub(super) allow_network: String,
}

/// The file as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default)]
    sensors: BTreeMap<String, Values<f64>>,
    #[serde(default)]
    gpio: BTreeMap<String, Values<bool>>,
    #[serde(default)]
    i2c: buses::Config,
    #[serde(default)]
    spi: buses::Config,
    #[serde(default)]
    network: NetworkConfig,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct NetworkConfig {
    #[serde(default)]
    allow: Vec<String>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a value, or a list of { at_ms, value } or { at_ms, fault = true }")]
pub(super) enum Values<T> {
    Always(T),
    Over(Vec<Step<T>>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Step<T> {
    at_ms: u64,
    value: Option<T>,
    #[serde(default)]
    fault: bool,
}

/// Values and failures, each from its time on, in milliseconds; in the order of time.
#[derive(Debug)]
pub(super) struct Course<T>(Vec<(u64, Result<T, Errno>)>);

impl Script {
    /// Reads a file.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("in {}", path.display()))
    }

    pub(super) fn parse(text: &str) -> Result<Self> {
        let Config { sensors, gpio, i2c, spi, network } = toml::from_str(text)?;
        for pattern in &network.allow {
            Pattern::parse(pattern).with_context(|| format!("network: {pattern:?}"))?;
        }
        let (buses, allow_network) = (Buses::new(i2c, spi)?, network.allow.join(" "));
        let mut script = Script { buses, allow_network, ..Script::default() };
        for (name, values) in sensors {
            let sensor = sensor(&name)?;
            let course = Course::new(values, thousandths).with_context(|| format!("sensor {name}"))?;
            script.sensors.insert(sensor.id(), course);
        }
        for (pin, values) in gpio {
            let number = pin.parse().with_context(|| format!("{pin:?} is not the number of a pin"))?;
            let course = Course::new(values, Ok).with_context(|| format!("pin {pin}"))?;
            script.inputs.insert(number, course);
        }
        Ok(script)
    }

    /// A reading, in thousandths of the sensor's unit.
    pub(super) fn sensor(&self, sensor: Sensor, now_ms: u64) -> Result<i64, Errno> {
        self.sensors.get(&sensor.id()).map_or(Err(Errno::NotFound), |course| course.at(now_ms))
    }

    /// The level of an input; none if the pin is not in the file.
    pub(super) fn input(&self, pin: u32, now_ms: u64) -> Option<Result<bool, Errno>> {
        self.inputs.get(&pin).map(|course| course.at(now_ms))
    }
}

impl<T: Clone> Course<T> {
    pub(super) fn new<V>(values: Values<V>, convert: impl Fn(V) -> Result<T>) -> Result<Self> {
        let steps = match values {
            Values::Always(value) => return Ok(Course(vec![(0, Ok(convert(value)?))])),
            Values::Over(steps) => steps,
        };
        let mut course: Vec<(u64, Result<T, Errno>)> = Vec::new();
        for Step { at_ms, value, fault } in steps {
            if course.last().is_some_and(|(before, _)| *before >= at_ms) {
                bail!("at_ms = {at_ms} does not come after the step before it");
            }
            let value = match (value, fault) {
                (Some(value), false) => Ok(convert(value)?),
                (None, true) => Err(Errno::Io),
                _ => bail!("at_ms = {at_ms} needs either a value or fault = true"),
            };
            course.push((at_ms, value));
        }
        Ok(Course(course))
    }

    pub(super) fn at(&self, now_ms: u64) -> Result<T, Errno> {
        let passed = self.0.partition_point(|(at_ms, _)| *at_ms <= now_ms);
        let last = passed.checked_sub(1).and_then(|last| self.0.get(last));
        last.map_or(Err(Errno::NotFound), |(_, value)| value.clone())
    }
}

/// What files call a sensor.
pub(super) fn name(sensor: Sensor) -> String {
    match sensor {
        Sensor::Adc(input) => format!("adc{input}"),
        named => format!("{named:?}").to_lowercase(),
    }
}

fn sensor(wanted: &str) -> Result<Sensor> {
    let mut known = (0..=Sensor::Adc(ADC_INPUTS - 1).id()).filter_map(Sensor::from_id);
    known.find(|sensor| name(*sensor) == wanted).with_context(|| {
        format!(
            "there is no sensor {wanted:?}; there are temperature, humidity, pressure, light, supply, adc0 to adc{}",
            ADC_INPUTS - 1
        )
    })
}

fn thousandths(value: f64) -> Result<i64> {
    if !(-MAX_READING..=MAX_READING).contains(&value) {
        bail!("{value} is not a reading");
    }
    // In range, as just checked.
    Ok((value * 1000.0).round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_holds_from_its_time_on() {
        let script = Script::parse(
            "[sensors]\ntemperature = 21\nadc3 = [{ at_ms = 100, value = 1.8 }, { at_ms = 200, fault = true }]\n\
             [gpio]\n4 = [{ at_ms = 0, value = false }, { at_ms = 50, value = true }]",
        )
        .expect("a script");
        assert_eq!(script.sensor(Sensor::Temperature, 0), Ok(21_000));
        assert_eq!(script.sensor(Sensor::Adc(3), 99), Err(Errno::NotFound));
        assert_eq!(script.sensor(Sensor::Adc(3), 100), Ok(1_800));
        assert_eq!(script.sensor(Sensor::Adc(3), 201), Err(Errno::Io));
        assert_eq!(script.sensor(Sensor::Light, 0), Err(Errno::NotFound));
        assert_eq!(script.input(4, 49), Some(Ok(false)));
        assert_eq!(script.input(4, 50), Some(Ok(true)));
        assert_eq!(script.input(5, 50), None);
    }

    #[test]
    fn mistakes_are_named() {
        for (text, expected) in [
            ("[sensors]\nadc16 = 1", "there is no sensor \"adc16\""),
            ("[sensor]\nadc0 = 1", "unknown field `sensor`"),
            ("[sensors]\nadc0 = \"high\"", "a value, or a list"),
            ("[sensors]\nadc0 = nan", "not a reading"),
            ("[sensors]\nadc0 = [{ at_ms = 1 }]", "at_ms = 1 needs either a value or fault"),
            ("[sensors]\nadc0 = [{ at_ms = 1, value = 1 }, { at_ms = 1, value = 2 }]", "does not come after"),
            ("[gpio]\nled = true", "\"led\" is not the number of a pin"),
            ("[i2c.\"1.0x48\"]\n00 = 1", "a value, or a list"),
            ("[network]\nallow = [\"tcp:*:80\"]", "write tcp:HOST:PORT"),
        ] {
            let error = format!("{:#}", Script::parse(text).expect_err(text));
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
