//! Making signed firmware of what a linker wrote.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use wasmbed_boards::{Board, Image, ImageError, Region};
use wasmbed_runtime::Target;
use wasmbed_wire::{
    Digest, ModuleName,
    limits::{Class, MAX_PAYLOAD_BYTES},
    manifest::{Classes, Kind, Manifest, Trial},
    sign1::TooLarge,
};

use super::{FirmwareFile, Metadata, Signer};

/// The first four bytes of an ELF file.
const ELF: &[u8] = b"\x7fELF";

/// What a firmware is released as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Its name.
    pub name: ModuleName,
    /// Its version, semantic versioning 2.0.
    pub version: String,
    /// Devices that have confirmed a higher counter refuse it.
    pub counter: u32,
    /// How it proves itself; a device has defaults.
    pub trial: Option<Trial>,
    /// Notes and facts about the build.
    pub metadata: Metadata,
}

impl Release {
    /// A release without notes, facts and wishes, with the lowest counter.
    pub fn new(name: ModuleName, version: impl Into<String>) -> Self {
        Release { name, version: version.into(), counter: 0, trial: None, metadata: Metadata::default() }
    }
}

/// Why a file is no image for a board.
#[derive(Debug, thiserror::Error)]
pub enum FlatError {
    /// It is an ELF file, but not one for this board.
    #[error(transparent)]
    Elf(#[from] ImageError),
    /// It is larger than a slot.
    #[error("the image has {found} bytes; the board has {limit} for it")]
    TooLarge {
        /// Its size, in bytes.
        found: usize,
        /// The largest, in bytes.
        limit: u32,
    },
    /// It does not begin as an image of the board's processor does.
    #[error(
        "it is neither an ELF file nor a flat image for this board, which begins with a stack pointer in RAM \
         and an entry point in flash"
    )]
    Unlike,
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
}

/// The image as it runs on a board, from the linker's ELF file or from an image that is flat already.
///
/// # Errors
/// If it is neither, or does not fit the board.
pub fn flat_image(board: &Board, file: &Bytes) -> Result<Bytes, FlatError> {
    let limit = largest_image(board);
    let image = match &board.firmware {
        Some(firmware) if file.starts_with(ELF) => {
            Image::from_elf(file, &firmware.memory.flash)?.bytes.into()
        }
        _ => file.clone(),
    };
    if image.is_empty() {
        return Err(FlatError::Empty);
    }
    if image.len() > limit as usize {
        return Err(FlatError::TooLarge { found: image.len(), limit });
    }
    if let Some(firmware) = board.firmware.as_ref().filter(|_| board.class == Class::Mcu)
        && !is_vector_table(&image, &firmware.memory.ram, &firmware.memory.flash)
    {
        return Err(FlatError::Unlike);
    }
    Ok(image)
}

/// The largest image a board's slots take, in bytes.
pub fn largest_image(board: &Board) -> u32 {
    board.firmware.as_ref().map_or(MAX_PAYLOAD_BYTES, |firmware| firmware.slots.image_bytes)
}

/// Makes a signed firmware file. The same image, release and key give the same file.
///
/// # Errors
/// If name and version do not fit a manifest.
pub fn sign_firmware(
    signer: &Signer,
    board: &Board,
    release: Release,
    image: Bytes,
) -> Result<FirmwareFile, TooLarge> {
    let Release { name, version, counter, trial, metadata } = release;
    let manifest = Manifest {
        kind: Kind::Firmware,
        name,
        version: &version,
        classes: Classes::default().with(board.class),
        runtime: Target::of(board.class).runtime_id(),
        size: u32::try_from(image.len()).map_err(|_| TooLarge)?,
        digest: Digest(Sha256::digest(&image).into()),
        block_bytes: board.modules.block_bytes,
        board: Some(board.name),
        counter,
        patch: None,
        trial,
        capabilities: 0,
        stack_bytes: 0,
    };
    let (_, manifest) = signer.sign(&manifest)?;
    Ok(FirmwareFile { manifest, metadata, payload: image })
}

/// Whether this begins as ARMv7-M has it: the first stack pointer, then the address of the entry point
/// with the bit that stands for Thumb code.
fn is_vector_table(image: &[u8], ram: &Region, flash: &Region) -> bool {
    let word = |at: usize| image.get(at..at + 4)?.try_into().map(u32::from_le_bytes).ok();
    let (Some(stack), Some(entry)) = (word(0), word(4)) else { return false };
    // A stack that grows downwards may begin just above the memory it is in.
    stack.checked_sub(1).is_some_and(|top| ram.contains(top)) && entry & 1 == 1 && flash.contains(entry)
}
