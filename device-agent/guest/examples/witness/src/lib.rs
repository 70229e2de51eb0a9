//! Publishes the temperature with proof of where it was measured: on the channel `witness` the device's public
//! key for this module (32 bytes), its Ed25519 signature of the text (64 bytes), and the text, `UPTIME_MS
//! DEGREES`.
//!
//! Whoever noted the key once knows that a text is this module's on this device, whatever brokers and services it
//! passed. Needs a device that keeps keys.
#![no_std]

use wasmbed_guest::{Module, Result, Sensor, Text, module, security, sensor_read, telemetry, uptime_ms};

/// Which of the module's keys signs.
const KEY: u8 = 0;
const PUBLIC_KEY_BYTES: usize = 32;
const SIGNATURE_BYTES: usize = 64;
const TEXT_BYTES: usize = 48;

struct Witness {
    public_key: [u8; PUBLIC_KEY_BYTES],
    failed: bool,
}

impl Module for Witness {
    fn start() -> Result<Self> {
        Ok(Witness { public_key: security::public_key(KEY)?, failed: false })
    }

    fn tick(&mut self) {
        self.failed = self.testify().is_err();
    }

    fn healthy(&mut self) -> bool {
        !self.failed
    }
}

module!(Witness);

impl Witness {
    fn testify(&self) -> Result<()> {
        let mut text = Text::<TEXT_BYTES>::new();
        text.push_int(uptime_ms().cast_signed()).push_str(" ");
        text.push_thousandths(sensor_read(Sensor::Temperature)?);
        let signature = security::sign(KEY, text.as_ref())?;
        let parts: [&[u8]; 3] = [&self.public_key, &signature, text.as_ref()];
        let mut payload = [0; PUBLIC_KEY_BYTES + SIGNATURE_BYTES + TEXT_BYTES];
        let mut len = 0;
        for byte in parts.into_iter().flatten() {
            if let Some(place) = payload.get_mut(len) {
                *place = *byte;
                len += 1;
            }
        }
        // A reading that does not get through is followed by the next one.
        telemetry("witness", payload.get(..len).unwrap_or_default()).ok();
        Ok(())
    }
}
