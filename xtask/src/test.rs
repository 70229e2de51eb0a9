//! `cargo xtask test`: everything CI checks, in the order in which it is cheapest to fail.

use std::{
    process::{Command, Stdio},
    sync::atomic::Ordering,
};

use anyhow::{Context, Result};
use clap::Args;

use crate::{
    compose, firmware, modules,
    outcome::Outcome,
    paths, python,
    run::{self, exists, host_target, run, step},
    setup,
};

#[derive(Args)]
pub(crate) struct Options {
    /// Only unit and simulation tests: no formatting, lints, licences, firmware or emulation.
    #[arg(long)]
    quick: bool,
    /// Only the fleet of docker-compose.yml: some minutes, a few gigabytes, and a Docker daemon, which root need not have
    /// running.
    #[arg(long, conflicts_with_all = ["quick", "filter"])]
    compose: bool,
    /// Only tests whose name contains this.
    filter: Option<String>,
}

pub(crate) fn test(options: &Options) -> Result<()> {
    if options.compose {
        return compose::test();
    }
    setup::ensure(setup::Need::ALL)?;
    let mut outcome = Outcome::default();
    // What has failed is said, whatever else could not be done.
    let ended = run_all(options, &mut outcome);
    ended.and(outcome.close())
}

fn run_all(options: &Options, outcome: &mut Outcome) -> Result<()> {
    if !options.quick {
        check_format()?;
        check_licences()?;
        run::LINTS.store(true, Ordering::Relaxed);
    }
    let python = if options.quick { None } else { Some(python::ensure()?) };
    step(if options.quick { "unit and simulation tests" } else { "lints, unit and simulation tests" });
    let mut units = cargo(&["test", "--workspace", "--no-fail-fast"]);
    units.envs(python.iter().map(|python| ("WASMBED_PYTHON", python)));
    outcome.run(units.args(&options.filter))?;
    test_other_workspaces(options, outcome)?;
    if let Some(python) = &python {
        modules::build()?;
        firmware::build_all()?;
        firmware::build_all_variants()?;
        step("examples under an autopilot and among nodes of others");
        let mut examples = cargo(&["test", "--workspace", "--test", "agent", "the_example"]);
        examples.env("WASMBED_PYTHON", python).env("WASMBED_E2E_MODULES", paths::modules());
        outcome.run(&mut examples)?;
        step("patches between real images, by detools and by us");
        let mut patches = cargo(&["test", "--workspace", "--test", "detools"]);
        patches.env("WASMBED_PYTHON", python).env("WASMBED_FIRMWARE_PAIR", firmware::pairs()?);
        outcome.run(patches.args(&options.filter))?;
        step("end-to-end tests on emulated boards");
        // Always the whole workspace, so that dependencies are compiled with one set of features.
        // Two at a time: each starts a fleet of its own, and emulators take a processor each while they are busy.
        let mut e2e = cargo(&["test", "--workspace", "--test", "e2e", "--no-fail-fast"]);
        let e2e = paths::tell(&mut e2e)
            .env("WASMBED_PYTHON", python)
            .args(&options.filter)
            .args(["--", "--test-threads=2"]);
        outcome.run(e2e)?;
    }
    Ok(())
}

/// The parts of firmware and guest SDK that run on any machine.
fn test_other_workspaces(options: &Options, outcome: &mut Outcome) -> Result<()> {
    let host = host_target()?;
    let firmware = ["firmware", "wasmbed-firmware-common"];
    // Boards differ in whether they have calls for security, vehicles and ROS 2, and Ethernet.
    for ([dir, package], features) in
        [(firmware, "ip,px4"), (firmware, "ros,security"), (["device-agent/guest", "wasmbed-guest"], "")]
    {
        let mut cargo = run::cargo();
        cargo.args(["test", "--quiet", "--package", package, "--lib", "--target", &host]);
        cargo.args(["--features", features]);
        cargo.arg("--target-dir").arg(paths::target().join("other")).args(&options.filter);
        outcome.run(cargo.current_dir(paths::root().join(dir)))?;
    }
    Ok(())
}

fn check_format() -> Result<()> {
    step("formatting");
    for dir in [paths::root(), paths::root().join("firmware"), paths::root().join("device-agent/guest")] {
        run(run::cargo().args(["fmt", "--all", "--check"]).current_dir(dir))
            .context("the code is not formatted; run `cargo fmt --all` there")?;
    }
    Ok(())
}

fn check_licences() -> Result<()> {
    step("licences and sources of dependencies");
    if !exists("cargo-deny") {
        // Unoptimized: it runs once, and compiling it is what takes the time.
        let mut install = run::cargo();
        install.env("CARGO_PROFILE_DEV_DEBUG", "none").env("CARGO_INCREMENTAL", "0");
        install.args(["install", "--quiet", "--locked", "--debug", "cargo-deny@^0.20"]);
        run(install.current_dir(paths::root()))?;
    }
    for manifest in ["Cargo.toml", "firmware/Cargo.toml", "device-agent/guest/Cargo.toml"] {
        let mut deny = run::cargo();
        deny.args(["deny", "--log-level", "error", "--config", "deny.toml", "--manifest-path", manifest])
            .args(["check", "bans", "licenses", "sources"]);
        run(deny.current_dir(paths::root()))?;
    }
    check_advisories()
}

/// Known vulnerabilities, where their data base can be reached.
fn check_advisories() -> Result<()> {
    let deny = |what: &[&str]| {
        let mut deny = run::cargo();
        deny.args(["deny", "--log-level", "error", "--config", "deny.toml"]).args(what);
        deny.current_dir(paths::root());
        deny
    };
    let fetched = deny(&["fetch", "db"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !fetched.is_ok_and(|status| status.success()) {
        step("the advisory data base cannot be reached from here: advisories are not checked");
        return Ok(());
    }
    run(&mut deny(&["check", "advisories"]))
}

fn cargo(args: &[&str]) -> Command {
    let mut command = run::host_cargo();
    command.args(args);
    command
}
