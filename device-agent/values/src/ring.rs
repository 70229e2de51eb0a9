//! The sectors: which one is written, which one comes next, and in which order they were filled.
//!
//! A sector begins with a number, one more than that of the sector filled before it. Only a sector with a whole
//! header counts; the header is written after the sector was erased and wiped before it is erased again, so that
//! half an erasure brings nothing back.

use wasmbed_update::{Fault, Flash, Region};
use wasmbed_wire::crc32;

/// Bytes of a sector's header.
pub(crate) const HEADER_BYTES: u32 = 12;
const MAGIC: [u8; 4] = *b"WBV1";

/// The sectors, in a ring.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ring {
    origin: u32,
    sector_bytes: u32,
    count: u32,
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sector {
    index: u32,
    /// Where it begins.
    pub(crate) origin: u32,
    /// The address behind it.
    pub(crate) end: u32,
}

impl Sector {
    /// Where its first entry goes.
    pub(crate) const fn first(&self) -> u32 {
        self.origin + HEADER_BYTES
    }

    pub(crate) fn contains(&self, address: u32) -> bool {
        (self.origin..self.end).contains(&address)
    }
}

impl Ring {
    /// The whole sectors of `region`; `None` if these are fewer than three.
    pub(crate) fn new(region: Region, sector_bytes: u32) -> Option<Self> {
        let count = region.bytes.checked_div(sector_bytes)?;
        (count >= 3).then_some(Ring { origin: region.origin, sector_bytes, count })
    }

    pub(crate) const fn sector_bytes(&self) -> u32 {
        self.sector_bytes
    }

    pub(crate) const fn count(&self) -> u32 {
        self.count
    }

    const fn sector(&self, index: u32) -> Sector {
        let origin = self.origin + index * self.sector_bytes;
        Sector { index, origin, end: origin + self.sector_bytes }
    }

    /// The last one, where nothing was ever written.
    pub(crate) const fn last(&self) -> Sector {
        self.sector(self.count - 1)
    }

    pub(crate) const fn after(&self, sector: Sector) -> Sector {
        self.sector((sector.index + 1) % self.count)
    }

    /// The one that was filled so many before this one.
    pub(crate) const fn before(&self, sector: Sector, steps: u32) -> Sector {
        self.sector((sector.index + self.count - steps % self.count) % self.count)
    }

    /// The sector with the highest number, and that number.
    pub(crate) fn newest(&self, flash: &mut dyn Flash) -> Result<Option<(Sector, u32)>, Fault> {
        let mut newest: Option<(Sector, u32)> = None;
        for sector in (0..self.count).map(|index| self.sector(index)) {
            if let Some(number) = number(flash, sector)?
                && newest.is_none_or(|(_, most)| number > most)
            {
                newest = Some((sector, number));
            }
        }
        Ok(newest)
    }
}

/// The sector's number, if it counts.
pub(crate) fn number(flash: &mut dyn Flash, sector: Sector) -> Result<Option<u32>, Fault> {
    let mut header = [0; HEADER_BYTES as usize];
    flash.read(sector.origin, &mut header)?;
    let [_, _, _, _, a, b, c, d, ..] = header;
    let number = u32::from_le_bytes([a, b, c, d]);
    Ok((header == self::header(number)).then_some(number))
}

/// Empties the sector and gives it this number.
pub(crate) fn begin(flash: &mut dyn Flash, sector: Sector, number: u32) -> Result<(), Fault> {
    // An erasure that power cuts short may leave the header whole and a removal behind it damaged.
    flash.program(sector.origin, &[0; HEADER_BYTES as usize])?;
    flash.erase(sector.origin)?;
    flash.program(sector.origin, &header(number))
}

fn header(number: u32) -> [u8; HEADER_BYTES as usize] {
    let number = number.to_le_bytes();
    let mut header = [0; HEADER_BYTES as usize];
    let check = crc32(&[&MAGIC, &number]).to_le_bytes();
    header.iter_mut().zip(MAGIC.into_iter().chain(number).chain(check)).for_each(|(to, from)| *to = from);
    header
}
