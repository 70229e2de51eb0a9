//! The least of a fleet that an agent needs: a broker, desired state, and someone who serves blocks.

use std::{
    collections::{HashMap, VecDeque},
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, channel},
    },
    time::{Duration, Instant},
};

use ed25519_compact::{KeyPair, Seed};
use nix::{sys::signal::Signal, unistd::Pid};
use rumqttc::v5::{
    Client, Event, MqttOptions,
    mqttbytes::{QoS, v5::Packet},
};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use wasmbed_runtime::Target;
use wasmbed_wire::{
    ArtifactId, BoardName, Digest, KeyId, Seq,
    limits::Class,
    manifest::{Classes, Kind, Manifest},
    message::{
        Block, Command as DeviceCommand, CommandResult, Desired, DesiredFirmware, DesiredModule,
        FirmwareReport, FirmwareSlots, Get, Info, ModuleReport, ModuleState, Outcome, Reason, Reported,
        ResetCause, Setting, State, Verb,
    },
    sign1::{Audience, OVERHEAD_BYTES, Sign1, signed_head},
    topic::{Down, Full, Up, split},
};

const PREFIX: &str = "test";
const DEVICE: &str = "bench-1";
const BLOCK_BYTES: u16 = 256;
const PATIENCE: Duration = Duration::from_secs(30);

/// The name of a module, what it is, and its settings.
type WithSettings<'m> = (&'m str, ArtifactId, &'m [(&'m str, &'m str)]);
type Blocks = Arc<Mutex<HashMap<ArtifactId, Vec<Vec<u8>>>>>;

pub(crate) struct Fleet {
    dir: TempDir,
    broker: Child,
    port: u16,
    client: Client,
    messages: Receiver<(Up, Vec<u8>)>,
    /// Seen but not asked for yet.
    seen: VecDeque<(Up, Vec<u8>)>,
    blocks: Blocks,
    served: Arc<AtomicUsize>,
    state: Option<State>,
    info: Option<DeviceInfo>,
    commands: u64,
}

/// What the device last said it is.
#[derive(Debug, Clone)]
pub(crate) struct DeviceInfo {
    pub(crate) board: BoardName,
    pub(crate) firmware: String,
    pub(crate) reset: ResetCause,
    pub(crate) slots: Option<FirmwareSlots>,
}

/// A running agent; killed when dropped.
pub(crate) struct Agent(Child);

/// The last report, with owned parts.
pub(crate) struct Report {
    modules: Vec<ModuleReport>,
    pub(crate) revision: u64,
    pub(crate) firmware: Option<FirmwareReport>,
}

