//! Verbs about devices.

use std::{collections::BTreeMap, time::SystemTime};

use serde_json::json;
use wasmbed_plan::{Health, Stage, Time, rollout::Owner};
use wasmbed_wire::{DeviceId, message::Verb};

use super::{Outcome, internal, update::wanted, with};
use crate::{
    api::{
        self, Code, DeviceAdd, DeviceList, DeviceLogs, DeviceToken, MAX_TOKEN_S, Problem, Selector, TokenMade,
    },
    host_api::Power,
    service::{
        change::Change,
        fleet::{Fleet, Record},
    },
    store::{DeviceRow, Memory, NewEvent, Severity},
};

/// How long a token is good unless said otherwise, in seconds.
const TOKEN_S: u32 = 3600;
/// Longest label key or value, in bytes.
const MAX_LABEL_BYTES: usize = 63;
/// Labels of one device.
const MAX_LABELS: usize = 32;

impl Fleet {
    pub(super) fn device_list(&self, list: &DeviceList) -> Result<Vec<api::Device>, Problem> {
        let records = match &list.to {
            Some(to) => self.select(to)?,
            None => self.records.values().collect(),
        };
        Ok(records.into_iter().map(|record| self.device(record)).collect())
    }

    pub(super) fn device_show(&self, id: &DeviceId) -> Result<api::Device, Problem> {
        self.record(id).map(|record| self.device(record))
    }

    pub(super) fn device_token(&self, asked: &DeviceToken) -> Result<TokenMade, Problem> {
        self.record(&asked.device)?;
        if self.ca.is_none() {
            return Err(Problem::new(Code::Refused, "this fleet has no certificate authority")
                .hint("make one with `wasmbed ca init` and set service.ca_dir"));
        }
        let valid_s = asked.valid_s.unwrap_or(TOKEN_S);
        if !(1..=MAX_TOKEN_S).contains(&valid_s) {
            return Err(Problem::new(Code::BadRequest, format!("valid_s is {valid_s}"))
                .hint(format!("use 1 to {MAX_TOKEN_S} seconds")));
        }
        // Tokens are held against the system's clock, by the broker too.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let made = self.options.secret.token(asked.device, now + u64::from(valid_s));
        let made = made.map_err(|error| Problem::new(Code::Internal, error.to_string()))?;
        Ok(TokenMade { token: made.text, expires_s: made.expires_s })
    }

    pub(super) fn device_logs(&self, logs: &DeviceLogs) -> Result<Vec<api::LogLine>, Problem> {
        let lines = &self.record(&logs.device)?.logs;
        let skip = lines.len().saturating_sub(logs.limit.unwrap_or(100) as usize);
        Ok(lines.iter().skip(skip).cloned().collect())
    }

    /// Registers a device outside of a request.
    pub(in crate::service) fn add_device(
        &mut self,
        now: Time,
        add: &DeviceAdd,
        reason: Option<&str>,
    ) -> Result<(), Problem> {
        let Outcome { mut change, .. } = self.device_add(now, add)?;
        if let (Some(reason), Some(event)) = (reason, change.events.first_mut()) {
            reason.clone_into(&mut event.reason);
        }
        self.commit(now, change).map_err(internal)
    }

    pub(super) fn device_add(&mut self, now: Time, add: &DeviceAdd) -> Result<Outcome, Problem> {
        check_labels(&add.labels)?;
        let board = self.options.boards.get(&add.board).ok_or_else(|| {
            let known: Vec<&str> = self.options.boards.iter().map(|board| board.name.as_str()).collect();
            Problem::new(Code::NotFound, format!("there is no board {:?}", add.board.as_str()))
                .hint(format!("boards are: {}", known.join(", ")))
        })?;
        let class = board.class;
        board.run.check_machine(&add.machine).map_err(|unfit| {
            Problem::new(Code::BadRequest, format!("no {} can be such a machine: {unfit}", add.board))
        })?;
        if !(add.machine.is_default() || add.emulate || add.host.is_some()) {
            return Err(Problem::new(
                Code::BadRequest,
                "real hardware has the memory, cores and ports it has",
            )
            .hint("leave them out, or have the device emulated"));
        }
        if add.emulate && add.host.is_some() {
            return Err(Problem::new(Code::BadRequest, "both a host and emulate are given")
                .hint("name a host, or have one chosen"));
        }
        if let Some(record) = self.records.get(&add.device) {
            return self.device_update(record, add);
        }
        let host = if add.emulate { Some(self.place(board, &add.machine)?) } else { add.host };
        let row = DeviceRow {
            id: add.device,
            board: add.board,
            class,
            host,
            labels: add.labels.clone(),
            machine: add.machine.clone(),
            power: true,
            cycle: 0,
            revision: Self::first_revision(now),
            heartbeat_ms: self.options.heartbeat_ms,
            health: starting(now, 0),
            owner: Owner::default(),
            memory: Memory::default(),
        };
        let mut change = Change::default();
        change.raise_host(host);
        let place = host.map_or("real hardware".to_owned(), |host| format!("on host {host}"));
        let event = NewEvent::new(Severity::Info, "device-added", format!("board {}, {place}", add.board));
        change.events.push(event.device(add.device));
        let shown = self.device(&Record::new(row.clone()));
        change.devices.insert(add.device, row);
        with(shown, change)
    }

