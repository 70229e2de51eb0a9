//! The configuration of the agent for Linux, as a process or on a machine of its own.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde::Serialize;
use wasmbed_boards::{Agent, Board, Run};
use wasmbed_wire::{BoardName, DeviceId, PublicKey};

use crate::{
    connection::{Address, Connection, TlsFiles},
    host_api::DesiredDevice,
};

/// The file, in the device's folder.
pub(super) const CONFIG: &str = "agent.toml";

/// What `wasmbed-agent --config` reads.
#[derive(Serialize)]
struct Config<'a> {
    device: DeviceId,
    board: BoardName,
    broker: Address,
    prefix: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    password: &'a str,
    #[serde(flatten)]
    tls: TlsFiles,
    trusted: &'a [PublicKey],
    /// A machine of its own knows its disk.
    data_dir: Option<PathBuf>,
    /// What the files of TLS hold, for a machine that cannot read them.
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<Handed>,
    /// Tables follow everything else in TOML.
    #[serde(flatten)]
    hardware: &'a Agent,
}

/// A certificate that is handed over with its key.
#[derive(Serialize)]
struct Handed {
    ca: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

impl Handed {
    fn read(files: &TlsFiles) -> io::Result<Option<Self>> {
        let read = |file: &Option<PathBuf>| file.as_ref().map(fs::read_to_string).transpose();
        let Some(ca) = read(&files.ca_file)? else { return Ok(None) };
        Ok(Some(Handed { ca, certificate: read(&files.cert_file)?, key: read(&files.key_file)? }))
    }
}

/// Writes the agent's configuration, readable for this user only.
pub(super) fn write_config(
    dir: &Path,
    device: &DesiredDevice,
    board: &Board,
    connection: &Connection,
) -> io::Result<()> {
    let address = &connection.address;
    let files = connection.tls.as_ref().map(|tls| tls.files().clone()).unwrap_or_default();
    let (tls, identity) = match board.run {
        Run::Process { .. } => (files, None),
        Run::Qemu { .. } => (TlsFiles::default(), Handed::read(&files)?),
    };
    let config = Config {
        device: device.id,
        board: board.name,
        broker: board
            .run
            .loopback()
            .map_or_else(|| address.clone(), |there| address.as_seen_from_guest(there)),
        prefix: &connection.prefix,
        password: &device.password,
        tls,
        identity,
        trusted: &device.trusted,
        data_dir: matches!(board.run, Run::Process { .. }).then(|| dir.join("data")),
        hardware: &board.agent,
    };
    let text = toml::to_string(&config).map_err(io::Error::other)?;
    let unfinished = dir.join("agent.toml.new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(text.as_bytes())?;
    fs::rename(&unfinished, dir.join(CONFIG))
}
