//! CRC-16/ARC, bit by bit: what small devices without tables do.

/// The checksum with one more byte.
pub(crate) fn byte(checksum: u16, byte: u8) -> u16 {
    let mut checksum = checksum ^ u16::from(byte);
    for _ in 0..8 {
        let carry = checksum & 1 != 0;
        checksum >>= 1;
        if carry {
            checksum ^= 0xa001;
        }
    }
    checksum
}

/// The checksum with one more word.
pub(crate) fn word(checksum: u16, word: u16) -> u16 {
    let [low, high] = word.to_le_bytes();
    byte(byte(checksum, low), high)
}
