//! A fleet with a scripted clock whose every message is kept.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use wasmbed_boards::Boards;
use wasmbed_broker::credentials::Secret;
use wasmbed_fleet::{
    api::{Answer, Grants, Problem},
    artifacts::{Release, Signer, admit_firmware, build, sign_firmware},
    host_api,
    service::{Built, CERTIFICATE_LIFE, Fleet, Options, Pair, Publish, Reaction, make_patch},
    store::{NewModule, Store},
};
use wasmbed_plan::{Policy, Time};
use wasmbed_wire::{
    ArtifactId, CommandId, Digest, RuntimeId, Seq,
    limits::Class,
    message::{
        Desired, DesiredFirmware, FirmwareReport, FirmwareSlots, FirmwareState, Heartbeat, Info,
        ModuleReport, ModuleState, PROTOCOL, Reason, Refused, Reported, ResetCause, State, Status,
    },
    sign1::{Audience, Sign1, signed_head},
};

pub(crate) const HEARTBEAT_MS: u32 = 1_000;
/// Milliseconds of Unix time when a world begins.
const BEGINNING_MS: u64 = 1_000_000;
/// The revision a device begins with that is registered then: the second.
pub(crate) const FIRST: u64 = BEGINNING_MS / 1_000;

/// One module as a device would run it.
pub(crate) type Wanted = (String, ArtifactId, u32, Vec<(String, String)>);

pub(crate) struct World {
    fleet: Option<Fleet>,
    pub(crate) now: Time,
    pub(crate) sent: Vec<Publish>,
    /// Connects of devices so far.
    pub(crate) boots: u32,
    slots: BTreeMap<String, FirmwareSlots>,
    keyrings: BTreeMap<String, u32>,
    dir: TempDir,
}

/// The service's own key.
pub(crate) fn own() -> Signer {
    Signer::from_seed([7; 32])
}

/// A flat image for netduino2: a vector table, then this text many times.
pub(crate) fn image(text: &str) -> Vec<u8> {
    let mut image = [0x2001_0000_u32, 0x0802_0401].map(u32::to_le_bytes).concat();
    for line in 0..400 {
        image.extend(format!("{text} {line};").bytes());
    }
    image
}

/// SHA-256.
pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

impl World {
    /// A connected service that knows nothing.
    pub(crate) fn new() -> Self {
        let mut world = World {
            fleet: None,
            now: Time(BEGINNING_MS),
            sent: Vec::new(),
            boots: 0,
            slots: BTreeMap::new(),
            keyrings: BTreeMap::new(),
            dir: tempfile::tempdir().unwrap(),
        };
        world.start();
        world
    }

    /// A connected service with one device on a host that is online, and one that is real hardware;
    /// both are healthy.
    pub(crate) fn with_devices() -> Self {
        let mut world = World::new();
        world.ask("device-add", json!({ "device": "pump", "board": "netduino2", "host": "lab" }));
        world.ask("device-add", json!({ "device": "hub", "board": "linux", "labels": { "site": "roof" } }));
        world.host_online();
        world.device_online("pump", Class::Mcu, "netduino2");
        world.device_online("hub", Class::Mpu, "linux");
        world.sent.clear();
        world
    }

    fn database(&self) -> PathBuf {
        self.dir.path().join("fleet.db")
    }

    fn start(&mut self) {
        self.start_with(None);
    }

    fn start_with(&mut self, limit_bytes: Option<u64>) {
        let store = Store::open(&self.database()).unwrap();
        if let Some(bytes) = limit_bytes {
            store.limit_bytes(bytes).unwrap();
        }
        let options = Options {
            prefix: "p".into(),
            policy: Policy::default(),
            heartbeat_ms: HEARTBEAT_MS,
            auto_register: false,
            boards: Boards::embedded().unwrap(),
            secret: Secret::new([1; 32]),
            signer: Arc::new(own()),
            grants: Grants::default(),
            certificate_life: CERTIFICATE_LIFE,
        };
        self.fleet = Some(Fleet::open(self.now, store, options, None).unwrap());
        self.connect();
    }

    /// Dies without a word and starts again on what is stored.
    pub(crate) fn die_and_start(&mut self) {
        self.fleet = None;
        self.sent.clear();
        self.start();
    }

    /// Starts without anything that was stored, but for the key.
    pub(crate) fn lose_the_store(&mut self) {
        self.fleet = None;
        self.sent.clear();
        std::fs::remove_file(self.database()).unwrap();
        self.start();
    }

    pub(crate) fn connect(&mut self) {
        let now = self.now;
        self.act(|fleet| fleet.on_connected(now));
    }