/// A module that sends this text as telemetry every second.
pub(crate) fn module_telling(text: &str) -> String {
    format!(
        r#"(module
            (import "wasmbed" "telemetry" (func $telemetry (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (data (i32.const 0) "greeting{text}")
            (func (export "tick")
                (drop (call $telemetry (i32.const 0) (i32.const 8) (i32.const 8) (i32.const {})))))"#,
        text.len()
    )
}

impl Report {
    fn decode(payload: &[u8]) -> Self {
        let Reported { modules, revision, firmware, .. } = minicbor::decode(payload).unwrap();
        Report { modules: modules.iter().collect(), revision, firmware }
    }

    fn module(&self, name: &str) -> Option<&ModuleReport> {
        self.modules.iter().find(|module| module.name.as_str() == name)
    }

    pub(crate) fn state(&self, name: &str) -> Option<ModuleState> {
        self.module(name).map(|module| module.state)
    }

    pub(crate) fn refusal(&self, name: &str) -> Option<Reason> {
        self.module(name).filter(|module| module.state == ModuleState::Refused)?.reason
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Agent {
    pub(crate) fn kill(&mut self, signal: Signal) -> ExitStatus {
        nix::sys::signal::kill(Pid::from_raw(self.0.id().cast_signed()), signal).unwrap();
        self.0.wait().unwrap()
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.0.wait().unwrap()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let _ = self.broker.kill();
        let _ = self.broker.wait();
    }
}

impl Fleet {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let broker = start_broker(&dir, port);
        let (client, messages, blocks, served) = serve(port);
        Fleet {
            dir,
            broker,
            port,
            client,
            messages,
            seen: VecDeque::new(),
            blocks,
            served,
            state: None,
            info: None,
            commands: 0,
        }
    }

    pub(crate) fn stop_broker(&mut self) {
        self.broker.kill().unwrap();
        self.broker.wait().unwrap();
    }

    pub(crate) fn restart_broker(&mut self) {
        self.stop_broker();
        self.broker = start_broker(&self.dir, self.port);
    }

    pub(crate) fn agent(&self) -> Agent {
        self.agent_with("")
    }

    /// The same with more lines in its configuration.
    pub(crate) fn agent_with(&self, more: &str) -> Agent {
        Agent(self.agent_command(more).spawn().unwrap())
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// What starts the agent, with more lines in its configuration.
    pub(crate) fn agent_command(&self, more: &str) -> Command {
        let config = self.dir.path().join("agent.toml");
        let trusted = hex(keys(1).pk.as_ref());
        let text = format!(
            "device = '{DEVICE}'\nbroker = 'mqtt://127.0.0.1:{}'\nprefix = '{PREFIX}'\ntrusted = ['{trusted}']\n\
             data_dir = '{}'\nheartbeat_ms = 1000\n{more}",
            self.port,
            self.data_dir().display(),
        );
        std::fs::write(&config, text).unwrap();
        let program = env!("CARGO_BIN_EXE_wasmbed-agent");
        let mut command = Command::new(program);
        command.arg("--config").arg(config);
        command
    }

    pub(crate) fn publish_artifact(&self, name: &str, wat: &str) -> ArtifactId {
        self.publish_wasm(name, &wat::parse_str(wat).unwrap())
    }

    /// A module as it was compiled.
    pub(crate) fn publish_wasm(&self, name: &str, wasm: &[u8]) -> ArtifactId {
        self.publish_signed(name, wasm, &keys(1))
    }

    /// Signed, but with a key that the device does not trust.
    pub(crate) fn publish_unsigned_artifact(&self, name: &str, wat: &str) -> ArtifactId {
        self.publish_signed(name, &wat::parse_str(wat).unwrap(), &keys(2))
    }

    fn publish_signed(&self, name: &str, payload: &[u8], keys: &KeyPair) -> ArtifactId {
        let manifest = Manifest {
            kind: Kind::Module,
            name: name.parse().unwrap(),
            version: "1.0.0",
            classes: Classes::default().with(Class::Mpu),
            runtime: Target::of(Class::Mpu).runtime_id(),
            size: payload.len() as u32,
            digest: Digest(Sha256::digest(payload).into()),
            block_bytes: BLOCK_BYTES,
            board: None,
            counter: 0,
            patch: None,
            trial: None,
            capabilities: u32::MAX,
            stack_bytes: 0,
        };
        self.publish(&manifest, payload, keys)
    }

    /// Offers a payload with this manifest, signed with these keys.
    pub(crate) fn publish(&self, manifest: &Manifest<'_>, payload: &[u8], keys: &KeyPair) -> ArtifactId {
        let block_bytes = manifest.block_bytes;
        let manifest = minicbor::to_vec(manifest).unwrap();
        let id = ArtifactId::from_manifest_digest(&Sha256::digest(&manifest).into());
        let mut blocks = vec![sign(&manifest, keys)];
        blocks.extend(payload.chunks(block_bytes.into()).map(<[u8]>::to_vec));
        self.blocks.lock().unwrap().insert(id, blocks);
        id
    }

    pub(crate) fn desire(&self, revision: u64, modules: &[(&str, ArtifactId)]) {
        let modules: Vec<_> = modules.iter().map(|(name, artifact)| (*name, *artifact, &[][..])).collect();
        self.desire_all(revision, &modules, None);
    }

    /// With settings of each module.
    pub(crate) fn desire_with(&self, revision: u64, modules: &[WithSettings<'_>]) {
        self.desire_all(revision, modules, None);
    }

    pub(crate) fn desire_firmware(&self, revision: u64, firmware: DesiredFirmware) {
        self.desire_all(revision, &[], Some(firmware));
    }

    fn desire_all(&self, revision: u64, modules: &[WithSettings<'_>], firmware: Option<DesiredFirmware>) {
        let settings: Vec<Vec<Setting<'_>>> = modules
            .iter()
            .map(|(_, _, settings)| settings.iter().map(|(key, value)| Setting { key, value }).collect())
            .collect();
        let modules: Vec<_> = modules
            .iter()
            .zip(&settings)
            .map(|((name, artifact, _), settings)| DesiredModule {
                name: name.parse().unwrap(),
                artifact: *artifact,
                settings: Seq::new(settings),
                generation: 0,
                grants: u32::MAX,
            })
            .collect();
        let desired = Desired { revision, modules: Seq::new(&modules), heartbeat_ms: Some(1000), firmware };
        self.tell(Down::Desired, &minicbor::to_vec(desired).unwrap());
    }

    pub(crate) fn command(&mut self, id: &str, verb: Verb) -> Outcome {
        let id = id.parse().unwrap();
        self.commands += 1;
        let command = DeviceCommand { verb, boot: self.boot(), number: self.commands };
        self.tell(Down::Command(id), &minicbor::to_vec(command).unwrap());
        let (_, answer) = self.wait_for(|topic, _| topic == Up::Result(id));
        minicbor::decode::<CommandResult>(&answer).unwrap().outcome
    }

    /// The connect of the device, as it last said.
    fn boot(&mut self) -> u32 {
        self.seen.extend(self.messages.try_iter());
        let last = self.seen.iter().rfind(|(topic, _)| *topic == Up::State);
        let last = last.map(|(_, payload)| minicbor::decode(payload).unwrap());
        last.or(self.state).unwrap().boot
    }

    /// Says something that the device believes only of its fleet.
    pub(crate) fn tell(&self, topic: Down, payload: &[u8]) {
        let id = DEVICE.parse().unwrap();
        let audience = Audience::Device { id: &id, topic: &topic.to_string() };
        self.say(topic, sign_for(audience, payload, &keys(1)));
    }

    pub(crate) fn say(&self, topic: Down, payload: Vec<u8>) {
        let retain = topic.delivery().retain;
        self.client.publish(full(topic), QoS::AtLeastOnce, retain, payload).unwrap();
    }

    pub(crate) fn blocks_served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }

    /// Waits until so many blocks have been served.
    pub(crate) fn wait_for_blocks(&mut self, served: usize) {
        let count = Arc::clone(&self.served);
        self.wait_for(|_, _| count.load(Ordering::Relaxed) >= served);
    }

    pub(crate) fn state(&self) -> State {
        self.state.unwrap()
    }

    pub(crate) fn info(&self) -> &DeviceInfo {
        self.info.as_ref().unwrap()
    }

    pub(crate) fn wait_for_state(&mut self, matches: impl Fn(State) -> bool) {
        if !self.state.is_some_and(&matches) {
            self.wait_for(|topic, payload| topic == Up::State && matches(minicbor::decode(payload).unwrap()));
        }
    }

    pub(crate) fn wait_for_report(&mut self, matches: impl Fn(&Report) -> bool) -> Report {
        let (_, payload) =
            self.wait_for(|topic, payload| topic == Up::Reported && matches(&Report::decode(payload)));
        Report::decode(&payload)
    }

    /// Waits for the next such message; those before it are gone.
    pub(crate) fn wait_for(&mut self, matches: impl Fn(Up, &[u8]) -> bool) -> (Up, Vec<u8>) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (topic, payload) = match self.seen.pop_front() {
                Some(seen) => seen,
                None => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    self.messages.recv_timeout(left).expect("the message that was waited for")
                }
            };
            match topic {
                Up::State => self.state = Some(minicbor::decode(&payload).unwrap()),
                Up::Info => {
                    let info: Info<'_> = minicbor::decode(&payload).unwrap();
                    let (board, firmware, reset) = (info.board, info.firmware.to_owned(), info.reset);
                    self.info = Some(DeviceInfo { board, firmware, reset, slots: info.firmware_slots });
                }
                _ => {}
            }
            if matches(topic, &payload) {
                return (topic, payload);
            }
        }
    }
}

fn full(rest: impl std::fmt::Display) -> String {
    Full { prefix: PREFIX, device: DEVICE, rest }.to_string()
}

pub(crate) fn keys(seed: u8) -> KeyPair {
    KeyPair::from_seed(Seed::new([seed; 32]))
}

fn sign(manifest: &[u8], keys: &KeyPair) -> Vec<u8> {
    sign_for(Audience::Everyone, manifest, keys)
}

pub(crate) fn sign_for(audience: Audience<'_>, payload: &[u8], keys: &KeyPair) -> Vec<u8> {
    let head = signed_head(audience, payload.len()).unwrap();
    let signature = keys.sk.sign([head.as_ref(), payload].concat(), None);
    let mut key = [0; 8];
    key.copy_from_slice(&Sha256::digest(keys.pk.as_ref())[..8]);
    let mut out = vec![0; payload.len() + OVERHEAD_BYTES];
    let signed = Sign1 { key: KeyId(key), payload, signature: &signature };
    let len = signed.encode(&mut out).unwrap();
    out.truncate(len);
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A port that was free a moment ago; Mosquitto cannot be told to choose one.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn start_broker(dir: &TempDir, port: u16) -> Child {
    let config = dir.path().join("mosquitto.conf");
    std::fs::write(&config, format!("listener {port} 127.0.0.1\nallow_anonymous true\n")).unwrap();
    let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
    Command::new("mosquitto")
        .env("PATH", path)
        .arg("-c")
        .arg(config)
        .stderr(Stdio::null())
        .spawn()
        .expect("mosquitto; install the Debian package `mosquitto`")
}

/// Serves blocks and collects what the device says, also across a restart of the broker.
#[allow(clippy::type_complexity, reason = "used once")]
fn serve(port: u16) -> (Client, Receiver<(Up, Vec<u8>)>, Blocks, Arc<AtomicUsize>) {
    let mut options = MqttOptions::new("fleet", "127.0.0.1", port);
    options.set_clean_start(true).set_max_packet_size(Some(1 << 20));
    let (client, mut connection) = Client::new(options, 256);
    let blocks = Blocks::default();
    let served = Arc::new(AtomicUsize::new(0));
    let (sender, messages) = channel();
    let (publisher, stock, count) = (client.clone(), Arc::clone(&blocks), Arc::clone(&served));
    std::thread::spawn(move || {
        for event in connection.iter() {
            match event {
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    publisher.try_subscribe(full("up/#"), QoS::AtLeastOnce).unwrap();
                }
                Ok(Event::Incoming(Packet::Publish(publish))) => {
                    let topic = std::str::from_utf8(&publish.topic).unwrap();
                    let up = split(PREFIX, topic).and_then(|(_, rest)| Up::parse(rest)).unwrap();
                    if up == Up::Get {
                        let served = answer(&publisher, &stock, &publish.payload);
                        count.fetch_add(served, Ordering::Relaxed);
                    }
                    if sender.send((up, publish.payload.to_vec())).is_err() {
                        return;
                    }
                }
                Ok(_) => {}
                // The broker is not up yet, or not any more.
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    });
    (client, messages, blocks, served)
}

fn answer(client: &Client, stock: &Blocks, request: &[u8]) -> usize {
    let get: Get = minicbor::decode(request).unwrap();
    let stock = stock.lock().unwrap();
    let Some(blocks) = stock.get(&get.artifact) else { return 0 };
    let asked = (0..32).filter(|bit| get.bitmap & 1 << bit != 0).map(|bit| get.base + bit);
    let mut served = 0;
    for index in asked {
        let Some(bytes) = blocks.get(index as usize) else { continue };
        let block = minicbor::to_vec(Block { index, bytes }).unwrap();
        client.try_publish(full(Down::Block(get.artifact)), QoS::AtMostOnce, false, block).unwrap();
        served += 1;
    }
    served
}
