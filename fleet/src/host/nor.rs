//! The flash chip at the far end of a board's second serial line.
//!
//! [`Chip`] keeps its contents in a file and the rules of NOR flash (`wasmbed_wire::nor`). What was
//! answered is in the file, so neither an emulator nor a host that is killed loses it. The processor sees
//! a part of the chip as memory: the emulator loads it when it starts, so moving that window, or looking
//! again at what was changed under it, takes a new start. [`Demand`] says so to whoever owns the process.
//!
//! For tests of power cuts a file [`FAULT`] in the device's folder lets the chip tear operations in half, one
//! after the other:
//!
//! ```toml
//! # The erase or program operation after this many is done by half, and the power goes.
//! [[cut]]
//! after_operations = 120
//!
//! # The first one after the window was moved: the bootloader's, before it starts an image.
//! [[cut]]
//! after_remap = true
//! after_operations = 0
//! ```
//!
//! Operations are counted anew at each start of the emulator. A cut that was made leaves the file, and the
//! file goes with the last one.
//!
//! Not here: the emulator's process (`device`), what the chip is filled with (`launch`), and flash banks,
//! which are the emulator's own.

mod file;
mod line;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    fs, io,
    ops::Range,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use wasmbed_boards::Region;
use wasmbed_update::Flash;
use wasmbed_wire::nor::{Fault, MAX_DATA_BYTES, Operation};

pub(super) use file::NorFile;
pub(super) use line::attend;

/// The file that asks for power cuts, in the device's folder.
pub(super) const FAULT: &str = "fault.toml";
/// The file with the window's address, in the device's folder.
const WINDOW: &str = "window.address";

/// A chip as one start of its board finds it.
pub(super) struct Chip {
    flash: NorFile,
    window: Window,
    cuts: Option<Cuts>,
}

/// What the board needs before it can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Demand {
    /// A new start, because the window is to show something else.
    Remap,
    /// The end of its power.
    PowerCut,
}

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
enum Outcome<'o> {
    Answer(Result<&'o [u8], Fault>),
    Demand(Demand),
}

impl Chip {
    /// The chip of the device in `dir`, with its contents in `flash`. The emulator is started with what
    /// [`Chip::window`] says.
    ///
    /// # Errors
    /// If a file in `dir` cannot be read, or is not what it should be.
    pub(super) fn open(dir: &Path, flash: NorFile, shown: &Region, default: u32) -> io::Result<Self> {
        let mut window = Window::load(dir, shown.size_bytes, default)?;
        if flash.sector_at(window.address).is_err() {
            window.address = default;
        }
        Ok(Chip { flash, window, cuts: Cuts::load(dir)? })
    }

    /// What the window shows, all of it; erased where the chip has ended.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) fn window(&mut self) -> io::Result<Vec<u8>> {
        let Range { start, end } = self.window.range();
        let mut bytes = vec![file::ERASED; self.window.size_bytes as usize];
        let end = end.min(self.flash.size_bytes());
        let visible = end.saturating_sub(start) as usize;
        let failed = |fault: Fault| io::Error::other(fault.to_string());
        self.flash.read(start, bytes.get_mut(..visible).unwrap_or_default()).map_err(failed)?;
        Ok(bytes)
    }

    /// The emulator runs with a file that ends with what its window showed when it was started.
    ///
    /// # Errors
    /// If the chip cannot be read.
    pub(super) fn is_shown_as(&mut self, file: &[u8]) -> io::Result<()> {
        self.window.has_changed = !file.ends_with(&self.window()?);
        Ok(())
    }

    fn perform<'o>(&mut self, operation: Operation<'_>, out: &'o mut [u8; MAX_DATA_BYTES]) -> Outcome<'o> {
        let touched = match operation {
            Operation::Read { address, len } => {
                let read = match out.get_mut(..len.into()) {
                    Some(out) => self.flash.read(address, out).map(|()| &*out),
                    None => Err(Fault::Unknown),
                };
                return Outcome::Answer(read);
            }
            Operation::Identify => {
                let sizes = [self.flash.size_bytes(), self.flash.sector_bytes()].map(u32::to_le_bytes);
                let [first, second, ..] = out.as_chunks_mut().0 else {
                    return Outcome::Answer(Err(Fault::Failed));
                };
                [*first, *second] = sizes;
                return Outcome::Answer(Ok(&out[..8]));
            }
            Operation::Map { address } => return self.map(address),
            Operation::Program { address, data } => self.flash.within_a_sector(address, data.len()),
            Operation::Erase { address } => self.flash.sector_at(address),
        };
        let touched = match touched {
            Ok(touched) => touched,
            Err(fault) => return Outcome::Answer(Err(fault)),
        };
        if let Some(cuts) = &mut self.cuts
            && cuts.is_due()
        {
            cuts.tear(&mut self.flash, operation);
            return Outcome::Demand(Demand::PowerCut);
        }
        let done = match operation {
            Operation::Program { address, data } => self.flash.program(address, data),
            _ => self.flash.erase(touched.start),
        };
        if done.is_ok() {
            self.window.note_change(touched);
        }
        Outcome::Answer(done.map(|()| &[][..]))
    }

    fn map<'o>(&mut self, address: u32) -> Outcome<'o> {
        if let Err(fault) = self.flash.sector_at(address) {
            return Outcome::Answer(Err(fault));
        }
        if self.window.address == address && !self.window.has_changed {
            return Outcome::Answer(Ok(&[]));
        }
        match self.window.store(address) {
            Ok(()) => {
                self.cuts.as_mut().map(Cuts::note_remap);
                Outcome::Demand(Demand::Remap)
            }
            Err(error) => {
                tracing::warn!(path = %self.window.path.display(), %error, "could not move the window of a flash chip");
                Outcome::Answer(Err(Fault::Failed))
            }
        }
    }
}

