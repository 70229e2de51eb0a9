//! From the linker's ELF file to what lies in flash.

use object::{
    Endianness,
    elf::{FileHeader32, PT_LOAD, SHF_ALLOC, SHF_WRITE},
    read::elf::{FileHeader, ProgramHeader, SectionHeader},
};

use crate::Region;

/// What erased flash reads as, between the parts of an image.
const ERASED: u8 = 0xff;
/// Sections that only mark memory that is measured while running.
const MARKERS: [&[u8]; 2] = [b".heap", b".stack"];

/// A firmware image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// What lies from the start of its region on.
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
    /// The file ends before its contents do.
    #[error("the ELF file is cut short; build the firmware again")]
    Truncated,
    /// A part lies outside the region.
    #[error(
        "{size_bytes} bytes at {address:#010x} lie outside of where it runs; was it linked for another board?"
    )]
    Outside {
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
    /// Flattens what the linker wrote for this region: [`Memory::flash`](crate::Memory::flash) for an image,
    /// [`Memory::boot`](crate::Memory::boot) for a bootloader.
    ///
    /// # Errors
    /// If the file is not such an ELF file, or does not fit.
    pub fn from_elf(elf: &[u8], region: &Region) -> Result<Self, ImageError> {
        let header = FileHeader32::<Endianness>::parse(elf)?;
        let endian = header.endian()?;
        let mut bytes = Vec::new();
        for segment in header.program_headers(endian, elf)? {
            if segment.p_type(endian) != PT_LOAD || segment.p_filesz(endian) == 0 {
                continue;
            }
            let contents = segment.data(endian, elf).map_err(|()| ImageError::Truncated)?;
            let (address, size_bytes) = (segment.p_paddr(endian), segment.p_filesz(endian));
            place(&mut bytes, contents, address, region)
                .ok_or(ImageError::Outside { address, size_bytes })?;
        }
        if bytes.is_empty() {
            return Err(ImageError::Empty);
        }
        Ok(Image { bytes, static_ram_bytes: static_ram(header, endian, elf)? })
    }
}

fn place(bytes: &mut Vec<u8>, contents: &[u8], address: u32, region: &Region) -> Option<()> {
    let start = address.checked_sub(region.origin)? as usize;
    let end = start.checked_add(contents.len())?;
    if end > region.size_bytes as usize {
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

#[cfg(test)]
mod tests {
    use super::*;

    const FLASH: Region = Region { origin: 0x0800_0000, size_bytes: 64 };

    const HEADER_BYTES: u32 = 52;
    const SEGMENT_BYTES: u32 = 32;

    /// A little-endian ARM file with these segments: address and contents.
    fn elf(segments: &[(u32, &[u8])]) -> Vec<u8> {
        let count = segments.len() as u16;
        let mut file = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        file.extend([2, 0, 40, 0]);
        file.extend([1, 0, HEADER_BYTES, 0, 0].map(u32::to_le_bytes).concat());
        let sizes = [HEADER_BYTES as u16, SEGMENT_BYTES as u16, count, 40, 0, 0];
        file.extend(sizes.map(u16::to_le_bytes).concat());
        let mut offset = HEADER_BYTES + SEGMENT_BYTES * u32::from(count);
        for (address, contents) in segments {
            let len = contents.len() as u32;
            let fields = [1, offset, *address, *address, len, len, 5, 4];
            file.extend(fields.map(u32::to_le_bytes).concat());
            offset += len;
        }
        file.extend(segments.iter().flat_map(|(_, contents)| contents.iter()));
        file
    }

    #[test]
    fn segments_lie_where_they_are_addressed_with_erased_flash_between() {
        let file = elf(&[(0x0800_0008, b"data"), (0x0800_0000, b"code")]);
        let image = Image::from_elf(&file, &FLASH).expect("an image");
        assert_eq!(image.bytes, b"code\xff\xff\xff\xffdata");
    }

    #[test]
    fn what_does_not_fit_the_flash_is_refused() {
        for address in [0x07ff_fffc, 0x0800_003e, 0x2000_0000] {
            let refused = Image::from_elf(&elf(&[(address, b"code")]), &FLASH);
            assert!(matches!(refused, Err(ImageError::Outside { size_bytes: 4, .. })), "{address:#x}");
        }
    }

    #[test]
    fn other_files_are_refused() {
        assert!(matches!(Image::from_elf(b"#!/bin/sh", &FLASH), Err(ImageError::Malformed(_))));
        assert!(matches!(Image::from_elf(&elf(&[]), &FLASH), Err(ImageError::Empty)));
        let mut cut = elf(&[(0x0800_0000, b"code")]);
        cut.truncate(cut.len() - 1);
        assert!(Image::from_elf(&cut, &FLASH).is_err());
    }
}
