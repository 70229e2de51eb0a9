//! When a process that died is started again, and when not any more.
//!
//! Not here: the process itself (`process`) and who asks (`device`).

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// Restarts allowed within [`WINDOW`].
pub(super) const BUDGET: usize = 5;
/// The time the budget is for.
pub(super) const WINDOW: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(30);

/// Starts with another image allowed within [`WINDOW`]: a board that tries an image and goes back needs
/// two, one that asks without end would start for ever.
pub(super) const REMAPS: usize = 20;

/// What follows a death.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Start again after this pause.
    After(Duration),
    /// The budget is used up.
    Spent,
}

/// The restarts of one device.
#[derive(Debug, Default)]
pub(super) struct Restarts {
    recent: VecDeque<Instant>,
}

impl Restarts {
    /// The process died at `now`.
    pub(super) fn on_death(&mut self, now: Instant) -> Verdict {
        forget_old(&mut self.recent, now);
        if self.recent.len() >= BUDGET {
            return Verdict::Spent;
        }
        let pause = pause(self.recent.len());
        self.recent.push_back(now);
        Verdict::After(pause)
    }

    /// Somebody asked for a start: what was is forgiven.
    pub(super) fn forgive(&mut self) {
        self.recent.clear();
    }
}

/// The starts of one device with another image, which are no deaths.
#[derive(Debug, Default)]
pub(super) struct Remaps {
    recent: VecDeque<Instant>,
}

impl Remaps {
    /// The board asks for another image at `now`: whether it gets it.
    pub(super) fn grant(&mut self, now: Instant) -> bool {
        forget_old(&mut self.recent, now);
        let is_granted = self.recent.len() < REMAPS;
        if is_granted {
            self.recent.push_back(now);
        }
        is_granted
    }
}

fn forget_old(recent: &mut VecDeque<Instant>, now: Instant) {
    while recent.front().is_some_and(|at| now.duration_since(*at) >= WINDOW) {
        recent.pop_front();
    }
}

/// The first restart is immediate, because most deaths are accidents; then 1 s, 2 s, 4 s ...
fn pause(earlier: usize) -> Duration {
    match u32::try_from(earlier).unwrap_or(u32::MAX) {
        0 => Duration::ZERO,
        n => Duration::from_secs(1u64.checked_shl(n - 1).unwrap_or(u64::MAX)).min(LONGEST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_are_immediate_first_then_slower_then_stop() {
        let mut restarts = Restarts::default();
        let mut now = Instant::now();
        for seconds in [0, 1, 2, 4, 8] {
            assert_eq!(restarts.on_death(now), Verdict::After(Duration::from_secs(seconds)));
            now += Duration::from_secs(seconds);
        }
        assert_eq!(restarts.on_death(now), Verdict::Spent);
        assert_eq!(restarts.on_death(now), Verdict::Spent);
    }

    #[test]
    fn old_deaths_and_a_demand_are_forgiven() {
        let mut restarts = Restarts::default();
        let now = Instant::now();
        for _ in 0..BUDGET {
            restarts.on_death(now);
        }
        assert_eq!(restarts.on_death(now), Verdict::Spent);
        assert_eq!(restarts.on_death(now + WINDOW), Verdict::After(Duration::ZERO));
        for _ in 0..BUDGET {
            restarts.on_death(now + WINDOW);
        }
        restarts.forgive();
        assert_eq!(restarts.on_death(now + WINDOW), Verdict::After(Duration::ZERO));
    }

    #[test]
    fn a_board_that_asks_for_images_without_end_gets_no_more() {
        let mut remaps = Remaps::default();
        let now = Instant::now();
        assert!((0..REMAPS).all(|_| remaps.grant(now)));
        assert!(!remaps.grant(now));
        assert!(remaps.grant(now + WINDOW));
    }

    #[test]
    fn the_pause_has_an_end() {
        assert_eq!(pause(6), LONGEST);
        assert_eq!(pause(usize::MAX), LONGEST);
    }
}