    pub(crate) fn disconnect(&mut self) {
        let now = self.now;
        self.act(|fleet| fleet.on_disconnected(now));
    }

    fn act<T>(&mut self, work: impl FnOnce(&mut Fleet) -> T) -> T {
        let fleet = self.fleet.as_mut().unwrap();
        let done = work(fleet);
        while let Some(message) = fleet.poll_publish() {
            self.sent.push(message);
        }
        done
    }

    /// Lets the clock run, stopping at every deadline.
    pub(crate) fn run(&mut self, ms: u64) {
        let end = self.now.after_ms(ms);
        loop {
            let deadline = self.fleet.as_ref().unwrap().next_deadline();
            let Some(at) = deadline.filter(|at| *at <= end) else { break };
            self.now = at.max(self.now.after_ms(1));
            let now = self.now;
            self.act(|fleet| fleet.on_tick(now));
        }
        self.now = end;
    }

    pub(crate) fn say(&mut self, topic: &str, payload: &[u8], retained: bool) {
        let now = self.now;
        self.act(|fleet| fleet.on_message(now, topic, payload, retained));
    }

    pub(crate) fn react(&mut self, verb: &str, fields: &Value) -> Reaction {
        let now = self.now;
        let payload = fields.to_string();
        self.act(|fleet| fleet.on_request(now, verb, payload.as_bytes()))
    }

    /// The answer to a request that no host carries out.
    #[track_caller]
    pub(crate) fn answer(&mut self, verb: &str, fields: &Value) -> Answer {
        match self.react(verb, fields) {
            Reaction::Answer(answer) => answer,
            Reaction::Relayed(number) => panic!("{verb} is with a host, as {number}"),
        }
    }

    /// The next answer that came from a host.
    pub(crate) fn relayed(&mut self) -> Option<(CommandId, Answer)> {
        self.act(Fleet::poll_relayed)
    }

    /// The result of a request that must succeed.
    #[track_caller]
    pub(crate) fn ask(&mut self, verb: &str, fields: Value) -> Value {
        let answer = self.answer(verb, &fields);
        assert!(answer.ok, "{verb}: {:?}", answer.error);
        answer.result.unwrap()
    }

    /// Code and message of a request that must fail.
    #[track_caller]
    pub(crate) fn refused(&mut self, verb: &str, fields: Value) -> (String, String) {
        let answer = self.answer(verb, &fields);
        let problem = answer.error.unwrap_or_else(|| panic!("{verb} succeeded: {:?}", answer.result));
        (serde_json::to_value(problem.code).unwrap().as_str().unwrap().to_owned(), problem.message)
    }

    /// Stores a module that every class admits; its text is part of it.
    pub(crate) fn push(&mut self, name: &str, version: &str, text: &str) -> Answer {
        let built = built(name, version, text);
        let now = self.now;
        self.act(|fleet| fleet.on_built(now, Ok(Built::Module(built))))
    }

    /// The same of a module as a text.
    pub(crate) fn push_wat(&mut self, name: &str, version: &str, wat: &str) -> Answer {
        let built = built_of(name, version, wat);
        let now = self.now;
        self.act(|fleet| fleet.on_built(now, Ok(Built::Module(built))))
    }

    /// Stores the same module as a program with another runtime would.
    pub(crate) fn push_for(&mut self, name: &str, version: &str, text: &str, runtime: RuntimeId) -> Answer {
        let mut built = built(name, version, text);
        for artifact in &mut built.artifacts {
            artifact.runtime = runtime;
            artifact.id.0[0] ^= 0xff;
        }
        let now = self.now;
        self.act(|fleet| fleet.on_built(now, Ok(Built::Module(built))))
    }

    // ---- devices and hosts ----

    pub(crate) fn host_online(&mut self) {
        let state = host_api::State { status: Status::Online, boot: self.now.0, started_ms: 0 };
        self.say("p/v1/_host/lab/up/state", &serde_json::to_vec(&state).unwrap(), false);
    }

    pub(crate) fn device_online(&mut self, id: &str, class: Class, board: &str) {
        self.device_online_with(id, class, board, RuntimeId([0; 8]));
    }

    pub(crate) fn device_online_with(&mut self, id: &str, class: Class, board: &str, runtime: RuntimeId) {
        self.device_speaks(id, class, board, runtime, PROTOCOL);
    }

