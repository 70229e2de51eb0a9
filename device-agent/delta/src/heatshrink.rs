//! Heatshrink's bit stream: literal bytes and copies out of a small window of what came before.

use crate::ApplyError;

#[cfg(feature = "std")]
pub(crate) mod encode;

/// Logarithm of the largest window that is decoded: boards set aside 1 KiB for it.
pub const MAX_WINDOW_BITS: u8 = 10;

const WINDOW_BYTES: usize = 1 << MAX_WINDOW_BITS;
const MIN_WINDOW_BITS: u8 = 4;
const MIN_LOOKAHEAD_BITS: u8 = 3;
const LITERAL_BITS: u8 = 9;

/// Decodes byte by byte.
pub(crate) struct Decoder {
    /// The last bytes given out, as a ring; zeros before the first one, as the format has it.
    window: [u8; WINDOW_BYTES],
    next: u16,
    window_bits: u8,
    lookahead_bits: u8,
    /// Bits not used yet, the next one highest of `bit_count`. Less than one copy and one byte, so that
    /// 32 are enough.
    bits: u32,
    bit_count: u8,
    copy_distance: u16,
    copy_left: u16,
}

impl Decoder {
    /// A decoder that waits for [`Decoder::start`].
    pub(crate) const fn new() -> Self {
        Decoder {
            window: [0; WINDOW_BYTES],
            next: 0,
            window_bits: 0,
            lookahead_bits: 0,
            bits: 0,
            bit_count: 0,
            copy_distance: 0,
            copy_left: 0,
        }
    }

    /// What [`Decoder::new`] makes, in the same place.
    pub(crate) fn restart(&mut self) {
        self.window.fill(0);
        (self.next, self.window_bits, self.lookahead_bits) = (0, 0, 0);
        (self.bits, self.bit_count) = (0, 0);
        (self.copy_distance, self.copy_left) = (0, 0);
    }

    /// Takes the header byte.
    pub(crate) fn start(&mut self, header: u8) -> Result<(), ApplyError> {
        let window_bits = (header >> 4) + MIN_WINDOW_BITS;
        let lookahead_bits = (header & 0x0f) + MIN_LOOKAHEAD_BITS;
        if window_bits > MAX_WINDOW_BITS || lookahead_bits >= window_bits {
            return Err(ApplyError::UnsupportedWindow { window_bits, lookahead_bits });
        }
        (self.window_bits, self.lookahead_bits) = (window_bits, lookahead_bits);
        Ok(())
    }

    /// Takes the next byte, after [`Decoder::next`] has returned `None`.
    pub(crate) fn push(&mut self, byte: u8) {
        self.bits = self.bits << 8 | u32::from(byte);
        self.bit_count += 8;
    }

    /// The next decoded byte; `None` if that takes more of the stream.
    pub(crate) fn next(&mut self) -> Option<u8> {
        if self.copy_left == 0 {
            let copy_bits = 1 + self.window_bits + self.lookahead_bits;
            if self.peek(1)? == 1 {
                let literal = self.take(LITERAL_BITS)? as u8;
                return Some(self.give(literal));
            }
            let copy = self.take(copy_bits)?;
            self.copy_distance = (copy >> self.lookahead_bits) as u16 + 1;
            self.copy_left = (copy & ((1 << self.lookahead_bits) - 1)) as u16 + 1;
        }
        self.copy_left -= 1;
        let from = self.next.wrapping_sub(self.copy_distance);
        Some(self.give(self.window[usize::from(from) % WINDOW_BYTES]))
    }

    fn give(&mut self, byte: u8) -> u8 {
        self.window[usize::from(self.next) % WINDOW_BYTES] = byte;
        self.next = self.next.wrapping_add(1);
        byte
    }

    fn peek(&self, count: u8) -> Option<u32> {
        let rest = self.bit_count.checked_sub(count)?;
        Some(self.bits >> rest & ((1 << count) - 1))
    }

    fn take(&mut self, count: u8) -> Option<u32> {
        let value = self.peek(count)?;
        self.bit_count -= count;
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    fn decode(bytes: &[u8]) -> Vec<u8> {
        let mut decoder = Decoder::new();
        let (header, stream) = bytes.split_first().expect("a header");
        decoder.start(*header).expect("a window that is supported");
        let mut out = Vec::new();
        for &byte in stream {
            decoder.push(byte);
            out.extend(core::iter::from_fn(|| decoder.next()));
        }
        out
    }

    #[test]
    fn a_copy_may_reach_into_what_it_writes_itself() {
        // Window 8, lookahead 4: literal 'a', literal 'b', then 2 back, 7 long.
        let stream = [0x41, 0b1011_0000, 0b1101_1000, 0b1000_0000, 0b0010_1100];
        assert_eq!(decode(&stream), b"ababababa");
    }

    #[test]
    fn before_the_beginning_there_are_zeros() {
        // Window 8, lookahead 4: 256 back, 16 long.
        assert_eq!(decode(&[0x41, 0b0111_1111, 0b1111_1000]), [0; 16]);
    }

    #[test]
    fn a_window_larger_than_the_memory_is_refused() {
        let start = |header| Decoder::new().start(header);
        assert_eq!(start(0x66), Ok(()));
        assert_eq!(
            start(0x70),
            Err(ApplyError::UnsupportedWindow { window_bits: MAX_WINDOW_BITS + 1, lookahead_bits: 3 })
        );
        assert_eq!(start(0x45), Err(ApplyError::UnsupportedWindow { window_bits: 8, lookahead_bits: 8 }));
    }
}
