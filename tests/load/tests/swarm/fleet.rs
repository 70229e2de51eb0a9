//! The least of a fleet: a broker, the blocks of one image, and a wish for every device.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    time::Duration,
};

use bytes::Bytes;
use ed25519_compact::{KeyPair, Seed};
use rumqttc::v5::{
    AsyncClient, Event, EventLoop, MqttOptions,
    mqttbytes::{QoS, v5::Packet},
};
use sha2::{Digest as _, Sha256};
use tokio::runtime::Runtime;
use wasmbed_broker::{
    Broker, Config,
    credentials::{Role, Secret},
};
use wasmbed_load::{Factory, Kind};
use wasmbed_update::{artifact_id, key_id};
use wasmbed_wire::{
    ArtifactId, DeviceId, Digest, PublicKey, RuntimeId, Seq,
    manifest::{Classes, Kind as PayloadKind, Manifest},
    message::{Block, Desired, DesiredFirmware, FirmwareState, Get, Reported, State, Status},
    sign1::{Audience, OVERHEAD_BYTES, Sign1, signed_head},
    topic::{DEFAULT_PREFIX, Down, Full, Up, split},
};

const SECRET: [u8; 32] = [3; 32];
const SEED: u8 = 7;

/// The key every device trusts.
pub(crate) fn key() -> PublicKey {
    PublicKey(*KeyPair::from_seed(Seed::new([SEED; 32])).pk)
}

/// A firmware image and its description.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    manifest: Vec<u8>,
    payload: Vec<u8>,
    block_bytes: u16,
    seed: u8,
}

impl Image {
    /// An image of this size for a kind of device.
    pub(crate) fn new(kind: &Kind, version: &str, bytes: usize) -> Self {
        // Different in every block, so that a mixed-up one is noticed.
        let salt = Sha256::digest(version);
        let payload: Vec<u8> = (0..bytes).map(|at| salt[at % 32] ^ (at / 256) as u8).collect();
        let manifest = Manifest {
            kind: PayloadKind::Firmware,
            name: "netduino2".parse().expect("a name"),
            version,
            classes: Classes::default().with(kind.class),
            runtime: RuntimeId(*b"simulate"),
            size: payload.len() as u32,
            digest: Digest(Sha256::digest(&payload).into()),
            block_bytes: kind.block_bytes,
            board: Some(kind.board),
            counter: 0,
            patch: None,
            trial: None,
            capabilities: 0,
            stack_bytes: 0,
        };
        let manifest = minicbor::to_vec(manifest).expect("a vector takes everything");
        Image { manifest, payload, block_bytes: kind.block_bytes, seed: SEED }
    }

    /// The same, signed by nobody the devices know.
    pub(crate) fn by_a_stranger(self) -> Self {
        Image { seed: SEED + 1, ..self }
    }

    pub(crate) fn digest(&self) -> Digest {
        Digest(Sha256::digest(&self.payload).into())
    }

    pub(crate) fn manifest_bytes(&self) -> u64 {
        self.signed().len() as u64
    }

    pub(crate) fn factory(&self) -> Factory {
        Factory { manifest: self.signed().into(), image: self.payload.clone().into() }
    }

    fn artifact(&self) -> ArtifactId {
        artifact_id(&self.manifest)
    }

    fn signed(&self) -> Vec<u8> {
        sign(self.seed, Audience::Everyone, &self.manifest)
    }

    fn block(&self, index: u32) -> Option<Vec<u8>> {
        match index.checked_sub(1) {
            None => Some(self.signed()),
            Some(nth) => self.payload.chunks(self.block_bytes.into()).nth(nth as usize).map(<[u8]>::to_vec),
        }
    }
}

fn sign(seed: u8, audience: Audience<'_>, payload: &[u8]) -> Vec<u8> {
    let keys = KeyPair::from_seed(Seed::new([seed; 32]));
    let head = signed_head(audience, payload.len()).expect("it fits");
    let signature = keys.sk.sign([head.as_ref(), payload].concat(), None);
    let signed = Sign1 { key: key_id(&PublicKey(*keys.pk)), payload, signature: &signature };
    let mut out = vec![0; payload.len() + OVERHEAD_BYTES];
    let len = signed.encode(&mut out).expect("it fits");
    out.truncate(len);
    out
}

/// Wishes for the image and confirms it. Everything ends when it is dropped.
pub(crate) struct Fleet {
    broker: wasmbed_load::Broker,
    gone: Receiver<DeviceId>,
    runtime: Option<Runtime>,
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // The broker's router has a thread of its own that is not waited for.
        let _ = self.runtime.take().map(Runtime::shutdown_background);
    }
}

