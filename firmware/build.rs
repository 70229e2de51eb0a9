//! Hands every binary of a package its board: the memory map to the linker, the rest as constants.
//!
//! One script for all packages: the boards say which package and binary is theirs.

use std::{
    env,
    error::Error,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use wasmbed_boards::{Board, Boards, Firmware};

fn main() -> Result<(), Box<dyn Error>> {
    let package = env::var("CARGO_PKG_NAME")?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    println!("cargo:rerun-if-changed=../build.rs");
    for board in Boards::embedded()?.iter() {
        if let Some(firmware) = board.firmware.as_ref().filter(|firmware| firmware.package == package) {
            hand_over(board, firmware, &out)?;
        }
    }
    Ok(())
}

fn hand_over(board: &Board, firmware: &Firmware, out: &Path) -> Result<(), Box<dyn Error>> {
    let dir = out.join(&firmware.binary);
    fs::create_dir_all(&dir)?;
    let map = Path::new("../../boards").join(board.name.as_str()).join("memory.x");
    println!("cargo:rerun-if-changed={}", map.display());
    fs::copy(&map, dir.join("memory.x")).map_err(|error| format!("{}: {error}", map.display()))?;
    fs::write(dir.join("board.rs"), constants(board, firmware)?)?;
    for argument in [format!("-L{}", dir.display()), "-Tlink.x".into()] {
        println!("cargo:rustc-link-arg-bin={}={argument}", firmware.binary);
    }
    Ok(())
}

fn constants(board: &Board, firmware: &Firmware) -> Result<String, std::fmt::Error> {
    let (modules, provision, ram) = (&board.modules, &firmware.memory.provision, &firmware.memory.ram);
    let mut text = String::new();
    writeln!(text, "const SHEET: wasmbed_firmware_common::Sheet = wasmbed_firmware_common::Sheet {{")?;
    writeln!(text, "    name: {:?},", board.name.as_str())?;
    writeln!(text, "    class: wasmbed_firmware_common::Class::{:?},", board.class)?;
    writeln!(text, "    slot_bytes: {},", modules.slot_bytes)?;
    writeln!(text, "    block_bytes: {},", modules.block_bytes)?;
    writeln!(text, "    window_blocks: {},", modules.window_blocks)?;
    writeln!(text, "}};")?;
    writeln!(text, "const SLOTS: usize = {};", modules.slots)?;
    writeln!(
        text,
        "const PROVISION: *const [u8; {}] = {:#010x} as *const _;",
        provision.size_bytes, provision.origin
    )?;
    writeln!(text, "#[allow(dead_code, reason = \"not every board asks\")]")?;
    writeln!(
        text,
        "const RAM: core::ops::Range<usize> = {:#x}..{:#x};",
        ram.origin,
        ram.origin + ram.size_bytes
    )?;
    Ok(text)
}
