//! What devices say.

use minicbor::Decode;
use wasmbed_plan::{Presence, Time, rollout::Failure};
use wasmbed_wire::{
    DeviceId, GatewayId, Seq,
    message::{Crash, Heartbeat, Info, ModuleState, Reason, Reported, ResetCause, State, Status},
    ros::{RosNodes, RosTyped},
    topic::Up,
};

use super::{
    change::{Change, Desired},
    firmware::{self, Followed},
    fleet::{Fleet, Record},
};
use crate::{
    api,
    store::{DeviceRow, Memory, NewEvent, Severity},
};

/// Longest log line kept, in bytes.
const MAX_LINE_BYTES: usize = 512;
/// How often a sign of life is written down, in milliseconds.
const SEEN_EVERY_MS: u64 = 60_000;

impl Fleet {
    pub(super) fn on_device(&mut self, now: Time, id: DeviceId, up: Up, payload: &[u8], retained: bool) {
        if !self.records.contains_key(&id) && !self.welcome(now, id, up, payload) {
            return;
        }
        if !retained && !is_will(up, payload) {
            self.on_sign_of_life(now, &id);
        }
        let before = self.gist(&id);
        match up {
            Up::State => decoded(payload, |state| self.on_state(&id, state)),
            Up::Info => decoded(payload, |info| self.on_info(now, &id, &info)),
            Up::Reported => decoded(payload, |reported| self.on_reported(now, &id, &reported)),
            Up::Heartbeat => decoded(payload, |heartbeat| self.on_heartbeat(&id, &heartbeat)),
            Up::Nodes => self.on_nodes(now, &id, None, payload),
            Up::Crash if !retained => decoded(payload, |crash| self.on_crash(now, &id, &crash)),
            Up::Trap => decoded(payload, |trap| self.on_trap(now, &id, &trap)),
            Up::Refused => decoded(payload, |refused| self.on_refused(now, &id, &refused)),
            Up::Log(level) => self.on_log(now, &id, level.name(), payload),
            // Blocks are served elsewhere; the rest matters as a sign of life.
            Up::Crash | Up::Get | Up::Telemetry(_) | Up::Message(..) | Up::Ros(..) | Up::Result(_) => {}
        }
        self.settle_device(now, &id);
        self.note_for_rollouts(now, &id, before);
        self.roll(now);
    }

    /// What to do about a device that is not registered: whether it is from now on.
    fn welcome(&mut self, now: Time, id: DeviceId, up: Up, payload: &[u8]) -> bool {
        if self.options.auto_register
            && up == Up::Info
            && let Ok(info) = minicbor::decode::<Info<'_>>(payload)
        {
            let request = api::DeviceAdd {
                device: id,
                board: info.board,
                host: None,
                emulate: false,
                labels: Default::default(),
                machine: Default::default(),
            };
            if self.add_device(now, &request, None).is_ok() {
                return true;
            }
        }
        self.note_unclaimed(now, id);
        false
    }

    fn on_sign_of_life(&mut self, now: Time, id: &DeviceId) {
        if let Some(device) = self.view.devices.get_mut(id) {
            device.seen = Some(now);
        }
        let Some(record) = self.records.get_mut(id) else { return };
        let written = record.row.memory.seen_ms.unwrap_or(0);
        record.row.memory.seen_ms = Some(now.0);
        if now.0.saturating_sub(written) >= SEEN_EVERY_MS {
            self.mark_dirty(now, id);
        }
    }

    fn on_state(&mut self, id: &DeviceId, state: State) {
        let Some(record) = self.records.get_mut(id) else { return };
        let is_stale = state.status == Status::Offline && state.boot < record.row.memory.boot;
        if is_stale {
            return;
        }
        record.status = Some(state.status);
        if state.status == Status::Offline {
            record.ros = None;
        }
        record.row.memory.boot = state.boot;
        if let Some(device) = self.view.devices.get_mut(id) {
            device.presence = match state.status {
                // What ends the connection of a device that restarts on purpose is that restart.
                Status::Offline if device.presence == Presence::Updating => Presence::Updating,
                Status::Offline => Presence::Offline,
                Status::Online => Presence::Online,
                Status::Updating => Presence::Updating,
            };
        }
    }

