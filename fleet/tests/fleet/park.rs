//! A park of devices that update as the update machine does, one step at a time.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use wasmbed_wire::{
    Digest, RuntimeId, Seq,
    limits::Class,
    message::{
        DesiredFirmware, FirmwareReport, FirmwareSlots, FirmwareState as S, Info, PROTOCOL, Reason, Reported,
        ResetCause, State, Status,
    },
};

use crate::world::{HEARTBEAT_MS, World, image, sha256};

/// Devices `d0`, `d1` and so on, which run version 1.0.0; the registry has 1.1.0 and 1.2.0 too.
pub(crate) struct Park {
    pub(crate) world: World,
    devices: BTreeMap<String, Device>,
    bad: BTreeSet<Digest>,
}

struct Device {
    boot: u32,
    is_online: bool,
    running: Digest,
    other: Option<Digest>,
    report: Option<FirmwareReport>,
    /// Images this device alone does not get along with.
    bad: BTreeSet<Digest>,
}

impl Park {
    pub(crate) fn new(count: usize) -> Self {
        let mut world = World::new();
        for (version, text) in [("1.0.0", "a"), ("1.1.0", "b"), ("1.2.0", "c")] {
            world.push_image(version, image(text));
        }
        let device = || Device {
            boot: 1,
            is_online: true,
            running: sha256(&image("a")),
            other: None,
            report: None,
            bad: BTreeSet::new(),
        };
        let devices = (0..count).map(|number| (format!("d{number}"), device())).collect();
        let mut park = Park { world, devices, bad: BTreeSet::new() };
        for id in park.ids() {
            park.world.ask("device-add", json!({ "device": id, "board": "netduino2" }));
            park.speak(&id);
        }
        park.settle_in();
        park
    }

    /// Lets the service be connected for so long that nobody is awaited any more.
    pub(crate) fn settle_in(&mut self) {
        self.run(31_000);
        self.world.sent.clear();
    }

    pub(crate) fn ids(&self) -> Vec<String> {
        self.devices.keys().cloned().collect()
    }

    /// A rollout of version 1.1.0 to all devices, without soak times, with these fields more or otherwise.
    pub(crate) fn create(&mut self, groups: &[&str], more: Value) -> u64 {
        let fields = fields(groups, more);
        self.world.ask("rollout-create", fields)["rollout"].as_u64().unwrap()
    }

    pub(crate) fn show(&mut self, rollout: u64) -> Value {
        self.world.ask("rollout-show", json!({ "rollout": rollout }))
    }

    pub(crate) fn phase(&mut self, rollout: u64) -> String {
        self.show(rollout)["phase"]["name"].as_str().unwrap().to_owned()
    }

    /// Devices that the rollout has in this state.
    pub(crate) fn of(&mut self, rollout: u64, state: &str) -> Vec<String> {
        let shown = self.show(rollout);
        let devices = shown["devices"].as_array().unwrap().iter().filter(|device| device["state"] == state);
        devices.map(|device| device["device"].as_str().unwrap().to_owned()).collect()
    }

    /// Devices of a group, from 0.
    pub(crate) fn group(&mut self, rollout: u64, group: u64) -> Vec<String> {
        let shown = self.show(rollout);
        let devices = shown["devices"].as_array().unwrap().iter().filter(|device| device["group"] == group);
        devices.map(|device| device["device"].as_str().unwrap().to_owned()).collect()
    }

    pub(crate) fn running(&self, id: &str) -> Digest {
        self.devices[id].running
    }

    /// Devices that were told to run this image.
    pub(crate) fn told(&self, text: &str) -> Vec<String> {
        let image = sha256(&image(text));
        let is_told = |id: &String| self.world.wish(id).is_some_and(|wish| wish.image == image);
        self.ids().into_iter().filter(is_told).collect()
    }

    /// The device reverts this image from now on.
    pub(crate) fn breaks_on(&mut self, id: &str, text: &str) {
        self.devices.get_mut(id).unwrap().bad.insert(sha256(&image(text)));
    }

    /// Every device reverts this image from now on.
    pub(crate) fn all_break_on(&mut self, text: &str) {
        self.bad.insert(sha256(&image(text)));
    }

    pub(crate) fn goes_offline(&mut self, id: &str) {
        let device = self.devices.get_mut(id).unwrap();
        device.is_online = false;
        let boot = device.boot;
        self.world.state(id, Status::Offline, boot);
    }

    pub(crate) fn comes_online(&mut self, id: &str) {
        let device = self.devices.get_mut(id).unwrap();
        device.is_online = true;
        device.boot += 1;
        self.speak(id);
    }

    /// The service dies and starts again; the broker has kept what devices said last.
    pub(crate) fn die_and_start(&mut self) {
        self.world.die_and_start();
        self.hear_again();
    }

    /// The broker comes back with everything it had kept.
    pub(crate) fn reconnect(&mut self) {
        self.world.connect();
        self.hear_again();
    }

    fn hear_again(&mut self) {
        for id in self.ids() {
            self.speak(&id);
        }
    }

    /// Time passes, with signs of life of whoever is connected.
    pub(crate) fn run(&mut self, ms: u64) {
        let online: Vec<&str> =
            self.devices.iter().filter(|(_, device)| device.is_online).map(|(id, _)| id.as_str()).collect();
        self.world.beat_for(&online, ms);
        self.world.run(ms % u64::from(HEARTBEAT_MS));
    }

