//! A fleet with a scripted clock whose every message is kept.

use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;
use wasmbed_boards::Boards;
use wasmbed_broker::credentials::Secret;
use wasmbed_fleet::{
    api::Answer,
    artifacts::{Signer, build},
    host_api,
    service::{Fleet, Options, Publish},
    store::{NewModule, Store},
};
use wasmbed_plan::{Policy, Time};
use wasmbed_wire::{
    ArtifactId, RuntimeId, Seq,
    limits::Class,
    message::{Desired, Heartbeat, Info, ModuleReport, ModuleState, Reported, ResetCause, State, Status},
};

pub(crate) const HEARTBEAT_MS: u32 = 1_000;

/// One module as a device would run it.
pub(crate) type Wanted = (String, ArtifactId, u32, Vec<(String, String)>);

pub(crate) struct World {
    fleet: Option<Fleet>,
    pub(crate) now: Time,
    pub(crate) sent: Vec<Publish>,
    boots: u32,
    dir: TempDir,
}

impl World {
    /// A connected service that knows nothing.
    pub(crate) fn new() -> Self {
        let mut world = World {
            fleet: None,
            now: Time(1_000_000),
            sent: Vec::new(),
            boots: 0,
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
        let store = Store::open(&self.database()).unwrap();
        let options = Options {
            prefix: "p".into(),
            policy: Policy::default(),
            heartbeat_ms: HEARTBEAT_MS,
            auto_register: false,
            boards: Boards::embedded().unwrap(),
            secret: Secret::new([1; 32]),
            trusted: Signer::from_seed([7; 32]).public(),
        };
        self.fleet = Some(Fleet::open(self.now, store, options).unwrap());
        self.connect();
    }

    /// Dies without a word and starts again on what is stored.
    pub(crate) fn die_and_start(&mut self) {
        self.fleet = None;
        self.sent.clear();
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

    pub(crate) fn answer(&mut self, verb: &str, fields: &Value) -> Answer {
        let now = self.now;
        let payload = fields.to_string();
        self.act(|fleet| fleet.on_request(now, verb, payload.as_bytes()))
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
        self.act(|fleet| fleet.on_built(now, Ok(built)))
    }

    /// Stores the same module as a program with another runtime would.
    pub(crate) fn push_for(&mut self, name: &str, version: &str, text: &str, runtime: RuntimeId) -> Answer {
        let mut built = built(name, version, text);
        for artifact in &mut built.artifacts {
            artifact.runtime = runtime;
            artifact.id.0[0] ^= 0xff;
        }
        let now = self.now;
        self.act(|fleet| fleet.on_built(now, Ok(built)))
    }

    // ---- devices and hosts ----

    pub(crate) fn host_online(&mut self) {
        let state = host_api::State { status: Status::Online, boot: self.now.0 };
        self.say("p/v1/_host/lab/up/state", &serde_json::to_vec(&state).unwrap(), false);
    }

    pub(crate) fn device_online(&mut self, id: &str, class: Class, board: &str) {
        self.device_online_with(id, class, board, RuntimeId([0; 8]));
    }

    pub(crate) fn device_online_with(&mut self, id: &str, class: Class, board: &str, runtime: RuntimeId) {
        self.boots += 1;
        let boot = self.boots;
        self.state(id, Status::Online, boot);
        let info = Info {
            boot,
            protocol: 1,
            board: board.parse().unwrap(),
            class,
            firmware: "0.1.0",
            runtime,
            reset: ResetCause::Power,
            slots: 2,
            slot_bytes: 32_768,
            block_bytes: 1024,
            heap_bytes: 65_536,
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
        let reported = Reported { boot: self.boots, revision, modules: Seq::new(&modules) };
        self.say(&format!("p/v1/{id}/up/reported"), &minicbor::to_vec(reported).unwrap(), false);
    }

    // ---- what was sent ----

    pub(crate) fn sent_to(&self, topic: &str) -> Vec<&Publish> {
        self.sent.iter().filter(|message| message.topic == topic).collect()
    }

    /// Revision and modules of the last desired state a device was sent.
    pub(crate) fn desired(&self, id: &str) -> Option<(u64, Vec<Wanted>)> {
        let message = *self.sent_to(&format!("p/v1/{id}/dn/desired")).last()?;
        assert!(message.delivery.retain);
        let desired: Desired<'_> = minicbor::decode(&message.payload).unwrap();
        assert_eq!(desired.heartbeat_ms, Some(HEARTBEAT_MS));
        let wanted = desired.modules.iter().map(|module| {
            let settings = module.settings.iter().map(|s| (s.key.to_owned(), s.value.to_owned())).collect();
            (module.name.to_string(), module.artifact, module.generation, settings)
        });
        Some((desired.revision, wanted.collect()))
    }

    /// The last desired state the host was sent.
    pub(crate) fn host_desired(&self) -> Option<host_api::Desired> {
        let message = *self.sent_to("p/v1/_host/lab/dn/desired").last()?;
        Some(serde_json::from_slice(&message.payload).unwrap())
    }

    /// Kinds of the events published.
    pub(crate) fn event_kinds(&self) -> Vec<String> {
        let events = self.sent_to("p/v1/_fleet/events").into_iter();
        events
            .map(|message| serde_json::from_slice::<Value>(&message.payload).unwrap())
            .map(|event| event["kind"].as_str().unwrap().to_owned())
            .collect()
    }

    pub(crate) fn stage(&mut self, id: &str) -> String {
        let device = self.ask("device-show", json!({ "device": id }));
        device["health"]["stage"].as_str().unwrap().to_owned()
    }
}

fn built(name: &str, version: &str, text: &str) -> NewModule {
    let wasm = wat::parse_str(format!(
        r#"(module (memory (export "memory") 1) (data (i32.const 0) "{text}") (func (export "tick")))"#
    ));
    let signer = Signer::from_seed([7; 32]);
    let boards = Boards::embedded().unwrap();
    build(&signer, &boards, name.parse().unwrap(), version, wasm.unwrap().into()).unwrap()
}
