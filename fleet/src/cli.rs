//! The command line `wasmbed`.
//!
//! Commands about devices, faults, modules, firmware, keys and events only speak to the service over MQTT ([`crate::client`]).
//! `serve`, `host`, `gateway` and `up` run roles in this process.

mod broker;
mod ca;
mod checkout;
mod context;
mod deploy;
mod device;
mod doctor;
mod events;
mod fault;
mod firmware;
mod hosts;
mod keys;
mod live;
mod module;
mod output;
mod roles;
mod rollout;
mod table;
mod up;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

use crate::connection::Address;
pub(crate) use context::Context;

/// Runs and manages fleets of devices that run signed WebAssembly, over MQTT.
#[derive(Debug, Parser)]
#[command(name = "wasmbed", version, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub(crate) struct Common {
    /// The broker, mqtt://HOST:PORT or mqtts://HOST:PORT [default: that of `wasmbed up` with the same data directory]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) broker: Option<Address>,
    /// MQTT user name [default: that of the role]
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// File with the MQTT password
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// File with the secret that passwords are derived from [default: broker.secret in the data directory]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) secret_file: Option<PathBuf>,
    /// Authorities that vouch for a broker with TLS, PEM [default: those of the system]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Certificate that says who this is, PEM, instead of a password
    #[arg(long, global = true, value_name = "FILE", requires = "key_file")]
    pub(crate) cert_file: Option<PathBuf>,
    /// Key of that certificate, PEM
    #[arg(long, global = true, value_name = "FILE", requires = "cert_file")]
    pub(crate) key_file: Option<PathBuf>,
    /// First level or levels of every topic [default: wasmbed]
    #[arg(long, global = true, value_name = "TEXT")]
    pub(crate) prefix: Option<String>,
    /// Where data is kept [default: ~/.local/state/wasmbed]
    #[arg(long, global = true, value_name = "DIR", env = "WASMBED_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Configuration file (TOML); WASMBED__SECTION__KEY variables and options go over it
    #[arg(long, global = true, value_name = "FILE", env = "WASMBED_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start broker, service and emulated devices in one process tree, and show them live
    Up(up::Up),
    /// Run the fleet service
    Serve(roles::Serve),
    /// Run the host role: emulated devices and their serial links
    Host(roles::Host),
    /// Run the gateway role: ROS 2 for modules on boards
    Gateway(roles::Gateway),
    /// Hold the processes of a host, which starts this itself
    #[command(hide = true)]
    Keeper(roles::Keeper),
    /// Use a broker of your own
    #[command(subcommand)]
    Broker(broker::Broker),
    /// List hosts, and what each can start
    Hosts,
    /// Look at and change devices
    #[command(subcommand)]
    Device(device::Device),
    /// Disturb emulated devices, to see what comes of it
    #[command(subcommand)]
    Fault(fault::Fault),
    /// Push, check, list and remove modules
    #[command(subcommand)]
    Module(module::Module),
    /// Push, sign, check and deploy firmware
    #[command(subcommand)]
    Firmware(firmware::Firmware),
    /// Make certificates, and take them back
    #[command(subcommand)]
    Ca(ca::Ca),
    /// Make keys and say which are trusted
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Bring firmware to many devices, in groups, and back
    #[command(subcommand)]
    Rollout(rollout::Rollout),
    /// Have devices run a module
    Deploy(deploy::Deploy),
    /// Have devices no longer run a module
    Undeploy(deploy::Undeploy),
    /// Show what happened
    Events(events::Events),
    /// Examine a broker: what it does, and what that means for a fleet on it
    Doctor(doctor::Doctor),
    /// Ask a role that runs, at its `metrics_listen`, whether it does its work; for containers' health checks
    Health {
        /// Where it answers
        #[arg(value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9100")]
        address: String,
    },
}

/// Runs one command.
pub async fn run(cli: Cli) -> ExitCode {
    let Cli { common, command } = cli;
    let done = match command {
        Command::Up(up) => up.run(&common).await,
        Command::Serve(serve) => serve.run(&common).await,
        Command::Host(host) => host.run(&common).await,
        Command::Gateway(gateway) => gateway.run(&common).await,
        Command::Keeper(keeper) => keeper.run().await,
        Command::Broker(broker) => broker.run(&common),
        Command::Hosts => hosts::list(&common).await,
        Command::Device(device) => device.run(&common).await,
        Command::Fault(fault) => fault.run(&common).await,
        Command::Module(module) => module.run(&common).await,
        Command::Firmware(firmware) => firmware.run(&common).await,
        Command::Ca(ca) => ca.run(&common),
        Command::Keys(keys) => keys.run(&common).await,
        Command::Rollout(rollout) => rollout.run(&common).await,
        Command::Deploy(deploy) => deploy.run(&common).await,
        Command::Undeploy(undeploy) => undeploy.run(&common).await,
        Command::Events(events) => events.run(&common).await,
        Command::Doctor(doctor) => return report(doctor.run(&common).await),
        Command::Health { address } => wasmbed_metrics::healthy(&address).await.map_err(Into::into),
    };
    report(done.map(|()| ExitCode::SUCCESS))
}

fn report(done: anyhow::Result<ExitCode>) -> ExitCode {
    match done {
        Ok(code) => code,
        Err(error) if output::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wasmbed: {error:#}");
            ExitCode::FAILURE
        }
    }
}
