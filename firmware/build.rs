//! Hands every binary of a package its board: the memory map to the linker, the rest as constants.
//!
//! One script for all packages: the boards say which packages and binaries are theirs. A board's firmware
//! and its bootloader differ in where their code lies; what they share is in the board's `memory.x`.

use std::{
    env,
    error::Error,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use wasmbed_boards::{Board, Boards, Firmware, Region};

fn main() -> Result<(), Box<dyn Error>> {
    let package = env::var("CARGO_PKG_NAME")?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    println!("cargo:rerun-if-changed=../build.rs");
    for board in Boards::embedded()?.iter() {
        let Some(firmware) = &board.firmware else { continue };
        if firmware.package == package {
            hand_over(board, firmware, (&firmware.binary, firmware.memory.flash), &out)?;
        }
        if firmware.boot_package == package {
            hand_over(board, firmware, (&firmware.boot, firmware.memory.boot), &out)?;
        }
    }
    Ok(())
}

/// Writes what a binary needs whose code lies in `code`.
fn hand_over(
    board: &Board,
    firmware: &Firmware,
    (binary, code): (&str, Region),
    out: &Path,
) -> Result<(), Box<dyn Error>> {
    let dir = out.join(binary);
    fs::create_dir_all(&dir)?;
    let map = Path::new("../../boards").join(board.name.as_str()).join("memory.x");
    println!("cargo:rerun-if-changed={}", map.display());
    let shared = fs::read_to_string(&map).map_err(|error| format!("{}: {error}", map.display()))?;
    let Region { origin, size_bytes } = code;
    let code = format!("MEMORY {{ FLASH : ORIGIN = {origin:#010x}, LENGTH = {size_bytes:#x} }}\n");
    fs::write(dir.join("memory.x"), code + &shared)?;
    fs::write(dir.join("board.rs"), constants(board, firmware)?)?;
    for argument in [format!("-L{}", dir.display()), "-Tlink.x".into()] {
        println!("cargo:rustc-link-arg-bin={binary}={argument}");
    }
    Ok(())
}

fn constants(board: &Board, firmware: &Firmware) -> Result<String, std::fmt::Error> {
    let (modules, slots, memory) = (&board.modules, &firmware.slots, &firmware.memory);
    let mut text = String::new();
    writeln!(text, "const SHEET: wasmbed_firmware_common::Sheet = wasmbed_firmware_common::Sheet {{")?;
    writeln!(text, "    name: {:?},", board.name.as_str())?;
    writeln!(text, "    class: wasmbed_firmware_common::Class::{:?},", board.class)?;
    writeln!(text, "    slot_bytes: {},", modules.slot_bytes)?;
    writeln!(text, "    block_bytes: {},", modules.block_bytes)?;
    writeln!(text, "    window_blocks: {},", modules.window_blocks)?;
    writeln!(
        text,
        "    layout: wasmbed_firmware_common::Layout::new({:#x}, {:#x}, {:#x}, {:#x}),",
        slots.base, slots.sector_bytes, slots.image_bytes, slots.patch_bytes
    )?;
    writeln!(text, "}};")?;
    let unused = "#[allow(dead_code, reason = \"not every program asks\")]";
    writeln!(text, "{unused}\nconst SLOTS: usize = {};", modules.slots)?;
    for (name, Region { origin, size_bytes }) in [("PROVISION", memory.provision), ("IMAGE", memory.flash)] {
        writeln!(text, "{unused}\nconst {name}: *const [u8; {size_bytes:#x}] = {origin:#010x} as *const _;")?;
    }
    let Region { origin, size_bytes } = memory.ram;
    let end = origin + size_bytes;
    writeln!(text, "{unused}\nconst RAM: core::ops::Range<usize> = {origin:#x}..{end:#x};")?;
    Ok(text)
}
