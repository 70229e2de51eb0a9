//! What happened.

use rusqlite::{Error, Row, params};
use serde::{Deserialize, Serialize};
use wasmbed_plan::Time;
use wasmbed_wire::{DeviceId, HostId, ModuleName};

use super::{Store, StoreError, Write, devices::parsed};

/// Events kept; older ones are forgotten.
const KEPT: u64 = 100_000;
/// Every how many events the old ones are looked for.
const PRUNE_EVERY: u64 = 1_000;

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Info,
    /// Something is wrong and is being dealt with.
    Warning,
    /// Somebody should look.
    Alert,
}

impl Severity {
    /// Its name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Alert => "alert",
        }
    }
}

/// One thing that happened; also what `_fleet/events` carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Rises with every event and is never used twice.
    pub id: u64,
    /// When, in milliseconds of Unix time.
    pub at_ms: u64,
    /// How much it matters.
    pub severity: Severity,
    /// What it is, for programs.
    pub kind: String,
    /// To which device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceId>,
    /// To which host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostId>,
    /// To which module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<ModuleName>,
    /// To which firmware.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<ModuleName>,
    /// In which rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<u64>,
    /// Why, for people.
    pub reason: String,
}

/// An event about to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// How much it matters.
    pub severity: Severity,
    /// What it is.
    pub kind: &'static str,
    /// To which device.
    pub device: Option<DeviceId>,
    /// To which host.
    pub host: Option<HostId>,
    /// To which module.
    pub module: Option<ModuleName>,
    /// To which firmware.
    pub firmware: Option<ModuleName>,
    /// In which rollout.
    pub rollout: Option<u64>,
    /// Why.
    pub reason: String,
}

impl NewEvent {
    /// An event of the fleet as a whole.
    pub fn new(severity: Severity, kind: &'static str, reason: impl Into<String>) -> Self {
        NewEvent {
            severity,
            kind,
            device: None,
            host: None,
            module: None,
            firmware: None,
            rollout: None,
            reason: reason.into(),
        }
    }

    /// The same event, of this device.
    #[must_use]
    pub fn device(self, id: DeviceId) -> Self {
        NewEvent { device: Some(id), ..self }
    }

    /// The same event, of this host.
    #[must_use]
    pub fn host(self, id: HostId) -> Self {
        NewEvent { host: Some(id), ..self }
    }

    /// The same event, of this module.
    #[must_use]
    pub fn module(self, name: ModuleName) -> Self {
        NewEvent { module: Some(name), ..self }
    }

    /// The same event, of this firmware.
    #[must_use]
    pub fn firmware(self, name: ModuleName) -> Self {
        NewEvent { firmware: Some(name), ..self }
    }

    /// The same event, in this rollout.
    #[must_use]
    pub fn rollout(self, number: u64) -> Self {
        NewEvent { rollout: Some(number), ..self }
    }
}

/// Which events to list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventFilter {
    /// Only those with a higher id.
    pub after: u64,
    /// Only those of this device.
    pub device: Option<DeviceId>,
    /// At most this many, the latest ones; 100 if absent.
    pub limit: Option<u32>,
}

impl Store {
    /// Events, oldest first.
    pub fn events(&self, filter: &EventFilter) -> Result<Vec<Event>, StoreError> {
        let limit = filter.limit.unwrap_or(100).min(10_000);
        let mut events: Vec<Event> = self.read(|db| {
            db.prepare_cached(
                "SELECT * FROM events WHERE id > ?1 AND (?2 IS NULL OR device = ?2)
                 ORDER BY id DESC LIMIT ?3",
            )?
            .query_map(params![filter.after, filter.device.as_ref().map(DeviceId::as_str), limit], event_row)?
            .collect()
        })?;
        events.reverse();
        Ok(events)
    }
}

impl Write<'_> {
    /// Records an event and returns it with its id.
    pub fn event(&self, now: Time, new: NewEvent) -> Result<Event, Error> {
        self.tx
            .prepare_cached(
                "INSERT INTO events (at_ms, severity, kind, device, host, module, firmware, rollout, reason)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?
            .execute(params![
                now.0,
                new.severity.name(),
                new.kind,
                new.device.as_ref().map(DeviceId::as_str),
                new.host.as_ref().map(HostId::as_str),
                new.module.as_ref().map(ModuleName::as_str),
                new.firmware.as_ref().map(ModuleName::as_str),
                new.rollout,
                new.reason,
            ])?;
        let id = self.tx.last_insert_rowid().unsigned_abs();
        if id.is_multiple_of(PRUNE_EVERY) {
            self.tx.execute("DELETE FROM events WHERE id <= ?1", [id.saturating_sub(KEPT)])?;
        }
        let NewEvent { severity, kind, device, host, module, firmware, rollout, reason } = new;
        Ok(Event {
            id,
            at_ms: now.0,
            severity,
            kind: kind.to_owned(),
            device,
            host,
            module,
            firmware,
            rollout,
            reason,
        })
    }
}

fn event_row(row: &Row<'_>) -> Result<Event, Error> {
    let severity = match row.get_ref("severity")?.as_str()? {
        "alert" => Severity::Alert,
        "warning" => Severity::Warning,
        _ => Severity::Info,
    };
    Ok(Event {
        id: row.get("id")?,
        at_ms: row.get("at_ms")?,
        severity,
        kind: row.get("kind")?,
        device: optional(row, "device")?,
        host: optional(row, "host")?,
        module: optional(row, "module")?,
        firmware: optional(row, "firmware")?,
        rollout: row.get("rollout")?,
        reason: row.get("reason")?,
    })
}

fn optional<T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>>(
    row: &Row<'_>,
    column: &str,
) -> Result<Option<T>, Error> {
    let text: Option<String> = row.get(column)?;
    text.map(|_| parsed(row, column)).transpose()
}
