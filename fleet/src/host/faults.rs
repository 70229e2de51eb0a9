//! What is made to be wrong with a device's lines, for a time.
//!
//! Not here: who asks for it (`orders`), and what it does to a board (nothing that the link does not repair).

use std::{borrow::Cow, time::Duration};

use tokio::time::Instant;

/// What is wrong with the lines of one start of a device.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Faults {
    /// Bytes on the serial line are disturbed.
    pub(super) noise: Option<Noise>,
    /// The broker is out of reach until then.
    pub(super) offline_until: Option<Instant>,
}

impl Faults {
    /// Whether the broker is out of reach now.
    pub(super) fn is_offline(&self) -> bool {
        self.offline_until.is_some_and(|until| Instant::now() < until)
    }
}

/// Disturbed bytes: what share of them, 0 to 1, and until when.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Noise {
    pub(super) until: Instant,
    pub(super) corrupt: f64,
    pub(super) lose: f64,
    pub(super) repeat: f64,
}

impl Noise {
    /// Noise for a while.
    ///
    /// # Errors
    /// What is wrong with the shares.
    pub(super) fn new(lasts: Duration, corrupt: f64, lose: f64, repeat: f64) -> Result<Self, String> {
        let shares = [("corrupt", corrupt), ("lose", lose), ("repeat", repeat)];
        if let Some((name, share)) = shares.into_iter().find(|(_, share)| !(0.0..=1.0).contains(share)) {
            return Err(format!("{name} is {share}; a share is a number from 0 to 1"));
        }
        if shares.iter().all(|(_, share)| *share == 0.0) {
            return Err("nothing is disturbed; give corrupt, lose or repeat a share above 0".to_owned());
        }
        Ok(Noise { until: Instant::now() + lasts, corrupt, lose, repeat })
    }

    fn disturb(&self, random: &mut fastrand::Rng, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len());
        for byte in bytes {
            let byte = if random.f64() < self.corrupt { byte ^ 1 << random.u8(..8) } else { *byte };
            if random.f64() < self.lose {
                continue;
            }
            out.push(byte);
            if random.f64() < self.repeat {
                out.push(byte);
            }
        }
        out
    }
}

/// Disturbs what passes along a line, as long as it is to be.
#[derive(Default)]
pub(super) struct Disturber(fastrand::Rng);

impl Disturber {
    /// What arrives of these bytes.
    pub(super) fn pass<'b>(&mut self, faults: &Faults, bytes: &'b [u8]) -> Cow<'b, [u8]> {
        match faults.noise {
            Some(noise) if Instant::now() < noise.until => Cow::Owned(noise.disturb(&mut self.0, bytes)),
            _ => Cow::Borrowed(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_disturbed_for_its_time_and_as_much_as_wanted() {
        let noise = Noise::new(Duration::from_secs(3600), 0.0, 0.5, 0.5).expect("shares");
        let mut faults = Faults { noise: Some(noise), ..Faults::default() };
        let (mut disturber, bytes) = (Disturber(fastrand::Rng::with_seed(1)), [7; 10_000]);
        let arrived = disturber.pass(&faults, &bytes);
        assert!(arrived.iter().all(|byte| *byte == 7));
        // Half of them, and half of those twice.
        assert!((7_000..8_000).contains(&arrived.len()), "{}", arrived.len());
        faults.noise = Some(Noise { until: Instant::now(), ..noise });
        assert_eq!(disturber.pass(&faults, &bytes), &bytes[..]);
    }

    #[test]
    fn a_corrupt_byte_has_one_bit_inverted() {
        let noise = Noise::new(Duration::from_secs(1), 1.0, 0.0, 0.0).expect("shares");
        let arrived = noise.disturb(&mut fastrand::Rng::with_seed(1), &[0; 100]);
        assert!(arrived.iter().all(|byte| byte.count_ones() == 1));
    }

    #[test]
    fn shares_that_are_none_are_refused() {
        for (corrupt, lose) in [(-0.1, 0.5), (0.5, 1.1), (f64::NAN, 0.5), (0.0, 0.0)] {
            assert!(Noise::new(Duration::from_secs(1), corrupt, lose, 0.0).is_err(), "{corrupt} {lose}");
        }
    }
}