    /// One device takes its next step, if it has one.
    pub(crate) fn step(&mut self, id: &str) -> bool {
        let Some(wish) = self.world.wish(id).filter(|_| self.devices[id].is_online) else { return false };
        let is_bad = self.bad.contains(&wish.image);
        let device = self.devices.get_mut(id).unwrap();
        let moved = device.advance(&wish, is_bad);
        if moved {
            self.speak(id);
        }
        moved
    }

    /// Every device takes a step.
    pub(crate) fn step_all(&mut self) -> bool {
        let moved: Vec<bool> = self.ids().iter().map(|id| self.step(id)).collect();
        moved.contains(&true)
    }

    /// Lets devices step and time pass until neither has anything to do.
    pub(crate) fn finish(&mut self) {
        for _ in 0..1_000 {
            let moved = self.step_all();
            self.run(1_000);
            if !moved && !self.step_all() {
                return;
            }
        }
        panic!("the devices never come to rest");
    }

    /// Kinds of all events about rollouts that were recorded, with the severity where it is not `info`.
    pub(crate) fn events(&mut self) -> Vec<String> {
        let events = self.world.ask("event-list", json!({ "limit": 10_000 }));
        let events = events.as_array().unwrap().iter();
        let line = |event: &Value| {
            let kind = event["kind"].as_str().unwrap().to_owned();
            match event["severity"].as_str() {
                Some("info") => kind,
                severity => format!("{} {kind}", severity.unwrap()),
            }
        };
        let kinds = events.map(line);
        kinds.filter(|kind| kind.contains("rollout-")).collect()
    }

    /// The same without progress.
    pub(crate) fn milestones(&mut self) -> Vec<String> {
        self.events().into_iter().filter(|kind| kind != "rollout-progress").collect()
    }

    /// How many events of this kind were recorded.
    pub(crate) fn count(&mut self, kind: &str) -> usize {
        let events = self.world.ask("event-list", json!({ "limit": 10_000 }));
        events.as_array().unwrap().iter().filter(|event| event["kind"] == kind).count()
    }

    fn speak(&mut self, id: &str) {
        let Some(device) = self.devices.get(id).filter(|device| device.is_online) else { return };
        let boot = device.boot;
        let info = Info {
            boot,
            protocol: PROTOCOL,
            board: "netduino2".parse().unwrap(),
            class: Class::Mcu,
            firmware: "0.1.0",
            runtime: RuntimeId([0; 8]),
            reset: ResetCause::Command,
            slots: 2,
            slot_bytes: 32_768,
            block_bytes: 1024,
            heap_bytes: 65_536,
            firmware_slots: Some(FirmwareSlots {
                running: Some(device.running),
                other: device.other,
                image_bytes: 0x2_0000,
                patch_bytes: 0x1_0000,
                counter: 0,
            }),
        };
        let info = minicbor::to_vec(info).unwrap();
        let state = minicbor::to_vec(State { status: Status::Online, boot }).unwrap();
        let revision = self.world.desired(id).map_or(0, |(revision, _)| revision);
        let reported =
            Reported { boot, revision, modules: Seq::default(), firmware: device.report, keyring: None };
        let reported = minicbor::to_vec(reported).unwrap();
        for (topic, payload) in [("state", state), ("info", info), ("reported", reported)] {
            self.world.say(&format!("p/v1/{id}/up/{topic}"), &payload, false);
        }
    }
}

impl Device {
    fn advance(&mut self, wish: &DesiredFirmware, is_bad: bool) -> bool {
        let about = self
            .report
            .filter(|report| report.image == wish.image && report.generation == wish.generation)
            .map(|report| report.state);
        let report = |state, progress| FirmwareReport {
            image: wish.image,
            state,
            progress,
            reason: None,
            generation: wish.generation,
            since: None,
        };
        let next = match about {
            None if self.running == wish.image => report(S::Confirmed, 100),
            None if self.other == Some(wish.image) => report(S::Armed, 100),
            None => report(S::Downloading, 0),
            Some(S::Downloading) if self.report.is_some_and(|report| report.progress < 100) => {
                let progress = self.report.map_or(0, |report| report.progress);
                report(S::Downloading, (progress + 25).min(100))
            }
            Some(S::Downloading) => report(S::Armed, 100),
            Some(S::Armed) if is_bad || self.bad.contains(&wish.image) => {
                self.boot += 1;
                FirmwareReport { reason: Some(Reason::Crashed), ..report(S::Reverted, 100) }
            }
            Some(S::Armed) => {
                self.other = Some(std::mem::replace(&mut self.running, wish.image));
                self.boot += 1;
                FirmwareReport { since: Some(self.boot), ..report(S::Trial, 100) }
            }
            Some(S::Trial) if wish.confirm >= Some(self.boot) => report(S::Confirmed, 100),
            _ => return false,
        };
        self.report = Some(next);
        true
    }
}

/// The fields of a rollout of version 1.1.0 to all devices.
pub(crate) fn fields(groups: &[&str], more: Value) -> Value {
    let mut fields =
        json!({ "firmware": "netduino2", "version": "1.1.0", "to": "all", "groups": groups, "soak_ms": 0 });
    let (Some(all), Value::Object(more)) = (fields.as_object_mut(), more) else { unreachable!() };
    all.extend(more);
    fields
}
