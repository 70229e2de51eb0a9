//! All automation of this repository: `cargo xtask …`.
//!
//! `up` and `test` are complete in themselves: each sets the machine up first, builds what it needs
//! and then does its job. CI calls nothing else.

mod bench;
mod compose;
mod dist;
mod firmware;
mod modules;
mod outcome;
mod paths;
mod python;
mod run;
mod setup;
mod system;
mod test;
mod up;
mod xtensa;

use std::{process::ExitCode, sync::LazyLock};

use clap::{Parser, Subcommand};

/// Builds, tests and runs Wasmbed.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a whole fleet on this machine: broker, service, emulated boards, a Linux device.
    Up(up::Options),
    /// Run every check and every test.
    Test(test::Options),
    /// Build what one board is started from, or all of them.
    Fw(firmware::Options),
    /// Build the example modules.
    Modules,
    /// Build everything and put it into one folder, for container images
    Dist(dist::Options),
    /// Measure; prints a figure per line.
    Bench(bench::Options),
    /// Do everything that can be done to emulated devices, for minutes, and see that all of them come back.
    Soak(bench::Soak),
    /// Install what builds and tests need.
    Setup,
    /// For rustc: assemble and link a program for Xtensa.
    #[command(hide = true)]
    XtensaLink(xtensa::Link),
}

fn main() -> ExitCode {
    LazyLock::force(&run::STARTED);
    let result = match Cli::parse().command {
        Command::Up(options) => up::up(&options),
        Command::Test(options) => test::test(&options),
        Command::Fw(options) => setup::ensure(setup::Need::BUILD).and_then(|()| firmware::fw(&options)),
        Command::Modules => setup::ensure(setup::Need::BUILD).and_then(|()| modules::build().map(drop)),
        Command::Dist(options) => setup::ensure(setup::Need::BUILD).and_then(|()| dist::dist(&options)),
        Command::Bench(options) => bench::bench(&options),
        Command::Soak(options) => bench::soak(&options),
        Command::Setup => setup::ensure(setup::Need::ALL),
        Command::XtensaLink(link) => xtensa::link(&link),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
