//! The values: found, set, removed.

use alloc::vec::Vec;
use core::fmt;

use wasmbed_update::{Fault, Flash, Region};

use crate::{
    budget::Budgets,
    entry::{self, HEAD_BYTES, MAX_ENTRY_BYTES, Name, Names, Owner, Reader, padded},
    ring::{self, HEADER_BYTES, Ring, Sector},
};

/// Longest value, in bytes.
pub const MAX_VALUE_BYTES: usize = 1024;
/// Longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 64;
/// Longest owner, in bytes: a module and its instance.
pub const MAX_OWNER_BYTES: usize = 65;
/// What one owner may store, in bytes of keys and values.
pub const QUOTA_BYTES: usize = 4096;
/// How many values one owner may store.
pub const QUOTA_VALUES: usize = 32;

/// How many values all owners may store: each is remembered.
const MOST_VALUES: usize = 128;
/// Room that is left to the owner without a name, the device itself.
const RESERVED_BYTES: u32 = 256;

/// Why a call did nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// There is no such value.
    NotFound,
    /// The value does not fit into the buffer, or its owner has, or all have, stored as much as they may.
    NoSpace,
    /// The owner, the key or the value has more bytes than it may, or the key has none.
    BadLength,
    /// Its owner changes values too often; see [`crate::BYTES_PER_MINUTE`].
    Busy,
    /// The flash failed, or holds something damaged. What was stored before is still there.
    Flash(Fault),
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        Refused::Flash(fault)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refused::NotFound => "no such value",
            Refused::NoSpace => "no room for it",
            Refused::BadLength => "too long, or a key without a character",
            Refused::Busy => "values are changed too often; flash wears out",
            Refused::Flash(fault) => return fault.fmt(f),
        })
    }
}

impl core::error::Error for Refused {}

/// All values in one region of a flash. Owners are names of modules; the device itself has the empty one.
#[derive(Debug)]
pub struct Values {
    region: Region,
    /// What is in flash; `None` while that is not known.
    log: Option<Log>,
    budgets: Budgets,
}

/// What is in flash.
#[derive(Debug)]
struct Log {
    ring: Ring,
    /// The sector that is written.
    active: Sector,
    /// Its number.
    number: u32,
    /// Where the next entry goes; its end if nothing more is to be written there.
    tail: u32,
    known: Vec<Known>,
}

/// A value that counts.
#[derive(Debug, Clone, Copy)]
struct Known {
    name: Name,
    owner: Owner,
    at: u32,
    /// Bytes of the entry without padding.
    bytes: u16,
}

impl Values {
    /// The values in `region`, at least three sectors. Nothing is read yet.
    pub fn new(region: Region) -> Self {
        Values { region, log: None, budgets: Budgets::default() }
    }

    /// Copies a value to the start of `out` and returns its length.
    ///
    /// # Errors
    /// [`Refused::NotFound`], [`Refused::NoSpace`] if it does not fit, [`Refused::BadLength`],
    /// [`Refused::Flash`].
    pub fn get(
        &mut self,
        flash: &mut dyn Flash,
        owner: &str,
        key: &str,
        out: &mut [u8],
    ) -> Result<usize, Refused> {
        let names = names(owner, key)?;
        self.with_log(flash, |log, _, flash| log.get(flash, &names, out))
    }

    /// Stores a value, durably. What is stored already is not written again. `now_ms` is any time that never
    /// falls.
    ///
    /// # Errors
    /// [`Refused::NoSpace`] if it is too much together with the others, [`Refused::BadLength`],
    /// [`Refused::Busy`], [`Refused::Flash`].
    pub fn set(
        &mut self,
        now_ms: u64,
        flash: &mut dyn Flash,
        owner: &str,
        key: &str,
        value: &[u8],
    ) -> Result<(), Refused> {
        let names = names(owner, key)?;
        if value.len() > MAX_VALUE_BYTES {
            return Err(Refused::BadLength);
        }
        self.with_log(flash, |log, budgets, flash| log.set(flash, &names, value, now_ms, budgets))
    }

    /// Forgets a value, durably.
    ///
    /// # Errors
    /// [`Refused::NotFound`], [`Refused::BadLength`], [`Refused::Busy`], [`Refused::Flash`].
    pub fn remove(
        &mut self,
        now_ms: u64,
        flash: &mut dyn Flash,
        owner: &str,
        key: &str,
    ) -> Result<(), Refused> {
        let names = names(owner, key)?;
        self.with_log(flash, |log, budgets, flash| log.remove(flash, &names, now_ms, budgets))
    }