    /// A device comes online that speaks this version of the contract.
    pub(crate) fn device_speaks(
        &mut self,
        id: &str,
        class: Class,
        board: &str,
        runtime: RuntimeId,
        protocol: u8,
    ) {
        self.boots += 1;
        let boot = self.boots;
        self.state(id, Status::Online, boot);
        let info = Info {
            boot,
            protocol,
            board: board.parse().unwrap(),
            class,
            firmware: "0.1.0",
            runtime,
            reset: ResetCause::Power,
            slots: 2,
            slot_bytes: 32_768,
            block_bytes: 1024,
            heap_bytes: 65_536,
            firmware_slots: self.slots.get(id).copied(),
        };
        self.say(&format!("p/v1/{id}/up/info"), &minicbor::to_vec(info).unwrap(), false);
    }

    pub(crate) fn state(&mut self, id: &str, status: Status, boot: u32) {
        let state = minicbor::to_vec(State { status, boot }).unwrap();
        self.say(&format!("p/v1/{id}/up/state"), &state, false);
    }

    pub(crate) fn heartbeat(&mut self, id: &str) {
        let heartbeat = Heartbeat {
            boot: self.boots,
            seq: 1,
            uptime_ms: 5_000,
            heap_used: 10_000,
            heap_peak: 12_000,
            stack_free: 500,
            running: 0,
            link: None,
            slowest_call_us: 42,
            vehicles: Default::default(),
            modules: Seq::default(),
        };
        self.say(&format!("p/v1/{id}/up/hb"), &minicbor::to_vec(heartbeat).unwrap(), false);
    }

    pub(crate) fn beat_for(&mut self, ids: &[&str], ms: u64) {
        for _ in 0..ms / u64::from(HEARTBEAT_MS) {
            self.run(u64::from(HEARTBEAT_MS));
            for id in ids {
                self.heartbeat(id);
            }
        }
    }

    /// The device takes the last desired state it was sent and reports its modules in this state.
    pub(crate) fn reach(&mut self, id: &str, state: ModuleState) {
        let (revision, wanted) = self.desired(id).unwrap();
        let modules: Vec<ModuleReport> = wanted
            .iter()
            .map(|(name, artifact, ..)| ModuleReport {
                name: name.parse().unwrap(),
                artifact: *artifact,
                state,
                progress: 100,
                restarts: 0,
                reason: None,
            })
            .collect();
        let modules = Seq::new(&modules);
        let reported = Reported { boot: self.boots, revision, modules, firmware: None, keyring: None };
        self.say(&format!("p/v1/{id}/up/reported"), &minicbor::to_vec(reported).unwrap(), false);
    }

    // ---- firmware ----

    /// A device that runs this image and has nothing in its other slot; it connects.
    pub(crate) fn runs(&mut self, id: &str, board: &str, image: &[u8]) {
        let slots = FirmwareSlots {
            running: Some(sha256(image)),
            other: None,
            image_bytes: 0x2_0000,
            patch_bytes: 0x1_0000,
            counter: 0,
        };
        self.has(id, board, slots);
    }

    /// A device with these slots; it connects.
    pub(crate) fn has(&mut self, id: &str, board: &str, slots: FirmwareSlots) {
        self.slots.insert(id.to_owned(), slots);
        self.device_online(id, if board == "netduino2" { Class::Mcu } else { Class::Riscv }, board);
    }

    /// Uploads a file, as the service takes it.
    pub(crate) fn upload(&mut self, name: &str, version: &str, file: Vec<u8>) -> Answer {
        let boards = Boards::embedded().unwrap();
        let built = admit_firmware(&own(), &boards, name.parse().unwrap(), version, &file.into());
        let now = self.now;
        self.act(|fleet| fleet.on_built(now, built.map(Built::Firmware)))
    }

    /// Uploads an image for netduino2 that the service signs.
    #[track_caller]
    pub(crate) fn push_image(&mut self, version: &str, image: Vec<u8>) -> Value {
        let answer = self.upload("netduino2", version, image);
        assert!(answer.ok, "{:?}", answer.error);
        answer.result.unwrap()
    }

    /// Makes the patches the fleet would make before it carries this out.
    pub(crate) fn prepare(&mut self, fields: &Value, images: &[&[u8]]) -> usize {
        self.prepare_for("firmware-deploy", fields, images)
    }

    pub(crate) fn prepare_for(&mut self, verb: &str, fields: &Value, images: &[&[u8]]) -> usize {
        let payload = fields.to_string();
        let (now, mut made) = (self.now, 0);
        self.act(|fleet| fleet.lacking(now, verb, payload.as_bytes()));
        while let Some(order) = self.act(Fleet::poll_patch) {
            let image = |digest| *images.iter().find(|image| sha256(image) == digest).unwrap();
            let patch = make_patch(&own(), &order, image(order.base), image(order.image));
            self.act(|fleet| fleet.on_patch(now, &order, patch));
            made += 1;
        }
        made
    }

