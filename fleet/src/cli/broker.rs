//! `wasmbed broker …`: for those who bring their own.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use wasmbed_wire::{DeviceId, GatewayId, HostId};

use super::{Common, output};
use crate::acl::{self, AwsPlace, File, Target};

#[derive(Debug, Subcommand)]
pub(super) enum Broker {
    /// Write another broker's permissions for devices, hosts, gateways, service and operators, and the settings by which it takes
    /// user names from certificates
    Acl(Acl),
}

#[derive(Debug, Args)]
pub(super) struct Acl {
    /// Which broker
    #[arg(long = "for", value_name = "BROKER")]
    target: Target,
    /// Devices, for a broker that has to be told each
    #[arg(long, value_name = "ID,…", value_delimiter = ',')]
    devices: Vec<DeviceId>,
    /// Hosts that run emulated devices
    #[arg(long, value_name = "ID,…", value_delimiter = ',')]
    hosts: Vec<HostId>,
    /// Gateways to ROS 2
    #[arg(long, value_name = "ID,…", value_delimiter = ',')]
    gateways: Vec<GatewayId>,
    /// Region and account of AWS
    #[arg(long, value_name = "REGION:ACCOUNT")]
    aws: Option<AwsPlace>,
    /// Where to write the files, instead of standard output
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
}

impl Broker {
    pub(super) fn run(self, common: &Common) -> Result<()> {
        let Broker::Acl(acl) = self;
        acl.run(common)
    }
}

impl Acl {
    fn run(self, common: &Common) -> Result<()> {
        let Acl { target, devices, hosts, gateways, aws, output } = self;
        let prefix = common.load()?.prefix().to_owned();
        let files = acl::write(target, &acl::Request { prefix, devices, hosts, gateways, aws })?;
        match output {
            Some(dir) => write(common, &dir, &files),
            None => print(common, &files),
        }
    }
}

fn write(common: &Common, dir: &std::path::Path, files: &[File]) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let mut written = Vec::new();
    for File { name, text } in files {
        let path = dir.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        written.push(path);
    }
    if common.json {
        return output::json(&json!({ "files": written }));
    }
    written.iter().try_for_each(|path| output::line(path.display()))
}

fn print(common: &Common, files: &[File]) -> Result<()> {
    if common.json {
        let files: Vec<Value> =
            files.iter().map(|File { name, text }| json!({ "name": name, "text": text })).collect();
        return output::json(&files);
    }
    files.iter().try_for_each(|File { name, text }| output::text(format_args!("==> {name} <==\n{text}\n")))
}
