//! The last of many versions of a small text in two sectors, whatever happens to the power.
//!
//! Entries follow each other in one sector; when it is full the other one is erased and takes the next. An
//! entry has a number and a check, and the highest number that checks counts. So the last complete entry is
//! never in the sector that is erased, and half an entry is as good as none.

use wasmbed_wire::crc32;

use crate::{Fault, Flash};

/// Longest entry, in bytes.
pub const MAX_ENTRY_BYTES: usize = 512;

/// Number, length, check.
const HEADER_BYTES: usize = 12;
/// Bytes read at a time where only their being erased matters.
const CHUNK_BYTES: usize = 64;
/// Entries begin at multiples of this.
const ALIGN: u32 = 4;
const ERASED: u8 = 0xff;

/// A log in two sectors.
#[derive(Debug, Clone, Copy)]
pub struct Log {
    /// The first of the two.
    origin: u32,
    sector_bytes: u32,
}

/// The last entry.
#[derive(Debug, Clone, Copy)]
struct Last {
    number: u32,
    at: u32,
    len: usize,
}

impl Last {
    /// Where the next one goes, if that is erased.
    const fn next(&self) -> u32 {
        self.at + (HEADER_BYTES as u32 + self.len as u32).next_multiple_of(ALIGN)
    }
}

impl Log {
    /// The log in the sector at `origin` and the one after it.
    pub const fn new(origin: u32, sector_bytes: u32) -> Self {
        Log { origin, sector_bytes }
    }

    /// Copies the last entry to the start of `out` and returns its length; `None` if there is none, or none
    /// that fits.
    ///
    /// # Errors
    /// Those of reading.
    pub fn last(&self, flash: &mut impl Flash, out: &mut [u8]) -> Result<Option<usize>, Fault> {
        let Some(last) = self.find(flash)? else { return Ok(None) };
        let Some(out) = out.get_mut(..last.len) else { return Ok(None) };
        flash.read(last.at + HEADER_BYTES as u32, out)?;
        Ok(Some(last.len))
    }

    /// Adds an entry of at most [`MAX_ENTRY_BYTES`].
    ///
    /// # Errors
    /// Those of erasing and programming; [`Fault::OutOfRange`] if the entry is too long, [`Fault::Failed`] if
    /// it does not read back.
    pub fn append(&self, flash: &mut impl Flash, entry: &[u8]) -> Result<(), Fault> {
        let mut bytes = [ERASED; HEADER_BYTES + MAX_ENTRY_BYTES];
        let last = self.find(flash)?;
        let number = last.map_or(1, |last| last.number.wrapping_add(1));
        let len = encode(number, entry, &mut bytes).ok_or(Fault::OutOfRange)?;
        let bytes = bytes.get(..len).ok_or(Fault::OutOfRange)?;
        let at = match self.place(flash, last, len)? {
            Some(at) => at,
            None => {
                let fresh = self.sector_without(last);
                flash.erase(fresh)?;
                fresh
            }
        };
        flash.program(at, bytes)?;
        match self.find(flash)? {
            Some(last) if last.number == number => Ok(()),
            _ => Err(Fault::Failed),
        }
    }

    /// Room for `len` erased bytes behind the last entry.
    fn place(&self, flash: &mut impl Flash, last: Option<Last>, len: usize) -> Result<Option<u32>, Fault> {
        let Some(last) = last else { return Ok(None) };
        let at = last.next();
        let room = self.sector_bytes - (at - self.origin) % self.sector_bytes;
        // At the end of the first sector begins the second one, which is none of this one's room.
        let is_same_sector = self.sector_of(last.at) == self.sector_of(at);
        if !is_same_sector || (room as usize) < len {
            return Ok(None);
        }
        Ok(is_erased(flash, at, len)?.then_some(at))
    }

    fn sector_of(&self, at: u32) -> u32 {
        (at - self.origin) / self.sector_bytes
    }

    /// The sector in which the last entry is not.
    fn sector_without(&self, last: Option<Last>) -> u32 {
        match last.map(|last| self.sector_of(last.at)) {
            Some(0) => self.origin + self.sector_bytes,
            _ => self.origin,
        }
    }

    fn find(&self, flash: &mut impl Flash) -> Result<Option<Last>, Fault> {
        let mut found: Option<Last> = None;
        for sector in [self.origin, self.origin + self.sector_bytes] {
            if let Some(last) = self.find_in(flash, sector)? {
                let is_newer = |before: &Last| (last.number.wrapping_sub(before.number) as i32).is_positive();
                if found.as_ref().is_none_or(is_newer) {
                    found = Some(last);
                }
            }
        }
        Ok(found)
    }

    fn find_in(&self, flash: &mut impl Flash, sector: u32) -> Result<Option<Last>, Fault> {
        let end = sector + self.sector_bytes;
        let mut at = sector;
        let mut found = None;
        while let Some((number, len)) = entry_at(flash, at, end)? {
            let last = Last { number, at, len };
            at = last.next();
            found = Some(last);
        }
        Ok(found)
    }
}

fn is_erased(flash: &mut impl Flash, at: u32, len: usize) -> Result<bool, Fault> {
    let mut chunk = [0; CHUNK_BYTES];
    let mut done = 0;
    while done < len {
        let piece = chunk.get_mut(..CHUNK_BYTES.min(len - done)).ok_or(Fault::OutOfRange)?;
        flash.read(at + done as u32, piece)?;
        if piece.iter().any(|byte| *byte != ERASED) {
            return Ok(false);
        }
        done += piece.len();
    }
    Ok(true)
}

