//! Which blocks of a transfer are in flash: what survives a power cut in the middle of it.
//!
//! One sector: a header that says what is being filled, written after everything that has to be erased has
//! been, and a bit for every block, cleared after the block was written. A block whose bit is still set is
//! written again; that is harmless, for the same bytes go to the same place.

use wasmbed_wire::{ArtifactId, crc32};

use crate::{Fault, Flash, ImageSlot, Layout, Region};

const MAGIC: [u8; 4] = *b"WBJR";
const HEADER_BYTES: usize = 28;
/// Where the bits begin.
const BITS: u32 = 64;
/// Bytes of bits read at once.
const CHUNK_BYTES: usize = 64;

/// What a transfer fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The image of this slot.
    Slot(ImageSlot),
    /// The place for patches.
    Patch,
}

impl What {
    const ALL: [What; 3] = [What::Slot(ImageSlot::A), What::Slot(ImageSlot::B), What::Patch];

    /// Where its blocks go.
    pub const fn region(self, layout: &Layout) -> Region {
        match self {
            What::Slot(slot) => layout.image(slot),
            What::Patch => layout.patch,
        }
    }

    /// How the journal writes it.
    const fn code(self) -> u8 {
        match self {
            What::Slot(slot) => slot as u8,
            What::Patch => 2,
        }
    }
}

/// A transfer that has begun: everything it fills is erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filling {
    /// Whose payload.
    pub artifact: ArtifactId,
    /// Where it goes.
    pub what: What,
    /// How many blocks it has.
    pub blocks: u32,
    /// Size of every block but the last, in bytes.
    pub block_bytes: u16,
}

/// The journal's sector.
#[derive(Debug, Clone, Copy)]
pub struct Journal {
    origin: u32,
    sector_bytes: u32,
}

impl Journal {
    /// The journal of this layout.
    pub const fn new(layout: &Layout) -> Self {
        Journal { origin: layout.journal, sector_bytes: layout.sector_bytes }
    }

    /// The transfer that has begun, if one has.
    ///
    /// # Errors
    /// Those of reading.
    pub fn filling(&self, flash: &mut impl Flash) -> Result<Option<Filling>, Fault> {
        let mut header = [0; HEADER_BYTES];
        flash.read(self.origin, &mut header)?;
        Ok(decode(&header))
    }

    /// Forgets the transfer: from here on what it filled may be erased.
    ///
    /// # Errors
    /// Those of erasing.
    pub fn clear(&self, flash: &mut impl Flash) -> Result<(), Fault> {
        flash.erase(self.origin)
    }

    /// Begins a transfer; the journal was cleared, and then everything erased that it fills.
    ///
    /// # Errors
    /// Those of programming; [`Fault::OutOfRange`] if there are more blocks than bits.
    pub fn begin(&self, flash: &mut impl Flash, filling: &Filling) -> Result<(), Fault> {
        if filling.blocks.div_ceil(8) > self.sector_bytes - BITS {
            return Err(Fault::OutOfRange);
        }
        flash.program(self.origin, &encode(filling))
    }

    /// Notes that block `nth` of the payload, counted from 0, is written.
    ///
    /// # Errors
    /// Those of reading and programming.
    pub fn mark(&self, flash: &mut impl Flash, nth: u32) -> Result<(), Fault> {
        let at = self.origin + BITS + nth / 8;
        let mut byte = [0];
        flash.read(at, &mut byte)?;
        flash.program(at, &[byte[0] & !(1 << (nth % 8))])
    }

    /// The first block that is not written, and which ones behind it are: bit `i` for the block `i` behind.
    ///
    /// # Errors
    /// Those of reading.
    pub fn missing(&self, flash: &mut impl Flash, blocks: u32) -> Result<(u32, u32), Fault> {
        let first = self.first_missing(flash, blocks)?;
        let count = blocks.saturating_sub(first).min(u32::BITS);
        let (start, end) = (first / 8, (first + count).div_ceil(8));
        // The bits of 32 blocks lie in 5 bytes at most.
        let mut bits = [0; 8];
        let read = bits.get_mut(..(end - start) as usize).ok_or(Fault::OutOfRange)?;
        flash.read(self.origin + BITS + start, read)?;
        let written = !(u64::from_le_bytes(bits) >> (first % 8)) & ((1 << count) - 1);
        Ok((first, written as u32))
    }

