//! `wasmbed fault …`: what people and tests do to emulated devices to see what comes of it.

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::Value;
use wasmbed_wire::DeviceId;

use super::{Common, device::once, output};
use crate::{
    api::{Control, FlashRegion, Order},
    client::Client,
};

#[derive(Debug, Subcommand)]
pub(super) enum Fault {
    /// Take the power away and give it back
    Cut {
        /// The device
        id: DeviceId,
        /// How long it is off, for example 5s
        #[arg(long = "for", value_name = "TIME", value_parser = time, default_value = "0s")]
        lasts: u32,
    },
    /// Suspend the emulator: nothing moves, nothing answers
    Freeze(Timed),
    /// Take the device off its network, or delay its packets
    Network {
        #[command(flatten)]
        timed: Timed,
        /// Have packets come in batches, this far apart, instead; boards with Ethernet only
        #[arg(long, value_name = "TIME", value_parser = time)]
        delay: Option<u32>,
    },
    /// Disturb the bytes on the serial line, both ways
    Serial(Serial),
    /// Cut the power, invert bits of the flash, and start again
    Flip(Flip),
    /// Set a property of an emulated chip: a sensor's value
    Set {
        /// The device
        id: DeviceId,
        /// The chip: its `id` in the board's arguments, or a path of QEMU's object model
        chip: String,
        /// The property
        property: String,
        /// The value: JSON, or text
        value: String,
    },
    /// End every disturbance
    Calm {
        /// The device
        id: DeviceId,
    },
}

#[derive(Debug, Args)]
pub(super) struct Timed {
    /// The device
    id: DeviceId,
    /// For how long, for example 500ms, 10s or 2m
    #[arg(long = "for", value_name = "TIME", value_parser = time)]
    lasts: u32,
}

#[derive(Debug, Args)]
pub(super) struct Serial {
    #[command(flatten)]
    timed: Timed,
    /// What share of bytes have a bit inverted, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    corrupt: f64,
    /// What share of bytes are lost, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    lose: f64,
    /// What share of bytes come twice, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    repeat: f64,
}

#[derive(Debug, Args)]
pub(super) struct Flip {
    /// The device
    id: DeviceId,
    /// How many bits
    #[arg(long, value_name = "N", default_value_t = 1)]
    bits: u32,
    /// In which part of the flash
    #[arg(long = "in", value_enum, default_value_t = FlashRegion::Any)]
    region: FlashRegion,
    /// Which ones: the same number inverts the same bits [default: drawn]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

impl Fault {
    pub(super) async fn run(self, common: &Common) -> Result<()> {
        let (device, control) = self.order();
        let mut client = common.client().await?;
        let given = control_device(&mut client, device, control).await?;
        if common.json {
            return output::json(&given);
        }
        match given.as_object() {
            Some(facts) if !facts.is_empty() => {
                let facts: Vec<String> =
                    facts.iter().map(|(name, value)| format!("{name} {value}")).collect();
                output::line(format_args!("{device}: done, {}", facts.join(", ")))
            }
            _ => output::line(format_args!("{device}: done")),
        }
    }

    fn order(self) -> (DeviceId, Control) {
        match self {
            Fault::Cut { id, lasts } => (id, Control::Cut { for_ms: lasts }),
            Fault::Freeze(Timed { id, lasts }) => (id, Control::Freeze { for_ms: lasts }),
            Fault::Network { timed: Timed { id, lasts }, delay } => {
                (id, Control::Network { for_ms: lasts, delay_ms: delay })
            }
            Fault::Serial(Serial { timed: Timed { id, lasts }, corrupt, lose, repeat }) => {
                (id, Control::Serial { for_ms: lasts, corrupt, lose, repeat })
            }
            Fault::Flip(Flip { id, bits, region, seed }) => {
                (id, Control::Flip { bits, region, seed: seed.unwrap_or_else(|| fastrand::u64(..)) })
            }
            Fault::Set { id, chip, property, value } => {
                let value = serde_json::from_str(&value).unwrap_or(Value::String(value));
                (id, Control::Set { chip, property, value })
            }
            Fault::Calm { id } => (id, Control::Calm),
        }
    }
}

/// Has a device's host do something to it.
pub(super) async fn control_device(client: &mut Client, device: DeviceId, control: Control) -> Result<Value> {
    Ok(client.request("device-control", &once(Order { device, control })).await?)
}

/// Milliseconds of a time with its unit.
fn time(text: &str) -> Result<u32, String> {
    let bad = || format!("{text:?} is no time; write 500ms, 10s or 2m");
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| bad())?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => return Err(bad()),
    };
    number.checked_mul(unit_ms).and_then(|ms| u32::try_from(ms).ok()).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        assert_eq!(["500ms", "10s", "2m", "0s"].map(time), [Ok(500), Ok(10_000), Ok(120_000), Ok(0)]);
        for text in ["", "10", "s", "-1s", "1h", "1.5s", "99999999999m"] {
            let error = time(text).expect_err(text);
            assert!(error.contains("500ms, 10s or 2m"), "{error}");
        }
    }
}