    /// Does something with what is in flash. After a failure that is read afresh.
    fn with_log<T>(
        &mut self,
        flash: &mut dyn Flash,
        act: impl FnOnce(&mut Log, &mut Budgets, &mut dyn Flash) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        let mut log = match self.log.take() {
            Some(log) => log,
            None => Log::open(flash, self.region)?,
        };
        let done = act(&mut log, &mut self.budgets, flash);
        if !matches!(done, Err(Refused::Flash(_))) {
            self.log = Some(log);
        }
        done
    }
}

fn names<'a>(owner: &'a str, key: &'a str) -> Result<Names<'a>, Refused> {
    let is_possible = owner.len() <= MAX_OWNER_BYTES && (1..=MAX_KEY_BYTES).contains(&key.len());
    let names = Names { owner: owner.as_bytes(), key: key.as_bytes() };
    if is_possible { Ok(names) } else { Err(Refused::BadLength) }
}

impl Log {
    fn open(flash: &mut dyn Flash, region: Region) -> Result<Self, Refused> {
        let ring = Ring::new(region, flash.sector_bytes()).ok_or(Fault::OutOfRange)?;
        let Some((newest, number)) = ring.newest(flash)? else {
            let active = ring.last();
            return Ok(Log { ring, active, number: 0, tail: active.end, known: Vec::new() });
        };
        let log = Log::read(flash, ring, newest, number)?;
        if !log.is_unsettled() {
            return Ok(log);
        }
        // The power failed while this sector was begun: it holds copies, and not all of them. What they are
        // copies of is still there, so it is begun again.
        let active = ring.before(newest, 1);
        let log = Log::read(flash, ring, active, number.wrapping_sub(1))?;
        Ok(Log { tail: active.end, ..log })
    }

    /// Reads the sectors up to the one with this number, the oldest first.
    fn read(flash: &mut dyn Flash, ring: Ring, active: Sector, number: u32) -> Result<Self, Refused> {
        let mut log = Log { ring, active, number, tail: active.end, known: Vec::new() };
        for steps in (0..ring.count()).rev() {
            let sector = ring.before(active, steps);
            let expected = number.checked_sub(steps);
            if ring::number(flash, sector)?.is_some_and(|found| Some(found) == expected) {
                log.read_sector(flash, sector)?;
            }
        }
        Ok(log)
    }

    fn read_sector(&mut self, flash: &mut dyn Flash, sector: Sector) -> Result<(), Refused> {
        let mut reader = Reader::new(sector.end);
        let mut at = sector.first();
        while let Some(found) = reader.entry(flash, at)? {
            let bytes = found.head.bytes();
            match found.head.value_bytes {
                Some(_) => {
                    self.note(Known { name: found.name, owner: found.owner, at, bytes: bytes as u16 })?;
                }
                None => self.known.retain(|known| known.name != found.name),
            }
            at += padded(bytes);
        }
        // Half an entry, or what else may be there, is not written over.
        let is_writable = sector == self.active && reader.is_erased(flash, at, MAX_ENTRY_BYTES)?;
        if is_writable {
            self.tail = at;
        }
        Ok(())
    }

    /// Whether something still counts in the sector that is erased next.
    fn is_unsettled(&self) -> bool {
        let next = self.ring.after(self.active);
        self.known.iter().any(|known| next.contains(known.at))
    }

    fn get(&mut self, flash: &mut dyn Flash, names: &Names<'_>, out: &mut [u8]) -> Result<usize, Refused> {
        let mut value = self.value(flash, names)?.ok_or(Refused::NotFound)?;
        let out = out.get_mut(..value.bytes()).ok_or(Refused::NoSpace)?;
        let mut rest = &mut *out;
        while let Some(piece) = value.next(flash)? {
            let (now, later) = rest.split_at_mut_checked(piece.len()).ok_or(Refused::NoSpace)?;
            now.copy_from_slice(piece);
            rest = later;
        }
        if value.verify() { Ok(out.len()) } else { Err(Fault::Failed.into()) }
    }

    /// Whether that is the value already.
    fn holds(&mut self, flash: &mut dyn Flash, names: &Names<'_>, value: &[u8]) -> Result<bool, Refused> {
        let Some(mut found) = self.value(flash, names)? else { return Ok(false) };
        if found.bytes() != value.len() {
            return Ok(false);
        }
        let mut rest = value;
        while let Some(piece) = found.next(flash)? {
            let Some(later) = rest.strip_prefix(piece) else { return Ok(false) };
            rest = later;
        }
        // A damaged one is replaced.
        Ok(found.verify())
    }

