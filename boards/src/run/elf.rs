//! ELF files with one segment (System V ABI, "Object Files").

/// Bytes of the file's header and of one program header.
const FILE_BYTES: u16 = 52;
const PROGRAM_BYTES: u16 = 32;
/// Bytes before the contents.
const HEADER_BYTES: usize = (FILE_BYTES + PROGRAM_BYTES) as usize;

/// `\x7fELF`, 32 bits, little-endian, version 1.
const IDENT: [u8; 16] = *b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0";
const EXECUTABLE: u16 = 2;
const RISCV: u16 = 243;
const LOAD: u32 = 1;
const READ_EXECUTE: u32 = 5;

/// What comes before `size_bytes` of contents, so that all of it is a program for 32-bit RISC-V that lies at
/// `address`.
pub(super) fn header(address: u32, size_bytes: u32) -> Vec<u8> {
    let mut header = IDENT.to_vec();
    let halves = |header: &mut Vec<u8>, values: &[u16]| {
        values.iter().for_each(|value| header.extend_from_slice(&value.to_le_bytes()));
    };
    let words = |header: &mut Vec<u8>, values: &[u32]| {
        values.iter().for_each(|value| header.extend_from_slice(&value.to_le_bytes()));
    };
    halves(&mut header, &[EXECUTABLE, RISCV]);
    // Version, entry, place of the program header, no sections, no flags.
    words(&mut header, &[1, address, FILE_BYTES.into(), 0, 0]);
    halves(&mut header, &[FILE_BYTES, PROGRAM_BYTES, 1, 0, 0, 0]);
    words(
        &mut header,
        &[LOAD, HEADER_BYTES as u32, address, address, size_bytes, size_bytes, READ_EXECUTE, 1],
    );
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Image, Region};

    #[test]
    fn the_contents_are_a_program_at_their_address() {
        let mut file = header(0x2040_0000, 3);
        assert_eq!(file.len(), HEADER_BYTES);
        file.extend_from_slice(b"abc");
        let region = Region { origin: 0x2040_0000, size_bytes: 16 };
        assert_eq!(Image::from_elf(&file, &region).expect("a program").bytes, b"abc");
    }
}