    fn on_info(&mut self, now: Time, id: &DeviceId, info: &Info<'_>) {
        let Some(record) = self.records.get(id) else { return };
        let known = &record.row.memory;
        let described = describe(info);
        let is_new_connect = known.info_boot != Some(info.boot);
        if !is_new_connect && known.info.as_ref() == Some(&described) {
            return;
        }
        let mut change = Change::default();
        if is_new_connect {
            let reason = format!("connect {}; it last started after {}", info.boot, cause(info.reset));
            change.events.push(NewEvent::new(Severity::Info, "device-connected", reason).device(*id));
        }
        if info.class != record.row.class {
            let reason = format!(
                "it says it is of class {}, but board {} is of class {}; modules for the latter are sent",
                info.class, record.row.board, record.row.class
            );
            change.events.push(NewEvent::new(Severity::Warning, "device-mismatch", reason).device(*id));
        }
        let runtime_changed = known.info.as_ref().is_none_or(|info| info.runtime != described.runtime);
        let memory = Memory { info: Some(described), info_boot: Some(info.boot), ..known.clone() };
        change.devices.insert(*id, DeviceRow { memory, ..record.row.clone() });
        self.commit_or_log(now, change);
        if runtime_changed {
            self.follow_runtime(now, id);
        }
    }

    fn on_reported(&mut self, now: Time, id: &DeviceId, reported: &Reported<'_>) {
        let Some(record) = self.records.get(id) else { return };
        if !Self::is_possible(now, record, reported.revision) {
            tracing::warn!(device = %id, revision = reported.revision, "ignored an impossible revision");
            return;
        }
        if let Some(device) = self.view.devices.get_mut(id) {
            device.reported = Some(reported.revision);
        }
        let modules: Vec<api::ModuleReport> = reported.modules.iter().map(report).collect();
        let firmware = reported.firmware.map(|report| firmware::kept(record, report));
        let known = &record.row.memory;
        let is_same = known.revision == Some(reported.revision)
            && known.modules == modules
            && known.firmware == firmware
            && known.keyring == reported.keyring;
        if is_same {
            return;
        }
        let mut events = transitions(record, &modules);
        let Followed { events: of_firmware, told, wish } = Fleet::follow_firmware(record, firmware.as_ref());
        events.extend(of_firmware);
        let keyring_changed = known.keyring != reported.keyring;
        if let Some(version) = reported.keyring.filter(|_| keyring_changed) {
            let reason = format!("it trusts the keys of keyring {version} from now on");
            events.push(NewEvent::new(Severity::Info, "keyring-accepted", reason).device(*id));
        }
        let memory = Memory {
            revision: Some(reported.revision),
            modules,
            firmware,
            told,
            keyring: reported.keyring,
            ..known.clone()
        };
        let mut row = DeviceRow { memory, ..record.row.clone() };
        if let Some(wish) = wish {
            row.revision += 1;
            let desired = vec![(*id, Desired::Firmware(Some(wish)))];
            self.commit_or_log(
                now,
                Change { devices: [(*id, row)].into(), desired, events, ..Change::default() },
            );
        } else if events.is_empty() && !keyring_changed {
            // Mere progress is reported again; what was told as an event must not be told twice.
            if let Some(record) = self.records.get_mut(id) {
                record.row = row;
            }
            self.mark_dirty(now, id);
        } else {
            self.commit_or_log(now, Change { devices: [(*id, row)].into(), events, ..Change::default() });
        }
        if keyring_changed && let Some(message) = self.keys_of_device(id) {
            self.publish(message);
        }
    }

    fn on_heartbeat(&mut self, id: &DeviceId, heartbeat: &Heartbeat<'_>) {
        // A broker need not have kept what it said when it connected.
        let is_news = |record: &Record| record.status.is_none() && heartbeat.boot >= record.row.memory.boot;
        if self.records.get(id).is_some_and(is_news) {
            self.on_state(id, State { status: Status::Online, boot: heartbeat.boot });
        }
        if let Some(record) = self.records.get_mut(id) {
            record.heartbeat = Some(api::Heartbeat {
                boot: heartbeat.boot,
                seq: heartbeat.seq,
                uptime_ms: heartbeat.uptime_ms,
                heap_used: heartbeat.heap_used,
                heap_peak: heartbeat.heap_peak,
                stack_free: heartbeat.stack_free,
                running: heartbeat.running,
                link: heartbeat.link,
                slowest_call_us: heartbeat.slowest_call_us,
                modules: heartbeat.modules.iter().collect(),
                vehicles: heartbeat.vehicles.iter().collect(),
            });
        }
    }

