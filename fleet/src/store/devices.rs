//! Devices, what each should run, and revisions of their hosts.

use std::collections::BTreeMap;

use rusqlite::{Error, Row, params};
use serde::{Deserialize, Serialize};
use wasmbed_boards::Machine;
use wasmbed_plan::{Health, rollout::Owner};
use wasmbed_wire::{
    ArtifactId, BoardName, DeviceId, Digest, HostId, ModuleName, limits::Class, message::FirmwareState,
};

use super::{Store, StoreError, Write};
use crate::api;

/// One registered device.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceRow {
    /// Its id.
    pub id: DeviceId,
    /// Its board.
    pub board: BoardName,
    /// Its class.
    pub class: Class,
    /// Who runs it, if it is emulated.
    pub host: Option<HostId>,
    /// Free words to select it by.
    pub labels: BTreeMap<String, String>,
    /// What its machine has, if it is emulated.
    pub machine: Machine,
    /// Whether it should run.
    pub power: bool,
    /// How many power cycles were asked for.
    pub cycle: u32,
    /// Revision of its desired state.
    pub revision: u64,
    /// Heartbeat interval of its desired state, in milliseconds.
    pub heartbeat_ms: u32,
    /// Where it stood on the ladder.
    pub health: Health,
    /// The last deployment of a firmware that named it.
    pub owner: Owner,
    /// What it last said about itself.
    pub memory: Memory,
}

/// What a device last said about itself: shown until it speaks again.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// Its last connect.
    pub boot: u32,
    /// `up/info`.
    pub info: Option<api::DeviceInfo>,
    /// The connect `info` was sent on.
    pub info_boot: Option<u32>,
    /// Revision of `up/reported`.
    pub revision: Option<u64>,
    /// Modules of `up/reported`.
    pub modules: Vec<api::ModuleReport>,
    /// Firmware of `up/reported`.
    pub firmware: Option<api::FirmwareReport>,
    /// What was told of that firmware as events.
    pub told: Option<Told>,
    /// The keyring of `up/reported`.
    pub keyring: Option<u32>,
    /// When it last gave a sign of life, in milliseconds of Unix time; may lag.
    pub seen_ms: Option<u64>,
}

/// What was told of one attempt at one firmware: a device that restarts on the way goes through the same
/// states again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// SHA-256 of the image.
    pub image: Digest,
    /// The attempt.
    pub generation: u32,
    /// The last progress told, in percent.
    pub percent: Option<u8>,
    /// States told.
    pub states: Vec<FirmwareState>,
}

/// One instance of a module that a device should run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleRow {
    /// The name it runs under: the module's own unless several run side by side.
    pub name: ModuleName,
    /// The module.
    pub module: ModuleName,
    /// Its version.
    pub version: String,
    /// The artifact for the device's class.
    pub artifact: ArtifactId,
    /// What it reads with `config_get`.
    pub settings: BTreeMap<String, String>,
    /// Rises whenever it should start afresh.
    pub generation: u32,
}

impl Store {
    /// Every device, by id.
    pub fn devices(&self) -> Result<Vec<DeviceRow>, StoreError> {
        self.read(|db| {
            db.prepare_cached("SELECT * FROM devices ORDER BY id")?.query_map([], device_row)?.collect()
        })
    }

    /// What every device should run, by device and name.
    pub fn desired_modules(&self) -> Result<Vec<(DeviceId, ModuleRow)>, StoreError> {
        self.read(|db| {
            db.prepare_cached("SELECT * FROM desired_modules ORDER BY device, name")?
                .query_map([], |row| Ok((parsed(row, "device")?, module_row(row)?)))?
                .collect()
        })
    }

    /// Every host with its revision.
    pub fn hosts(&self) -> Result<Vec<(HostId, u64)>, StoreError> {
        self.read(|db| {
            db.prepare_cached("SELECT id, revision FROM hosts ORDER BY id")?
                .query_map([], |row| Ok((parsed(row, "id")?, row.get("revision")?)))?
                .collect()
        })
    }
}

