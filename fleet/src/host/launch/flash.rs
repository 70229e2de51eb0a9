//! A device's firmware flash before its start: made if there is none, and filled as in a factory if there
//! is a new factory image.
//!
//! What the device was given last is noted in the file `factory`, after it was given it: an interrupted
//! filling is done again.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use wasmbed_boards::{Board, Chip as ChipKind, DeviceFile, Firmware, Holds};
use wasmbed_update::{Flash, ImageSlot, Layout, write_header};
use wasmbed_wire::nor::Fault;

use super::{
    PrepareError, at,
    images::{FactoryImage, Images},
    remove_if_there,
};
use crate::host::nor::{self, Chip, NorFile};

/// The file of an emulated chip.
const CHIP: &str = "flash.bin";
/// The file that names the last factory image.
const FACTORY: &str = "factory";
/// Noted where there was none.
const NOTHING: &str = "none";

/// Prepares the flash of the device in `dir`; the chip if the host is it.
pub(super) fn prepare(
    board: &Board,
    firmware: &Firmware,
    images: &Images<'_>,
    dir: &Path,
) -> Result<Option<Chip>, PrepareError> {
    let layout = firmware.slots.layout();
    let factory = images.factory()?;
    match firmware.slots.chip {
        ChipKind::Serial => {
            let path = dir.join(CHIP);
            let mut flash = open(dir, &path, layout.end(), layout.sector_bytes)?;
            if noted(dir).map_err(at(dir))?.is_none() {
                // As a chip is delivered.
                flash.erase_all().map_err(failed(&path))?;
            }
            fill(dir, &path, &mut flash, &layout, factory.as_ref())?;
            let slot = layout.image(ImageSlot::A).origin;
            Chip::open(dir, flash, &firmware.memory.flash, slot).map(Some).map_err(at(dir))
        }
        ChipKind::Bank => {
            let Some((file, size)) =
                bank(board).and_then(|file| Some((file, u32::try_from(file.size_bytes?).ok()?)))
            else {
                return Err(PrepareError::NoBank { board: board.name });
            };
            let path = dir.join(&file.name);
            let mut flash = open(dir, &path, size, layout.sector_bytes)?;
            fill(dir, &path, &mut flash, &layout, factory.as_ref())?;
            Ok(None)
        }
    }
}

/// The chip of a board that runs with it, if the host is it; nothing is written.
pub(super) fn reopen(board: &Board, firmware: &Firmware, dir: &Path) -> Result<Option<Chip>, PrepareError> {
    if firmware.slots.chip != ChipKind::Serial {
        return Ok(None);
    }
    let layout = firmware.slots.layout();
    let path = dir.join(CHIP);
    let flash = NorFile::reopen(&path, layout.end(), layout.sector_bytes).map_err(at(&path))?;
    let slot = layout.image(ImageSlot::A).origin;
    let mut chip = Chip::open(dir, flash, &firmware.memory.flash, slot).map_err(at(dir))?;
    if let Some(window) = board.run.files().iter().find(|file| file.holds == Holds::Window) {
        let path = dir.join(&window.name);
        fs::read(&path).and_then(|shown| chip.is_shown_as(&shown)).map_err(at(&path))?;
    }
    Ok(Some(chip))
}

/// The name of the file that is the flash of a board which has one.
pub(super) fn file(board: &Board) -> &str {
    match board.firmware.as_ref().map(|firmware| firmware.slots.chip) {
        Some(ChipKind::Bank) => bank(board).map_or(CHIP, |file| &file.name),
        _ => CHIP,
    }
}

fn bank(board: &Board) -> Option<&DeviceFile> {
    board.run.files().iter().find(|file| file.holds == Holds::Provision)
}

/// Inverts one bit of each of the bytes at these addresses.
pub(super) fn flip(path: &Path, bits: &[(u32, u8)]) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    for (address, bit) in bits {
        let mut byte = [0];
        file.read_exact_at(&mut byte, (*address).into())?;
        file.write_all_at(&[byte[0] ^ 1 << bit], (*address).into())?;
    }
    file.sync_all()
}

/// Opens the flash; what was noted about another one is forgotten.
fn open(dir: &Path, path: &Path, size_bytes: u32, sector_bytes: u32) -> Result<NorFile, PrepareError> {
    let is_there = fs::metadata(path).is_ok_and(|file| file.len() == u64::from(size_bytes));
    if !is_there {
        remove_if_there(&dir.join(FACTORY)).map_err(at(dir))?;
    }
    NorFile::open(path, size_bytes, sector_bytes).map_err(at(path))
}

fn fill(
    dir: &Path,
    path: &Path,
    flash: &mut NorFile,
    layout: &Layout,
    factory: Option<&FactoryImage>,
) -> Result<(), PrepareError> {
    let noted = noted(dir).map_err(at(dir))?;
    let now = match factory {
        Some(factory) => factory.digest.to_string(),
        // What a device has is not taken from it.
        None if noted.is_some() => return Ok(()),
        None => NOTHING.to_owned(),
    };
    if noted.as_ref() == Some(&now) {
        return Ok(());
    }
    if let Some(factory) = factory {
        write(flash, layout, factory).map_err(failed(path))?;
        nor::reset_window(dir).map_err(at(dir))?;
    }
    note(dir, &now).map_err(at(dir))
}

/// Writes slot A and forgets what was decided about images before.
fn write(flash: &mut NorFile, layout: &Layout, factory: &FactoryImage) -> Result<(), Fault> {
    let slot = layout.image(ImageSlot::A);
    let used = slot.origin..slot.origin.saturating_add(factory.payload.len() as u32);
    let decided = layout.records..layout.patch.origin;
    flash.erase(layout.header(ImageSlot::A))?;
    for sector in [decided, used].into_iter().flat_map(|range| range.step_by(layout.sector_bytes as usize)) {
        flash.erase(sector)?;
    }
    flash.program(slot.origin, &factory.payload)?;
    write_header(flash, layout, ImageSlot::A, &factory.manifest)
}

fn noted(dir: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(dir.join(FACTORY)) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn note(dir: &Path, what: &str) -> io::Result<()> {
    let path = dir.join(FACTORY);
    let unfinished = path.with_extension("new");
    fs::write(&unfinished, format!("{what}\n"))?;
    fs::rename(&unfinished, &path)
}

fn failed(path: &Path) -> impl FnOnce(Fault) -> PrepareError {
    let path: PathBuf = path.to_owned();
    |fault| PrepareError::Io { path, source: io::Error::other(fault) }
}
