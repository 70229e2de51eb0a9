//! A broker, a gateway, and boards that have nothing but their end of the way.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener},
    time::{Duration, Instant},
};

use bytes::Bytes;
use rumqttc::v5::{
    AsyncClient, Event as MqttEvent,
    mqttbytes::{QoS, v5::Packet},
};
use tempfile::TempDir;
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{sleep, timeout},
};
use wasmbed_abi::{
    ALLOW_ROS_CALL, ALLOW_ROS_PUBLISH, ALLOW_ROS_SERVE, ALLOW_ROS_SUBSCRIBE, Capability, Errno, RosName,
};
use wasmbed_broker::{
    Broker,
    credentials::{Role, Secret},
};
use wasmbed_fleet::{
    artifacts::Signer,
    config::Config,
    connection::{Address, Connection, Dialect},
    gateway,
    shutdown::{self, Trigger},
};
use wasmbed_gateway::{DeviceEnd, Event};
use wasmbed_peers::{Domain, PATIENCE};
use wasmbed_wire::{
    ArtifactId, DeviceId, ModuleName, Seq,
    message::{Desired, DesiredModule, Setting, State, Status},
    ros::RosHave,
    topic::{Down, RosUp, Up},
};

const PREFIX: &str = "test/fleet";
const INSTANCE: &str = "robot";

pub(crate) fn name(text: &str) -> RosName<'_> {
    RosName::parse(text.as_bytes()).expect(text)
}

fn instance() -> ModuleName {
    INSTANCE.parse().unwrap()
}

pub(crate) struct World {
    address: Address,
    secret: Secret,
    broker: JoinHandle<Result<(), wasmbed_broker::Error>>,
    gateway: Option<(Trigger, JoinHandle<anyhow::Result<()>>)>,
    config: Config,
    /// Where the gateway tells how it is.
    metrics: SocketAddr,
    /// The fleet's key.
    signer: Signer,
    service: AsyncClient,
    domain: Domain,
    dir: TempDir,
}

impl World {
    /// With these topics and services.
    pub(crate) async fn start(ros: &str) -> Self {
        let secret = Secret::new([3; 32]);
        let config = wasmbed_broker::Config {
            listen: "127.0.0.1:0".into(),
            prefix: PREFIX.into(),
            ..wasmbed_broker::Config::default()
        };
        let broker = Broker::bind(config.with_secret(secret.clone()).unwrap()).await.unwrap();
        let port = broker.local_addr().expect("it listens").port();
        let address = Address { host: "127.0.0.1".into(), port, is_tls: false };
        let broker = tokio::spawn(broker.run(std::future::pending()));
        let dir = tempfile::tempdir().unwrap();
        let (domain, signer) = (Domain::free(), Signer::from_seed([5; 32]));
        let file = dir.path().join("gateway.toml");
        let trusted = signer.public();
        let number = domain.number();
        let text =
            format!("[gateway]\ntrusted = ['{trusted}']\n[ros]\ndomain = {number}\nnamespace = '/'\n{ros}");
        std::fs::write(&file, text).unwrap();
        // Free a moment ago.
        let metrics = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut config = Config::load(Some(&file)).unwrap();
        config.gateway.metrics_listen = Some(metrics);
        let service = connect(&connection(&address, &secret, &Role::Service), "service");
        let (service, mut events) = service;
        tokio::spawn(async move { while events.poll().await.is_ok() {} });
        let mut world =
            World { address, secret, broker, gateway: None, config, metrics, signer, service, domain, dir };
        world.start_gateway();
        world
    }

    pub(crate) fn start_gateway(&mut self) {
        let id = "ros".parse().unwrap();
        let connection = connection(&self.address, &self.secret, &Role::Gateway(id));
        let config = self.config.gateway(id, connection, self.dir.path().join("gateway")).unwrap();
        let (trigger, stop) = shutdown::channel();
        self.gateway = Some((trigger, tokio::spawn(gateway::run(config, stop))));
    }

