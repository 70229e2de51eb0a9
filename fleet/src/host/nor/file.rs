//! NOR flash in a file.

use std::{
    fs::{File, OpenOptions},
    io,
    ops::Range,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use wasmbed_update::Flash;
use wasmbed_wire::nor::Fault;

/// What erased flash reads as.
pub(super) const ERASED: u8 = 0xff;
/// Bytes written at once.
const CHUNK: [u8; 4096] = [ERASED; 4096];

/// A flash whose contents are a file, from its beginning on. Every operation is in the file when it
/// returns.
pub(in crate::host) struct NorFile {
    file: File,
    size_bytes: u32,
    sector_bytes: u32,
}

impl NorFile {
    /// The flash at `path`, of whole sectors; a file of another size is none.
    ///
    /// # Errors
    /// If the file cannot be opened or made.
    pub(in crate::host) fn open(path: &Path, size_bytes: u32, sector_bytes: u32) -> io::Result<Self> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        if file.metadata()?.len() != u64::from(size_bytes) {
            // What a file of another size holds means nothing here.
            file.set_len(0)?;
            file.set_len(size_bytes.into())?;
        }
        Ok(NorFile { file, size_bytes, sector_bytes })
    }

    /// The flash at `path`, as a board that runs has it.
    ///
    /// # Errors
    /// If there is none of this size.
    pub(in crate::host) fn reopen(path: &Path, size_bytes: u32, sector_bytes: u32) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let found = file.metadata()?.len();
        if found != u64::from(size_bytes) {
            return Err(io::Error::other(format!("it has {found} bytes instead of {size_bytes}")));
        }
        Ok(NorFile { file, size_bytes, sector_bytes })
    }

    pub(in crate::host) fn size_bytes(&self) -> u32 {
        self.size_bytes
    }

    /// Erases everything.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(in crate::host) fn erase_all(&mut self) -> Result<(), Fault> {
        self.set(0..self.size_bytes)
    }

    /// Erases the first half of a sector, as a power cut may.
    pub(super) fn erase_half(&mut self, address: u32) -> Result<(), Fault> {
        let Range { start, end } = self.sector_at(address)?;
        self.set(start..start + (end - start) / 2)
    }

    /// The sector that begins at `address`.
    pub(super) fn sector_at(&self, address: u32) -> Result<Range<u32>, Fault> {
        if !address.is_multiple_of(self.sector_bytes) {
            return Err(Fault::Misaligned);
        }
        self.range(address, self.sector_bytes as usize)
    }

    /// This many bytes from `address` on, if they lie in one sector.
    pub(super) fn within_a_sector(&self, address: u32, len: usize) -> Result<Range<u32>, Fault> {
        let range = self.range(address, len)?;
        let room = (self.sector_bytes - address % self.sector_bytes) as usize;
        if len <= room { Ok(range) } else { Err(Fault::Misaligned) }
    }

    fn range(&self, address: u32, len: usize) -> Result<Range<u32>, Fault> {
        let end = u32::try_from(len).ok().and_then(|len| address.checked_add(len));
        end.filter(|end| *end <= self.size_bytes).map(|end| address..end).ok_or(Fault::OutOfRange)
    }

    fn set(&self, Range { start, end }: Range<u32>) -> Result<(), Fault> {
        for at in (start..end).step_by(CHUNK.len()) {
            let len = CHUNK.len().min((end - at) as usize);
            self.file.write_all_at(&CHUNK[..len], at.into()).map_err(|error| failed(&error))?;
        }
        Ok(())
    }
}

impl Flash for NorFile {
    fn sector_bytes(&self) -> u32 {
        self.sector_bytes
    }

    fn read(&mut self, address: u32, out: &mut [u8]) -> Result<(), Fault> {
        self.range(address, out.len())?;
        self.file.read_exact_at(out, address.into()).map_err(|error| failed(&error))
    }

    fn program(&mut self, address: u32, bytes: &[u8]) -> Result<(), Fault> {
        self.range(address, bytes.len())?;
        let mut old = vec![0; bytes.len()];
        self.read(address, &mut old)?;
        if old.iter().zip(bytes).any(|(old, new)| new & !old != 0) {
            return Err(Fault::NotErased);
        }
        self.file.write_all_at(bytes, address.into()).map_err(|error| failed(&error))
    }

    fn erase(&mut self, address: u32) -> Result<(), Fault> {
        let sector = self.sector_at(address)?;
        self.set(sector)
    }
}

fn failed(error: &io::Error) -> Fault {
    tracing::warn!(%error, "the file of a flash chip failed");
    Fault::Failed
}
