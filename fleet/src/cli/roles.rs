//! `wasmbed serve`, `wasmbed host` and `wasmbed gateway`: one role in the foreground; and the keeper that a host starts.

use std::{io::IsTerminal, path::PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::{
    EnvFilter, filter::filter_fn, fmt::MakeWriter, layer::SubscriberExt, util::SubscriberInitExt,
};
use wasmbed_broker::{credentials::Role, is_worth_logging};
use wasmbed_wire::{GatewayId, HostId};

use super::Common;
use crate::{
    gateway, host, service,
    shutdown::{self, Shutdown},
};

#[derive(Debug, Args)]
pub(super) struct Serve {
    /// Time between heartbeats of devices, in milliseconds [default: 10000]
    #[arg(long, value_name = "MS")]
    heartbeat_ms: Option<u32>,
    /// Register unknown devices of known boards when they first speak
    #[arg(long)]
    auto_register: bool,
}

#[derive(Debug, Args)]
pub(super) struct Host {
    /// Its id
    #[arg(long)]
    id: Option<HostId>,
    /// Folder of firmware images, as `cargo xtask fw` builds them
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// The program wasmbed-agent [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Gateway {
    /// Its id
    #[arg(long)]
    id: Option<GatewayId>,
}

#[derive(Debug, Args)]
pub(super) struct Keeper {
    /// Where later hosts find it
    socket: PathBuf,
    /// The file that its processes hold
    lock: PathBuf,
}

impl Serve {
    pub(super) async fn run(self, common: &Common) -> Result<()> {
        log_to_stderr();
        let mut config = common.load()?;
        config.service.heartbeat_ms = self.heartbeat_ms.or(config.service.heartbeat_ms);
        config.service.auto_register |= self.auto_register;
        config.check()?;
        let connection = config.connection(&Role::Service)?;
        service::run(config.service(connection)?, on_signal()?).await
    }
}

impl Host {
    pub(super) async fn run(self, common: &Common) -> Result<()> {
        log_to_stderr();
        let mut config = common.load()?;
        config.host.images = self.images.or(config.host.images);
        config.host.agent = self.agent.or(config.host.agent);
        let id = self.id.or(config.host.id).context(
            "no host id is configured; use --id ID, host.id in the configuration, or WASMBED__HOST__ID",
        )?;
        let connection = config.connection(&Role::Host(id))?;
        let host = config.host(id, connection, config.data_dir())?;
        host::run(host, on_signal()?).await
    }
}

impl Gateway {
    pub(super) async fn run(self, common: &Common) -> Result<()> {
        log_to_stderr();
        let config = common.load()?;
        let id = self.id.or(config.gateway.id).context(
            "no gateway id is configured; use --id ID, gateway.id in the configuration, or WASMBED__GATEWAY__ID",
        )?;
        let connection = config.connection(&Role::Gateway(id))?;
        let gateway = config.gateway(id, connection, config.data_dir())?;
        gateway::run(gateway, on_signal()?).await
    }
}

impl Keeper {
    pub(super) async fn run(self) -> Result<()> {
        log_to_stderr();
        host::keeper::run(&self.socket, &self.lock).await
    }
}

/// A shutdown that SIGINT or SIGTERM gives; a second one ends the process at once.
pub(super) fn on_signal() -> Result<Shutdown> {
    let (trigger, shutdown) = shutdown::channel();
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch for signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch for signals")?;
    tokio::spawn(async move {
        for exit_code in [None, Some(130)] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if let Some(code) = exit_code {
                std::process::exit(code);
            }
            trigger.fire();
        }
    });
    Ok(shutdown)
}

/// Logs to standard error.
fn log_to_stderr() {
    log_to(std::io::stderr, std::io::stderr().is_terminal());
}

/// Logs to `writer`; `WASMBED_LOG` chooses what (`info` by default).
pub(super) fn log_to<W>(writer: W, with_colours: bool)
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_from_env("WASMBED_LOG").unwrap_or_else(|_| "info,rumqttd=warn".into());
    let lines = tracing_subscriber::fmt::layer().with_ansi(with_colours).with_writer(writer);
    tracing_subscriber::registry().with(filter).with(filter_fn(is_worth_logging)).with(lines).init();
}
