//! Which calls were made already, as far back as they may come twice (as in RFC 4303, section 3.4.3).

/// Numbers of 31 bits, which rise by one and begin again.
const MASK: u32 = i32::MAX.cast_unsigned();

/// The last number, and which of those before it there were.
#[derive(Debug, Default)]
pub(crate) struct Window {
    last: Option<u32>,
    /// Bit n for the number n below the last.
    seen: u64,
}

impl Window {
    /// Whether a number comes for the first time. One that is too far back does not.
    pub(crate) fn is_first(&mut self, number: u32) -> bool {
        let Some(last) = self.last else {
            (self.last, self.seen) = (Some(number & MASK), 1);
            return true;
        };
        let ahead = number.wrapping_sub(last) & MASK;
        if ahead != 0 && ahead <= MASK / 2 {
            (self.last, self.seen) = (Some(number & MASK), self.seen.checked_shl(ahead).unwrap_or(0) | 1);
            return true;
        }
        let bit = 1_u64.checked_shl(last.wrapping_sub(number) & MASK).unwrap_or(0);
        let is_first = bit != 0 && self.seen & bit == 0;
        self.seen |= bit;
        is_first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_first_once_in_whatever_order() {
        let mut window = Window::default();
        let order = [3, 5, 4, 5, 3, 2, 80, 79, 16, 17, 16, 80, 79];
        let first = order.map(|number| window.is_first(number));
        let expected = [true, true, true, false, false, true, true, true, false, true, false, false, false];
        assert_eq!(first, expected);
    }

    #[test]
    fn numbers_begin_again() {
        let mut window = Window::default();
        assert!(window.is_first(MASK) && window.is_first(0) && window.is_first(1));
        assert!(!window.is_first(MASK) && !window.is_first(0));
    }
}
