//! `wasmbed-broker`: the broker as a process of its own.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use wasmbed_broker::{Broker, Config, is_worth_logging};

/// The router reserves much more for each connection than it touches; this allocator leaves that to the system.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The MQTT broker of a Wasmbed fleet.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    /// Configuration in TOML; WASMBED_BROKER__<KEY> in the environment overrides it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address to listen on, instead of the configured one; port 0 lets the system choose.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// File with the secret that passwords are made from, instead of the configured one; made when missing.
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env();
    let filter = filter.unwrap_or_else(|_| "info,rumqttd=warn".into());
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    tracing_subscriber::registry().with(filter).with(filter_fn(is_worth_logging)).with(lines).init();
    match start(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: Arguments) -> anyhow::Result<()> {
    let mut config = Config::load(arguments.config.as_deref())?;
    if let Some(listen) = arguments.listen {
        config.listen = listen;
    }
    if let Some(file) = arguments.secret_file {
        config.secret_file = file;
    }
    let settings = config.into_settings()?;
    let runtime = tokio::runtime::Runtime::new().context("cannot start the threads of the broker")?;
    let result = runtime.block_on(async {
        let broker = Broker::bind(settings).await?;
        let stop = stop_signal().context("cannot listen for signals")?;
        if let Some(address) = broker.local_addr() {
            tracing::info!(%address, "listening");
        }
        if let Some(address) = broker.local_tls_addr() {
            tracing::info!(%address, "listening for TLS");
        }
        broker.run(stop).await.map_err(anyhow::Error::from)
    });
    // Whatever hangs must not keep a broker alive that does not serve.
    runtime.shutdown_timeout(Duration::from_secs(2));
    result
}

fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("ending");
    })
}