/// Forgets where the window of the device in `dir` was.
///
/// # Errors
/// If the file is there and stays.
pub(super) fn reset_window(dir: &Path) -> io::Result<()> {
    match fs::remove_file(dir.join(WINDOW)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What the emulator was started with.
struct Window {
    path: PathBuf,
    address: u32,
    size_bytes: u32,
    /// Whether what is in the chip there is something else by now.
    has_changed: bool,
}

impl Window {
    fn load(dir: &Path, size_bytes: u32, default: u32) -> io::Result<Self> {
        let path = dir.join(WINDOW);
        let address = match fs::read_to_string(&path) {
            // What cannot be read was not written by a host; the board asks for what it needs.
            Ok(text) => text.trim().parse().unwrap_or(default),
            Err(error) if error.kind() == io::ErrorKind::NotFound => default,
            Err(error) => return Err(error),
        };
        Ok(Window { path, address, size_bytes, has_changed: false })
    }

    fn range(&self) -> Range<u32> {
        self.address..self.address.saturating_add(self.size_bytes)
    }

    fn note_change(&mut self, changed: Range<u32>) {
        let Range { start, end } = self.range();
        self.has_changed |= changed.start < end && start < changed.end;
    }

    fn store(&self, address: u32) -> io::Result<()> {
        let unfinished = self.path.with_extension("new");
        fs::write(&unfinished, format!("{address}\n"))?;
        fs::rename(&unfinished, &self.path)
    }
}

/// The power cuts to come; there is at least one.
struct Cuts {
    path: PathBuf,
    file: CutFile,
    /// Operations since the emulator was started.
    operations: u32,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct CutFile {
    cut: VecDeque<Cut>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Cut {
    #[serde(default)]
    after_remap: bool,
    after_operations: u32,
}

impl Cuts {
    fn load(dir: &Path) -> io::Result<Option<Self>> {
        let path = dir.join(FAULT);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let file: CutFile = toml::from_str(&text)
            .map_err(|error| io::Error::other(format!("{} says no power cuts: {error}", path.display())))?;
        Ok((!file.cut.is_empty()).then_some(Cuts { path, file, operations: 0 }))
    }

    /// Counts an operation.
    fn is_due(&mut self) -> bool {
        let cut = self.file.cut.front();
        let is_due = cut.is_some_and(|cut| !cut.after_remap && cut.after_operations <= self.operations);
        self.operations = self.operations.saturating_add(1);
        is_due
    }

    fn note_remap(&mut self) {
        if let Some(cut) = self.file.cut.front_mut().filter(|cut| cut.after_remap) {
            cut.after_remap = false;
            self.keep();
        }
    }

    /// Does half of the operation.
    fn tear(&mut self, flash: &mut NorFile, operation: Operation<'_>) {
        let torn = match operation {
            Operation::Program { address, data } => {
                let (half, _) = data.split_at(data.len() / 2);
                flash.program(address, half)
            }
            Operation::Erase { address } => flash.erase_half(address),
            _ => Ok(()),
        };
        if let Err(fault) = torn {
            tracing::warn!(%fault, "the operation that should be torn in half failed");
        }
        self.file.cut.pop_front();
        self.keep();
    }

    fn keep(&self) {
        let kept = match &self.file {
            CutFile { cut } if cut.is_empty() => fs::remove_file(&self.path),
            file => {
                toml::to_string(file).map_err(io::Error::other).and_then(|text| fs::write(&self.path, text))
            }
        };
        if let Err(error) = kept {
            tracing::warn!(path = %self.path.display(), %error, "could not keep which power cuts are to come");
        }
    }
}
