//! All devices that the gateway speaks for.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
};

use tokio::sync::mpsc;
use wasmbed_gateway::{Malformed, Said as FromDevice};
use wasmbed_ros::{LOOK_MS, Report, Room, Ros, Woken};
use wasmbed_wire::{
    DeviceId, ModuleName,
    message::{State, Status},
    ros::{MAX_ROS_CONTENT_BYTES, RosHave, RosWant},
    topic::{RosDown, RosUp, Up},
};

use super::{
    counts::{Counts, more},
    grants::{Granted, Grants},
    link::{Message, Said},
    post::Post,
};

/// What a device may say: in a second, and at once.
const MESSAGES: Rate = Rate { per_second: 200, at_once: 400 };
/// Runs of instances that it may begin, each of which has nodes of its own.
const RUNS: Rate = Rate { per_second: 1, at_once: 40 };
/// What waits for an instance, in bytes.
const WAITING_BYTES: usize = 64 * 1024;
/// How often instances are asked whether they are still there, in milliseconds.
const ROUND_MS: u64 = 30_000;
/// After what time revisions that have risen are kept, in milliseconds: many rise when the gateway starts.
const KEEP_MS: u64 = 1_000;
/// After what time that is tried again, in milliseconds.
const KEEP_AGAIN_MS: u64 = 10_000;
/// Time between two notices that a device says too much, in milliseconds.
const QUIET_MS: u64 = 10_000;

/// One run of an instance of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    device: DeviceId,
    instance: ModuleName,
    run: u32,
}

pub(super) struct Desk {
    ros: Ros,
    grants: Grants,
    /// Those that are spoken for; all if absent.
    served: Option<BTreeSet<DeviceId>>,
    devices: BTreeMap<DeviceId, Device>,
    woken: mpsc::UnboundedSender<Place>,
    counts: Arc<Counts>,
    next_round_ms: u64,
    next_look_ms: u64,
    /// When revisions are to be kept.
    keep_ms: Option<u64>,
    keys_changed: bool,
    output: Vec<Said>,
    reports: Vec<(DeviceId, Vec<u8>)>,
}

#[derive(Default)]
struct Device {
    /// The number of its last connect.
    boot: u32,
    is_online: bool,
    granted: Granted,
    posts: BTreeMap<ModuleName, Post>,
    messages: Budget,
    runs: Budget,
    /// When it was last told that it says too much.
    limited_ms: Option<u64>,
    /// What the fleet knows of its nodes.
    report: Report,
}

impl Desk {
    /// A place is given to `woken` when there is something for it.
    pub(super) fn new(
        ros: Ros,
        grants: Grants,
        served: Option<BTreeSet<DeviceId>>,
        woken: mpsc::UnboundedSender<Place>,
        counts: Arc<Counts>,
    ) -> Self {
        Desk {
            ros,
            grants,
            served,
            devices: BTreeMap::new(),
            woken,
            counts,
            next_round_ms: 0,
            next_look_ms: 0,
            keep_ms: None,
            keys_changed: false,
            output: Vec::new(),
            reports: Vec::new(),
        }
    }

    /// Takes in a message on a topic of a device.
    pub(super) fn on_message(&mut self, now_ms: u64, message: &Message) {
        let Message { device, topic, payload } = message;
        match topic.as_str() {
            "dn/keys" => self.keys_changed |= self.grants.on_keys(payload),
            _ if self.served.as_ref().is_some_and(|served| !served.contains(device)) => {}
            "dn/desired" => self.on_desired(now_ms, *device, payload),
            topic => match Up::parse(topic) {
                Some(Up::State) => self.on_state(*device, payload),
                Some(Up::Ros(kind, instance)) => self.on_said(now_ms, *device, instance, kind, payload),
                _ => {}
            },
        }
        self.count_posts();
    }

    fn on_desired(&mut self, now_ms: u64, id: DeviceId, payload: &[u8]) {
        if payload.is_empty() {
            // The fleet has removed it.
            self.devices.remove(&id);
            return;
        }
        let (revision, granted) = match self.grants.read(&id, payload) {
            Ok(read) => read,
            Err(refusal) => {
                more(&self.counts.refused);
                tracing::warn!(device = %id, "its desired state is not believed: {refusal}");
                return;
            }
        };
        if !self.grants.rises_to(id, revision) {
            more(&self.counts.refused);
            tracing::warn!(device = %id, revision, "its desired state is older than one that was believed before");
            return;
        }
        if self.grants.has_risen() {
            self.keep_ms.get_or_insert(now_ms.saturating_add(KEEP_MS));
        }
        let device = self.devices.entry(id).or_default();
        device.posts.retain(|instance, _| device.granted.get(instance) == granted.get(instance));
        device.granted = granted;
        device.ask(id, &mut self.output);
    }

