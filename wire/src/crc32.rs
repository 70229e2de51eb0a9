//! The check of everything that may be damaged by accident: frames on a line, and records in flash.

use crc::{CRC_32_ISO_HDLC, Crc, Digest, Table};

static CRC: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISO_HDLC);

/// CRC-32 (ISO-HDLC) over these parts, one after the other.
pub fn crc32(parts: &[&[u8]]) -> u32 {
    let mut digest = CRC.digest();
    for part in parts {
        digest.update(part);
    }
    digest.finalize()
}

/// CRC-32 (ISO-HDLC) over what comes piece by piece.
pub struct Crc32(Digest<'static, u32, Table<1>>);

impl Crc32 {
    /// Of nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Crc32(CRC.digest())
    }

    /// Adds the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The check of all pieces.
    #[must_use]
    pub fn finish(self) -> u32 {
        self.0.finalize()
    }
}

impl Default for Crc32 {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_have_the_check_of_the_whole() {
        let mut pieces = Crc32::new();
        pieces.update(b"1234");
        pieces.update(b"56789");
        // The check value of CRC-32/ISO-HDLC.
        assert_eq!((pieces.finish(), crc32(&[b"123456789"])), (0xcbf4_3926, 0xcbf4_3926));
    }
}
