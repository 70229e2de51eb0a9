//! What the folder of firmware holds for one board.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use wasmbed_boards::{Board, Firmware, Image};
use wasmbed_wire::Digest;

use super::{PrepareError, at};
use crate::artifacts::FirmwareFile;

/// The files of one board with firmware.
pub(super) struct Images<'a> {
    board: &'a Board,
    firmware: &'a Firmware,
    dir: &'a Path,
}

/// The image a board has before it was ever updated.
pub(super) struct FactoryImage {
    /// Its signed manifest.
    pub(super) manifest: Bytes,
    /// The image.
    pub(super) payload: Bytes,
    /// SHA-256 of the signed manifest, which names the image and who vouches for it.
    pub(super) digest: Digest,
}

impl<'a> Images<'a> {
    /// The files in `dir`; `None` for a board without firmware.
    pub(super) fn of(board: &'a Board, dir: &'a Path) -> Option<Self> {
        board.firmware.as_ref().map(|firmware| Images { board, firmware, dir })
    }

    /// Whether the board has all it is started from.
    pub(super) fn are_there(&self) -> bool {
        self.boot_path().is_file() && (self.signed_path().is_file() || !self.unsigned_path().is_file())
    }

    /// The flat bootloader.
    pub(super) fn boot(&self) -> Result<Vec<u8>, PrepareError> {
        let path = self.boot_path();
        let Some(elf) = read_if_there(&path)? else {
            return Err(PrepareError::NoBoot { board: self.board.name, path });
        };
        match Image::from_elf(&elf, &self.firmware.memory.boot) {
            Ok(image) => Ok(image.bytes),
            Err(source) => Err(PrepareError::BadImage { path, source }),
        }
    }

    /// The factory image. Without one the board starts all the same, and its bootloader fetches one.
    pub(super) fn factory(&self) -> Result<Option<FactoryImage>, PrepareError> {
        let path = self.signed_path();
        let Some(file) = read_if_there(&path)? else {
            let elf = self.unsigned_path();
            return match elf.is_file() {
                // Whoever put it there expects that it runs.
                true => Err(PrepareError::Unsigned { board: self.board.name, path: elf }),
                false => Ok(None),
            };
        };
        let bad = |message: String| PrepareError::BadFirmware { path: path.clone(), message };
        let file = FirmwareFile::parse(Bytes::from(file)).map_err(|error| bad(error.to_string()))?;
        self.check(&file).map_err(bad)?;
        let digest = Digest(Sha256::digest(&file.manifest).into());
        Ok(Some(FactoryImage { manifest: file.manifest, payload: file.payload, digest }))
    }

    /// What a device could do nothing about. Whom to trust is the device's to judge.
    fn check(&self, file: &FirmwareFile) -> Result<(), String> {
        let board = self.board.name;
        let found = file.manifest().map_err(|error| error.to_string())?.board;
        if found != Some(board) {
            let found = found.map_or("no board".to_owned(), |board| board.to_string());
            return Err(format!("it is for {found}; build and sign a firmware for {board}"));
        }
        file.verify_payload().map_err(|error| error.to_string())?;
        let (size, limit) = (file.payload.len(), self.firmware.slots.image_bytes as usize);
        if size > limit {
            return Err(format!("the image has {size} bytes; the slots of {board} have {limit}"));
        }
        Ok(())
    }

    fn boot_path(&self) -> PathBuf {
        self.dir.join(format!("{}-boot.elf", self.board.name))
    }

    fn signed_path(&self) -> PathBuf {
        self.dir.join(format!("{}.wbfw", self.board.name))
    }

    fn unsigned_path(&self) -> PathBuf {
        self.dir.join(format!("{}.elf", self.board.name))
    }
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, PrepareError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at(path)(error)),
    }
}