    fn first_missing(&self, flash: &mut impl Flash, blocks: u32) -> Result<u32, Fault> {
        let mut at = 0;
        let bytes = blocks.div_ceil(8);
        while at < bytes {
            let mut chunk = [0; CHUNK_BYTES];
            let len = (bytes - at).min(CHUNK_BYTES as u32);
            let chunk = chunk.get_mut(..len as usize).ok_or(Fault::OutOfRange)?;
            flash.read(self.origin + BITS + at, chunk)?;
            for (nth, byte) in (at..).zip(chunk.iter()) {
                if *byte != 0 {
                    return Ok((nth * 8 + byte.trailing_zeros()).min(blocks));
                }
            }
            at += len;
        }
        Ok(blocks)
    }
}

fn encode(filling: &Filling) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&MAGIC);
    header[4..12].copy_from_slice(&filling.artifact.0);
    header[12..16].copy_from_slice(&filling.blocks.to_le_bytes());
    header[16..18].copy_from_slice(&filling.block_bytes.to_le_bytes());
    header[18] = filling.what.code();
    let check = crc32(&[&header[..24]]);
    header[24..].copy_from_slice(&check.to_le_bytes());
    header
}

fn decode(header: &[u8; HEADER_BYTES]) -> Option<Filling> {
    let (body, check) = header.split_last_chunk::<4>()?;
    if !body.starts_with(&MAGIC) || crc32(&[body]) != u32::from_le_bytes(*check) {
        return None;
    }
    let mut artifact = [0; 8];
    artifact.copy_from_slice(&header[4..12]);
    let what = What::ALL.into_iter().find(|what| what.code() == header[18])?;
    Some(Filling {
        artifact: ArtifactId(artifact),
        what,
        blocks: u32::from_le_bytes([header[12], header[13], header[14], header[15]]),
        block_bytes: u16::from_le_bytes([header[16], header[17]]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Cut, Nor};

    const LAYOUT: Layout = Layout::new(0, 0x1000, 0x8000, 0x1000);
    const JOURNAL: Journal = Journal::new(&LAYOUT);
    const FILLING: Filling =
        Filling { artifact: ArtifactId([7; 8]), what: What::Patch, blocks: 100, block_bytes: 1024 };

    #[test]
    fn a_transfer_is_known_once_it_has_begun() {
        let mut flash = Nor::noisy(LAYOUT.end(), 0x1000, 3);
        assert_eq!(JOURNAL.filling(&mut flash), Ok(None));
        JOURNAL.clear(&mut flash).expect("erased");
        JOURNAL.begin(&mut flash, &FILLING).expect("begun");
        assert_eq!(JOURNAL.filling(&mut flash), Ok(Some(FILLING)));
        assert_eq!(JOURNAL.missing(&mut flash, 100), Ok((0, 0)));
        let endless = Filling { blocks: 0x1000 * 8, ..FILLING };
        assert_eq!(JOURNAL.begin(&mut flash, &endless), Err(Fault::OutOfRange));
    }

    #[test]
    fn missing_blocks_are_found_wherever_they_are() {
        let mut flash = Nor::new(LAYOUT.end(), 0x1000);
        JOURNAL.begin(&mut flash, &FILLING).expect("begun");
        for nth in (0..70).chain([71, 75, 101]) {
            JOURNAL.mark(&mut flash, nth).expect("marked");
        }
        assert_eq!(JOURNAL.missing(&mut flash, 100), Ok((70, 0b10_0010)));
        for nth in 70..100 {
            JOURNAL.mark(&mut flash, nth).expect("marked, also twice");
        }
        assert_eq!(JOURNAL.missing(&mut flash, 100), Ok((100, 0)));
    }

    #[test]
    fn half_a_header_is_none() {
        for seed in 0..200 {
            let mut flash = Nor::new(LAYOUT.end(), 0x1000);
            flash.cut(Cut { after: 0, seed });
            flash.run(|flash| JOURNAL.begin(flash, &FILLING));
            let found = JOURNAL.filling(&mut flash).expect("readable");
            assert!(found.is_none() || found == Some(FILLING), "{found:?}");
        }
    }
}
