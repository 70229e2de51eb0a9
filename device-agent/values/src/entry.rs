//! One entry in flash: whose, under which key, and the value, or that there is none any more.
//!
//! ```text
//! check (4), bytes of owner (1), of key (1), of value (2, all ones for a removal), owner, key, value, padding
//! ```
//!
//! Integers are little-endian. The check is over everything behind it but the padding, which is left erased.

use sha2::{Digest as _, Sha256};
use wasmbed_update::{Fault, Flash};
use wasmbed_wire::Crc32;

use crate::{MAX_KEY_BYTES, MAX_OWNER_BYTES, MAX_VALUE_BYTES};

/// Bytes before the owner.
pub(crate) const HEAD_BYTES: usize = 8;
const CHECK_BYTES: usize = 4;
/// Entries begin at multiples of this.
const ALIGN: usize = 4;
/// The length of a value that was removed.
const REMOVED: u16 = u16::MAX;

/// Bytes read or written together: what a chip on a serial line takes in one request.
pub(crate) const PIECE_BYTES: usize = 256;
const NAMES_BYTES: usize = HEAD_BYTES + MAX_OWNER_BYTES + MAX_KEY_BYTES;
const _: () = assert!(NAMES_BYTES <= PIECE_BYTES);

/// Bytes of the largest entry.
pub(crate) const MAX_ENTRY_BYTES: usize = NAMES_BYTES + MAX_VALUE_BYTES;

/// An owner, by the beginning of its SHA-256: for counting what it has.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner(pub(crate) [u8; 4]);

/// A key of an owner, by the beginning of a SHA-256 over both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name(pub(crate) [u8; 8]);

/// Who asks, and for what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names<'a> {
    pub(crate) owner: &'a [u8],
    pub(crate) key: &'a [u8],
}

impl Names<'_> {
    pub(crate) fn owner(&self) -> Owner {
        let [a, b, c, d, ..]: [u8; 32] = Sha256::digest(self.owner).into();
        Owner([a, b, c, d])
    }

    pub(crate) fn name(&self) -> Name {
        let hash = Sha256::new_with_prefix([self.owner.len() as u8]).chain_update(self.owner);
        let [a, b, c, d, e, f, g, h, ..]: [u8; 32] = hash.chain_update(self.key).finalize().into();
        Name([a, b, c, d, e, f, g, h])
    }

    /// Bytes of an entry with so many of value, without padding.
    pub(crate) const fn entry_bytes(&self, value: usize) -> usize {
        HEAD_BYTES + self.owner.len() + self.key.len() + value
    }
}

/// So many bytes with their padding.
pub(crate) const fn padded(bytes: usize) -> u32 {
    bytes.next_multiple_of(ALIGN) as u32
}

/// The beginning of an entry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    check: [u8; CHECK_BYTES],
    lengths: [u8; HEAD_BYTES - CHECK_BYTES],
    owner_bytes: usize,
    key_bytes: usize,
    /// Bytes of the value; `None` if it was removed.
    pub(crate) value_bytes: Option<usize>,
}

impl Head {
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (&check, lengths) = bytes.split_first_chunk()?;
        let &lengths = lengths.first_chunk()?;
        let [owner, key, low, high] = lengths;
        let value_bytes = match u16::from_le_bytes([low, high]) {
            REMOVED => None,
            bytes => Some(usize::from(bytes)),
        };
        let (owner_bytes, key_bytes) = (usize::from(owner), usize::from(key));
        let is_possible = owner_bytes <= MAX_OWNER_BYTES
            && (1..=MAX_KEY_BYTES).contains(&key_bytes)
            && value_bytes.is_none_or(|bytes| bytes <= MAX_VALUE_BYTES);
        is_possible.then_some(Head { check, lengths, owner_bytes, key_bytes, value_bytes })
    }

    /// Bytes before the value.
    pub(crate) const fn value_at(&self) -> usize {
        HEAD_BYTES + self.owner_bytes + self.key_bytes
    }

    /// Bytes of the entry without padding.
    pub(crate) fn bytes(&self) -> usize {
        self.value_at() + self.value_bytes.unwrap_or(0)
    }

    /// The names in what follows the head.
    pub(crate) fn names<'b>(&self, behind: &'b [u8]) -> Option<Names<'b>> {
        let (owner, rest) = behind.split_at_checked(self.owner_bytes)?;
        Some(Names { owner, key: rest.get(..self.key_bytes)? })
    }

    /// The check over lengths and names; the value is to be added.
    pub(crate) fn checking(&self, names: &Names<'_>) -> Crc32 {
        let mut check = Crc32::new();
        check.update(&self.lengths);
        check.update(names.owner);
        check.update(names.key);
        check
    }

    /// Whether that is the entry's check.
    pub(crate) fn is_whole(&self, check: Crc32) -> bool {
        check.finish().to_le_bytes() == self.check
    }
}

/// Reads on from where it read last, a piece at a time.
pub(crate) struct Reader {
    piece: [u8; PIECE_BYTES],
    at: u32,
    len: usize,
    /// Nothing from here on is read.
    end: u32,
}

/// A whole entry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    pub(crate) owner: Owner,
    pub(crate) name: Name,
    pub(crate) head: Head,
}

impl Reader {
    pub(crate) const fn new(end: u32) -> Self {
        Reader { piece: [0; PIECE_BYTES], at: 0, len: 0, end }
    }