    fn on_state(&mut self, id: DeviceId, payload: &[u8]) {
        let Ok(State { status, boot }) = minicbor::decode(payload) else { return };
        let device = self.devices.entry(id).or_default();
        if boot < device.boot {
            return;
        }
        (device.boot, device.is_online) = (boot, status != Status::Offline);
        match device.is_online {
            true => device.ask(id, &mut self.output),
            false => {
                device.posts.clear();
                device.report = Report::default();
            }
        }
    }

    fn on_said(&mut self, now_ms: u64, id: DeviceId, instance: ModuleName, kind: RosUp, payload: &[u8]) {
        more(&self.counts.heard);
        let Some(device) = self.devices.get_mut(&id) else { return };
        if !device.messages.take(now_ms, MESSAGES) {
            more(&self.counts.limited);
            device.tell_limit(now_ms, instance);
            return self.speak(now_ms, id, instance);
        }
        match FromDevice::read(kind, payload) {
            Ok(FromDevice::Want(want)) => self.on_want(now_ms, id, instance, &want),
            Ok(said) => match device.posts.get_mut(&instance).filter(|post| post.run() == said.run()) {
                Some(post) => post.hear(now_ms, &said),
                // It knows of a gateway that knows nothing of it.
                None => self.output.push(have(id, instance, RosHave::default())),
            },
            Err(malformed) => self.on_malformed(now_ms, id, instance, malformed),
        }
        self.speak(now_ms, id, instance);
    }

    fn on_want(&mut self, now_ms: u64, id: DeviceId, instance: ModuleName, want: &RosWant<'_>) {
        let Some(device) = self.devices.get_mut(&id) else { return };
        let known = device.posts.get(&instance).map(Post::run);
        if known.is_some_and(|run| run != want.run) {
            // Its nodes are gone before those of the next run are there.
            device.posts.remove(&instance);
        }
        let Some(allowed) = device.granted.get(&instance).filter(|_| want.run != 0) else { return };
        if known != Some(want.run) && !device.runs.take(now_ms, RUNS) {
            // It says so again.
            return more(&self.counts.limited);
        }
        let post = device.posts.entry(instance).or_insert_with(|| {
            let (woken, place) = (self.woken.clone(), Place { device: id, instance, run: want.run });
            let room = Room { message_bytes: MAX_ROS_CONTENT_BYTES, waiting_bytes: WAITING_BYTES };
            let wake = move |_: Woken| {
                // Fails only while the gateway ends.
                let _ = woken.send(place.clone());
            };
            let station = self.ros.station_of(id.as_str(), instance.as_str(), allowed.clone(), room, wake);
            Post::new(want.run, super::unix_ms(), station)
        });
        post.want(want);
        self.output.push(have(id, instance, post.have(&self.ros)));
        post.advance(now_ms);
    }

    fn on_malformed(&mut self, now_ms: u64, id: DeviceId, instance: ModuleName, malformed: Malformed) {
        more(&self.counts.malformed);
        match self.devices.get_mut(&id).and_then(|device| device.posts.get_mut(&instance)) {
            Some(post) => post.explain(now_ms, &malformed),
            None => tracing::debug!(device = %id, %instance, "{malformed}"),
        }
    }

    /// Something of ROS 2 has happened to an instance.
    pub(super) fn on_woken(&mut self, now_ms: u64, place: &Place) {
        let Place { device, instance, run } = place;
        let post = self.devices.get_mut(device).and_then(|device| device.posts.get_mut(instance));
        // One of an earlier run has nothing to say.
        if post.is_some_and(|post| post.run() == *run) {
            self.speak(now_ms, *device, *instance);
        }
    }

    /// Does what is due at this time.
    pub(super) fn on_deadline(&mut self, now_ms: u64) {
        let Desk { devices, output, .. } = self;
        for (id, device) in devices.iter_mut() {
            for (instance, post) in &mut device.posts {
                output.extend(post.poll(now_ms).map(|payload| tell(*id, *instance, payload)));
            }
        }
        self.look(now_ms);
        if self.keep_ms.is_some_and(|due_ms| due_ms <= now_ms) {
            self.keep();
            self.keep_ms = self.grants.has_risen().then(|| now_ms.saturating_add(KEEP_AGAIN_MS));
        }
        if now_ms < self.next_round_ms {
            return;
        }
        self.next_round_ms = now_ms.saturating_add(ROUND_MS);
        for (id, device) in &mut self.devices {
            let posts =
                device.posts.iter().map(|(instance, post)| have(*id, *instance, post.have(&self.ros)));
            self.output.extend(posts);
            device.ask(*id, &mut self.output);
        }
    }

