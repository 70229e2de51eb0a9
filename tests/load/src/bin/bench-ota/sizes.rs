//! What the updater takes of a board, read from the ELF files.

use std::fs;

use anyhow::{Context, Result, ensure};
use object::{Object as _, ObjectSymbol as _, SymbolKind};
use wasmbed_boards::{Board, Boards, Image};
use wasmbed_e2e::images;
use wasmbed_figures::line;
use wasmbed_load::UPDATE_BYTES;

/// What mangled names of the updater have in them: its two crates, its part of the agent, and the drivers of its
/// flash. Code of it that was inlined elsewhere is not seen; what was inlined into it is, also if modules use the
/// same (signatures, CBOR).
const UPDATER: [&str; 4] =
    ["14wasmbed_update", "13wasmbed_delta", "5agent8firmware", "23wasmbed_firmware_common5flash"];

/// Prints the sizes of every board with firmware.
pub(crate) fn print() -> Result<()> {
    line("any", "agent's state for updates", UPDATE_BYTES as f64, "B on a 64-bit machine");
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
    let updater = updater(&elf)?;
    ensure!(updater > 0, "{name}.elf names nothing of the updater; was it stripped?");
    line(name, "updater in image: symbols", updater as f64, "B");
    Ok(())
}

/// Bytes of code and constants whose names are the updater's.
fn updater(elf: &[u8]) -> Result<u64> {
    let file = object::File::parse(elf)?;
    let wanted = file.symbols().filter(|symbol| {
        let is_code = matches!(symbol.kind(), SymbolKind::Text | SymbolKind::Data);
        is_code && symbol.name().is_ok_and(is_updater)
    });
    Ok(wanted.map(|symbol| symbol.size()).sum())
}

fn is_updater(name: &str) -> bool {
    UPDATER.iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use super::is_updater;

    #[test]
    fn a_board_is_not_taken_for_its_updater() {
        assert!(is_updater("_RNvNtCs5UnF2OdVQJd_14wasmbed_update5trust14judge_firmware"));
        assert!(is_updater("_RNvMs0_NtNtCs9W3AU9Q6zOg_12wasmbed_core5agent8firmwareNtB5_6Update3new"));
        assert!(!is_updater("_RNvNtCsbGYBnLYQPxE_26wasmbed_firmware_cortex_m39netduino24main"));
        assert!(!is_updater("_RNvNtCscW0iPjYzBht_23wasmbed_firmware_common6driver3run"));
    }
}