impl Write<'_> {
    /// Adds or replaces a device; what it should run is not touched.
    pub fn put_device(&self, device: &DeviceRow) -> Result<(), Error> {
        self.tx
            .prepare_cached(
                "INSERT INTO devices
                 (id, board, class, host, labels, power, cycle, revision, heartbeat_ms, health, owner,
                  memory, machine)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
                 ON CONFLICT (id) DO UPDATE SET board = ?2, class = ?3, host = ?4, labels = ?5, power = ?6,
                 cycle = ?7, revision = ?8, heartbeat_ms = ?9, health = ?10, owner = ?11, memory = ?12,
                 machine = ?13",
            )?
            .execute(params![
                device.id.as_str(),
                device.board.as_str(),
                device.class.name(),
                device.host.as_ref().map(HostId::as_str),
                json(&device.labels)?,
                device.power,
                device.cycle,
                device.revision,
                device.heartbeat_ms,
                json(&device.health)?,
                device.owner.0,
                json(&device.memory)?,
                json(&device.machine)?,
            ])?;
        Ok(())
    }

    /// Forgets a device and what it should run.
    pub fn remove_device(&self, id: &DeviceId) -> Result<(), Error> {
        self.tx.execute("DELETE FROM devices WHERE id = ?1", [id.as_str()])?;
        Ok(())
    }

    /// Adds or replaces one module a device should run.
    pub fn put_desired(&self, device: &DeviceId, module: &ModuleRow) -> Result<(), Error> {
        self.tx
            .prepare_cached(
                "INSERT OR REPLACE INTO desired_modules
                 (device, name, module, version, artifact, settings, generation)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                device.as_str(),
                module.name.as_str(),
                module.module.as_str(),
                module.version,
                module.artifact.0,
                json(&module.settings)?,
                module.generation,
            ])?;
        Ok(())
    }

    /// Removes one module from what a device should run.
    pub fn remove_desired(&self, device: &DeviceId, name: &ModuleName) -> Result<(), Error> {
        self.tx.execute(
            "DELETE FROM desired_modules WHERE device = ?1 AND name = ?2",
            [device.as_str(), name.as_str()],
        )?;
        Ok(())
    }

    /// Gives a host's desired state a new revision above its last one and `floor`, and returns it.
    pub fn raise_host(&self, id: &HostId, floor: u64) -> Result<u64, Error> {
        self.tx.query_row(
            "INSERT INTO hosts (id, revision) VALUES (?1, ?2 + 1)
             ON CONFLICT (id) DO UPDATE SET revision = max(revision, ?2) + 1 RETURNING revision",
            params![id.as_str(), floor],
            |row| row.get(0),
        )
    }
}

fn device_row(row: &Row<'_>) -> Result<DeviceRow, Error> {
    let host: Option<String> = row.get("host")?;
    Ok(DeviceRow {
        id: parsed(row, "id")?,
        board: parsed(row, "board")?,
        class: parsed(row, "class")?,
        host: host.map(|_| parsed(row, "host")).transpose()?,
        labels: from_json(row, "labels")?,
        machine: from_json(row, "machine")?,
        power: row.get("power")?,
        cycle: row.get("cycle")?,
        revision: row.get("revision")?,
        heartbeat_ms: row.get("heartbeat_ms")?,
        health: from_json(row, "health")?,
        owner: Owner(row.get("owner")?),
        memory: from_json(row, "memory")?,
    })
}

fn module_row(row: &Row<'_>) -> Result<ModuleRow, Error> {
    Ok(ModuleRow {
        name: parsed(row, "name")?,
        module: parsed(row, "module")?,
        version: row.get("version")?,
        artifact: ArtifactId(row.get("artifact")?),
        settings: from_json(row, "settings")?,
        generation: row.get("generation")?,
    })
}

/// A column that holds the text of a `T`.
pub(super) fn parsed<T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>>(
    row: &Row<'_>,
    column: &str,
) -> Result<T, Error> {
    let index = row.as_ref().column_index(column)?;
    row.get_ref(index)?.as_str()?.parse().map_err(|error| unreadable(index, error))
}

/// A column that holds JSON.
pub(super) fn from_json<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: &str) -> Result<T, Error> {
    let index = row.as_ref().column_index(column)?;
    serde_json::from_str(row.get_ref(index)?.as_str()?).map_err(|error| unreadable(index, error))
}

fn unreadable(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
}

/// The text of a column that holds JSON.
pub(super) fn json<T: Serialize>(value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::ToSqlConversionFailure(Box::new(error)))
}
