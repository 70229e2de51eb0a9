//! Running other programs, with errors that say which and how.

use std::{
    process::{Command, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use anyhow::{Context, Result, bail};

use crate::paths;

/// Cargo, as if nobody had started it but the user: what Cargo tells this program about the package `xtask` would have
/// build scripts run again, and half of the workspace compiled anew, whenever Cargo is run by hand in between.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new("cargo");
    for (name, _) in std::env::vars_os() {
        let is_told = |prefix: &str| name.as_encoded_bytes().starts_with(prefix.as_bytes());
        if is_told("CARGO_PKG_") || is_told("CARGO_MANIFEST_") {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// Whether what is compiled of the host workspace is linted on the way: then a warning of the compiler or of Clippy ends
/// the build, and nothing has to be compiled once more to be checked only.
pub(crate) static LINTS: AtomicBool = AtomicBool::new(false);

/// What `cargo clippy -- --deny warnings` tells Cargo and its own compiler, which compiles as `rustc` does if Cargo has it
/// to.
const LINTING: [(&str, &str); 2] = [
    ("RUSTC_WORKSPACE_WRAPPER", "clippy-driver"),
    ("CLIPPY_ARGS", "--deny__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__"),
];

/// Cargo for the host workspace.
pub(crate) fn host_cargo() -> Command {
    let mut cargo = cargo();
    cargo.current_dir(paths::root());
    if LINTS.load(Ordering::Relaxed) {
        cargo.envs(LINTING);
    }
    cargo
}

/// Runs a command to its end; its output is the user's to see.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    let status = command.status().with_context(|| format!("cannot start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` ended with {status}");
    }
    Ok(())
}

/// Runs a command and returns what it printed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let output =
        command.stderr(Stdio::inherit()).output().with_context(|| format!("cannot start `{shown}`"))?;
    if !output.status.success() {
        bail!("`{shown}` ended with {}", output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The target triple of this machine.
pub(crate) fn host_target() -> Result<String> {
    let version = output(Command::new("rustc").arg("-vV").current_dir(paths::root()))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("`rustc -vV` names no host")?.to_owned())
}

/// Whether a program can be started.
pub(crate) fn exists(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

/// When this program started.
pub(crate) static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Says what is being done, and how long after the start.
pub(crate) fn step(text: &str) {
    let seconds = STARTED.elapsed().as_secs();
    eprintln!("==> [{:3}:{:02}] {text}", seconds / 60, seconds % 60);
}

fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
