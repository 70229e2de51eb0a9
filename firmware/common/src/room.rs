//! A sensor for a machine that has none, so that modules find something to read: a room whose
//! temperature goes up and down between 20 and 24 degrees every ten minutes.

use wasmbed_abi::{Errno, Sensor};

const PERIOD_MS: u64 = 600_000;
const COOLEST: i64 = 20_000;
const SPAN: i64 = 4_000;

/// Measures, in thousandths of the sensor's unit.
///
/// # Errors
/// [`Errno::NotFound`] if there is no such sensor.
pub fn measure(sensor: Sensor, now_ms: u64) -> Result<i64, Errno> {
    if sensor != Sensor::Temperature {
        return Err(Errno::NotFound);
    }
    let (phase, half) = ((now_ms % PERIOD_MS) as i64, PERIOD_MS as i64 / 2);
    let from_coolest = half - (phase - half).abs();
    Ok(COOLEST + SPAN * from_coolest / half)
}
