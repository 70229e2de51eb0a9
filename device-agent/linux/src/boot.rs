//! The installed program is the bootloader: it decides which image runs and becomes it.
//!
//! Whatever happens to images, this program runs the device if none of them does: that is recovery here, and
//! nothing is missing in it but the newer version.
//!
//! Not here: the decision (`wasmbed_update::boot`), and how one program becomes another (`launch`).

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::Context;
use sha2::{Digest as _, Sha256};
use wasmbed_core::{Fault, Flash};
use wasmbed_update::{
    BootKeys, ImageSlot, Keyring, Region, SignedManifest,
    boot::{self, Boot, Place},
    read_header,
};
use wasmbed_wire::{Digest, manifest::Manifest, message::ResetCause, sign1::Sign1};

use crate::{
    crash,
    device::earliest_s,
    files,
    flash::{FileFlash, LAYOUT},
    launch::{ImageLaunch, Launch, slot_name},
    settings::Settings,
};

/// Of an executable file, for this user only.
const MODE: u32 = 0o700;
/// Bytes copied and compared at a time.
const PIECE_BYTES: usize = 64 << 10;

/// What runs, and what can be replaced.
pub(crate) struct Running {
    /// Why it started.
    pub(crate) cause: ResetCause,
    pub(crate) version: String,
    /// `None` if the firmware cannot be replaced.
    pub(crate) flash: Option<FileFlash>,
    /// Whether it is the installed program.
    pub(crate) is_recovery: bool,
}

/// What this process runs as, if it is an image.
pub(crate) fn image(settings: &Settings, image: ImageLaunch) -> anyhow::Result<Running> {
    let mut flash = FileFlash::open(&settings.data_dir).context("cannot open the firmware flash")?;
    let header = read_header(&mut flash, &LAYOUT, image.slot).ok().flatten();
    let version = header.as_ref().and_then(manifest).map_or(env!("CARGO_PKG_VERSION"), |found| found.version);
    Ok(Running { cause: image.cause, version: version.to_owned(), flash: Some(flash), is_recovery: false })
}

/// What this process runs as, if it is the installed program: returns only if no image is to be run.
pub(crate) fn installed(settings: &Settings, launch: &Launch) -> anyhow::Result<Running> {
    let mut cause = crash::begin_run(&settings.data_dir)?;
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let mut running = Running { cause, version, flash: None, is_recovery: true };
    if settings.no_boot {
        return Ok(running);
    }
    // A flash that does not work leaves a device without other firmware, which is still a device.
    let Ok(mut flash) = FileFlash::open(&settings.data_dir)
        .inspect_err(|error| tracing::error!("cannot open the firmware flash: {error}"))
    else {
        return Ok(running);
    };
    let mut programs = Programs { dir: settings.data_dir.join("run"), last: None };
    let found = loop {
        let found = decide(settings, &mut flash, cause, &mut programs);
        let Ok(Boot::Image { is_trial, .. }) = found else { break found };
        let Some(slot) = programs.last else { break Ok(Boot::Recovery) };
        tracing::info!(?slot, is_trial, "starting the image");
        let image = ImageLaunch { slot, cause: running.cause };
        let Err(error) = launch.start_image(&programs.path(slot), image, settings.watchdog_s);
        tracing::error!(?slot, "the image cannot be started: {error}");
        if !is_trial {
            break Ok(Boot::Recovery);
        }
        cause = ResetCause::Crash;
    };
    match found {
        Ok(_) => running.flash = Some(flash),
        Err(_) => tracing::error!("the firmware stays as it is until the next start"),
    }
    Ok(running)
}

/// The keyring in use at a start, and whom the start believes.
pub(crate) fn keys(settings: &Settings, flash: &mut impl Flash) -> Result<(Keyring, BootKeys), Fault> {
    let trusted = settings.trusted.iter().copied();
    let provisioned = Keyring::provisioned(trusted, earliest_s(settings.boot_floor));
    let current = provisioned.load(flash, &LAYOUT)?;
    Ok((current, BootKeys::new(current, provisioned)))
}

/// What a header says, unverified.
pub(crate) fn manifest(header: &SignedManifest) -> Option<Manifest<'_>> {
    minicbor::decode(Sign1::decode(header.as_ref()).ok()?.payload).ok()
}

fn decide(
    settings: &Settings,
    flash: &mut FileFlash,
    cause: ResetCause,
    programs: &mut Programs,
) -> Result<Boot, Fault> {
    let (_, keys) = keys(settings, flash)?;
    let device = boot::Device { layout: &LAYOUT, board: settings.board, keys: &keys, cause };
    boot::decide(flash, &device, programs)
}

/// Images as executable files, one for each slot.
struct Programs {
    dir: PathBuf,
    /// The slot whose image was placed last.
    last: Option<ImageSlot>,
}

