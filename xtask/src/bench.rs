//! `cargo xtask bench`: figures, one per line, with the aim each is held against.

use std::process::Command;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::{firmware, modules, paths, run::run, setup};

#[derive(Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Each board: flash, memory, time to online, deploy latency, speed.
    Device,
}

pub(crate) fn bench(options: &Options) -> Result<()> {
    match options.what {
        What::Device => device(),
    }
}

fn device() -> Result<()> {
    setup::ensure(setup::Need::ALL)?;
    modules::build()?;
    let sizes = firmware::build_all()?;
    for (board, size) in sizes {
        println!("{board:<10} flash             {:>9} B", size.flash_bytes);
        println!("{board:<10} static memory     {:>9} B", size.static_ram_bytes);
    }
    run(paths::tell(&mut Command::new(paths::bin("bench-device"))))
}