    /// What its modules are in ROS 2, as it says itself, or a gateway of it.
    pub(super) fn on_nodes(&mut self, now: Time, id: &DeviceId, gateway: Option<GatewayId>, payload: &[u8]) {
        // What a gateway says about one that is gone comes too late.
        let is_there = |record: &&mut Record| record.status != Some(Status::Offline);
        let Some(record) = self.records.get_mut(id).filter(is_there) else { return };
        decoded(payload, |said: RosNodes<'_>| {
            let nodes = said.nodes.iter().map(|node| api::RosNode {
                name: node.name.to_owned(),
                publishers: typed(node.publishers),
                subscribers: typed(node.subscribers),
                clients: typed(node.clients),
                services: typed(node.services),
            });
            record.ros =
                Some(api::Ros { gateway, at_ms: now.0, nodes: nodes.collect(), omitted: said.omitted });
        });
    }

    fn on_crash(&mut self, now: Time, id: &DeviceId, crash: &Crash<'_>) {
        let Some(record) = self.records.get_mut(id) else { return };
        let mut reason = format!("{} after {} ms", crash.message, crash.uptime_ms);
        if crash.pc != 0 {
            reason.push_str(&format!(", at {:#010x}", crash.pc));
        }
        // Delivered at least once.
        let told = Some((crash.boot, reason.clone()));
        if record.last_crash == told {
            return;
        }
        record.last_crash = told;
        if let Some(device) = self.view.devices.get_mut(id) {
            device.crashes.add(now, &self.options.policy);
        }
        let event = NewEvent::new(Severity::Warning, "device-crashed", reason).device(*id);
        self.commit_or_log(now, Change { events: vec![event], ..Change::default() });
    }

    pub(super) fn on_log(&mut self, now: Time, id: &DeviceId, source: &str, payload: &[u8]) {
        let payload = payload.get(..MAX_LINE_BYTES).unwrap_or(payload);
        let text = String::from_utf8_lossy(payload).trim_end().to_owned();
        if let Some(record) = self.records.get_mut(id) {
            record.log(api::LogLine { at_ms: now.0, source: source.to_owned(), text });
        }
    }
}

/// Whether the broker may say this in the device's place.
fn is_will(up: Up, payload: &[u8]) -> bool {
    let says_offline = |state: State| state.status == Status::Offline;
    up == Up::State && minicbor::decode(payload).is_ok_and(says_offline)
}

fn typed(list: Seq<'_, RosTyped<'_>>) -> Vec<api::RosTyped> {
    list.iter().map(|typed| api::RosTyped { name: typed.name.to_owned(), ty: typed.ty.to_owned() }).collect()
}

/// Hands over a message; one that cannot be read is dropped, the sender may be newer than this program.
fn decoded<'b, T: Decode<'b, ()>>(payload: &'b [u8], then: impl FnOnce(T)) {
    match minicbor::decode(payload) {
        Ok(message) => then(message),
        Err(error) => tracing::debug!(%error, "dropped a message that cannot be read"),
    }
}

fn describe(info: &Info<'_>) -> api::DeviceInfo {
    api::DeviceInfo {
        protocol: info.protocol,
        board: info.board,
        class: info.class,
        firmware: info.firmware.to_owned(),
        runtime: info.runtime,
        reset: info.reset,
        slots: info.slots,
        slot_bytes: info.slot_bytes,
        block_bytes: info.block_bytes,
        heap_bytes: info.heap_bytes,
        firmware_slots: info.firmware_slots.map(|slots| api::FirmwareSlots {
            running: slots.running,
            other: slots.other,
            image_bytes: slots.image_bytes,
            patch_bytes: slots.patch_bytes,
            counter: slots.counter,
        }),
    }
}

fn report(module: wasmbed_wire::message::ModuleReport) -> api::ModuleReport {
    let wasmbed_wire::message::ModuleReport { name, artifact, state, progress, restarts, reason } = module;
    api::ModuleReport { name, artifact, state, progress, restarts, reason }
}

