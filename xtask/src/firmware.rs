//! `cargo xtask fw`: firmware images, and whether they fit their boards' budgets.

use std::{fs, process::Command};

use anyhow::{Context, Result, bail};
use clap::Args;
use wasmbed_boards::{Board, Boards, Firmware, Image};
use wasmbed_wire::BoardName;

use crate::{
    paths,
    run::{run, step},
    up,
};

#[derive(Args)]
pub(crate) struct Options {
    /// The board, a folder of `boards/`; all of them if absent.
    board: Option<String>,
    /// Print what each image takes in flash and memory.
    #[arg(long)]
    sizes: bool,
}

/// What an image takes.
pub(crate) struct Size {
    pub(crate) flash_bytes: u32,
    pub(crate) static_ram_bytes: u32,
}

pub(crate) fn fw(options: &Options) -> Result<()> {
    let boards = Boards::embedded()?;
    let wanted = |board: &Board| options.board.as_deref().is_none_or(|name| name == board.name.as_str());
    let built = build_where(&boards, wanted)?;
    if built.is_empty() {
        let known: Vec<&str> = boards.iter().map(|board| board.name.as_str()).collect();
        bail!(
            "no board with firmware is called {:?}; boards are: {}",
            options.board.as_deref().unwrap_or_default(),
            known.join(", ")
        );
    }
    for (board, size) in built.iter().filter(|_| options.sizes) {
        let Size { flash_bytes, static_ram_bytes } = size;
        println!("{board}: {flash_bytes} bytes of flash, {static_ram_bytes} bytes of static memory");
    }
    Ok(())
}

/// Builds every board's firmware.
pub(crate) fn build_all() -> Result<Vec<(BoardName, Size)>> {
    build_where(&Boards::embedded()?, |_| true)
}

fn build_where(boards: &Boards, wanted: impl Fn(&Board) -> bool) -> Result<Vec<(BoardName, Size)>> {
    // Boards carry a loop to time, compiled by the same compiler as their modules.
    up::build_programs()?;
    run(Command::new(paths::bin("wasmbed-measuring-loop")).arg(paths::measuring_loop()))?;
    boards
        .iter()
        .filter(|board| board.firmware.is_some() && wanted(board))
        .map(|board| Ok((board.name, build(board)?)))
        .collect()
}

/// Builds one board's firmware and writes `images/<board>.elf`.
fn build(board: &Board) -> Result<Size> {
    let firmware = board.firmware.as_ref().with_context(|| format!("{} has no firmware", board.name))?;
    step(&format!("firmware for {}", board.title));
    let dir = paths::root().join("firmware");
    let target_dir = paths::target().join("firmware");
    let mut cargo = Command::new("cargo");
    cargo
        .args(["build", "--release", "--quiet", "--package", &firmware.package, "--bin", &firmware.binary])
        .args(["--target", &firmware.target, "--target-dir"])
        .arg(&target_dir)
        .env("WASMBED_MEASURING_LOOP", paths::measuring_loop())
        .current_dir(&dir);
    run(&mut cargo)?;

    let elf_path = target_dir.join(&firmware.target).join("release").join(&firmware.binary);
    let elf = fs::read(&elf_path).with_context(|| format!("cannot read {}", elf_path.display()))?;
    let image = Image::from_elf(&elf, &firmware.memory.flash).with_context(|| elf_path.display().to_string())?;
    fs::create_dir_all(paths::images())?;
    let out = paths::images().join(format!("{}.elf", board.name));
    fs::write(&out, &elf).with_context(|| format!("cannot write {}", out.display()))?;
    check_budget(board, firmware, &image)
}

fn check_budget(board: &Board, firmware: &Firmware, image: &Image) -> Result<Size> {
    let flash_bytes = u32::try_from(image.bytes.len())?;
    let size = Size { flash_bytes, static_ram_bytes: image.static_ram_bytes };
    for (what, found, budget) in [
        ("flash", size.flash_bytes, firmware.budget.flash_bytes),
        ("static memory", size.static_ram_bytes, firmware.budget.ram_bytes),
    ] {
        if found > budget {
            bail!(
                "{} takes {found} bytes of {what}; its budget is {budget} (boards/{}/board.toml)",
                board.name,
                board.name
            );
        }
    }
    Ok(size)
}
