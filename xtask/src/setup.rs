//! What a bare Debian or Ubuntu machine with Rust still needs, and getting it.

use std::{path::Path, process::Command};

use anyhow::{Context, Result, bail};

use crate::{
    paths,
    run::{exists, output, run, step},
};

/// A program and the Debian package that brings it.
struct Tool {
    program: &'static str,
    package: &'static str,
}

const fn tool(program: &'static str, package: &'static str) -> Tool {
    Tool { program, package }
}

/// What a task needs beyond Rust.
#[derive(Clone, Copy)]
pub(crate) struct Need {
    tools: &'static [&'static [Tool]],
}

const BUILD: &[Tool] = &[
    tool("cc", "gcc"),
    tool("strip", "binutils"),
    tool("make", "make"),
    tool("clang", "clang"),
    tool("xtensa-lx106-elf-as", "binutils-xtensa-lx106"),
];
const EMULATE: &[Tool] = &[
    tool("qemu-system-arm", "qemu-system-arm"),
    tool("qemu-system-riscv32", "qemu-system-misc"),
    tool("qemu-system-xtensa", "qemu-system-misc"),
    tool("qemu-system-x86_64", "qemu-system-x86"),
];
const TEST: &[Tool] = &[
    tool("mosquitto", "mosquitto"),
    tool("mosquitto_pub", "mosquitto-clients"),
    tool("rabbitmqctl", "rabbitmq-server"),
    tool("python3", "python3-venv"),
    tool("ip", "iproute2"),
];

const DOCKER: &[Tool] = &[tool("docker", "docker.io")];
const COMPOSE: &[Tool] = &[tool("docker-compose", "docker-compose")];
const DEBOOTSTRAP: &[Tool] = &[tool("debootstrap", "debootstrap")];

impl Need {
    /// To build firmware and modules.
    pub(crate) const BUILD: Need = Need { tools: &[BUILD] };
    /// To run a fleet.
    pub(crate) const UP: Need = Need { tools: &[BUILD, EMULATE] };
    /// To build programs and firmware, and run them in containers.
    pub(crate) const DOCKER: Need = Need { tools: &[BUILD, DOCKER] };
    /// Compose, where it is not a part of Docker.
    pub(crate) const COMPOSE: Need = Need { tools: &[COMPOSE] };
    /// To make a base image where there is no registry.
    pub(crate) const DEBOOTSTRAP: Need = Need { tools: &[DEBOOTSTRAP] };
    /// To run the tests.
    pub(crate) const ALL: Need = Need { tools: &[BUILD, EMULATE, TEST] };
}

const TARGETS: [&str; 3] = ["thumbv7m-none-eabi", "riscv32imac-unknown-none-elf", "wasm32-unknown-unknown"];

/// Installs what is missing, or says how to.
pub(crate) fn ensure(need: Need) -> Result<()> {
    ensure_packages(need)?;
    ensure_toolchain()
}

fn ensure_packages(need: Need) -> Result<()> {
    let mut missing: Vec<&str> = need
        .tools
        .iter()
        .flat_map(|group| group.iter())
        .filter(|tool| !exists(tool.program))
        .map(|tool| tool.package)
        .collect();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.join(" ");
    let by_hand = format!("sudo apt-get update && sudo apt-get install -y {packages}");
    if !exists("apt-get") {
        bail!(
            "these programs are missing (named as Debian packages): {packages}; install them with your system's package manager"
        );
    }
    step(&format!("installing Debian packages: {packages}"));
    // Root installs directly; others only where sudo does not ask.
    let prefix: &[&str] = match is_root()? {
        true => &[],
        false if sudo_works() => &["sudo", "-n"],
        false => bail!("these Debian packages are missing: {packages}; run: {by_hand}"),
    };
    for args in [&["update", "-qq"][..], &["install", "-y", "-qq", "--no-install-recommends"][..]] {
        let mut words = prefix.iter().copied().chain(["apt-get"]);
        let mut command = Command::new(words.next().unwrap_or("apt-get"));
        command.args(words).args(args).env("DEBIAN_FRONTEND", "noninteractive");
        if args[0] == "install" {
            command.args(&missing);
        }
        // Standard output is the task's own.
        command.stdout(std::process::Stdio::null());
        run(&mut command).with_context(|| format!("cannot install {packages}; try: {by_hand}"))?;
    }
    Ok(())
}

fn is_root() -> Result<bool> {
    Ok(output(Command::new("id").arg("-u"))?.trim() == "0")
}

fn sudo_works() -> bool {
    exists("sudo") && Command::new("sudo").args(["-n", "true"]).status().is_ok_and(|status| status.success())
}

fn ensure_toolchain() -> Result<()> {
    let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]).current_dir(paths::root()))?;
    let rustlib = Path::new(sysroot.trim()).join("lib/rustlib");
    let lacks = |folder: &str| !rustlib.join(folder).is_dir();
    let targets = TARGETS.into_iter().filter(|target| lacks(&format!("{target}/lib"))).collect();
    // The library itself is compiled for the target that the toolchain does not have.
    let sources = lacks("src/rust/library").then_some("rust-src").into_iter().collect();
    for (what, missing) in [("target", targets), ("component", sources)] {
        let missing: Vec<&str> = missing;
        if missing.is_empty() {
            continue;
        }
        let names = missing.join(" ");
        if !exists("rustup") {
            bail!(
                "the Rust {what} {names} is missing and rustup is not installed; install rustup, or a toolchain \
                 that has it"
            );
        }
        step(&format!("installing for Rust: {what} {names}"));
        run(Command::new("rustup").args([what, "add"]).args(&missing).current_dir(paths::root()))?;
    }
    Ok(())
}
