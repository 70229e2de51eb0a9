//! `cargo xtask test`: everything CI checks, in the order in which it is cheapest to fail.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::atomic::Ordering,
};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{
    compose, firmware, modules, paths, python,
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
    let mut counts = Counts::default();
    if !options.quick {
        check_format()?;
        check_licences()?;
        run::LINTS.store(true, Ordering::Relaxed);
    }
    let python = if options.quick { None } else { Some(python::ensure()?) };
    step(if options.quick { "unit and simulation tests" } else { "lints, unit and simulation tests" });
    let mut units = cargo(&["test", "--workspace", "--no-fail-fast"]);
    units.envs(python.iter().map(|python| ("WASMBED_PYTHON", python)));
    counts.add(run_tests(units.args(&options.filter))?);
    counts.add(test_other_workspaces(options)?);
    if let Some(python) = &python {
        modules::build()?;
        firmware::build_all()?;
        firmware::build_all_variants()?;
        step("examples under an autopilot and among nodes of others");
        let mut examples = cargo(&["test", "--workspace", "--test", "agent", "the_example"]);
        examples.env("WASMBED_PYTHON", python).env("WASMBED_E2E_MODULES", paths::modules());
        counts.add(run_tests(&mut examples)?);
        step("patches between real images, by detools and by us");
        let mut patches = cargo(&["test", "--workspace", "--test", "detools"]);
        patches.env("WASMBED_PYTHON", python).env("WASMBED_FIRMWARE_PAIR", firmware::pairs()?);
        counts.add(run_tests(patches.args(&options.filter))?);
        step("end-to-end tests on emulated boards");
        // Always the whole workspace, so that dependencies are compiled with one set of features.
        // Two at a time: each starts a fleet of its own, and emulators take a processor each while they are busy.
        let mut e2e = cargo(&["test", "--workspace", "--test", "e2e", "--no-fail-fast"]);
        let e2e = paths::tell(&mut e2e)
            .env("WASMBED_PYTHON", python)
            .args(&options.filter)
            .args(["--", "--test-threads=2"]);
        counts.add(run_tests(e2e)?);
    }
    println!("{} passed, {} failed", counts.passed, counts.failed);
    match counts {
        Counts { failed: 0, passed: 1.. } => Ok(()),
        Counts { failed: 0, .. } => bail!("no test ran"),
        Counts { failed, .. } => bail!("{failed} tests failed"),
    }
}

/// The parts of firmware and guest SDK that run on any machine.
fn test_other_workspaces(options: &Options) -> Result<Counts> {
    let host = host_target()?;
    let mut counts = Counts::default();
    let firmware = ["firmware", "wasmbed-firmware-common"];
    // Boards differ in whether they have calls for security, vehicles and ROS 2, and Ethernet.
    for ([dir, package], features) in
        [(firmware, "ip,px4"), (firmware, "ros,security"), (["device-agent/guest", "wasmbed-guest"], "")]
    {
        let mut cargo = run::cargo();
        cargo.args(["test", "--quiet", "--package", package, "--lib", "--target", &host]);
        cargo.args(["--features", features]);
        cargo.arg("--target-dir").arg(paths::target().join("other")).args(&options.filter);
        counts.add(run_tests(cargo.current_dir(paths::root().join(dir)))?);
    }
    Ok(counts)
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

#[derive(Default)]
struct Counts {
    passed: u32,
    failed: u32,
}

impl Counts {
    fn add(&mut self, other: Counts) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// Runs a `cargo test`, shows what it prints, and counts from its closing lines.
fn run_tests(command: &mut Command) -> Result<Counts> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start cargo")?;
    let stdout = child.stdout.take().context("no output from cargo")?;
    let mut counts = Counts::default();
    for line in BufReader::new(stdout).lines() {
        let line = line.context("cannot read what cargo prints")?;
        println!("{line}");
        if let Some(summary) = line.trim().strip_prefix("test result: ") {
            counts.add(read_summary(summary));
        }
    }
    let status = child.wait()?;
    if !status.success() && counts.failed == 0 {
        bail!("cargo test ended with {status} before all tests ran");
    }
    Ok(counts)
}

/// Reads `ok. 3 passed; 0 failed; …`.
fn read_summary(summary: &str) -> Counts {
    let number_before = |word: &str| {
        let words: Vec<&str> = summary.split([' ', ';']).collect();
        let at = words.iter().position(|candidate| *candidate == word)?;
        words.get(at.checked_sub(1)?)?.parse().ok()
    };
    Counts { passed: number_before("passed").unwrap_or(0), failed: number_before("failed").unwrap_or(0) }
}
