//! Bytes per second.

use std::time::Instant;

/// What may be spent: it fills up again within a second.
#[derive(Debug)]
pub(super) struct Budget {
    per_second: usize,
    left: usize,
    at: Instant,
}

impl Budget {
    pub(super) fn new(per_second: usize, now: Instant) -> Self {
        Budget { per_second, left: per_second, at: now }
    }

    /// How many bytes may go now.
    pub(super) fn left(&mut self, now: Instant) -> usize {
        let passed_us = now.saturating_duration_since(self.at).as_micros();
        let more = passed_us.saturating_mul(self.per_second as u128) / 1_000_000;
        // What is less than a byte is counted with the next ones.
        if more > 0 {
            self.left =
                self.left.saturating_add(usize::try_from(more).unwrap_or(usize::MAX)).min(self.per_second);
            self.at = now;
        }
        self.left
    }

    /// Counts bytes that went.
    pub(super) fn spend(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_fills_up_with_time_and_not_above_a_second() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let mut budget = Budget::new(1000, start);
        budget.spend(900);
        assert_eq!(budget.left(start), 100);
        budget.spend(500);
        assert_eq!(budget.left(start), 0, "more than there was is not owed");
        assert_eq!(budget.left(after(250)), 250);
        assert_eq!(budget.left(after(60_000)), 1000);
        assert_eq!(budget.left(start), 1000, "a clock that goes back takes nothing");
    }
}