    /// Waits until the gateway has kept that it believed this revision of a device's desired state.
    pub(crate) async fn gateway_keeps(&self, device: &str, revision: u64) {
        let (file, device) = (self.dir.path().join("gateway/revisions.cbor"), device.parse().unwrap());
        let is_kept = || {
            let kept = std::fs::read(&file).unwrap_or_default();
            let kept: BTreeMap<DeviceId, u64> = minicbor::decode(&kept).unwrap_or_default();
            kept.get(&device) == Some(&revision)
        };
        let deadline = Instant::now() + PATIENCE;
        while !is_kept() {
            assert!(Instant::now() < deadline, "revision {revision} is not kept");
            sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn stop_gateway(&mut self) {
        let (trigger, gateway) = self.gateway.take().unwrap();
        trigger.fire();
        timeout(PATIENCE, gateway).await.unwrap().unwrap().unwrap();
    }

    pub(crate) async fn stop(mut self) {
        self.stop_gateway().await;
        self.broker.abort();
    }

    pub(crate) fn domain(&self) -> &Domain {
        &self.domain
    }

    /// Has a device run the instance with these patterns: for publishing, subscribing, calling and serving.
    pub(crate) async fn desire(&self, device: &str, revision: u64, allowed: [&str; 4]) {
        let id: DeviceId = device.parse().unwrap();
        let signed =
            self.signer.sign_order(&id, &Down::Desired.to_string(), &desired(revision, allowed)).unwrap();
        self.publish(device, "dn/desired", signed).await;
    }

    pub(crate) async fn desire_unsigned(&self, device: &str, revision: u64, allowed: [&str; 4]) {
        self.publish(device, "dn/desired", desired(revision, allowed)).await;
    }

    pub(crate) async fn online(&self, device: &str, boot: u32) {
        let state = State { status: Status::Online, boot };
        self.publish(device, "up/state", minicbor::to_vec(state).unwrap()).await;
    }

    pub(crate) async fn offline(&self, device: &str) {
        let state = State { status: Status::Offline, boot: 1 };
        self.publish(device, "up/state", minicbor::to_vec(state).unwrap()).await;
    }

    async fn publish(&self, device: &str, rest: &str, payload: Vec<u8>) {
        let topic = format!("{PREFIX}/v1/{device}/{rest}");
        self.service.publish(topic, QoS::AtLeastOnce, true, payload).await.unwrap();
    }

    /// Waits until the gateway's metrics have this line.
    pub(crate) async fn metrics_say(&self, line: &str) {
        let mut page = String::new();
        let reached = async {
            loop {
                if let Ok((_, now)) = wasmbed_metrics::get(&self.metrics.to_string(), "/metrics").await {
                    page = now;
                }
                if page.lines().any(|found| found == line) {
                    return;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        if timeout(PATIENCE, reached).await.is_err() {
            panic!("{line}: {page}");
        }
    }

    /// A board that is online, whose instance wants nothing yet.
    pub(crate) async fn board(&self, device: &str) -> Board {
        self.online(device, 1).await;
        let role = Role::Device(device.parse().unwrap());
        let (mqtt, mut events) = connect(&connection(&self.address, &self.secret, &role), device);
        let front = format!("{PREFIX}/v1/{device}/");
        mqtt.subscribe(format!("{front}{}", Down::FILTER), QoS::AtLeastOnce).await.unwrap();
        let (sender, received) = mpsc::unbounded_channel();
        let (ready, mut is_ready) = mpsc::channel(1);
        let cut = front.clone();
        tokio::spawn(async move {
            while let Ok(event) = events.poll().await {
                match event {
                    MqttEvent::Incoming(Packet::SubAck(_)) => drop(ready.try_send(())),
                    MqttEvent::Incoming(Packet::Publish(message)) => {
                        let topic = std::str::from_utf8(&message.topic).unwrap();
                        let rest = topic.strip_prefix(&cut).unwrap_or(topic).to_owned();
                        if sender.send((rest, message.payload)).is_err() {
                            return;
                        }
                    }
                    _ => {}
                }
            }
        });
        timeout(PATIENCE, is_ready.recv()).await.unwrap().unwrap();
        let way = Way { mqtt, front };
        Board { end: DeviceEnd::new(0, 1), run: 1, way, received, told: Vec::new(), start: Instant::now() }
    }
}

fn connection(address: &Address, secret: &Secret, role: &Role) -> Connection {
    Connection {
        tls: None,
        address: address.clone(),
        username: role.username(),
        password: secret.password(role),
        prefix: PREFIX.into(),
        dialect: Dialect::default(),
    }
}

fn connect(connection: &Connection, client_id: &str) -> (AsyncClient, rumqttc::v5::EventLoop) {
    AsyncClient::new(connection.options(client_id), 64)
}

fn desired(revision: u64, allowed: [&str; 4]) -> Vec<u8> {
    let keys = [ALLOW_ROS_PUBLISH, ALLOW_ROS_SUBSCRIBE, ALLOW_ROS_CALL, ALLOW_ROS_SERVE];
    let granted =
        [Capability::RosPublish, Capability::RosSubscribe, Capability::RosCall, Capability::RosServe];
    let settings: Vec<Setting<'_>> =
        keys.into_iter().zip(allowed).map(|(key, value)| Setting { key, value }).collect();
    let modules = [DesiredModule {
        name: instance(),
        artifact: ArtifactId([0; 8]),
        settings: Seq::new(&settings),
        generation: 0,
        grants: granted.into_iter().fold(0, |bits, capability| bits | 1 << capability as u8),
    }];
    let desired = Desired { revision, modules: Seq::new(&modules), heartbeat_ms: None, firmware: None };
    minicbor::to_vec(desired).unwrap()
}

/// A device with one instance.
pub(crate) struct Board {
    end: DeviceEnd,
    run: u32,
    way: Way,
    received: mpsc::UnboundedReceiver<(String, Bytes)>,
    told: Vec<Event>,
    start: Instant,
}

struct Way {
    mqtt: AsyncClient,
    front: String,
}

impl Way {
    fn say(&self, kind: RosUp, message: &[u8]) -> Result<(), Errno> {
        let topic = format!("{}{}", self.front, Up::Ros(kind, instance()));
        self.mqtt.try_publish(topic, QoS::AtMostOnce, false, message.to_vec()).map_err(|_| Errno::Busy)
    }
}

impl Board {
    /// The instance starts again, as after a reset of the device: it wants nothing yet.
    pub(crate) fn restart(self) -> Self {
        let run = self.run + 1;
        let now_ms = self.now_ms();
        Board { end: DeviceEnd::new(now_ms, run), run, told: Vec::new(), ..self }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap()
    }

    pub(crate) fn subscribe(&mut self, topic: &str) {
        self.end.subscribe(self.now_ms(), name(topic)).unwrap();
    }

    pub(crate) fn client(&mut self, service: &str) -> u32 {
        self.end.client(self.now_ms(), name(service)).unwrap()
    }

    pub(crate) fn offer(&mut self, service: &str) -> u32 {
        self.end.offer(self.now_ms(), name(service)).unwrap()
    }

    pub(crate) fn publish(&mut self, topic: &str, message: &[u8]) {
        let (now_ms, way) = (self.now_ms(), &self.way);
        self.end.publish(now_ms, name(topic), message, &mut |kind, said| way.say(kind, said)).unwrap();
    }

    pub(crate) fn call(&mut self, client: u32, request: &[u8]) -> Result<u32, Errno> {
        let (now_ms, way) = (self.now_ms(), &self.way);
        self.end.call(now_ms, client, request, &mut |kind, said| way.say(kind, said))
    }

    pub(crate) fn respond(&mut self, ticket: u32, response: &[u8]) -> Result<(), Errno> {
        let way = &self.way;
        self.end.respond(ticket, response, &mut |kind, said| way.say(kind, said))
    }

    /// Says whatever this is.
    pub(crate) fn say(&self, kind: RosUp, message: &[u8]) {
        self.way.say(kind, message).unwrap();
    }

    pub(crate) fn connected(&mut self) {
        self.end.connected(self.now_ms());
    }

    /// Waits until the gateway has what it wants.
    pub(crate) async fn settle(&mut self) {
        let mut have = RosHave::default();
        self.run_until("the gateway has what it wants", |board, heard| {
            if let Some((topic, payload)) = heard
                && topic.starts_with("dn/ros/have/")
            {
                have = minicbor::decode(payload).unwrap();
            }
            (have.run == board.run && have.number == board.end.wanted()).then_some(())
        })
        .await;
    }

    /// The next thing that it is told and that is wanted; what came before is forgotten.
    pub(crate) async fn wait_for(&mut self, wanted: impl Fn(&Event) -> bool) -> Event {
        self.run_until("what is wanted", |board, _| {
            let at = board.told.iter().position(&wanted)?;
            board.told.drain(..=at).next_back()
        })
        .await
    }

    /// Publishes again and again until it is told what is wanted: both are the same instance, or a node joins late.
    pub(crate) async fn publish_until(
        &mut self,
        topic: &str,
        message: &[u8],
        is_wanted: impl Fn(&Event) -> bool,
    ) {
        let deadline = Instant::now() + PATIENCE;
        while !self.told.iter().any(&is_wanted) {
            assert!(Instant::now() < deadline, "nobody heard {topic}: {:?}", self.told);
            self.publish(topic, message);
            self.run_for_a_moment().await;
        }
    }

    /// What it was told so far.
    pub(crate) fn told(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.told)
    }

    /// The end of a call.
    pub(crate) async fn response(&mut self, ticket: u32) -> Result<Vec<u8>, Errno> {
        self.run_until("the end of a call", |board, _| {
            let mut out = [0; 1024];
            match board.end.response(ticket, &mut out) {
                Err(Errno::Busy) => None,
                ended => Some(ended.map(|len| out[..len].to_vec())),
            }
        })
        .await
    }

    /// The names of the topics that it may subscribe to.
    pub(crate) async fn topics(&mut self) -> Vec<String> {
        let mut topics = Vec::new();
        loop {
            let nth = u32::try_from(topics.len()).unwrap();
            let answer = self.ask(|end, now_ms, out, port| end.topic(now_ms, nth, out, port)).await;
            match answer {
                Ok(info) => topics.push(String::from_utf8_lossy(&info[16..][..info[12].into()]).into_owned()),
                Err(Errno::NotFound) => return topics,
                Err(errno) => panic!("topic {nth}: {errno}"),
            }
        }
    }

    /// The length of what there is to know of a node, once it is there.
    pub(crate) async fn node(&mut self, node: RosName<'_>) -> usize {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.ask(|end, now_ms, out, port| end.node(now_ms, node, out, port)).await {
                Ok(info) => return info.len(),
                Err(errno) => assert_eq!(errno, Errno::NotFound),
            }
            assert!(Instant::now() < deadline, "{node} was never there");
        }
    }

    async fn ask(
        &mut self,
        ask: impl Fn(&mut DeviceEnd, u64, &mut [u8], wasmbed_gateway::Port<'_>) -> Result<usize, Errno>,
    ) -> Result<Vec<u8>, Errno> {
        self.run_until("an answer", |board, _| {
            let mut out = [0; 1024];
            let (now_ms, way) = (board.now_ms(), &board.way);
            match ask(&mut board.end, now_ms, &mut out, &mut |kind, said| way.say(kind, said)) {
                Err(Errno::Busy) => None,
                answered => Some(answered.map(|len| out[..len].to_vec())),
            }
        })
        .await
    }

    /// Takes in what has come.
    pub(crate) async fn run_for_a_moment(&mut self) {
        let until = Instant::now() + Duration::from_millis(100);
        self.run_until("the end of a moment", |_, _| (Instant::now() >= until).then_some(())).await;
    }

    async fn run_until<T>(
        &mut self,
        what: &str,
        mut reached: impl FnMut(&mut Self, Option<&(String, Bytes)>) -> Option<T>,
    ) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut heard: Option<(String, Bytes)> = None;
        loop {
            let now_ms = self.now_ms();
            if let Some((topic, payload)) = &heard
                && let Some(Down::Ros(kind, _)) = Down::parse(topic)
            {
                self.end.on_message(now_ms, kind, payload).unwrap();
            }
            self.told.extend(self.end.take_event(now_ms));
            let way = &self.way;
            self.end.poll(now_ms, &mut |kind, said| way.say(kind, said));
            if let Some(reached) = reached(self, heard.as_ref()) {
                return reached;
            }
            assert!(Instant::now() < deadline, "waited in vain for {what}; told {:?}", self.told);
            heard = timeout(Duration::from_millis(10), self.received.recv()).await.ok().flatten();
        }
    }
}