impl Programs {
    fn path(&self, slot: ImageSlot) -> PathBuf {
        self.dir.join(format!("agent-{}", slot_name(slot)))
    }

    fn copy(&self, flash: &mut impl Flash, region: Region, bytes: u32, path: &Path) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        // The disk need not have room for two versions.
        files::remove(path)?;
        let unfinished = path.with_extension("new");
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(MODE).open(&unfinished)?;
        for_each_piece(bytes, |offset, piece| {
            flash.read(region.origin + offset, piece).map_err(|_| io::Error::other("the flash fails"))?;
            file.write_all(piece)
        })?;
        file.set_permissions(Permissions::from_mode(MODE))?;
        file.sync_all()?;
        drop(file);
        fs::rename(&unfinished, path)?;
        files::sync_dir_of(path)
    }
}

impl Place<FileFlash> for Programs {
    fn place(&mut self, flash: &mut FileFlash, region: Region, bytes: u32) -> Result<Digest, Fault> {
        let slot = ImageSlot::ALL.into_iter().find(|slot| LAYOUT.image(*slot) == region);
        let slot = slot.ok_or(Fault::OutOfRange)?;
        self.last = Some(slot);
        let path = self.path(slot);
        if let Ok(digest) = hash_if_same(flash, region, bytes, &path) {
            return Ok(digest);
        }
        let placed = self.copy(flash, region, bytes, &path);
        placed.and_then(|()| hash_if_same(flash, region, bytes, &path)).map_err(|error| {
            tracing::error!("{} cannot be made: {error}", path.display());
            Fault::Failed
        })
    }
}

/// SHA-256 of the file, if it is the image in this region.
fn hash_if_same(flash: &mut impl Flash, region: Region, bytes: u32, path: &Path) -> io::Result<Digest> {
    let differs = || io::Error::new(io::ErrorKind::InvalidData, "it is not what is in the flash");
    let mut file = File::open(path)?;
    let found = file.metadata()?;
    if found.len() != u64::from(bytes) || found.permissions().mode() & 0o7777 != MODE {
        return Err(differs());
    }
    let mut hasher = Sha256::new();
    let mut there = vec![0; PIECE_BYTES];
    for_each_piece(bytes, |offset, piece| {
        flash.read(region.origin + offset, piece).map_err(|_| io::Error::other("the flash fails"))?;
        let there = there.get_mut(..piece.len()).ok_or_else(differs)?;
        file.read_exact(there)?;
        hasher.update(&*there);
        if there == piece { Ok(()) } else { Err(differs()) }
    })?;
    Ok(Digest(hasher.finalize().into()))
}

fn for_each_piece(bytes: u32, mut act: impl FnMut(u32, &mut [u8]) -> io::Result<()>) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut offset = 0;
    while offset < bytes {
        let len = (bytes - offset).min(PIECE_BYTES as u32);
        act(offset, piece.get_mut(..len as usize).unwrap_or_default())?;
        offset += len;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(dir: &Path, image: &[u8]) -> FileFlash {
        let mut flash = FileFlash::open(dir).expect("a new flash");
        assert_eq!(flash.program(LAYOUT.image(ImageSlot::B).origin, image), Ok(()));
        flash
    }

    #[test]
    fn an_image_becomes_a_program_once() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let image: Vec<u8> = (0..150_000_u32).map(|n| (n % 251) as u8).collect();
        let digest = Ok(Digest(Sha256::digest(&image).into()));
        let mut flash = filled(dir.path(), &image);
        let mut programs = Programs { dir: dir.path().join("run"), last: None };
        let region = LAYOUT.image(ImageSlot::B);
        assert_eq!(programs.place(&mut flash, region, image.len() as u32), digest);
        assert_eq!(programs.last, Some(ImageSlot::B));
        let path = programs.path(ImageSlot::B);
        let written = fs::metadata(&path)?;
        assert_eq!(written.permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read(&path)?, image);

        // The same file is used again, but not if it is another one by now.
        assert_eq!(programs.place(&mut flash, region, image.len() as u32), digest);
        assert_eq!(fs::metadata(&path)?.modified()?, written.modified()?);
        let mut other = image.clone();
        other[140_000] ^= 1;
        fs::write(&path, other)?;
        assert_eq!(programs.place(&mut flash, region, image.len() as u32), digest);
        assert_eq!(fs::read(&path)?, image);
        Ok(())
    }

    #[test]
    fn a_program_that_cannot_be_written_is_a_fault_and_not_another_image() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let mut flash = filled(dir.path(), b"image");
        let occupied = dir.path().join("run");
        fs::write(&occupied, b"a file where the folder should be")?;
        let mut programs = Programs { dir: occupied, last: None };
        assert_eq!(programs.place(&mut flash, LAYOUT.image(ImageSlot::B), 5), Err(Fault::Failed));
        Ok(())
    }
}