    /// A device that is registered already: its labels and its machine may change, what it is may not.
    fn device_update(&self, record: &Record, add: &DeviceAdd) -> Result<Outcome, Problem> {
        let row = &record.row;
        let is_where_wanted = if add.emulate { row.host.is_some() } else { row.host == add.host };
        if row.board != add.board || !is_where_wanted {
            return Err(Problem::new(
                Code::Conflict,
                format!("{} is registered as board {}{}", row.id, row.board, on_host(row)),
            )
            .hint("choose another id, or remove the device first"));
        }
        let mut change = Change::default();
        let changed = DeviceRow { labels: add.labels.clone(), machine: add.machine.clone(), ..row.clone() };
        if changed.machine != row.machine {
            change.raise_host(row.host);
            let event =
                NewEvent::new(Severity::Info, "device-changed", "another machine is wanted".to_owned());
            change.events.push(event.device(row.id));
        }
        let shown = api::Device {
            labels: changed.labels.clone(),
            machine: changed.machine.clone(),
            ..self.device(record)
        };
        if changed != *row {
            change.devices.insert(row.id, changed);
        }
        with(shown, change)
    }

    pub(super) fn device_remove(&self, id: &DeviceId) -> Result<Outcome, Problem> {
        let row = &self.record(id)?.row;
        let mut change = Change::default();
        change.raise_host(row.host);
        change.removed.push(*id);
        let event =
            NewEvent::new(Severity::Info, "device-removed", format!("board {}{}", row.board, on_host(row)));
        change.events.push(event.device(*id));
        with(json!({ "removed": id }), change)
    }

    pub(super) fn device_restart(&self, now: Time, to: &Selector) -> Result<Outcome, Problem> {
        let mut change = Change::default();
        let mut ids = Vec::new();
        for record in self.select(to)? {
            let mut row = record.row.clone();
            if !row.power {
                return Err(Problem::new(Code::Conflict, format!("{} is switched off", row.id))
                    .hint(format!("start it with `wasmbed device start {}`", row.id)));
            }
            if row.host.is_some() {
                row.cycle = row.cycle.saturating_add(1);
            } else {
                change.commands.push((row.id, Verb::Restart));
            }
            change.raise_host(row.host);
            row.health = starting(now, 0);
            change.events.push(requested("device-restart", row.id, "a restart was requested"));
            ids.push(row.id);
            change.devices.insert(row.id, row);
        }
        with(json!({ "devices": ids }), change)
    }

    pub(super) fn device_power(&self, to: &Selector, on: bool) -> Result<Outcome, Problem> {
        let mut change = Change::default();
        let mut ids = Vec::new();
        for record in self.select(to)? {
            let row = &record.row;
            if row.host.is_none() {
                return Err(Problem::new(
                    Code::Conflict,
                    format!("{} is real hardware: nobody can switch it from here", row.id),
                )
                .hint("only devices on a host can be started and stopped"));
            }
            ids.push(row.id);
            if row.power != on {
                change.raise_host(row.host);
                let (kind, reason) = if on {
                    ("device-start", "it was requested to start")
                } else {
                    ("device-stop", "it was requested to stop")
                };
                change.events.push(requested(kind, row.id, reason));
                change.devices.insert(row.id, DeviceRow { power: on, ..row.clone() });
            }
        }
        with(json!({ "devices": ids }), change)
    }

    pub(super) fn device_clear(&self, now: Time, to: &Selector) -> Result<Outcome, Problem> {
        let mut change = Change::default();
        let mut ids = Vec::new();
        for record in self.select(to)? {
            ids.push(record.row.id);
            if record.row.health.stage != Stage::Quarantined {
                continue;
            }
            let mut row = DeviceRow { health: starting(now, 0), ..record.row.clone() };
            row.cycle = row.cycle.saturating_add(1);
            change.raise_host(row.host);
            change.events.push(requested("device-clear", row.id, "its quarantine was ended by request"));
            change.devices.insert(row.id, row);
        }
        with(json!({ "devices": ids }), change)
    }

