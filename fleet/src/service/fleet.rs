//! The fleet's state in memory, and what comes in.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    sync::{Arc, RwLock},
    time::Duration,
};

use wasmbed_boards::Boards;
use wasmbed_broker::credentials::{Role, Secret};
use wasmbed_plan::{Device, Host, Link, Policy, Power, Time, View, rollout::Owner};
use wasmbed_wire::{
    DeviceId, HostId, ModuleName,
    message::{Refused, Status},
    topic::{self, Down, Full},
};

use super::{
    FLEET_LEVEL, Publish, certificates::Certificates, change::Change, fleet_topic, metrics::Tally,
    patches::Desk, relay::Relays, rollouts::Live, traps::LastTrap,
};
use crate::{
    api::{self, Grants},
    artifacts::Signer,
    ca::Ca,
    gateway::{GATEWAY_LEVEL, GATEWAY_NODES},
    host_api::{self, HOST_LEVEL},
    store::{DeviceRow, FirmwareWish, KeyRow, KeyringRow, ModuleRow, NewEvent, Severity, Store, StoreError},
};

/// Log lines kept of each device.
const LOG_LINES: usize = 500;
/// Unregistered devices remembered; further ones are not listed.
const MAX_UNCLAIMED: usize = 1_000;
/// How long facts that are heard again anyway may stay in memory only, in milliseconds.
const FLUSH_MS: u64 = 5_000;
/// Pause after the store failed, in milliseconds.
const RETRY_MS: u64 = 1_000;

/// Devices that are registered; shared with whoever serves blocks.
pub(super) type Claimed = Arc<RwLock<HashSet<DeviceId>>>;

/// What a fleet is set up with.
#[derive(Debug)]
pub struct Options {
    /// First level or levels of every topic.
    pub prefix: String,
    /// How patient it is.
    pub policy: Policy,
    /// Time between heartbeats, in milliseconds.
    pub heartbeat_ms: u32,
    /// Whether unknown devices of known boards are registered when they first speak.
    pub auto_register: bool,
    /// Known boards.
    pub boards: Boards,
    /// What passwords of emulated devices are made from.
    pub secret: Secret,
    /// The service's own key: devices are provisioned to trust it.
    pub signer: Arc<Signer>,
    /// What modules are granted that have no grants of their own.
    pub grants: Grants,
    /// How long a device's certificate is good.
    pub certificate_life: Duration,
}

/// The fleet: takes messages, requests and the time, gives messages to publish. Knows no sockets and no
/// clock; writes its store before anything it does can be seen.
pub struct Fleet {
    pub(super) options: Options,
    pub(super) store: Store,
    pub(super) view: View,
    pub(super) records: BTreeMap<DeviceId, Record>,
    pub(super) host_info: BTreeMap<HostId, HostFacts>,
    pub(super) unclaimed: BTreeMap<DeviceId, u64>,
    /// Of modules that have grants of their own.
    pub(super) grants: BTreeMap<ModuleName, Grants>,
    /// Gives devices that hosts run their certificates.
    pub(super) ca: Option<Ca>,
    pub(super) certificates: Certificates,
    pub(super) keys: Vec<KeyRow>,
    pub(super) keyrings: Vec<KeyringRow>,
    pub(super) patches: Desk,
    pub(super) relays: Relays,
    /// The last deployment of a firmware.
    pub(super) deployments: Owner,
    /// Rollouts that are not over, by number.
    pub(super) rollouts: BTreeMap<u64, Live>,
    pub(super) tally: Tally,
    claimed: Claimed,
    outbox: VecDeque<Publish>,
    next_deadline: Option<Time>,
    sessions: u64,
    flush_at: Option<Time>,
}

/// One registered device: what is stored, and what is only known while the service runs.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) row: DeviceRow,
    pub(super) modules: BTreeMap<ModuleName, ModuleRow>,
    pub(super) firmware: Option<FirmwareWish>,
    pub(super) status: Option<Status>,
    pub(super) heartbeat: Option<api::Heartbeat>,
    pub(super) ros: Option<api::Ros>,
    pub(super) process: Option<host_api::ReportedDevice>,
    pub(super) last_crash: Option<(u32, String)>,
    /// How each instance last stopped by itself.
    pub(super) traps: BTreeMap<ModuleName, LastTrap>,
    /// What it said last about what it does not believe.
    pub(super) refused: Option<Refused>,
    pub(super) logs: VecDeque<api::LogLine>,
    /// Whether `row.memory` is ahead of the store.
    pub(super) dirty: bool,
}

/// What a host said about itself.
#[derive(Debug, Default)]
pub(super) struct HostFacts {
    pub(super) boot: u64,
    pub(super) last_event: Option<host_api::Event>,
    pub(super) info: Option<host_api::Info>,
    /// When the process that runs its devices started.
    pub(super) holder_ms: u64,
}

