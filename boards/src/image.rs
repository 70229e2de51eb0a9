//! From the linker's ELF file to what lies in flash.

use object::{
    Endianness,
    elf::{FileHeader32, PT_LOAD, SHF_ALLOC, SHF_WRITE},
    read::elf::{FileHeader, ProgramHeader, SectionHeader},
};

use crate::Memory;

/// What erased flash reads as, between the parts of an image.
const ERASED: u8 = 0xff;
/// Sections that only mark memory that is measured while running.
const MARKERS: [&[u8]; 2] = [b".heap", b".stack"];

/// A firmware image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// What to write to the start of flash.
    pub bytes: Vec<u8>,
    /// Static memory it uses, in bytes; heap and stacks come on top.
    pub static_ram_bytes: u32,
}

/// An ELF file is not an image for this board.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The file cannot be read as a 32-bit ELF file.
    #[error("not a 32-bit ELF file; build the firmware for this board first")]
    Malformed(#[from] object::read::Error),
    /// A part lies outside the flash.
    #[error(
        "{size_bytes} bytes at {address:#010x} lie outside the board's flash; was it linked for another board?"
    )]
    OutsideFlash {
        /// Where the part lies.
        address: u32,
        /// Its size.
        size_bytes: u32,
    },
    /// Nothing is to be written.
    #[error("there is nothing to write to flash; was the firmware linked without its entry point?")]
    Empty,
}

impl Image {
    /// Flattens what the linker wrote for a board with this memory.
    ///
    /// # Errors
    /// If the file is not such an ELF file, or does not fit.
    pub fn from_elf(elf: &[u8], memory: &Memory) -> Result<Self, ImageError> {
        let header = FileHeader32::<Endianness>::parse(elf)?;
        let endian = header.endian()?;
        let mut bytes = Vec::new();
        for segment in header.program_headers(endian, elf)? {
            if segment.p_type(endian) != PT_LOAD || segment.p_filesz(endian) == 0 {
                continue;
            }
            let contents = segment.data(endian, elf).unwrap_or_default();
            let (address, size_bytes) = (segment.p_paddr(endian), segment.p_filesz(endian));
            place(&mut bytes, contents, address, memory)
                .ok_or(ImageError::OutsideFlash { address, size_bytes })?;
        }
        if bytes.is_empty() {
            return Err(ImageError::Empty);
        }
        Ok(Image { bytes, static_ram_bytes: static_ram(header, endian, elf)? })
    }
}

fn place(bytes: &mut Vec<u8>, contents: &[u8], address: u32, memory: &Memory) -> Option<()> {
    let start = address.checked_sub(memory.flash.origin)? as usize;
    let end = start.checked_add(contents.len())?;
    if end > memory.flash.size_bytes as usize {
        return None;
    }
    if bytes.len() < end {
        bytes.resize(end, ERASED);
    }
    bytes[start..end].copy_from_slice(contents);
    Some(())
}

fn static_ram(header: &FileHeader32<Endianness>, endian: Endianness, elf: &[u8]) -> Result<u32, ImageError> {
    let sections = header.sections(endian, elf)?;
    let wanted = SHF_ALLOC | SHF_WRITE;
    let mut sum: u32 = 0;
    for section in sections.iter() {
        let name = sections.section_name(endian, section)?;
        if section.sh_flags(endian) & wanted == wanted && !MARKERS.contains(&name) {
            sum = sum.saturating_add(section.sh_size(endian));
        }
    }
    Ok(sum)
}
