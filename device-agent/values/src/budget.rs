//! How much may be written: flash wears out.

use crate::entry::Owner;

/// What one owner may write in a minute for ever, in bytes of entries.
pub const BYTES_PER_MINUTE: u64 = 512;
/// What one owner may write at once after a long pause, in bytes of entries.
pub const BURST_BYTES: u64 = 8192;

/// The least that a change counts, in bytes.
const LEAST_BYTES: u64 = 64;
/// Owners that are remembered: more than a board has slots.
const OWNERS: usize = 8;

const BURST_MS: u64 = as_ms(BURST_BYTES);

/// The budgets of those who wrote last.
#[derive(Debug, Default)]
pub(crate) struct Budgets([Budget; OWNERS]);

/// One owner's, by the generic cell rate algorithm (ITU-T I.371).
#[derive(Debug, Default, Clone, Copy)]
struct Budget {
    owner: Owner,
    /// When everything written will have been earned.
    due_ms: u64,
}

impl Budgets {
    /// Whether `owner` may write so many bytes now; if so, they are charged.
    pub(crate) fn charge(&mut self, now_ms: u64, owner: Owner, bytes: usize) -> bool {
        let known = self.0.iter().position(|budget| budget.owner == owner);
        let Some(budget) = (match known {
            Some(nth) => self.0.get_mut(nth),
            None => self.0.iter_mut().min_by_key(|budget| budget.due_ms),
        }) else {
            return false;
        };
        if known.is_none() {
            *budget = Budget { owner, due_ms: 0 };
        }
        let due_ms = budget.due_ms.max(now_ms) + as_ms((bytes as u64).max(LEAST_BYTES));
        let is_allowed = due_ms - now_ms <= BURST_MS;
        if is_allowed {
            budget.due_ms = due_ms;
        }
        is_allowed
    }
}

/// The time in which so many bytes are earned, in milliseconds.
const fn as_ms(bytes: u64) -> u64 {
    (bytes * 60_000).div_ceil(BYTES_PER_MINUTE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Owner = Owner([1; 4]);
    const B: Owner = Owner([2; 4]);

    fn written(budgets: &mut Budgets, now_ms: u64, owner: Owner, bytes: usize) -> u64 {
        let mut sum = 0;
        while budgets.charge(now_ms, owner, bytes) {
            sum += bytes as u64;
        }
        sum
    }

    #[test]
    fn a_burst_is_followed_by_the_steady_rate_for_each_owner() {
        let mut budgets = Budgets::default();
        assert_eq!(written(&mut budgets, 1_000, A, 128), BURST_BYTES);
        assert_eq!(written(&mut budgets, 1_000, B, 128), BURST_BYTES, "another's budget is its own");
        assert_eq!(written(&mut budgets, 61_000, A, 128), BYTES_PER_MINUTE);
        assert_eq!(
            written(&mut budgets, 100_000_000, A, 128),
            BURST_BYTES,
            "no more, however long the pause"
        );
    }

    #[test]
    fn small_changes_are_not_free() {
        let mut budgets = Budgets::default();
        assert_eq!(written(&mut budgets, 0, A, 1), BURST_BYTES / LEAST_BYTES);
    }

    #[test]
    fn who_wrote_longest_ago_is_forgotten_first() {
        let mut budgets = Budgets::default();
        for n in 1..=OWNERS as u8 {
            written(&mut budgets, u64::from(n) * 1_000, Owner([n; 4]), 128);
        }
        assert!(!budgets.charge(8_000, A, 128));
        assert!(budgets.charge(8_000, Owner([99; 4]), 128));
        assert!(!budgets.charge(8_000, Owner([8; 4]), 128));
    }
}