    /// The value in flash, if there is one.
    fn value(&self, flash: &mut dyn Flash, names: &Names<'_>) -> Result<Option<entry::Value>, Refused> {
        let Some(known) = self.find(names) else { return Ok(None) };
        Ok(entry::Value::open(flash, known.at, known.bytes.into(), names)?)
    }

    fn set(
        &mut self,
        flash: &mut dyn Flash,
        names: &Names<'_>,
        value: &[u8],
        now_ms: u64,
        budgets: &mut Budgets,
    ) -> Result<(), Refused> {
        let bytes = names.entry_bytes(value.len());
        if self.holds(flash, names, value)? {
            return Ok(());
        }
        let owner = names.owner();
        self.check_room(names, owner, bytes)?;
        self.known.try_reserve(1).map_err(|_| Refused::NoSpace)?;
        if !budgets.charge(now_ms, owner, bytes) {
            return Err(Refused::Busy);
        }
        let at = self.append(flash, names, Some(value))?;
        self.note(Known { name: names.name(), owner, at, bytes: bytes as u16 })
    }

    fn remove(
        &mut self,
        flash: &mut dyn Flash,
        names: &Names<'_>,
        now_ms: u64,
        budgets: &mut Budgets,
    ) -> Result<(), Refused> {
        let before = self.find(names).ok_or(Refused::NotFound)?;
        if !budgets.charge(now_ms, before.owner, names.entry_bytes(0)) {
            return Err(Refused::Busy);
        }
        self.append(flash, names, None)?;
        self.known.retain(|known| known.name != before.name);
        Ok(())
    }

    fn find(&self, names: &Names<'_>) -> Option<Known> {
        let name = names.name();
        self.known.iter().find(|known| known.name == name).copied()
    }

    /// Notes a value in the place of the one before.
    fn note(&mut self, new: Known) -> Result<(), Refused> {
        match self.known.iter_mut().find(|known| known.name == new.name) {
            Some(known) => *known = new,
            None => {
                self.known.try_reserve(1).map_err(|_| Refused::NoSpace)?;
                self.known.push(new);
            }
        }
        Ok(())
    }

    /// Whether the owner, and all together, may store an entry of so many bytes in the place of the one before.
    fn check_room(&self, names: &Names<'_>, owner: Owner, bytes: usize) -> Result<(), Refused> {
        let name = names.name();
        let (mut count, mut own, mut own_bytes, mut all_bytes) = (1, 1, bytes, padded(bytes));
        for other in self.known.iter().filter(|known| known.name != name) {
            count += 1;
            all_bytes += padded(other.bytes.into());
            if other.owner == owner {
                own += 1;
                own_bytes += usize::from(other.bytes);
            }
        }
        // What an entry has besides key and value is not counted.
        let overhead = own * (HEAD_BYTES + names.owner.len());
        let reserved = if names.owner.is_empty() { 0 } else { RESERVED_BYTES };
        let fits = own <= QUOTA_VALUES
            && own_bytes <= QUOTA_BYTES + overhead
            && count <= MOST_VALUES
            && all_bytes + reserved <= self.capacity();
        if fits { Ok(()) } else { Err(Refused::NoSpace) }
    }

    /// So many bytes of entries can always be stored. Were there room for no entry in any sector, each but the
    /// empty one would hold more than that share.
    fn capacity(&self) -> u32 {
        let share = self.ring.sector_bytes().saturating_sub(HEADER_BYTES + padded(MAX_ENTRY_BYTES));
        share.saturating_mul(self.ring.count() - 1)
    }

    /// Writes an entry and returns where.
    fn append(
        &mut self,
        flash: &mut dyn Flash,
        names: &Names<'_>,
        value: Option<&[u8]>,
    ) -> Result<u32, Refused> {
        let room = padded(names.entry_bytes(value.map_or(0, <[u8]>::len)));
        for _ in 0..self.ring.count() {
            if self.active.end - self.tail >= room {
                let at = self.tail;
                entry::write(flash, at, names, value)?;
                self.tail += room;
                return Ok(at);
            }
            self.advance(flash)?;
        }
        Err(Refused::NoSpace)
    }

    /// Begins the next sector with what still counts of the one behind it.
    fn advance(&mut self, flash: &mut dyn Flash) -> Result<(), Fault> {
        let next = self.ring.after(self.active);
        let number = self.number.saturating_add(1);
        ring::begin(flash, next, number)?;
        (self.active, self.number, self.tail) = (next, number, next.first());
        let oldest = self.ring.after(next);
        for known in self.known.iter_mut().filter(|known| oldest.contains(known.at)) {
            entry::copy(flash, known.at, self.tail, known.bytes.into())?;
            known.at = self.tail;
            self.tail += padded(known.bytes.into());
        }
        Ok(())
    }
}
