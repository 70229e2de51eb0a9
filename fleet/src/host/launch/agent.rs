//! The configuration of a device that is a Linux process.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde::Serialize;
use wasmbed_wire::{DeviceId, PublicKey};

use crate::{
    connection::{Address, Connection},
    host_api::DesiredDevice,
};

/// What `wasmbed-agent --config` reads.
#[derive(Serialize)]
struct Config<'a> {
    device: DeviceId,
    broker: &'a Address,
    prefix: &'a str,
    password: &'a str,
    trusted: &'a [PublicKey],
    data_dir: PathBuf,
}

/// Writes the agent's configuration, readable for this user only, and returns its path.
pub(super) fn write_config(
    dir: &Path,
    device: &DesiredDevice,
    connection: &Connection,
) -> io::Result<PathBuf> {
    let config = Config {
        device: device.id,
        broker: &connection.address,
        prefix: &connection.prefix,
        password: &device.password,
        trusted: &device.trusted,
        data_dir: dir.join("data"),
    };
    let text = toml::to_string(&config).map_err(io::Error::other)?;
    let path = dir.join("agent.toml");
    let unfinished = dir.join("agent.toml.new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(text.as_bytes())?;
    fs::rename(&unfinished, &path)?;
    Ok(path)
}