    /// Up to `len` bytes at `at`; fewer at the end, and never more than a piece.
    pub(crate) fn get(&mut self, flash: &mut dyn Flash, at: u32, len: usize) -> Result<&[u8], Fault> {
        let len = len.min(PIECE_BYTES).min(self.end.saturating_sub(at) as usize);
        let is_there = at.checked_sub(self.at).is_some_and(|skip| skip as usize + len <= self.len);
        if !is_there {
            (self.at, self.len) = (at, 0);
            let piece_bytes = PIECE_BYTES.min(self.end.saturating_sub(at) as usize);
            flash.read(at, self.piece.get_mut(..piece_bytes).ok_or(Fault::OutOfRange)?)?;
            self.len = piece_bytes;
        }
        let skip = at.saturating_sub(self.at) as usize;
        self.piece.get(skip..skip + len).ok_or(Fault::OutOfRange)
    }

    /// The head and the names of what may be an entry at `at`.
    pub(crate) fn names(
        &mut self,
        flash: &mut dyn Flash,
        at: u32,
    ) -> Result<Option<(Head, Names<'_>)>, Fault> {
        let bytes = self.get(flash, at, NAMES_BYTES)?;
        let Some(head) = Head::decode(bytes) else { return Ok(None) };
        Ok(head.names(bytes.get(HEAD_BYTES..).unwrap_or_default()).map(|names| (head, names)))
    }

    /// The entry at `at`, if a whole one is there.
    pub(crate) fn entry(&mut self, flash: &mut dyn Flash, at: u32) -> Result<Option<Found>, Fault> {
        let end = self.end;
        let Some((head, names)) = self.names(flash, at)? else { return Ok(None) };
        if (end.saturating_sub(at) as usize) < head.bytes() {
            return Ok(None);
        }
        let (owner, name, mut check) = (names.owner(), names.name(), head.checking(&names));
        let mut done = head.value_at();
        while done < head.bytes() {
            let piece = self.get(flash, at + done as u32, head.bytes() - done)?;
            check.update(piece);
            done += piece.len();
        }
        Ok(head.is_whole(check).then_some(Found { owner, name, head }))
    }

    /// Whether the `len` bytes at `at`, as far as they are read at all, are erased.
    pub(crate) fn is_erased(&mut self, flash: &mut dyn Flash, at: u32, len: usize) -> Result<bool, Fault> {
        let end = self.end.min(at.saturating_add(len as u32));
        let mut at = at;
        while at < end {
            let piece = self.get(flash, at, (end - at) as usize)?;
            if piece.iter().any(|byte| *byte != 0xff) {
                return Ok(false);
            }
            at += piece.len() as u32;
        }
        Ok(true)
    }
}

/// A value, read piece by piece.
pub(crate) struct Value {
    reader: Reader,
    head: Head,
    check: Crc32,
    at: u32,
    end: u32,
}

impl Value {
    /// The value of the entry of so many bytes at `at`; `None` if that has other names.
    pub(crate) fn open(
        flash: &mut dyn Flash,
        at: u32,
        bytes: usize,
        names: &Names<'_>,
    ) -> Result<Option<Self>, Fault> {
        let end = at.saturating_add(bytes as u32);
        let mut reader = Reader::new(end);
        let (head, found) = reader.names(flash, at)?.ok_or(Fault::Failed)?;
        if (found.owner, found.key) != (names.owner, names.key) {
            return Ok(None);
        }
        let check = head.checking(&found);
        Ok(Some(Value { reader, head, check, at: at + head.value_at() as u32, end }))
    }

    /// How many bytes are left of it.
    pub(crate) const fn bytes(&self) -> usize {
        self.end.saturating_sub(self.at) as usize
    }

    /// The next piece; `None` at the end.
    pub(crate) fn next(&mut self, flash: &mut dyn Flash) -> Result<Option<&[u8]>, Fault> {
        if self.at >= self.end {
            return Ok(None);
        }
        let left = self.bytes();
        let piece = self.reader.get(flash, self.at, left)?;
        self.check.update(piece);
        self.at += piece.len() as u32;
        Ok(Some(piece))
    }

    /// Whether the pieces were what was written.
    pub(crate) fn verify(self) -> bool {
        self.head.is_whole(self.check)
    }
}

/// Writes an entry; `value` is `None` for a removal. The caller has checked the lengths.
pub(crate) fn write(
    flash: &mut dyn Flash,
    at: u32,
    names: &Names<'_>,
    value: Option<&[u8]>,
) -> Result<(), Fault> {
    let value_bytes = value.map_or(REMOVED, |value| value.len() as u16);
    let [low, high] = value_bytes.to_le_bytes();
    let lengths = [names.owner.len() as u8, names.key.len() as u8, low, high];
    let value = value.unwrap_or_default();
    let parts = [&lengths[..], names.owner, names.key, value];
    let check = wasmbed_wire::crc32(&parts).to_le_bytes();
    let mut rest = check.iter().chain(parts.into_iter().flatten());
    let (mut at, mut left) = (at, names.entry_bytes(value.len()));
    while left > 0 {
        let mut piece = [0; PIECE_BYTES];
        let piece = piece.get_mut(..left.min(PIECE_BYTES)).ok_or(Fault::OutOfRange)?;
        piece.iter_mut().zip(&mut rest).for_each(|(place, byte)| *place = *byte);
        flash.program(at, piece)?;
        at += piece.len() as u32;
        left -= piece.len();
    }
    Ok(())
}

/// Copies an entry of so many bytes.
pub(crate) fn copy(flash: &mut dyn Flash, from: u32, to: u32, bytes: usize) -> Result<(), Fault> {
    let mut done = 0;
    while done < bytes {
        let mut piece = [0; PIECE_BYTES];
        let piece = piece.get_mut(..(bytes - done).min(PIECE_BYTES)).ok_or(Fault::OutOfRange)?;
        flash.read(from + done as u32, piece)?;
        flash.program(to + done as u32, piece)?;
        done += piece.len();
    }
    Ok(())
}