    /// Patches that are to be made: what of, and what.
    pub(crate) fn ordered_patches(&mut self) -> Vec<Pair> {
        std::iter::from_fn(|| self.act(Fleet::poll_patch)).map(|order| (order.base, order.image)).collect()
    }

    /// The firmware a device was told last to run.
    pub(crate) fn wish(&self, id: &str) -> Option<DesiredFirmware> {
        let message = *self.sent_to(&format!("p/v1/{id}/dn/desired")).last()?;
        minicbor::decode::<Desired<'_>>(said(id, message)).unwrap().firmware
    }

    /// The device reports this of the firmware it was told to run.
    pub(crate) fn firmware(&mut self, id: &str, state: FirmwareState, progress: u8) {
        self.report(id, FirmwareReport { state, progress, ..self.about(id) });
    }

    /// The device reports that the firmware came to a bad end.
    pub(crate) fn failed(&mut self, id: &str, state: FirmwareState, reason: Reason) {
        self.report(id, FirmwareReport { state, reason: Some(reason), ..self.about(id) });
    }

    /// The device reports a trial that began with this connect.
    pub(crate) fn trial(&mut self, id: &str, since: u32) {
        self.report(id, FirmwareReport { state: FirmwareState::Trial, since: Some(since), ..self.about(id) });
    }

    fn about(&self, id: &str) -> FirmwareReport {
        let DesiredFirmware { image, generation, .. } = self.wish(id).unwrap();
        FirmwareReport {
            image,
            state: FirmwareState::Checking,
            progress: 100,
            reason: None,
            generation,
            since: None,
        }
    }

    pub(crate) fn report(&mut self, id: &str, firmware: FirmwareReport) {
        let revision = self.desired(id).unwrap().0;
        self.reported(id, revision, Some(firmware));
    }

    /// The device says that it does not believe something.
    pub(crate) fn refuses(&mut self, id: &str, refused: Refused) {
        self.say(&format!("p/v1/{id}/up/refused"), &minicbor::to_vec(refused).unwrap(), false);
    }

    /// The device reports that it trusts this keyring.
    pub(crate) fn trusts(&mut self, id: &str, keyring: u32) {
        self.keyrings.insert(id.to_owned(), keyring);
        self.reported(id, 1, None);
    }

    fn reported(&mut self, id: &str, revision: u64, firmware: Option<FirmwareReport>) {
        let keyring = self.keyrings.get(id).copied();
        let modules = Seq::default();
        let reported = Reported { boot: self.boots, revision, modules, firmware, keyring };
        self.say(&format!("p/v1/{id}/up/reported"), &minicbor::to_vec(reported).unwrap(), false);
    }

    /// Where a device stands, as it is shown.
    pub(crate) fn firmware_status(&mut self, id: &str) -> Value {
        self.ask("firmware-status", json!({ "to": id }))[0].clone()
    }

    /// Kinds of the events about firmware and keys, with the severity where it is not `info`.
    pub(crate) fn told(&self) -> Vec<String> {
        let is_meant = |kind: &str| kind.starts_with("firmware-") || kind.starts_with("key");
        let events = self.events().into_iter().filter(|event| is_meant(event["kind"].as_str().unwrap()));
        let line = |event: Value| match event["severity"].as_str() {
            Some("info") => event["kind"].as_str().unwrap().to_owned(),
            severity => format!("{} {}", severity.unwrap(), event["kind"].as_str().unwrap()),
        };
        events.map(line).collect()
    }

    /// The reason of the last event of this kind.
    pub(crate) fn reason(&self, kind: &str) -> String {
        let event = self.events().into_iter().rfind(|event| event["kind"] == kind);
        event.unwrap_or_else(|| panic!("no {kind}"))["reason"].as_str().unwrap().to_owned()
    }

    /// Starts again on a disk that has only so many bytes for the data base.
    pub(crate) fn fill_the_disk(&mut self, bytes: Option<u64>) {
        self.fleet = None;
        self.sent.clear();
        self.start_with(bytes);
    }

    // ---- what was sent ----

    pub(crate) fn sent_to(&self, topic: &str) -> Vec<&Publish> {
        self.sent.iter().filter(|message| message.topic == topic).collect()
    }

