//! `wasmbed-agent`: a Linux machine as a Wasmbed device.
//!
//! [`drive`] connects the agent's core to this machine: [`mqtt`] holds the session, [`worker`] runs
//! modules on threads of their own, [`store`] and [`files`] keep everything that must survive. The
//! process may be killed at any instant: what it was doing goes on after the next start.
//!
//! Not here: what a device does and when (`wasmbed-core`), and how modules run (`wasmbed-runtime`).
#![forbid(unsafe_code)]

mod crash;
mod device;
mod drive;
mod files;
mod mqtt;
mod sensors;
mod settings;
mod store;
mod worker;

use std::{
    fs::{DirBuilder, File},
    io::IsTerminal,
    os::unix::{fs::DirBuilderExt, process::CommandExt},
    path::Path,
    process::Command,
    time::Instant,
};

use anyhow::{Context, bail};
use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::{device::Device, drive::End, settings::Settings};

/// The environment variable that says how much is logged, for example `debug`.
const LOG: &str = "WASMBED_LOG";

fn main() -> anyhow::Result<()> {
    let start = Instant::now();
    let args = settings::Args::parse();
    start_logging();
    let settings = Settings::load(args)?;
    let data_dir = settings.data_dir.clone();
    let lock = take_data_dir(&data_dir)?;
    let device = Device::open(&settings)
        .with_context(|| format!("cannot take up what {} holds", data_dir.display()))?;
    crash::record_panics(&data_dir, start);
    tracing::info!(device = %settings.device, version = env!("CARGO_PKG_VERSION"), "starting");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let end = runtime.block_on(drive::run(settings, device, start))?;
    match end {
        End::Stop => {
            tracing::info!("stopped");
            Ok(())
        }
        End::Restart => {
            crash::note_restart(&data_dir)?;
            drop(lock);
            restart()
        }
    }
}

fn start_logging() {
    let filter = EnvFilter::try_from_env(LOG).unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}

/// Makes the folder, for this user only, and locks it: two agents would overwrite each other's files.
fn take_data_dir(dir: &Path) -> anyhow::Result<File> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.with_context(|| format!("cannot make the folder {}", dir.display()))?;
    let path = dir.join("lock");
    let lock = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(std::fs::TryLockError::WouldBlock) => {
            bail!("another wasmbed-agent uses {}; give each its own data_dir", dir.display())
        }
        Err(std::fs::TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

/// Becomes a fresh process with the same id and arguments: whoever watches this one sees no end.
fn restart() -> anyhow::Result<()> {
    tracing::info!("restarting");
    let program = std::env::current_exe().context("cannot find this program")?;
    let error = Command::new(&program).args(settings::own_arguments()).exec();
    Err(error).with_context(|| format!("cannot start {} again", program.display()))
}
