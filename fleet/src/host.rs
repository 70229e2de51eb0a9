//! The host role: runs emulated boards and Linux agents as the service desires.
//!
//! A host is told a level ([`Desired`](crate::host_api::Desired)) and tells one back ([`Reported`](crate::host_api::Reported)), with an
//! event for everything that happens to a process. It owns the processes and their folders, ends their
//! serial links, and holds each board's own MQTT connection. Its processes are the children of its `keeper`: they end
//! with the host if that ends in order, and run on for a while if it dies, for another one to take over.
//!
//! Files below the data folder: `devices/{id}/` for each device (see `launch`), `boards/{name}/board.toml`
//! for boards of the user's (added to the known ones, or in their place), `host.lock`; `keeper.sock`, `keeper.lock` and
//! `keeper.log` of the keeper; `sockets`, a link, where sockets have to lie elsewhere.
//!
//! Not here: what should run where and what to do about a silent board (`wasmbed-plan`).

mod bridge;
mod console;
mod device;
mod faults;
pub(crate) mod keeper;
mod launch;
mod manager;
mod memory;
mod metrics;
mod nor;
mod ongoing;
mod orders;
mod process;
mod qmp;
mod reporter;
mod restarts;
mod session;
mod sockets;
mod turns;
mod uplink;
mod usage;
mod watchdog;

use std::{
    fs::{self, File, OpenOptions},
    io::Read,
    io::{Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::Arc,
};

use anyhow::{Context, bail};
use nix::fcntl::{Flock, FlockArg};
use tokio::sync::mpsc;
use wasmbed_boards::Boards;
use wasmbed_metrics::{Server, maybe_serve};

use crate::{
    host_api::{HostConfig, Info},
    shutdown::Shutdown,
};
use keeper::{Keeper, Place};
use launch::Launcher;
use manager::Manager;
use metrics::Metrics;
use sockets::Sockets;
use uplink::Uplink;

/// Runs the host until the shutdown. When it returns, every process it started is gone; when its own
/// process is killed, they are after a grace, unless another host takes them over.
///
/// # Errors
/// If the data folder cannot be used: not writable, in use by another host, or a board in it is wrong; or if another
/// process runs as this host.
/// A broker that cannot be reached is none: the host tries again for ever.
pub async fn run(config: HostConfig, shutdown: Shutdown) -> anyhow::Result<()> {
    launch::make_private(&config.data_dir)
        .with_context(|| format!("cannot make the host's data folder {}", config.data_dir.display()))?;
    // Processes run in folders of their own, where a relative path means something else.
    let data_dir = fs::canonicalize(&config.data_dir)
        .with_context(|| format!("cannot find the host's data folder {}", config.data_dir.display()))?;
    let _lock = lock(&data_dir)?;
    let metrics = match config.metrics_listen {
        Some(listen) => Some(Server::bind(listen).await?),
        None => None,
    };
    let boards = boards(&data_dir)?;
    let agent = std::path::absolute(&config.agent).unwrap_or_else(|_| config.agent.clone());
    let cannot_use = || format!("cannot use the host's data folder {}", data_dir.display());
    let sockets = Sockets::choose(&data_dir).with_context(cannot_use)?;
    let launcher = Launcher::new(
        boards,
        config.connection.clone(),
        &data_dir,
        config.firmware_dir,
        agent,
        sockets.clone(),
    );
    let launcher = Arc::new(launcher.with_context(cannot_use)?);
    let place = Place {
        program: config.program,
        socket: sockets.keeper(),
        lock: data_dir.join("keeper.lock"),
        log: data_dir.join("keeper.log"),
    };
    let (keeper, taken) = Keeper::open(place, config.grace).await?;
    let keeper = Arc::new(keeper);
    let started_ms = reporter::unix_ms();
    let (reporter, lines) = reporter::reporter();
    let metrics = maybe_serve(metrics, Arc::new(Metrics(reporter.clone())));
    let (desired, desired_reader) = mpsc::channel(1);
    let (orders, given) = mpsc::channel(1);
    let described = Arc::clone(&launcher);
    let uplink = Uplink {
        id: config.id,
        started_ms,
        connection: config.connection,
        reporter: reporter.clone(),
        lines,
        desired,
        orders,
        info: Box::new(move |boot| info(boot, &described)),
    };
    let manager = Manager::new(started_ms, launcher, Arc::clone(&keeper), reporter, taken);
    // The connection ends after the processes: until then it tells how they end.
    let superseded = tokio::select! {
        () = uplink.run() => None,
        never = metrics => match never {},
        superseded = manager.run(desired_reader, given, shutdown) => superseded,
    };
    keeper.end().await;
    sockets.remove();
    match superseded {
        None => Ok(()),
        Some(other_ms) => bail!(
            "another process runs as host {0}, and started {1} s after this one; stop one of them, or give it an id \
             of its own (--id)",
            config.id,
            other_ms.saturating_sub(started_ms).div_ceil(1000)
        ),
    }
}

fn info(boot: u64, launcher: &Launcher) -> Info {
    Info {
        boot,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        boards: launcher.startable(),
        free_memory_bytes: memory::free_bytes(),
    }
}

fn boards(data_dir: &Path) -> anyhow::Result<Boards> {
    let dir = data_dir.join("boards");
    let boards = if dir.is_dir() { Boards::with_overrides(&dir) } else { Boards::embedded() };
    boards.context("cannot use the boards")
}

/// Keeps a second host out of the folder: it would start the same devices on the same files.
fn lock(data_dir: &Path) -> anyhow::Result<Flock<File>> {
    let path = data_dir.join("host.lock");
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(mut file) => {
            // For the message of whoever comes second; the lock itself is what counts.
            let _ = file
                .set_len(0)
                .and_then(|()| file.rewind())
                .and_then(|()| write!(file, "{}", std::process::id()));
            Ok(file)
        }
        Err((mut file, _)) => {
            let mut pid = String::new();
            let _ = file.read_to_string(&mut pid);
            bail!(
                "another host (process {}) uses the data folder {}; stop it, or give this host a folder of its own",
                pid.trim(),
                data_dir.display()
            )
        }
    }
}
