//! `cargo xtask bench runtime`: what running a module costs, on this machine and on boards.
//!
//! The same modules run natively (their source compiled into this program), in our runtime as Linux devices
//! have it (`linux`), in our runtime as boards have it (`pulley`), and in another interpreter (`wasmi`). What is
//! compared was measured in the same round; every figure is the median of rounds.
//!
//! Native code is built for any processor of its kind, as Rust does by itself, while the runtime compiles for the
//! one it finds: with vectors it can be the faster one.
//!
//! Boards run an image of their own (`firmware/bench`) in an emulator that counts instructions, and say what they
//! need; what is compared is compared here.

mod boards;
mod calls;
mod emulated;
mod instances;
mod machine;
mod prepare;
mod race;
mod text;
mod work;

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::{Parser, Subcommand};
use wasmbed_boards::Boards;
use wasmbed_runtime::Runtime;
use wasmbed_wire::{BoardName, limits::Class};
use wasmtime::{Result, bail, error::Context as _};

/// A workload as a module.
struct Module {
    /// As every device takes it: pages of one byte, no vectors.
    boards: Vec<u8>,
    /// As only Linux devices take it: pages of 64 KiB, whose ends need no checks, and vectors.
    linux: Vec<u8>,
}

impl Module {
    fn read(folder: &Path, name: &str) -> Result<Self> {
        let read = |build: &str| {
            let path = folder.join(build).join("wasm32-unknown-unknown/release/examples").join(name);
            fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        Ok(Module { boards: read("boards")?, linux: read("linux")? })
    }
}

#[derive(Parser)]
struct Cli {
    /// The folder with the workloads as modules.
    workloads: PathBuf,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Write what the boards' images are made with.
    Prepare { out: PathBuf },
    /// Measure this machine.
    Linux,
    /// Say what an idle instance takes; in a process by itself, because memory that was used before would not be
    /// seen.
    Idle { subject: String },
    /// Measure boards, each with its images one after the other: `netduino2=FILE netduino2=FILE …`.
    Boards {
        #[arg(value_parser = board_and_image)]
        boards: Vec<(BoardName, PathBuf)>,
    },
}

fn main() -> Result<()> {
    let Cli { workloads, what } = Cli::parse();
    let (fir, mixed) = (Module::read(&workloads, "fir.wasm")?, Module::read(&workloads, "mixed.wasm")?);
    let run = move || match what {
        What::Prepare { out } => prepare::write(&fir, &mixed, &out),
        What::Linux => {
            calls::print()?;
            instances::print(&mixed, &workloads)?;
            work::print(&fir, &mixed)
        }
        What::Idle { subject } => instances::print_idle_bytes(&subject, &mixed),
        What::Boards { boards: images } => {
            let known = Boards::embedded()?;
            images.chunk_by(|(one, _), (other, _)| one == other).try_for_each(|images| {
                let name = &images[0].0;
                let board = known.get(name).with_context(|| format!("there is no board {name}"))?;
                let images = images.iter().map(|(_, image)| image.as_path());
                boards::print(board, images).with_context(|| name.to_string())
            })
        }
    };
    let thread =
        std::thread::Builder::new().stack_size(Runtime::thread_stack_bytes(Class::Mpu)).spawn(run)?;
    match thread.join() {
        Ok(result) => result,
        Err(_) => bail!("the measurement panicked"),
    }
}

fn board_and_image(text: &str) -> Result<(BoardName, PathBuf), String> {
    let (board, image) = text.split_once('=').ok_or("expected BOARD=FILE")?;
    Ok((board.parse().map_err(|error| format!("{board:?}: {error}"))?, image.into()))
}