    /// The devices a selector means.
    pub(in crate::service) fn select(&self, to: &Selector) -> Result<Vec<&Record>, Problem> {
        if let Some(unknown) = to.named().find(|id| !self.records.contains_key(*id)) {
            return Err(self.no_such(unknown));
        }
        let matching = self.records.values().filter(|record| {
            let DeviceRow { id, board, class, labels, .. } = &record.row;
            to.matches(id, board, *class, labels)
        });
        let found: Vec<&Record> = matching.collect();
        if found.is_empty() {
            return Err(Problem::new(Code::NotFound, format!("no device matches {:?}", to.to_string()))
                .hint("see `wasmbed device list` for boards and labels"));
        }
        Ok(found)
    }

    pub(in crate::service) fn record(&self, id: &DeviceId) -> Result<&Record, Problem> {
        self.records.get(id).ok_or_else(|| self.no_such(id))
    }

    fn no_such(&self, id: &DeviceId) -> Problem {
        let hint = if self.unclaimed.contains_key(id) {
            format!("it speaks but is not registered; use `wasmbed device add {id} --board BOARD`")
        } else {
            "see `wasmbed device list`".to_owned()
        };
        Problem::new(Code::NotFound, format!("there is no device {:?}", id.as_str())).hint(hint)
    }

    /// A device as it is shown.
    fn device(&self, record: &Record) -> api::Device {
        let row = &record.row;
        let Health { stage, since, attempts } = row.health;
        api::Device {
            id: row.id,
            board: row.board,
            class: row.class,
            host: row.host,
            labels: row.labels.clone(),
            machine: row.machine.clone(),
            power: if row.power { Power::On } else { Power::Off },
            status: record.status,
            health: api::Health { stage, since_ms: since.0, attempts },
            info: row.memory.info.clone(),
            heartbeat: record.heartbeat.clone(),
            ros: record.ros.clone(),
            seen_ms: row.memory.seen_ms,
            revision: api::Revision { desired: row.revision, reported: row.memory.revision },
            modules: modules(record),
            firmware: record.firmware.as_ref().map(wanted),
            firmware_report: row.memory.firmware,
            process: record.process.clone(),
        }
    }
}

/// Wanted modules with what the device says about them, then those it has without being told to.
fn modules(record: &Record) -> Vec<api::DeviceModule> {
    let reports = &record.row.memory.modules;
    let wanted = record.modules.values().map(|module| {
        let report =
            reports.iter().find(|report| report.name == module.name && report.artifact == module.artifact);
        api::DeviceModule {
            wanted: true,
            module: (module.module != module.name).then_some(module.module),
            version: Some(module.version.clone()),
            settings: module.settings.clone(),
            ..shown(record, module.name, module.artifact, report)
        }
    });
    let others = reports
        .iter()
        .filter(|report| !record.modules.contains_key(&report.name))
        .map(|report| shown(record, report.name, report.artifact, Some(report)));
    wanted.chain(others).collect()
}

fn shown(
    record: &Record,
    name: wasmbed_wire::ModuleName,
    artifact: wasmbed_wire::ArtifactId,
    report: Option<&api::ModuleReport>,
) -> api::DeviceModule {
    let uses = record.heartbeat.as_ref().map(|beat| beat.modules.iter());
    api::DeviceModule {
        name,
        module: None,
        wanted: false,
        version: None,
        artifact,
        state: report.map(|report| report.state),
        progress: report.map_or(0, |report| report.progress),
        restarts: report.map_or(0, |report| report.restarts),
        reason: report.and_then(|report| report.reason),
        settings: BTreeMap::new(),
        used: uses.and_then(|mut uses| uses.find(|used| used.name == name)).copied(),
        backtrace: record.traps.get(&name).map(|trap| trap.functions.clone()).unwrap_or_default(),
    }
}

const fn starting(now: Time, attempts: u32) -> Health {
    Health { stage: Stage::Starting, since: now, attempts }
}

fn requested(kind: &'static str, id: DeviceId, reason: &str) -> NewEvent {
    NewEvent::new(Severity::Info, kind, reason).device(id)
}

fn on_host(row: &DeviceRow) -> String {
    row.host.map_or(String::new(), |host| format!(" on host {host}"))
}

fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), Problem> {
    let is_word = |text: &String| {
        (1..=MAX_LABEL_BYTES).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    };
    let bad = labels.iter().find(|(key, value)| !is_word(key) || !is_word(value));
    if let Some((key, value)) = bad {
        return Err(Problem::new(Code::BadRequest, format!("the label {key}:{value} cannot be used"))
            .hint(format!("keys and values are 1 to {MAX_LABEL_BYTES} of A-Z, a-z, 0-9, '.', '_' and '-'")));
    }
    if labels.len() > MAX_LABELS {
        return Err(Problem::new(Code::BadRequest, format!("{} labels", labels.len()))
            .hint(format!("a device has at most {MAX_LABELS}")));
    }
    Ok(())
}
