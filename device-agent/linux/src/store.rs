//! Module payloads as files: a folder per slot with `payload` and, once it is complete and verified,
//! `manifest`. A slot without a manifest counts as empty.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use wasmbed_core::{Slot, StoreError};

use crate::files;

pub(crate) struct SlotStore {
    dir: PathBuf,
    /// The payload last begun, kept open while its blocks arrive.
    open: Option<(Slot, File)>,
}

impl SlotStore {
    /// The store below `dir`.
    pub(crate) fn new(dir: &Path) -> Self {
        SlotStore { dir: dir.to_owned(), open: None }
    }

    /// Where the payload of a slot lies.
    pub(crate) fn payload(dir: &Path, slot: Slot) -> PathBuf {
        dir.join(format!("slot-{}", slot.0)).join("payload")
    }

    fn manifest(&self, slot: Slot) -> PathBuf {
        Self::payload(&self.dir, slot).with_file_name("manifest")
    }

    pub(crate) fn begin(&mut self, slot: Slot, size: u32) -> Result<(), StoreError> {
        self.try_begin(slot, size).map_err(log(slot, "cannot be prepared"))
    }

    fn try_begin(&mut self, slot: Slot, size: u32) -> io::Result<()> {
        let payload = Self::payload(&self.dir, slot);
        if let Some(dir) = payload.parent() {
            fs::create_dir_all(dir)?;
        }
        // The manifest goes first: without it the slot is empty, whatever the payload is.
        files::remove(&self.manifest(slot))?;
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(true).mode(0o600).open(payload)?;
        file.set_len(size.into())?;
        self.open = Some((slot, file));
        Ok(())
    }

    pub(crate) fn write(&mut self, slot: Slot, offset: u32, bytes: &[u8]) -> Result<(), StoreError> {
        let written = self.file(slot).and_then(|file| file.write_all_at(bytes, offset.into()));
        written.map_err(log(slot, "cannot be written"))
    }

    pub(crate) fn read(&mut self, slot: Slot, offset: u32, out: &mut [u8]) -> Result<(), StoreError> {
        let read = self.file(slot).and_then(|file| file.read_exact_at(out, offset.into()));
        read.map_err(log(slot, "cannot be read"))
    }

    fn file(&mut self, slot: Slot) -> io::Result<&File> {
        if self.open.as_ref().is_none_or(|(open, _)| *open != slot) {
            self.open = Some((slot, File::open(Self::payload(&self.dir, slot))?));
        }
        self.open.as_ref().map(|(_, file)| file).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(crate) fn commit(&mut self, slot: Slot, manifest: &[u8]) -> Result<(), StoreError> {
        let synced = self.file(slot).and_then(|file| file.sync_all());
        self.open = None;
        let committed = synced.and_then(|()| files::replace(&self.manifest(slot), manifest));
        committed.map_err(log(slot, "cannot be kept"))
    }

    pub(crate) fn discard(&mut self, slot: Slot) {
        self.open = None;
        // What stays behind is not believed without a manifest, and overwritten by the next module.
        let removed = files::remove(&self.manifest(slot));
        let removed = removed.and_then(|()| files::remove(&Self::payload(&self.dir, slot)));
        let _ = removed.map_err(log(slot, "cannot be emptied"));
    }

    pub(crate) fn committed(&mut self, slot: Slot, out: &mut [u8]) -> Option<usize> {
        let manifest = files::read(&self.manifest(slot)).map_err(log(slot, "cannot be read")).ok()??;
        out.get_mut(..manifest.len())?.copy_from_slice(&manifest);
        Some(manifest.len())
    }
}

fn log(slot: Slot, what: &str) -> impl FnOnce(io::Error) -> StoreError {
    move |error| {
        tracing::error!("slot {} {what}: {error}", slot.0);
        StoreError
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: Slot = Slot(3);

    #[test]
    fn a_slot_is_there_after_a_restart_only_if_it_was_committed() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let mut store = SlotStore::new(dir.path());
        let mut out = [0; 16];
        assert_eq!(store.begin(SLOT, 4), Ok(()));
        assert_eq!(store.write(SLOT, 2, b"cd"), Ok(()));
        assert_eq!(store.write(SLOT, 0, b"ab"), Ok(()));
        assert_eq!(SlotStore::new(dir.path()).committed(SLOT, &mut out), None);

        assert_eq!(store.commit(SLOT, b"manifest"), Ok(()));
        let mut store = SlotStore::new(dir.path());
        assert_eq!(store.committed(SLOT, &mut out), Some(8));
        let mut payload = [0; 4];
        assert_eq!(store.read(SLOT, 0, &mut payload), Ok(()));
        assert_eq!(&payload, b"abcd");

        // A new payload makes the old manifest void before it overwrites anything.
        assert_eq!(store.begin(SLOT, 4), Ok(()));
        assert_eq!(SlotStore::new(dir.path()).committed(SLOT, &mut out), None);
        Ok(())
    }

    #[test]
    fn reading_beyond_the_payload_is_an_error() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let mut store = SlotStore::new(dir.path());
        assert_eq!(store.begin(SLOT, 4), Ok(()));
        assert_eq!(store.read(SLOT, 3, &mut [0; 2]), Err(StoreError));
        assert_eq!(store.read(Slot(9), 0, &mut [0; 1]), Err(StoreError));
        Ok(())
    }
}