impl Fleet {
    pub(crate) fn start(image: &Image) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let config = Config { listen: "127.0.0.1:0".to_owned(), ..Config::default() };
        let settings = config.with_secret(Secret::new(SECRET)).expect("settings");
        let broker = runtime.block_on(Broker::bind(settings)).expect("a broker");
        let address = broker.local_addr().expect("it listens");
        runtime.spawn(broker.run(std::future::pending()));
        let mut options = MqttOptions::new("fleet", address.ip().to_string(), address.port());
        options.set_credentials(Role::Service.username(), Secret::new(SECRET).password(&Role::Service));
        let (client, eventloop) = AsyncClient::new(options, 256);
        let (sender, gone) = channel();
        let service =
            Service { image: Arc::new(image.clone()), client, confirmed: BTreeMap::new(), gone: sender };
        runtime.spawn(service.run(eventloop));
        Fleet { broker: wasmbed_load::Broker(address), gone, runtime: Some(runtime) }
    }

    pub(crate) fn broker(&self) -> wasmbed_load::Broker {
        self.broker
    }

    pub(crate) fn password(&self, device: DeviceId) -> String {
        Secret::new(SECRET).password(&Role::Device(device))
    }

    /// Waits for the will of a device.
    pub(crate) fn wait_gone(&self, device: &str) {
        let gone = self.gone.recv_timeout(Duration::from_secs(30)).expect("a device goes");
        assert_eq!(gone.as_str(), device);
    }
}

struct Service {
    image: Arc<Image>,
    client: AsyncClient,
    /// The connect with which the trial of a device began that is over.
    confirmed: BTreeMap<DeviceId, u32>,
    gone: Sender<DeviceId>,
}

impl Service {
    async fn run(mut self, mut eventloop: EventLoop) {
        while let Ok(event) = eventloop.poll().await {
            match event {
                Event::Incoming(Packet::ConnAck(_)) => {
                    let filter = format!("{DEFAULT_PREFIX}/v1/+/up/#");
                    self.client.try_subscribe(filter, QoS::AtLeastOnce).expect("room");
                }
                Event::Incoming(Packet::Publish(publish)) => {
                    let topic = std::str::from_utf8(&publish.topic).expect("a topic").to_owned();
                    let (device, rest) = split(DEFAULT_PREFIX, &topic).expect("a device's topic");
                    let device = device.parse().expect("a device");
                    self.take(device, Up::parse(rest).expect("a device's topic"), &publish.payload);
                }
                _ => {}
            }
        }
    }

    fn take(&mut self, device: DeviceId, topic: Up, payload: &Bytes) {
        match topic {
            Up::Reported => self.on_reported(device, minicbor::decode(payload).expect("a report")),
            Up::Get => self.on_get(device, minicbor::decode(payload).expect("a request")),
            Up::State => {
                let state: State = minicbor::decode(payload).expect("a state");
                if state.status == Status::Offline {
                    // The test may not be interested.
                    let _ = self.gone.send(device);
                }
            }
            _ => {}
        }
    }

    fn on_reported(&mut self, device: DeviceId, reported: Reported<'_>) {
        let trial = reported.firmware.filter(|firmware| firmware.state == FirmwareState::Trial);
        if let Some(since) = trial.and_then(|firmware| firmware.since) {
            self.confirmed.insert(device, since);
        }
        let confirm = self.confirmed.get(&device).copied();
        let revision = if confirm.is_some() { 2 } else { 1 };
        if reported.revision < revision {
            let firmware = DesiredFirmware {
                artifact: self.image.artifact(),
                image: self.image.digest(),
                patch: None,
                generation: 1,
                confirm,
            };
            let desired =
                Desired { revision, modules: Seq::new(&[]), heartbeat_ms: None, firmware: Some(firmware) };
            let payload = minicbor::to_vec(desired).expect("a vector");
            let audience = Audience::Device { id: &device, topic: &Down::Desired.to_string() };
            self.publish(device, Down::Desired, sign(SEED, audience, &payload));
        }
    }

    fn on_get(&self, device: DeviceId, get: Get) {
        assert_eq!(get.artifact, self.image.artifact(), "nothing else is wished for");
        for index in (0..32).filter(|bit| get.bitmap & 1 << bit != 0).map(|bit| get.base + bit) {
            let bytes = self.image.block(index).expect("devices know how many blocks there are");
            let block = Block { index, bytes: &bytes };
            self.publish(device, Down::Block(get.artifact), minicbor::to_vec(block).expect("a vector"));
        }
    }

    fn publish(&self, device: DeviceId, topic: Down, payload: Vec<u8>) {
        let delivery = topic.delivery();
        let qos = if delivery.qos == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
        let topic = Full { prefix: DEFAULT_PREFIX, device, rest: topic }.to_string();
        // What finds no room is asked for again.
        let _ = self.client.try_publish(topic, qos, delivery.retain, payload);
    }
}
