//! Numbers of the patch format.

use crate::ApplyError;

pub(crate) const SEQUENTIAL: u8 = 0;
pub(crate) const NONE: u8 = 0;
pub(crate) const HEATSHRINK: u8 = 4;

const MORE: u8 = 0x80;
const NEGATIVE: u8 = 0x40;

/// A size as far as it has been read. At most 32 bits and a sign.
pub(crate) struct Size {
    value: u64,
    shift: u8,
    negative: bool,
}

impl Size {
    pub(crate) const START: Size = Size { value: 0, shift: 0, negative: false };

    /// Takes the next byte; the size, once this was its last one, and is ready for another size then.
    pub(crate) fn push(&mut self, byte: u8) -> Result<Option<i64>, ApplyError> {
        let (bits, width) = if self.shift == 0 {
            self.negative = byte & NEGATIVE != 0;
            (byte & !(MORE | NEGATIVE), 6)
        } else {
            (byte & !MORE, 7)
        };
        // 6 + 4 * 7 bits hold every size of 32 bits; a byte more could only be padding.
        if self.shift > 27 {
            return Err(ApplyError::BadSize);
        }
        self.value |= u64::from(bits) << self.shift;
        self.shift += width;
        if byte & MORE != 0 {
            return Ok(None);
        }
        let size = core::mem::replace(self, Size::START);
        let value = u32::try_from(size.value).map_err(|_| ApplyError::BadSize)?;
        Ok(Some(if size.negative { -i64::from(value) } else { i64::from(value) }))
    }
}

/// Appends a size.
#[cfg(feature = "std")]
pub(crate) fn write_size(out: &mut std::vec::Vec<u8>, size: i64) {
    let sign = if size < 0 { NEGATIVE } else { 0 };
    let mut rest = size.unsigned_abs();
    let mut byte = sign | (rest & 0x3f) as u8;
    rest >>= 6;
    while rest > 0 {
        out.push(byte | MORE);
        byte = (rest & 0x7f) as u8;
        rest >>= 7;
    }
    out.push(byte);
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> Result<Option<i64>, ApplyError> {
        let mut size = Size::START;
        let (last, first) = bytes.split_last().expect("not empty");
        for &byte in first {
            assert_eq!(size.push(byte), Ok(None));
        }
        size.push(*last)
    }

    #[test]
    fn sizes_have_the_bytes_of_the_format() {
        for (size, bytes) in [
            (0, &[0x00][..]),
            (-1, &[0x41]),
            (63, &[0x3f]),
            (64, &[0x80, 0x01]),
            (-64, &[0xc0, 0x01]),
            (8191, &[0xbf, 0x7f]),
            (8192, &[0x80, 0x80, 0x01]),
        ] {
            let mut out = Vec::new();
            write_size(&mut out, size);
            assert_eq!(out, bytes, "{size}");
        }
    }

    #[test]
    fn a_size_of_more_than_32_bits_is_refused() {
        assert_eq!(read(&[0xbf, 0xff, 0xff, 0xff, 0x1f]), Ok(Some(i64::from(u32::MAX))));
        assert_eq!(read(&[0x80, 0x80, 0x80, 0x80, 0x20]), Err(ApplyError::BadSize));
        assert_eq!(read(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x00]), Err(ApplyError::BadSize));
    }

    proptest! {
        #[test]
        fn a_size_is_read_as_it_was_written(value in any::<u32>(), negative in any::<bool>()) {
            let size = if negative { -i64::from(value) } else { i64::from(value) };
            let mut out = Vec::new();
            write_size(&mut out, size);
            prop_assert_eq!(read(&out), Ok(Some(size)));
        }
    }
}
