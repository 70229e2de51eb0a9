//! What the updater takes of a board, read from the ELF files.

use std::fs;

use anyhow::{Context, Result};
use object::{Object as _, ObjectSymbol as _, SymbolKind};
use wasmbed_boards::{Board, Boards, Image};
use wasmbed_e2e::images;

use crate::figure::line;

/// What symbols of the updater have in their names. Code of it that was inlined elsewhere is not seen, and
/// what it uses together with modules (hashes, signatures, CBOR) is not counted.
const UPDATER: [&str; 3] = ["wasmbed_update", "wasmbed_delta", "firmware"];

/// Prints the sizes of every board with firmware.
pub(crate) fn print() -> Result<()> {
    let boards = Boards::embedded()?;
    boards.iter().filter(|board| board.firmware.is_some()).try_for_each(board)
}

fn board(board: &Board) -> Result<()> {
    let name = board.name.as_str();
    let firmware = board.firmware.as_ref().with_context(|| format!("{name} has no firmware"))?;
    let read = |file: &str| {
        let path = images()?.join(file);
        fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let elf = read(&format!("{name}-boot.elf"))?;
    let boot = Image::from_elf(&elf, &firmware.memory.boot)?;
    line(name, "bootloader: flash", boot.bytes.len() as f64, "B");
    line(name, "bootloader: static memory", f64::from(boot.static_ram_bytes), "B");
    let elf = read(&format!("{name}.elf"))?;
    let image = Image::from_elf(&elf, &firmware.memory.flash)?;
    line(name, "image: flash", image.bytes.len() as f64, "B");
    line(name, "updater in image: symbols", updater(&elf)? as f64, "B");
    Ok(())
}

/// Bytes of code and constants whose names are the updater's.
fn updater(elf: &[u8]) -> Result<u64> {
    let file = object::File::parse(elf)?;
    let wanted = file.symbols().filter(|symbol| {
        let is_code = matches!(symbol.kind(), SymbolKind::Text | SymbolKind::Data);
        is_code && symbol.name().is_ok_and(|name| UPDATER.iter().any(|part| name.contains(part)))
    });
    Ok(wanted.map(|symbol| symbol.size()).sum())
}
