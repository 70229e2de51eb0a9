//! Hands every binary of a package its board: the memory map to the linker, the rest as constants.
//!
//! One script for all packages: the boards say which packages and binaries are theirs. A board's firmware
//! and its bootloader differ in where their code lies; what they share is in the board's `memory.x`.

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
};

use wasmbed_boards::{Board, Boards, Firmware, Region, constants, memory_map};

/// What programs are made of that Cargo does not see: this, and what is linked for Xtensa.
const SHARED: [&str; 3] = ["../build.rs", "../xtensa/link.x", "../xtensa/src/core.s"];
/// The package with an image for measurements for every board that runs modules, `<board>-bench`.
const BENCH: &str = "wasmbed-firmware-bench";

fn main() -> Result<(), Box<dyn Error>> {
    let package = env::var("CARGO_PKG_NAME")?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    for shared in SHARED {
        println!("cargo:rerun-if-changed={shared}");
    }
    // `cortex-m-rt` has linkers look for names of interrupt handlers, which no program of ours has.
    fs::write(out.join("device.x"), "")?;
    println!("cargo:rustc-link-search={}", out.display());
    for board in Boards::embedded()?.iter() {
        let Some(firmware) = &board.firmware else { continue };
        if firmware.package == package {
            hand_over(board, firmware, (&firmware.binary, firmware.memory.flash), &out)?;
        }
        if firmware.boot_package == package {
            hand_over(board, firmware, (&firmware.boot, firmware.memory.boot), &out)?;
        }
        if package == BENCH && board.runs_modules() {
            // It runs alone, from the reset on.
            let binary = format!("{}-bench", board.name);
            hand_over(board, firmware, (&binary, firmware.memory.alone()), &out)?;
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
    fs::write(dir.join("memory.x"), memory_map(code, &shared))?;
    fs::write(dir.join("board.rs"), constants(board, firmware)?)?;
    for argument in [format!("-L{}", dir.display()), "-Tlink.x".into()] {
        println!("cargo:rustc-link-arg-bin={binary}={argument}");
    }
    Ok(())
}
