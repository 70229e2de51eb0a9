//! `wasmbed-agent`: a Linux machine as a Wasmbed device.
//!
//! [`drive`] connects the agent's core to this machine: [`mqtt`] holds the session, [`worker`] runs
//! modules on threads of their own, [`store`] and [`files`] keep everything that must survive. The
//! process may be killed at any instant: what it was doing goes on after the next start.
//!
//! The program is a firmware of its own: [`boot`] and [`launch`] let the installed one become the version
//! that lies in [`flash`], and every restart goes through the installed one.
//!
//! Not here: what a device does and when (`wasmbed-core`), and how modules run (`wasmbed-runtime`).
#![forbid(unsafe_code)]

mod boot;
mod buses;
mod crash;
mod device;
mod drive;
mod enrol;
mod files;
mod flash;
mod folders;
mod launch;
mod metrics;
mod mqtt;
mod pins;
mod px4;
mod ros;
mod secrets;
mod sensors;
mod settings;
mod slots;
mod store;
mod values;
mod worker;

use std::{
    fs::{DirBuilder, File},
    io::IsTerminal,
    os::unix::fs::DirBuilderExt,
    path::Path,
    time::Instant,
};

use anyhow::{Context, bail};
use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::{device::Device, drive::End, launch::Launch, settings::Settings};

/// The environment variable that says how much is logged, for example `debug`.
const LOG: &str = "WASMBED_LOG";
/// What is logged if it does not. The middleware of ROS 2 warns of what is usual, several times a second.
const DEFAULT_LOG: &str = "info,rustdds=error,ros2_client=error";

fn main() -> anyhow::Result<()> {
    let start = Instant::now();
    let args = settings::Args::parse();
    start_logging();
    let print_slots = args.print_slots;
    let mut settings = Settings::load(args)?;
    if print_slots {
        return slots::print(&settings);
    }
    let (data_dir, restart_exit_code) = (settings.data_dir.clone(), settings.restart_exit_code);
    let lock = take_data_dir(&data_dir)?;
    crash::record_panics(&data_dir, start);
    let launch = Launch::of_this_process()?;
    let watchdog = launch.watchdog(settings.watchdog_s);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(enrol::enrol(&mut settings))?;
    let device = take_up(&settings, &launch)
        .with_context(|| format!("cannot take up what {} holds", data_dir.display()))?;
    let end = runtime.block_on(drive::run(settings, device, watchdog, start))?;
    match end {
        End::Stop => {
            tracing::info!("stopped");
            crash::note_stop(&data_dir);
            Ok(())
        }
        End::Restart => {
            tracing::info!("restarting");
            crash::note_restart(&data_dir);
            drop(lock);
            match restart_exit_code {
                Some(code) => std::process::exit(code.get().into()),
                None => match launch.restart()? {},
            }
        }
    }
}

/// What the previous run left. The installed program returns from here only if it runs itself.
fn take_up(settings: &Settings, launch: &Launch) -> anyhow::Result<Device> {
    let running = match launch.image {
        Some(image) => boot::image(settings, image)?,
        None => boot::installed(settings, launch)?,
    };
    tracing::info!(device = %settings.device, version = running.version, "starting");
    Device::open(settings, running)
}

fn start_logging() {
    let filter = EnvFilter::try_from_env(LOG).unwrap_or_else(|_| EnvFilter::new(DEFAULT_LOG));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
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
