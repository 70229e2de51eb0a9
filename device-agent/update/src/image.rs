//! An image in its slot: the signed manifest before it, and its digest.

use sha2::{Digest as _, Sha256};
use wasmbed_wire::{Digest, crc32, limits::MAX_MANIFEST_BYTES};

use crate::{Fault, Flash, ImageSlot, Layout, Region};

/// Longest header, in bytes.
pub const MAX_HEADER_BYTES: usize = PREFIX_BYTES + MAX_MANIFEST_BYTES;

/// What a header begins with.
const MAGIC: [u8; 4] = *b"WBIM";
/// Magic, length, check.
const PREFIX_BYTES: usize = 12;
/// Bytes hashed at a time.
const CHUNK_BYTES: usize = 256;

/// Room for a signed manifest; nothing in it has been verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedManifest {
    bytes: [u8; MAX_MANIFEST_BYTES],
    len: usize,
}

impl SignedManifest {
    /// No manifest.
    pub const EMPTY: SignedManifest = SignedManifest { bytes: [0; MAX_MANIFEST_BYTES], len: 0 };

    /// Puts this one in the place of what was there; `None`, and nothing is changed, if it is too long for one.
    pub fn set(&mut self, signed: &[u8]) -> Option<()> {
        let (place, rest) = self.bytes.split_at_mut_checked(signed.len())?;
        place.copy_from_slice(signed);
        rest.fill(0);
        self.len = signed.len();
        Some(())
    }

    /// Puts the header of a slot in the place of what was there; whether the slot holds a complete image. If not,
    /// this is none.
    ///
    /// # Errors
    /// Those of reading.
    #[inline(never)]
    pub fn load(&mut self, flash: &mut impl Flash, layout: &Layout, slot: ImageSlot) -> Result<bool, Fault> {
        self.len = 0;
        self.bytes.fill(0);
        let mut prefix = [0; PREFIX_BYTES];
        flash.read(layout.header(slot), &mut prefix)?;
        let [m0, m1, m2, m3, l0, l1, l2, l3, c0, c1, c2, c3] = prefix;
        let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if [m0, m1, m2, m3] != MAGIC || len > MAX_MANIFEST_BYTES {
            return Ok(false);
        }
        let signed = self.bytes.get_mut(..len).ok_or(Fault::OutOfRange)?;
        flash.read(layout.header(slot) + PREFIX_BYTES as u32, signed)?;
        if crc32(&[signed]) != u32::from_le_bytes([c0, c1, c2, c3]) {
            self.bytes.fill(0);
            return Ok(false);
        }
        self.len = len;
        Ok(true)
    }
}

impl AsRef<[u8]> for SignedManifest {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// The header of a slot; `None` if the slot holds no complete image.
///
/// # Errors
/// Those of reading.
pub fn read_header(
    flash: &mut impl Flash,
    layout: &Layout,
    slot: ImageSlot,
) -> Result<Option<SignedManifest>, Fault> {
    let mut header = SignedManifest::EMPTY;
    Ok(header.load(flash, layout, slot)?.then_some(header))
}

/// Completes a slot: the image behind this header is whole and has the digest of the manifest. The header's
/// sector has been erased before the image was written.
///
/// # Errors
/// Those of programming; [`Fault::OutOfRange`] if the manifest is too long.
pub fn write_header(
    flash: &mut impl Flash,
    layout: &Layout,
    slot: ImageSlot,
    signed: &[u8],
) -> Result<(), Fault> {
    let mut bytes = [0; MAX_HEADER_BYTES];
    let len = PREFIX_BYTES + signed.len();
    let (prefix, body) = bytes.get_mut(..len).ok_or(Fault::OutOfRange)?.split_at_mut(PREFIX_BYTES);
    prefix[..4].copy_from_slice(&MAGIC);
    prefix[4..8].copy_from_slice(&(signed.len() as u32).to_le_bytes());
    prefix[8..].copy_from_slice(&crc32(&[signed]).to_le_bytes());
    body.copy_from_slice(signed);
    flash.program(layout.header(slot), bytes.get(..len).ok_or(Fault::OutOfRange)?)
}

/// The SHA-256 of a part of the flash, computed piece by piece.
#[derive(Debug, Clone)]
pub struct Hashing {
    hasher: Sha256,
    at: u32,
    end: u32,
}

impl Hashing {
    /// The hash of the first `bytes` of a region.
    pub fn new(region: Region, bytes: u32) -> Self {
        let bytes = bytes.min(region.bytes);
        Hashing { hasher: Sha256::new(), at: region.origin, end: region.origin + bytes }
    }

    /// Hashes up to `bytes` more; the digest once there are no more.
    ///
    /// # Errors
    /// Those of reading.
    pub fn advance(&mut self, flash: &mut impl Flash, bytes: u32) -> Result<Option<Digest>, Fault> {
        let until = self.at.saturating_add(bytes).min(self.end);
        let mut chunk = [0; CHUNK_BYTES];
        while self.at < until {
            let len = (until - self.at).min(CHUNK_BYTES as u32);
            let piece = chunk.get_mut(..len as usize).ok_or(Fault::OutOfRange)?;
            flash.read(self.at, piece)?;
            self.hasher.update(piece);
            self.at += len;
        }
        let is_over = self.at == self.end;
        Ok(is_over.then(|| Digest(self.hasher.clone().finalize().into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Nor;

    const LAYOUT: Layout = Layout::new(0, 0x1000, 0x4000, 0x1000);

    #[test]
    fn a_header_reads_back_and_a_damaged_one_does_not() {
        let mut flash = Nor::new(LAYOUT.end(), 0x1000);
        assert_eq!(read_header(&mut flash, &LAYOUT, ImageSlot::B), Ok(None));
        write_header(&mut flash, &LAYOUT, ImageSlot::B, b"signed").expect("written");
        let header = read_header(&mut flash, &LAYOUT, ImageSlot::B).expect("readable").expect("a header");
        assert_eq!(header.as_ref(), b"signed");
        assert_eq!(read_header(&mut flash, &LAYOUT, ImageSlot::A), Ok(None));
        for at in 0..PREFIX_BYTES + 6 {
            let mut damaged = flash.clone();
            damaged.bytes_mut()[LAYOUT.header(ImageSlot::B) as usize + at] ^= 4;
            assert_eq!(read_header(&mut damaged, &LAYOUT, ImageSlot::B), Ok(None), "byte {at}");
        }
        assert!(write_header(&mut flash, &LAYOUT, ImageSlot::A, &[0; MAX_MANIFEST_BYTES + 1]).is_err());
    }

    #[test]
    fn a_hash_does_not_depend_on_the_pieces() {
        let mut flash = Nor::noisy(LAYOUT.end(), 0x1000, 1);
        let region = LAYOUT.image(ImageSlot::A);
        let start = region.origin as usize;
        let expected = Digest(Sha256::digest(&flash.bytes()[start..start + 1_001]).into());
        for piece in [1, 255, 256, 700, 5_000] {
            let mut hashing = Hashing::new(region, 1_001);
            let mut steps = 0;
            let digest = loop {
                steps += 1;
                if let Some(digest) = hashing.advance(&mut flash, piece).expect("readable") {
                    break digest;
                }
            };
            assert_eq!(digest, expected);
            assert_eq!(steps, 1_001_u32.div_ceil(piece), "{piece}");
        }
    }
}
