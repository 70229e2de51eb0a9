//! Short texts without a heap.

/// A text of at most `N` bytes; what does not fit is left out.
#[derive(Debug, Clone, Copy)]
pub struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Text<N> {
    /// An empty text.
    pub const fn new() -> Self {
        Text { bytes: [0; N], len: 0 }
    }

    /// Appends a text, or as many of its characters as fit.
    pub fn push_str(&mut self, text: &str) -> &mut Self {
        self.len = append(&mut self.bytes, self.len, text);
        self
    }

    /// Appends a number in decimal.
    pub fn push_int(&mut self, value: i64) -> &mut Self {
        self.len = append_decimal(&mut self.bytes, self.len, value, 0);
        self
    }

    /// Appends thousandths as a decimal number without needless zeros, as JSON writes it: 23500 becomes
    /// `23.5`, -40 becomes `-0.04`.
    pub fn push_thousandths(&mut self, value: i64) -> &mut Self {
        self.len = append_decimal(&mut self.bytes, self.len, value, 3);
        self
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        // SAFETY: `append` lets only whole characters in, and `len` counts what it let in.
        unsafe { core::str::from_utf8_unchecked(self.as_ref()) }
    }
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> AsRef<[u8]> for Text<N> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }
}

impl<const N: usize> core::fmt::Write for Text<N> {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.push_str(text);
        Ok(())
    }
}

// Below nothing depends on `N`, so that a module carries it once; and nothing panics, since the text of a
// panic is larger than all of it.

fn append(bytes: &mut [u8], len: usize, text: &str) -> usize {
    let Some(room) = bytes.get_mut(len..) else { return len };
    let mut fits = text.len().min(room.len());
    // 0 is a boundary, so this ends.
    while !text.is_char_boundary(fits) {
        fits -= 1;
    }
    room.iter_mut().zip(text.bytes().take(fits)).for_each(|(slot, byte)| *slot = byte);
    len + fits
}

/// Appends `value` divided by 10 to the power of `decimals`, or nothing: a number that is cut short would be
/// another number.
fn append_decimal(bytes: &mut [u8], len: usize, value: i64, decimals: u32) -> usize {
    let mut rest = value.unsigned_abs();
    let mut decimals = decimals;
    while decimals > 0 && rest.is_multiple_of(10) {
        rest /= 10;
        decimals -= 1;
    }
    let mut reversed = Reversed { bytes: [0; LONGEST], len: 0 };
    let mut digits = 0;
    while digits <= decimals || rest > 0 {
        if digits == decimals && decimals > 0 {
            reversed.push(b'.');
        }
        reversed.push(b'0' + (rest % 10) as u8);
        rest /= 10;
        digits += 1;
    }
    if value < 0 {
        reversed.push(b'-');
    }
    reversed.append_to(bytes, len)
}

/// The longest number: 19 digits, a point and a sign.
const LONGEST: usize = 21;

/// A number from its last digit to its sign.
struct Reversed {
    bytes: [u8; LONGEST],
    len: usize,
}

impl Reversed {
    fn push(&mut self, byte: u8) {
        if let Some(slot) = self.bytes.get_mut(self.len) {
            *slot = byte;
            self.len += 1;
        }
    }

    fn append_to(&self, bytes: &mut [u8], len: usize) -> usize {
        match bytes.get_mut(len..).and_then(|room| room.get_mut(..self.len)) {
            Some(room) => {
                room.iter_mut().rev().zip(&self.bytes).for_each(|(slot, byte)| *slot = *byte);
                len + self.len
            }
            None => len,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thousandths(value: i64) -> Text<21> {
        *Text::new().push_thousandths(value)
    }

    #[test]
    fn thousandths_are_the_shortest_decimal_number() {
        let cases = [
            (0, "0"),
            (23_500, "23.5"),
            (23_000, "23"),
            (100_000, "100"),
            (-40, "-0.04"),
            (1, "0.001"),
            (-1_234_567, "-1234.567"),
            (i64::MIN, "-9223372036854775.808"),
        ];
        for (value, text) in cases {
            assert_eq!(thousandths(value).as_str(), text);
        }
    }

    #[test]
    fn integers_are_written_whole_or_not_at_all() {
        assert_eq!(Text::<20>::new().push_int(i64::MIN).as_str(), "-9223372036854775808");
        assert_eq!(Text::<4>::new().push_int(-100).as_str(), "-100");
        assert_eq!(Text::<3>::new().push_int(-100).as_str(), "");
        assert_eq!(Text::<3>::new().push_int(7).push_int(10).push_int(5).as_str(), "710");
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(Text::<4>::new().push_str("ab").push_str("c°").as_str(), "abc");
        assert_eq!(Text::<5>::new().push_str("ab").push_str("c°").as_str(), "abc°");
    }
}
