//! `cargo xtask up`: build everything a fleet needs, then start it.

use std::{os::unix::process::CommandExt, process::Command};

use anyhow::Result;
use clap::Args;

use crate::{
    firmware, modules, paths,
    run::{self, run, step},
    setup,
};

#[derive(Args)]
pub(crate) struct Options {
    /// Options of `wasmbed up`, such as `--once`, `--json` or `--devices netduino2=3`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub(crate) fn up(options: &Options) -> Result<()> {
    setup::ensure(setup::Need::UP)?;
    modules::build()?;
    firmware::build_all()?;
    step("starting the fleet");
    // From here on this process is the fleet: signals and the exit code are its own.
    let mut wasmbed = Command::new(paths::bin("wasmbed"));
    wasmbed.arg("up").arg("--images").arg(paths::images()).args(&options.arguments);
    Err(wasmbed.exec().into())
}

/// Builds `wasmbed`, `wasmbed-broker` and `wasmbed-agent`.
pub(crate) fn build_programs() -> Result<()> {
    step("building the fleet programs (the first time takes some minutes)");
    let mut cargo = run::host_cargo();
    run(cargo.args(["build", "--workspace", "--bins"]).args(paths::is_release().then_some("--release")))
}