impl Record {
    pub(super) fn new(row: DeviceRow) -> Self {
        Record {
            row,
            modules: BTreeMap::new(),
            firmware: None,
            status: None,
            heartbeat: None,
            ros: None,
            process: None,
            last_crash: None,
            traps: BTreeMap::new(),
            refused: None,
            logs: VecDeque::new(),
            dirty: false,
        }
    }

    pub(super) fn log(&mut self, line: api::LogLine) {
        if self.logs.len() == LOG_LINES {
            self.logs.pop_front();
        }
        self.logs.push_back(line);
    }
}

impl Fleet {
    /// Takes up the fleet where the store left it.
    ///
    /// # Errors
    /// If the store cannot be read or written.
    pub fn open(now: Time, store: Store, options: Options, ca: Option<Ca>) -> Result<Self, StoreError> {
        let mut fleet = Fleet {
            view: View { policy: options.policy, ..View::default() },
            options,
            store,
            records: BTreeMap::new(),
            host_info: BTreeMap::new(),
            unclaimed: BTreeMap::new(),
            grants: BTreeMap::new(),
            ca,
            certificates: Certificates::default(),
            keys: Vec::new(),
            keyrings: Vec::new(),
            patches: Desk::default(),
            relays: Relays::default(),
            deployments: Owner::default(),
            rollouts: BTreeMap::new(),
            tally: Tally::default(),
            claimed: Claimed::default(),
            outbox: VecDeque::new(),
            next_deadline: None,
            sessions: 0,
            flush_at: None,
        };
        for (id, revision) in fleet.store.hosts()? {
            fleet.view.hosts.insert(id, Host::new(id, revision));
        }
        for mut row in fleet.store.devices()? {
            // The clock of the last run may have been ahead of this one's.
            row.health.since = row.health.since.min(now);
            fleet.sync_view(now, &row);
            fleet.claim(&row.id, true);
            fleet.records.insert(row.id, Record::new(row));
        }
        for (id, module) in fleet.store.desired_modules()? {
            if let Some(record) = fleet.records.get_mut(&id) {
                record.modules.insert(module.name, module);
            }
        }
        for (id, wish) in fleet.store.desired_firmware()? {
            if let Some(record) = fleet.records.get_mut(&id) {
                record.firmware = Some(wish);
            }
        }
        fleet.grants = fleet.store.grants()?;
        fleet.load_certificates();
        fleet.load_keys(now)?;
        fleet.load_rollouts(now)?;
        fleet.adopt_options(now)?;
        Ok(fleet)
    }

    /// Brings desired states in line with options that changed since the last run.
    fn adopt_options(&mut self, now: Time) -> Result<(), StoreError> {
        let mut change = Change::default();
        let heartbeat_ms = self.options.heartbeat_ms;
        for record in self.records.values().filter(|record| record.row.heartbeat_ms != heartbeat_ms) {
            let revision = record.row.revision + 1;
            let row = DeviceRow { heartbeat_ms, revision, ..record.row.clone() };
            change.devices.insert(row.id, row);
        }
        self.commit(now, change)
    }

    /// The next message to publish, in the order they were decided.
    pub fn poll_publish(&mut self) -> Option<Publish> {
        self.outbox.pop_front()
    }

    /// When [`Fleet::on_tick`] is due at the latest.
    pub fn next_deadline(&self) -> Option<Time> {
        self.next_deadline
    }

