//! Which blocks of an artifact are here, asked for or missing.
//!
//! A [`Window`] covers 32 blocks from the first one that is missing: 12 bytes however large the artifact
//! is. Every request names only blocks for which the device has room, so requests are the flow control.

use crate::Instant;

/// Blocks one request can name.
const SPAN: u32 = 32;
/// First wait for an answer, in milliseconds; doubles with every one in vain.
const FIRST_WAIT_MS: u64 = 1_000;
/// Longest wait for an answer, in milliseconds.
const LONGEST_WAIT_MS: u64 = 10_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Window {
    /// The first missing block; all before are here.
    base: u32,
    /// Bit `i`: block `base + i` is here.
    got: u32,
    /// Bit `i`: block `base + i` was asked for.
    asked: u32,
    /// How many blocks there are; not known before block 0 came.
    total: Option<u32>,
    /// How many blocks may be on their way.
    credit: u32,
    /// Waits in vain since the last block.
    vain: u32,
    /// When what is on its way counts as lost.
    retry_at: Instant,
}

/// A request: bit `i` asks for block `base + i`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) base: u32,
    pub(crate) bitmap: u32,
}

impl Window {
    /// Nothing is here; at most `credit` blocks may be on their way.
    pub(crate) fn new(credit: u8) -> Self {
        let credit = u32::from(credit).clamp(1, SPAN);
        Window { base: 0, got: 0, asked: 0, total: None, credit, vain: 0, retry_at: Instant(0) }
    }

    /// A transfer that goes on: the blocks before `base` are here, and of those from there on the ones in
    /// `got`; `total` blocks in all.
    pub(crate) fn resumed(credit: u8, base: u32, got: u32, total: u32) -> Self {
        let mut window = Window { base, got, asked: got, total: Some(total), ..Window::new(credit) };
        window.slide();
        window
    }

    /// Whether this block is missing and was asked for.
    pub(crate) fn expects(&self, index: u32) -> bool {
        self.bit(index).is_some_and(|bit| self.asked & !self.got & bit != 0)
    }

    /// Takes note of an expected block.
    pub(crate) fn take(&mut self, now: Instant, index: u32) {
        let Some(bit) = self.bit(index) else { return };
        self.got |= bit;
        self.vain = 0;
        self.retry_at = now.after(FIRST_WAIT_MS);
        self.slide();
    }

    /// Begins with the first block that is missing.
    fn slide(&mut self) {
        // All 32 may be here, and a shift by 32 is none.
        let here = self.got.trailing_ones();
        self.base = self.base.saturating_add(here);
        self.got = self.got.checked_shr(here).unwrap_or(0);
        self.asked = self.asked.checked_shr(here).unwrap_or(0);
    }

    /// Takes note of how many blocks there are.
    pub(crate) fn set_total(&mut self, total: u32) {
        self.total = Some(total);
        // The first request is made before this is known and may name blocks that do not exist.
        self.asked &= self.existing();
    }

    /// Whether all blocks are here.
    pub(crate) fn is_complete(&self) -> bool {
        self.total == Some(self.base)
    }

    /// Blocks here, in percent.
    pub(crate) fn percent(&self) -> u8 {
        let here = u64::from(self.base) + u64::from(self.got.count_ones());
        let percent = self.total.map_or(0, |total| here * 100 / u64::from(total.max(1)));
        percent.min(100) as u8
    }

    /// Gives up on everything that is on its way: the connection broke, or there is no room after all.
    pub(crate) fn forget_asked(&mut self) {
        self.asked = self.got;
        self.vain = 0;
    }

    /// The next request, if there is one to send now.
    pub(crate) fn ask(&mut self, now: Instant, random: u32) -> Option<Ask> {
        let mut on_its_way = (self.asked & !self.got).count_ones();
        if on_its_way > 0 && now >= self.retry_at {
            self.asked = self.got;
            self.vain += 1;
            on_its_way = 0;
        }
        // Half a window at a time: fewer requests, and never an idle link.
        if on_its_way * 2 > self.credit {
            return None;
        }
        let bitmap = lowest(!self.asked & self.existing(), self.credit - on_its_way);
        if bitmap == 0 {
            return None;
        }
        self.asked |= bitmap;
        self.retry_at = now.after(wait_ms(self.vain, random));
        Some(Ask { base: self.base, bitmap })
    }

