//! `wasmbed ca …`: works on the authority's folder, without a broker.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde_json::json;
use wasmbed_broker::credentials::Role;
use wasmbed_broker_client::Identity;
use wasmbed_wire::{DeviceId, GatewayId, HostId};

use super::{Common, output, table::Table};
use crate::ca::{self, Holder, Issued};

const DAY: Duration = Duration::from_secs(86_400);

#[derive(Debug, Subcommand)]
pub(super) enum Ca {
    /// Make the fleet's certificate authority
    Init(At),
    /// Give somebody a certificate
    Issue(Issue),
    /// List what was issued
    List(At),
    /// Revoke every certificate of a name: brokers that read crl.pem disconnect it
    Revoke {
        /// The MQTT user name in the certificate: a device's id, _host.ID, _gateway.ID, _service, _operator
        name: String,
        #[command(flatten)]
        at: At,
    },
}

#[derive(Debug, Args)]
pub(super) struct At {
    /// Folder of the authority [default: ca in the data directory]
    #[arg(long, value_name = "DIR", global = true)]
    dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Issue {
    #[command(subcommand)]
    holder: For,
    #[command(flatten)]
    at: At,
    /// How long it is good, in days
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650), global = true)]
    days: u32,
    /// Folder for identity.key, identity.pem and ca.pem; a key that is there already is used
    #[arg(long, value_name = "DIR", global = true)]
    out: Option<PathBuf>,
    /// Sign this request (PEM) and print the certificate: the key stays where it is
    #[arg(long, value_name = "FILE", conflicts_with = "out", global = true)]
    csr: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum For {
    /// A device
    Device {
        /// Its id
        id: DeviceId,
    },
    /// A host
    Host {
        /// Its id
        id: HostId,
    },
    /// A gateway to ROS 2
    Gateway {
        /// Its id
        id: GatewayId,
    },
    /// The fleet service
    Service,
    /// A person or a program that commands the fleet
    Operator,
    /// A broker
    Broker {
        /// What clients call it: a DNS name or an IP address; repeat for each
        #[arg(long = "name", value_name = "NAME", required = true)]
        names: Vec<String>,
    },
}

impl Ca {
    pub(super) fn run(self, common: &Common) -> Result<()> {
        match self {
            Ca::Init(at) => init(common, &at.dir(common)?),
            Ca::Issue(issue) => issue.run(common),
            Ca::List(at) => list(common, &at.dir(common)?),
            Ca::Revoke { name, at } => revoke(common, &at.dir(common)?, &name),
        }
    }
}

impl At {
    fn dir(&self, common: &Common) -> Result<PathBuf> {
        match &self.dir {
            Some(dir) => Ok(dir.clone()),
            None => Ok(common.load()?.ca_dir()),
        }
    }
}

fn init(common: &Common, dir: &Path) -> Result<()> {
    ca::Ca::init(dir)?;
    if common.json {
        return output::json(&json!({ "dir": dir }));
    }
    output::line(format_args!(
        "The certificate authority is in {dir}. Keep ca.key; give brokers and clients ca.pem, and brokers crl.pem.",
        dir = dir.display()
    ))
}

impl Issue {
    fn run(self, common: &Common) -> Result<()> {
        let mut ca = ca::Ca::load(&self.at.dir(common)?)?;
        let holder = self.holder.holder();
        let life = DAY * self.days;
        if let Some(csr) = &self.csr {
            let request =
                fs::read_to_string(csr).with_context(|| format!("cannot read {}", csr.display()))?;
            let issued = ca.sign(&request, &holder, life)?;
            return if common.json { output::json(&issued) } else { output::text(issued.certificate) };
        }
        let out = self.out.unwrap_or_else(|| PathBuf::from(holder.name()));
        fs::create_dir_all(&out).with_context(|| format!("cannot create {}", out.display()))?;
        let identity = Identity::load_or_make(&out)?;
        let issued = ca.sign(&identity.request(&holder.name())?, &holder, life)?;
        identity.keep(&issued.certificate, ca.certificate())?;
        if common.json {
            return output::json(&issued);
        }
        let until = output::utc(issued.ends_s * 1000);
        output::line(format_args!("{} has a certificate until {until}: {}", issued.name, out.display()))
    }
}

impl For {
    fn holder(&self) -> Holder {
        match self {
            For::Device { id } => Holder::Client(Role::Device(*id)),
            For::Host { id } => Holder::Client(Role::Host(*id)),
            For::Gateway { id } => Holder::Client(Role::Gateway(*id)),
            For::Service => Holder::Client(Role::Service),
            For::Operator => Holder::Client(Role::Operator),
            For::Broker { names } => Holder::Broker(names.clone()),
        }
    }
}

fn list(common: &Common, dir: &Path) -> Result<()> {
    let mut ca = ca::Ca::load(dir)?;
    let issued = ca.issued()?;
    if common.json {
        return output::json(&issued);
    }
    let mut table = Table::new(["NAME", "STATE", "UNTIL", "SERIAL"]);
    for issued in issued {
        let until = output::utc(issued.ends_s * 1000);
        table.row([issued.name.clone(), state(issued).to_owned(), until, issued.serial.clone()]);
    }
    output::text(table)
}

fn state(issued: &Issued) -> &'static str {
    match issued.is_revoked {
        true => "revoked",
        false if issued.left().is_zero() => "expired",
        false => "good",
    }
}

fn revoke(common: &Common, dir: &Path, name: &str) -> Result<()> {
    let revoked = ca::Ca::load(dir)?.revoke(name)?;
    if common.json {
        return output::json(&revoked);
    }
    output::line(format_args!(
        "{} of {name} no longer count; {}/crl.pem says so",
        revoked.len(),
        dir.display()
    ))
}