    /// Keeps what the next start of the gateway has to know.
    pub(super) fn keep(&mut self) {
        self.grants.keep();
    }

    /// When to look again even if nothing happens.
    pub(super) fn next_deadline(&self) -> Option<u64> {
        let posts = self.devices.values().flat_map(|device| device.posts.values());
        let rounds = [self.next_round_ms, self.next_look_ms].into_iter().chain(self.keep_ms);
        posts.filter_map(Post::next_deadline).chain(rounds).min()
    }

    /// Looks what there is to tell the fleet about nodes.
    fn look(&mut self, now_ms: u64) {
        if now_ms < self.next_look_ms {
            return;
        }
        self.next_look_ms = now_ms.saturating_add(LOOK_MS);
        let nodes = self.ros.nodes();
        for (id, device) in self.devices.iter_mut().filter(|(_, device)| device.is_online) {
            let report = device.report.next(now_ms, self.ros.nodes_of(id.as_str(), &nodes));
            self.reports.extend(report.map(|report| (*id, report)));
        }
    }

    /// What the fleet is to be told about the nodes of devices.
    pub(super) fn take_reports(&mut self) -> Vec<(DeviceId, Vec<u8>)> {
        std::mem::take(&mut self.reports)
    }

    /// What is to be said.
    pub(super) fn take_output(&mut self) -> Vec<Said> {
        std::mem::take(&mut self.output)
    }

    /// Whether what was not believed may be believed now.
    pub(super) fn take_change_of_keys(&mut self) -> bool {
        std::mem::take(&mut self.keys_changed)
    }

    /// Has an instance told what there is.
    fn speak(&mut self, now_ms: u64, id: DeviceId, instance: ModuleName) {
        let post = self.devices.get_mut(&id).and_then(|device| device.posts.get_mut(&instance));
        if let Some(post) = post {
            post.advance(now_ms);
            self.output.extend(post.poll(now_ms).map(|payload| tell(id, instance, payload)));
        }
    }

    fn count_posts(&self) {
        let posts: usize = self.devices.values().map(|device| device.posts.len()).sum();
        self.counts.posts.store(posts as u64, Ordering::Relaxed);
    }
}

impl Device {
    /// Tells the module's log that the device says too much, from time to time.
    fn tell_limit(&mut self, now_ms: u64, instance: ModuleName) {
        let is_due = self.limited_ms.is_none_or(|told| now_ms.saturating_sub(told) >= QUIET_MS);
        if let Some(post) = self.posts.get_mut(&instance).filter(|_| is_due) {
            self.limited_ms = Some(now_ms);
            let most = MESSAGES.per_second;
            post.notice(format!("the device says more than {most} messages a second: they are lost"));
        }
    }

    /// Asks what instances want that may want something and have not said so.
    fn ask(&self, id: DeviceId, output: &mut Vec<Said>) {
        let silent = self.granted.keys().filter(|instance| !self.posts.contains_key(instance));
        let silent = silent.filter(|_| self.is_online);
        output.extend(silent.map(|instance| have(id, *instance, RosHave::default())));
    }
}

fn have(device: DeviceId, instance: ModuleName, have: RosHave) -> Said {
    // Vectors take everything.
    let payload = minicbor::to_vec(have).unwrap_or_default();
    Said { device, instance, kind: RosDown::Have, payload }
}

fn tell(device: DeviceId, instance: ModuleName, payload: Vec<u8>) -> Said {
    Said { device, instance, kind: RosDown::Tell, payload }
}

/// How often something may be.
#[derive(Debug, Clone, Copy)]
struct Rate {
    per_second: u64,
    at_once: u64,
}

/// What is left of that.
#[derive(Default)]
struct Budget {
    /// In thousandths.
    used: u64,
    at_ms: u64,
}

impl Budget {
    /// Whether there is one left.
    fn take(&mut self, now_ms: u64, rate: Rate) -> bool {
        let since = now_ms.saturating_sub(self.at_ms).saturating_mul(rate.per_second);
        self.at_ms = now_ms;
        self.used = self.used.saturating_sub(since);
        let is_left = self.used.saturating_add(1000) <= rate.at_once * 1000;
        if is_left {
            self.used += 1000;
        }
        is_left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_may_say_much_at_once_and_some_for_ever() {
        let mut budget = Budget::default();
        assert_eq!((0..1000).filter(|_| budget.take(0, MESSAGES)).count(), 400);
        assert_eq!((1..=1000).filter(|ms| budget.take(*ms, MESSAGES)).count(), 200);
        assert_eq!((0..1000).filter(|_| budget.take(100_000, MESSAGES)).count(), 400);
    }
}