    /// Revision and modules of the last desired state a device was sent.
    pub(crate) fn desired(&self, id: &str) -> Option<(u64, Vec<Wanted>)> {
        let message = *self.sent_to(&format!("p/v1/{id}/dn/desired")).last()?;
        assert!(message.delivery.retain);
        let desired: Desired<'_> = minicbor::decode(said(id, message)).unwrap();
        assert_eq!(desired.heartbeat_ms, Some(HEARTBEAT_MS));
        let wanted = desired.modules.iter().map(|module| {
            let settings = module.settings.iter().map(|s| (s.key.to_owned(), s.value.to_owned())).collect();
            (module.name.to_string(), module.artifact, module.generation, settings)
        });
        Some((desired.revision, wanted.collect()))
    }

    /// What the device is told that this instance is granted.
    pub(crate) fn grants(&self, id: &str, instance: &str) -> u32 {
        let sent = self.sent_to(&format!("p/v1/{id}/dn/desired"));
        let desired: Desired<'_> = minicbor::decode(said(id, sent.last().unwrap())).unwrap();
        desired.modules.iter().find(|module| module.name.as_str() == instance).unwrap().grants
    }

    /// The last desired state the host was sent.
    pub(crate) fn host_desired(&self) -> Option<host_api::Desired> {
        let message = *self.sent_to("p/v1/_host/lab/dn/desired").last()?;
        Some(serde_json::from_slice(&message.payload).unwrap())
    }

    /// Kinds of the events published.
    pub(crate) fn kinds(&self) -> Vec<String> {
        self.events().iter().map(|event| event["kind"].as_str().unwrap().to_owned()).collect()
    }

    /// The events published.
    pub(crate) fn events(&self) -> Vec<Value> {
        let events = self.sent_to("p/v1/_fleet/events").into_iter();
        events.map(|message| serde_json::from_slice(&message.payload).unwrap()).collect()
    }

    /// Why events of this kind happened.
    pub(crate) fn reasons(&self, kind: &str) -> Vec<String> {
        let of_kind = self.events().into_iter().filter(|event| event["kind"] == kind);
        of_kind.map(|event| event["reason"].as_str().unwrap().to_owned()).collect()
    }

    /// Kinds of the events published.
    pub(crate) fn event_kinds(&self) -> Vec<String> {
        self.events().iter().map(|event| event["kind"].as_str().unwrap().to_owned()).collect()
    }

    pub(crate) fn stage(&mut self, id: &str) -> String {
        let device = self.ask("device-show", json!({ "device": id }));
        device["health"]["stage"].as_str().unwrap().to_owned()
    }
}

/// What a device believes of a message, which it does only if the service signed it for this device and topic.
#[track_caller]
pub(crate) fn said<'m>(id: &str, message: &'m Publish) -> &'m [u8] {
    let signed = Sign1::decode(&message.payload).unwrap();
    let topic = message.topic.strip_prefix(&format!("p/v1/{id}/")).unwrap();
    let head = signed_head(Audience::Device { id: &id.parse().unwrap(), topic }, signed.payload.len());
    let covered = [head.unwrap().as_ref(), signed.payload].concat();
    let key = ed25519_compact::PublicKey::new(own().public().0);
    assert_eq!(signed.key, own().id());
    key.verify(covered, &ed25519_compact::Signature::new(*signed.signature)).unwrap();
    signed.payload
}

/// A signed firmware file.
pub(crate) fn signed(signer: &Signer, board: &str, release: Release, image: Vec<u8>) -> Vec<u8> {
    let boards = Boards::embedded().unwrap();
    let board = boards.get(&board.parse().unwrap()).unwrap();
    sign_firmware(signer, board, release, image.into()).unwrap().to_bytes().to_vec()
}

/// Rule and text of a refusal.
#[track_caller]
pub(crate) fn refusal(answer: Answer) -> (String, String) {
    let Problem { code, message, detail, .. } = answer.error.expect("a refusal");
    let rule = detail.and_then(|detail| Some(detail["rule"].as_str()?.to_owned()));
    (rule.unwrap_or_else(|| format!("{code:?}")), message)
}

fn built(name: &str, version: &str, text: &str) -> NewModule {
    let wat = format!(
        r#"(module (memory (export "memory") 1) (data (i32.const 0) "{text}") (func (export "tick")))"#
    );
    built_of(name, version, &wat)
}

fn built_of(name: &str, version: &str, wat: &str) -> NewModule {
    let wasm = wat::parse_str(wat);
    let signer = Signer::from_seed([7; 32]);
    let boards = Boards::embedded().unwrap();
    build(&signer, &boards, name.parse().unwrap(), version, wasm.unwrap().into()).unwrap()
}
