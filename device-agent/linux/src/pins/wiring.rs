//! Which line of a GPIO chip each pin is:
//!
//! ```toml
//! [[gpio]]
//! pin = 17                            # the number that modules use
//! chip = "pinctrl-bcm2835"            # its label, or a path; chips have the same number at each start by luck only
//! line = 17                           # its number on the chip
//! direction = "output"                # or "input"; as modules use it, if absent
//!
//! [[gpio]]
//! pin = 4
//! line = "BUTTON"                     # or its name, on whichever chip has it if there is no `chip`
//! active_low = true                   # high for modules is low on the line; false if absent
//! bias = "pull-up"                    # or "pull-down", "disabled"; left as it is, if absent
//! ```
//!
//! The agent needs Linux 5.10, and permission to open the chips: on most distributions the group `gpio`.

use std::{fmt, path::PathBuf};

use anyhow::{bail, ensure};
use serde::Deserialize;

/// A pin as configured.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GpioConfig {
    /// The number that modules use.
    pub(super) pin: u32,
    pub(super) chip: Option<PathBuf>,
    pub(super) line: LineId,
    pub(super) direction: Option<Direction>,
    #[serde(default)]
    pub(super) active_low: bool,
    pub(super) bias: Option<Bias>,
}

/// What a line is found by.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "a line is its number on the chip, or its name")]
pub(super) enum LineId {
    Number(u32),
    Name(String),
}

/// What a line is for, whatever modules want.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) enum Direction {
    Input,
    Output,
}

/// What holds a line while nobody drives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) enum Bias {
    PullUp,
    PullDown,
    Disabled,
}

impl TryFrom<String> for Direction {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "input" => Ok(Direction::Input),
            "output" => Ok(Direction::Output),
            _ => Err(format!("there is no direction {text:?}; use \"input\" or \"output\"")),
        }
    }
}

impl TryFrom<String> for Bias {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "pull-up" => Ok(Bias::PullUp),
            "pull-down" => Ok(Bias::PullDown),
            "disabled" => Ok(Bias::Disabled),
            _ => Err(format!("there is no bias {text:?}; use \"pull-up\", \"pull-down\" or \"disabled\"")),
        }
    }
}

impl fmt::Display for GpioConfig {
    /// The line, for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.line {
            LineId::Number(number) => write!(f, "line {number}")?,
            LineId::Name(name) => write!(f, "line {name:?}")?,
        }
        match &self.chip {
            Some(chip) => write!(f, " of {}", chip.display()),
            None => Ok(()),
        }
    }
}

/// The pins that are lines; each has one of its own.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wiring(Vec<GpioConfig>);

impl Wiring {
    /// Checks the configuration; the chips themselves may come later.
    pub(crate) fn new(pins: Vec<GpioConfig>) -> anyhow::Result<Self> {
        for (nth, config) in pins.iter().enumerate() {
            let pin = config.pin;
            match (&config.chip, &config.line) {
                (None, LineId::Number(line)) => {
                    bail!(
                        "gpio has line {line} for pin {pin} without its chip; set `chip`, or the line's name"
                    )
                }
                (_, LineId::Name(name)) => {
                    ensure!(!name.is_empty(), "gpio has a line without a name for pin {pin}; see `gpioinfo`");
                }
                (Some(_), LineId::Number(_)) => {}
            }
            for other in &pins[..nth] {
                ensure!(other.pin != pin, "gpio has pin {pin} twice; give each line a number of its own");
                ensure!(
                    (&other.chip, &other.line) != (&config.chip, &config.line),
                    "gpio has {config} as pin {} and as pin {pin}; give it one number",
                    other.pin
                );
            }
        }
        Ok(Wiring(pins))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &GpioConfig> {
        self.0.iter()
    }
}

/// The pins of a text.
#[cfg(test)]
pub(super) fn parsed(text: &str) -> Vec<GpioConfig> {
    #[derive(Deserialize)]
    struct Config {
        #[serde(default)]
        gpio: Vec<GpioConfig>,
    }
    toml::from_str::<Config>(text).expect("pins").gpio
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pin_stands_for_one_line() {
        let chip = "chip = '/dev/gpiochip0'\n";
        let cases = [
            (
                format!("[[gpio]]\npin = 1\n{chip}line = 1\n[[gpio]]\npin = 1\n{chip}line = 2\n"),
                "pin 1 twice",
            ),
            (
                format!("[[gpio]]\npin = 1\n{chip}line = 7\n[[gpio]]\npin = 2\n{chip}line = 7\n"),
                "line 7 of /dev/gpiochip0 as pin 1 and as pin 2",
            ),
            ("[[gpio]]\npin = 1\nline = 'A'\n[[gpio]]\npin = 2\nline = 'A'\n".into(), "line \"A\" as pin 1"),
            ("[[gpio]]\npin = 1\nline = 7\n".into(), "line 7 for pin 1 without its chip; set `chip`"),
            ("[[gpio]]\npin = 1\nline = ''\n".into(), "a line without a name for pin 1"),
        ];
        for (text, expected) in cases {
            let said = Wiring::new(parsed(&text)).expect_err(&text).to_string();
            assert!(said.contains(expected), "{said}");
        }
    }
}
