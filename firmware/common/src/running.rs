//! The image that runs, as the boot record and its signed manifest tell.

use core::fmt;

use heapless::String;
use wasmbed_update::{Fault, Flash, ImageSlot, Layout, Record, read_header};
use wasmbed_wire::{manifest::Manifest, sign1::Sign1};

/// Longest version that is told, in bytes; a longer one is cut off.
const VERSION_BYTES: usize = 64;

/// The image that runs, or is about to; the bootloader has verified it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Where it lies.
    pub slot: ImageSlot,
    /// Its version.
    pub version: String<VERSION_BYTES>,
    /// Starts it has left to prove itself; `None` if it has.
    pub tries: Option<u8>,
}

impl Running {
    /// What the bootloader decided last; `None` if it found no image.
    ///
    /// # Errors
    /// If the flash fails.
    #[inline(never)]
    pub fn load(flash: &mut impl Flash, layout: &Layout) -> Result<Option<Self>, Fault> {
        let record = Record::load(flash, layout)?;
        let Some(slot) = record.running() else { return Ok(None) };
        let header = read_header(flash, layout, slot)?;
        let version = header.as_ref().and_then(|header| version(header.as_ref()));
        let tries = record.trial.map(|trial| trial.tries);
        Ok(version.map(|version| Running { slot, version, tries }))
    }
}

/// The version in a signed manifest.
fn version(signed: &[u8]) -> Option<String<VERSION_BYTES>> {
    let signed = Sign1::decode(signed).ok()?;
    let manifest: Manifest<'_> = minicbor::decode(signed.payload).ok()?;
    let fits = manifest.version.floor_char_boundary(VERSION_BYTES);
    String::try_from(manifest.version.get(..fits)?).ok()
}

impl fmt::Display for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.version)?;
        match self.tries {
            Some(1) => f.write_str(", trial, 1 try left"),
            Some(tries) => write!(f, ", trial, {tries} tries left"),
            None => Ok(()),
        }
    }
}