    /// When to call [`Window::ask`] again, if no block comes before.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        (self.asked & !self.got != 0).then_some(self.retry_at)
    }

    fn bit(&self, index: u32) -> Option<u32> {
        1u32.checked_shl(index.checked_sub(self.base)?)
    }

    /// The part of the window that lies inside the artifact.
    fn existing(&self) -> u32 {
        match self.total.map(|total| total.saturating_sub(self.base)) {
            Some(left) if left < SPAN => (1 << left) - 1,
            _ => u32::MAX,
        }
    }
}

/// The lowest `count` of the bits.
fn lowest(mut bits: u32, count: u32) -> u32 {
    let all = bits;
    for _ in 0..count {
        bits &= bits.wrapping_sub(1);
    }
    all & !bits
}

fn wait_ms(vain: u32, random: u32) -> u64 {
    let wait = (FIRST_WAIT_MS << vain.min(10)).min(LONGEST_WAIT_MS);
    wait - u64::from(random) % (wait / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(window: &mut Window, at: u64) -> Option<(u32, u32)> {
        window.ask(Instant(at), 0).map(|ask| (ask.base, ask.bitmap))
    }

    #[test]
    fn only_the_lost_block_is_asked_for_again() {
        let mut window = Window::new(8);
        window.set_total(4);
        assert_eq!(ask(&mut window, 0), Some((0, 0b1111)));
        for index in [0, 1, 3] {
            window.take(Instant(1), index);
        }
        assert_eq!(ask(&mut window, 500), None, "it may still be on its way");
        assert_eq!(ask(&mut window, 1_001), Some((2, 0b01)));
        window.take(Instant(1_002), 2);
        assert!(window.is_complete());
        assert_eq!(ask(&mut window, 99_000), None);
    }

    #[test]
    fn no_more_blocks_are_on_their_way_than_there_is_room_for() {
        let mut window = Window::new(4);
        assert_eq!(ask(&mut window, 0), Some((0, 0b1111)));
        window.take(Instant(1), 0);
        assert_eq!(ask(&mut window, 1), None);
        window.take(Instant(2), 1);
        assert_eq!(ask(&mut window, 2), Some((2, 0b1100)), "blocks 2 and 3 are on their way already");
    }

    #[test]
    fn what_was_not_asked_for_or_is_here_is_not_expected() {
        let mut window = Window::new(2);
        assert!(!window.expects(0));
        ask(&mut window, 0);
        assert!(window.expects(0) && window.expects(1));
        assert!(!window.expects(2) && !window.expects(u32::MAX));
        window.take(Instant(1), 1);
        assert!(!window.expects(1));
    }

    #[test]
    fn a_block_beyond_the_end_is_never_expected() {
        let mut window = Window::new(8);
        ask(&mut window, 0);
        window.set_total(3);
        assert!(window.expects(2) && !window.expects(3));
        (0..3).for_each(|index| window.take(Instant(1), index));
        assert!(window.is_complete());
        assert_eq!(window.deadline(), None);
    }

    #[test]
    fn waits_grow_to_a_limit_and_shrink_with_progress() {
        let mut window = Window::new(1);
        let mut at = 0;
        let mut waits = [0; 6];
        for wait in &mut waits {
            assert!(ask(&mut window, at).is_some());
            let next = window.deadline().map_or(0, |deadline| deadline.0);
            *wait = next - at;
            at = next;
        }
        assert_eq!(waits, [1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
        window.take(Instant(at), 0);
        ask(&mut window, at);
        assert_eq!(window.deadline(), Some(Instant(at + 1_000)));
    }

    #[test]
    fn a_full_window_slides_by_all_of_it() {
        let mut window = Window::new(32);
        window.set_total(40);
        assert_eq!(ask(&mut window, 0), Some((0, u32::MAX)));
        for index in (0..32).rev() {
            window.take(Instant(1), index);
        }
        assert_eq!(ask(&mut window, 1), Some((32, 0xff)));
        assert_eq!(window.percent(), 80);
    }
}