/// Writes number, length, check and entry, and returns how many bytes that are.
fn encode(number: u32, entry: &[u8], out: &mut [u8]) -> Option<usize> {
    let len = u32::try_from(entry.len()).ok()?;
    out.get_mut(..4)?.copy_from_slice(&number.to_le_bytes());
    out.get_mut(4..8)?.copy_from_slice(&len.to_le_bytes());
    out.get_mut(8..HEADER_BYTES)?.copy_from_slice(&check(number, len, entry).to_le_bytes());
    out.get_mut(HEADER_BYTES..HEADER_BYTES + entry.len())?.copy_from_slice(entry);
    Some(HEADER_BYTES + entry.len())
}

fn check(number: u32, len: u32, entry: &[u8]) -> u32 {
    crc32(&[&number.to_le_bytes(), &len.to_le_bytes(), entry])
}

/// Number and length of the entry at `at`, if a whole one is there.
fn entry_at(flash: &mut impl Flash, at: u32, end: u32) -> Result<Option<(u32, usize)>, Fault> {
    if end.saturating_sub(at) < HEADER_BYTES as u32 {
        return Ok(None);
    }
    let mut header = [0; HEADER_BYTES];
    flash.read(at, &mut header)?;
    let [n0, n1, n2, n3, l0, l1, l2, l3, c0, c1, c2, c3] = header;
    let (number, len) = (u32::from_le_bytes([n0, n1, n2, n3]), u32::from_le_bytes([l0, l1, l2, l3]));
    if len > MAX_ENTRY_BYTES as u32 || end - at - (HEADER_BYTES as u32) < len {
        return Ok(None);
    }
    let mut entry = [0; MAX_ENTRY_BYTES];
    let entry = entry.get_mut(..len as usize).ok_or(Fault::OutOfRange)?;
    flash.read(at + HEADER_BYTES as u32, entry)?;
    let is_whole = check(number, len, entry) == u32::from_le_bytes([c0, c1, c2, c3]);
    Ok(is_whole.then_some((number, entry.len())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Cut, Nor, Outcome};
    use proptest::prelude::*;
    use std::{vec, vec::Vec};

    const LOG: Log = Log::new(0x1000, 0x1000);

    fn entry(n: u32) -> Vec<u8> {
        vec![n as u8; 40 + n as usize % 60]
    }

    fn last(flash: &mut Nor) -> Option<Vec<u8>> {
        let mut out = [0; MAX_ENTRY_BYTES];
        let len = LOG.last(flash, &mut out).expect("readable")?;
        Some(out[..len].to_vec())
    }

    #[test]
    fn the_last_entry_is_there_through_many_changes_of_the_sector() {
        let mut flash = Nor::new(0x4000, 0x1000);
        assert_eq!(last(&mut flash), None);
        for n in 0..300 {
            LOG.append(&mut flash, &entry(n)).expect("appended");
            assert_eq!(last(&mut flash), Some(entry(n)));
        }
        assert_eq!(flash.erases() as u32 / 300, 0, "sectors are filled before they are erased");
    }

    #[test]
    fn an_entry_that_is_too_long_is_refused_and_harms_nothing() {
        let mut flash = Nor::new(0x4000, 0x1000);
        LOG.append(&mut flash, b"kept").expect("appended");
        assert_eq!(LOG.append(&mut flash, &[0; MAX_ENTRY_BYTES + 1]), Err(Fault::OutOfRange));
        assert_eq!(last(&mut flash), Some(b"kept".to_vec()));
        assert_eq!(LOG.append(&mut flash, &[0; MAX_ENTRY_BYTES]), Ok(()));
    }

    #[test]
    fn noise_is_an_empty_log() {
        let mut flash = Nor::noisy(0x4000, 0x1000, 7);
        assert_eq!(last(&mut flash), None);
        LOG.append(&mut flash, b"first").expect("appended");
        assert_eq!(last(&mut flash), Some(b"first".to_vec()));
    }

    proptest! {
        /// Whatever operation the power fails in, the log has the entry before or the one after.
        #[test]
        fn a_power_cut_loses_no_more_than_the_entry_being_written(
            before in 0..120u32, cut in 0..3u64, seed in any::<u64>(),
        ) {
            let mut flash = Nor::new(0x4000, 0x1000);
            for n in 0..before {
                LOG.append(&mut flash, &entry(n)).expect("appended");
            }
            let old = last(&mut flash);
            flash.cut(Cut { after: cut, seed });
            let outcome = flash.run(|flash| LOG.append(flash, &entry(before)));
            let now = last(&mut flash);
            let new = Some(entry(before));
            match outcome {
                Outcome::Done(done) => { prop_assert_eq!(done, Ok(())); prop_assert_eq!(&now, &new); }
                Outcome::PowerCut => prop_assert!(now == old || now == new, "{now:?}"),
            }
            // It goes on from there.
            for n in 500..540 {
                LOG.append(&mut flash, &entry(n)).expect("appended");
                prop_assert_eq!(last(&mut flash), Some(entry(n)));
            }
        }
    }
}