const fn cause(reset: ResetCause) -> &'static str {
    match reset {
        ResetCause::Power => "power-on",
        ResetCause::Command => "a commanded restart",
        ResetCause::Crash => "a crash",
        ResetCause::Watchdog => "a watchdog reset",
    }
}

/// What became of modules between two reports.
fn transitions(record: &Record, after: &[api::ModuleReport]) -> Vec<NewEvent> {
    let (id, before) = (record.row.id, &record.row.memory.modules);
    let mut events = Vec::new();
    for module in after {
        let old = before.iter().find(|old| old.name == module.name && old.artifact == module.artifact);
        let is_same = old.is_some_and(|old| old.state == module.state && old.restarts == module.restarts);
        if let Some((severity, kind)) = told(module.state).filter(|_| !is_same) {
            events.push(NewEvent::new(severity, kind, why(module)).device(id).module(module.name));
        }
    }
    // A board forgets its modules when it restarts and fetches them again: that is no removal.
    let is_gone =
        |name| after.iter().all(|module| module.name != name) && !record.modules.contains_key(&name);
    for old in before.iter().filter(|old| is_gone(old.name)) {
        let event = NewEvent::new(Severity::Info, "module-removed", "it is no longer on the device");
        events.push(event.device(id).module(old.name));
    }
    events
}

/// Which states are worth an event.
const fn told(state: ModuleState) -> Option<(Severity, &'static str)> {
    match state {
        ModuleState::Downloading | ModuleState::Starting => None,
        ModuleState::Running => Some((Severity::Info, "module-running")),
        ModuleState::Backoff => Some((Severity::Warning, "module-backoff")),
        ModuleState::Failed => Some((Severity::Alert, "module-failed")),
        ModuleState::Refused => Some((Severity::Alert, "module-refused")),
    }
}

fn why(module: &api::ModuleReport) -> String {
    let reason = module.reason.map_or("as desired", reason_text);
    match (module.state, module.restarts) {
        (ModuleState::Running, 0) => "running as desired".to_owned(),
        (ModuleState::Running, n) => format!("running again after {n} restarts; before: {reason}"),
        (_, 0) => reason.to_owned(),
        (_, n) => format!("{reason}; {n} restarts so far"),
    }
}

/// Why a device failed in a rollout, with its own reason.
pub(crate) fn failure_text(failure: &Failure) -> String {
    match failure.reason() {
        Some(reason) => format!("{failure} ({})", reason_text(reason)),
        None => failure.to_string(),
    }
}

/// A module's reason in words for people.
pub(crate) const fn reason_text(reason: Reason) -> &'static str {
    match reason {
        Reason::BadManifest => "its manifest cannot be read",
        Reason::BadSignature => "no trusted key signed it",
        Reason::WrongClass => "it was made for another class of device",
        Reason::WrongRuntime => "it was made for another runtime version",
        Reason::WrongArtifact => "it is not the module that was asked for",
        Reason::TooLarge => "it is larger than a slot",
        Reason::NoSlot => "there is no free slot",
        Reason::DigestMismatch => "its bytes are not what its manifest promises",
        Reason::StoreFailed => "the device's store failed",
        Reason::LoadFailed => "the runtime could not load it",
        Reason::Unhealthy => "its init or health answered with an error",
        Reason::Trapped => "it trapped",
        Reason::TimedOut => "it ran longer than its class allows",
        Reason::OutOfMemory => "it needed more memory than there is",
        Reason::WrongBoard => "it was made for another board",
        Reason::Downgrade => "its security counter is below the one the device has confirmed",
        Reason::WrongBase => "its patch is for another image than the one that runs",
        Reason::KeyExpired => "the key that signed it has expired",
        Reason::WrongRole => "the key that signed it must not sign this kind of artifact",
        Reason::BadPatch => "its patch cannot be applied",
        Reason::Crashed => "it crashed in its trial",
        Reason::Hung => "it hung in its trial and was reset",
        Reason::Unconnected => "it did not reach the broker in its trial",
        Reason::Unconfirmed => "the fleet did not confirm it in its trial",
        Reason::PowerLost => "power was lost in every start of its trial",
        Reason::Damaged => "what is in its slot is not the image that was put there",
        Reason::Denied => "it was not granted a capability it needs",
        Reason::Blocked => "it did not prove itself before; clear it to try again",
    }
}
