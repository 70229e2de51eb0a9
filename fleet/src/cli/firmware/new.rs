//! `wasmbed firmware new`: a Cargo project of the user's own that builds firmware for a board.
//!
//! The project depends on the firmware crates of a checkout of this repository, its SDK, and what is written
//! into it is taken from there too: the board's data, its program, the versions and switches that firmware is
//! built with. So a project fits the SDK it was made from, and a new board needs nothing here. The loop
//! that boards time at their start is compiled here, for Cargo alone could not.
//!
//! Everything is read and checked before the first file is written.
//!
//! Not here: bootloaders. A board keeps the one it has.

mod project;
mod sdk;

use std::{
    env,
    path::{PathBuf, absolute},
};

use anyhow::{Result, bail};
use clap::Args;
use serde_json::json;
use wasmbed_boards::{Board, Boards, Firmware};
use wasmbed_wire::{BoardName, ModuleName};

use self::{project::Project, sdk::Sdk};
use crate::cli::{Common, checkout, output};

/// Crates that every Rust program may name already.
const BUILT_IN: [&str; 5] = ["alloc", "core", "proc-macro", "std", "test"];

#[derive(Debug, Args)]
pub(in crate::cli) struct New {
    /// The folder to write it to; new or empty
    dir: PathBuf,
    /// The board, one with firmware
    #[arg(long)]
    board: BoardName,
    /// Its name, also that of the program [default: that of the folder]
    #[arg(long)]
    name: Option<ModuleName>,
    /// The checkout of wasmbed whose firmware crates it uses [default: the nearest one above]
    #[arg(long, value_name = "PATH")]
    sdk: Option<PathBuf>,
}

impl New {
    pub(super) fn run(self, common: &Common) -> Result<()> {
        let dir = absolute(&self.dir)?;
        checkout::check_empty(&dir)?;
        let sdk = match &self.sdk {
            Some(path) => Sdk::at(path)?,
            None => Sdk::above(&[&env::current_dir()?, &dir])?,
        };
        let boards = sdk.boards()?;
        let (board, firmware) = find(&boards, &self.board)?;
        let name = match self.name {
            Some(name) => name,
            None => checkout::name_of(&dir, "firmware")?,
        };
        let project = Project::new(&sdk, board, firmware, name.as_str())?;
        check_name(name, &project)?;
        project.write(&dir)?;
        if common.json {
            return output::json(&json!({
                "name": name, "board": board.name, "dir": dir, "sdk": sdk.root(),
                "elf": project::elf(firmware, name.as_str()),
            }));
        }
        output::line(format_args!(
            "{}: firmware {name} for {}; build it there with `cargo build --release`, README.md says how to \
             have devices run it",
            self.dir.display(),
            board.title
        ))
    }
}

fn find<'b>(boards: &'b Boards, name: &BoardName) -> Result<(&'b Board, &'b Firmware)> {
    let with_firmware = || {
        let boards =
            boards.iter().filter(|board| board.firmware.as_ref().is_some_and(Firmware::is_for_cargo));
        let names: Vec<&str> = boards.map(|board| board.name.as_str()).collect();
        names.join(", ")
    };
    let Some(board) = boards.get(name) else {
        bail!("there is no board {name}; boards with firmware are: {}", with_firmware());
    };
    let Some(firmware) = &board.firmware else {
        bail!(
            "{name} has no firmware of its own ({}); boards with firmware are: {}",
            board.title,
            with_firmware()
        );
    };
    if !firmware.is_for_cargo() {
        bail!(
            "Cargo alone cannot build firmware for {name} ({}); change firmware/{} in a checkout of wasmbed and \
             build it with `cargo xtask fw {name}`",
            board.title,
            firmware.package.trim_start_matches("wasmbed-firmware-")
        );
    }
    Ok((board, firmware))
}

/// Checks what Cargo or the compiler would stumble over.
fn check_name(name: ModuleName, project: &Project) -> Result<()> {
    let name = name.as_str();
    if !name.starts_with(|first: char| first.is_ascii_lowercase()) {
        bail!("Cargo takes no package called {name}; use a --name that begins with a letter");
    }
    if BUILT_IN.contains(&name) || project.uses(name) {
        bail!("{name} is the name of a crate that the firmware uses; use another --name");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