    /// The broker is connected and subscribed.
    pub fn on_connected(&mut self, now: Time) {
        self.sessions += 1;
        self.tally.connects += 1;
        self.view.link = Some(Link { session: self.sessions, since: now });
        let state = api::ServiceState {
            online: true,
            since_ms: now.0,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        self.publish(Publish::json(fleet_topic(&self.options.prefix, "state"), &state, true));
        self.wake_rollouts(now);
        self.on_tick(now);
    }

    /// The broker is gone: nobody is judged until it is back.
    pub fn on_disconnected(&mut self, now: Time) {
        self.view.link = None;
        self.wake_rollouts(now);
        self.on_tick(now);
    }

    /// A message of a device or a host. `retained` is whether the broker had kept it: then it is no
    /// sign of life.
    pub fn on_message(&mut self, now: Time, topic: &str, payload: &[u8], retained: bool) {
        let Some((owner, rest)) = topic::split(&self.options.prefix, topic) else { return };
        self.tally.messages += 1;
        match owner {
            FLEET_LEVEL => {}
            HOST_LEVEL => {
                let Some((host, rest)) = rest.split_once('/') else { return };
                if let (Ok(host), Some(up)) = (host.parse(), host_api::Up::parse(rest)) {
                    self.on_host(now, host, up, payload, retained);
                }
            }
            GATEWAY_LEVEL => {
                let Some((gateway, rest)) = rest.split_once('/') else { return };
                let device = rest.strip_prefix(GATEWAY_NODES).and_then(|device| device.parse().ok());
                if let (Ok(gateway), Some(device)) = (gateway.parse(), device) {
                    self.on_nodes(now, &device, Some(gateway), payload);
                }
            }
            _ => {
                let Ok(device) = owner.parse() else { return };
                match rest {
                    topic::ENROL => self.on_enrol(now, device, payload, true),
                    topic::RENEW => self.on_enrol(now, device, payload, false),
                    _ => {
                        if let Some(up) = topic::Up::parse(rest) {
                            self.on_device(now, device, up, payload, retained);
                        }
                    }
                }
            }
        }
    }

    /// Time passed.
    pub fn on_tick(&mut self, now: Time) {
        let plan = wasmbed_plan::plan(now, &self.view);
        self.settle(now, plan, None);
        self.roll(now);
        self.expire_relays(now);
        self.tend_certificates(now);
        if self.flush_at.is_some_and(|at| now >= at) {
            self.flush(now);
        }
    }

    /// Writes what was kept in memory only; also done now and then by itself.
    pub fn flush(&mut self, now: Time) {
        let dirty = self.records.values().filter(|record| record.dirty);
        let devices = dirty.map(|record| (record.row.id, record.row.clone())).collect();
        self.flush_at = None;
        self.commit_or_log(now, Change { devices, ..Change::default() });
    }

    /// Which devices are registered, for whoever serves blocks.
    pub(super) fn claimed(&self) -> Claimed {
        Arc::clone(&self.claimed)
    }

    pub(super) fn claim(&self, id: &DeviceId, registered: bool) {
        // A set of ids stays whole whatever a panicking holder did.
        let mut claimed = self.claimed.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if registered {
            claimed.insert(*id);
        } else {
            claimed.remove(id);
        }
    }

    pub(super) fn publish(&mut self, message: Publish) {
        self.outbox.push_back(message);
    }

    /// For steps nobody waits for: a store that fails is tried again with the next fact.
    pub(super) fn commit_or_log(&mut self, now: Time, change: Change) {
        if let Err(error) = self.commit(now, change) {
            tracing::error!(error = &error as &dyn std::error::Error, "cannot store a change");
            self.tally.store_failures += 1;
            self.come_back(now.after_ms(RETRY_MS));
        }
    }

    pub(super) fn come_back(&mut self, at: Time) {
        self.next_deadline = Some(self.next_deadline.map_or(at, |before| before.min(at)));
    }

    pub(super) fn set_deadline(&mut self, at: Option<Time>) {
        self.next_deadline = at;
        let due = self.next_rollout().into_iter().chain(self.relays.next_deadline());
        self.flush_at.into_iter().chain(due).for_each(|at| self.come_back(at));
    }

    /// Notes that a device's memory is ahead of the store.
    pub(super) fn mark_dirty(&mut self, now: Time, id: &DeviceId) {
        if let Some(record) = self.records.get_mut(id) {
            record.dirty = true;
            let at = *self.flush_at.get_or_insert(now.after_ms(FLUSH_MS));
            self.come_back(at);
        }
    }

    /// Notes an unregistered device that speaks.
    pub(super) fn note_unclaimed(&mut self, now: Time, id: DeviceId) {
        if self.unclaimed.len() < MAX_UNCLAIMED && self.unclaimed.insert(id, now.0).is_none() {
            let reason = format!(
                "a device that is not registered speaks; register it with `wasmbed device add {id} --board BOARD`"
            );
            let event = NewEvent::new(Severity::Warning, "device-unclaimed", reason).device(id);
            self.commit_or_log(now, Change { events: vec![event], ..Change::default() });
        }
    }

    pub(super) fn host_view(&mut self, id: &HostId) -> &mut Host {
        self.view.hosts.entry(*id).or_insert_with(|| Host::new(*id, 0))
    }

    /// Brings the planner's picture of a device in line with its row.
    pub(super) fn sync_view(&mut self, now: Time, row: &DeviceRow) {
        if let Some(host) = row.host {
            self.host_view(&host);
        }
        let board = self.options.boards.get(&row.board);
        let device = self
            .view
            .devices
            .entry(row.id)
            .or_insert_with(|| Device::new(now, row.id, row.host, row.heartbeat_ms));
        device.host = row.host;
        device.power = if row.power { Power::On } else { Power::Off };
        device.heartbeat_ms = row.heartbeat_ms;
        device.watchdog_ms = board.and_then(|board| board.run.watchdog_ms());
        device.start_ms = board.and_then(|board| board.run.start_ms());
        device.desired = row.revision;
        device.health = row.health;
    }

    pub(super) fn device_topic(&self, device: &DeviceId, down: &Down) -> String {
        Full { prefix: &self.options.prefix, device, rest: down }.to_string()
    }

    pub(super) fn password(&self, device: &DeviceId) -> String {
        self.options.secret.password(&Role::Device(*device))
    }
}
