//! A broker, a service and MQTT clients that play everybody else.

use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
    time::Duration,
};

use bytes::Bytes;
use rumqttc::v5::{
    AsyncClient, Event,
    mqttbytes::{
        QoS,
        v5::{Packet, PublishProperties},
    },
};
use tempfile::TempDir;
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{sleep, timeout},
};
use wasmbed_broker::{
    Broker, Config,
    credentials::{Role, Secret},
};
use wasmbed_fleet::{
    api::Grants,
    client::Client,
    connection::{Address, Connection, Dialect},
    service::{self, CERTIFICATE_LIFE, ServiceConfig},
    shutdown::{self, Trigger},
};
use wasmbed_metrics::AskError;
use wasmbed_plan::Policy;
use wasmbed_wire::message::{State, Status};

/// How long a state may take to come.
const LIMIT: Duration = Duration::from_secs(60);
const PREFIX: &str = "test/fleet";

pub(crate) struct World {
    address: Address,
    secret: Secret,
    broker: JoinHandle<Result<(), wasmbed_broker::Error>>,
    service: Option<(Trigger, JoinHandle<anyhow::Result<()>>)>,
    /// Where the service tells how it is.
    metrics: SocketAddr,
    dir: TempDir,
}

impl World {
    pub(crate) async fn start() -> Self {
        let secret = Secret::new([3; 32]);
        let config = Config { listen: "127.0.0.1:0".into(), prefix: PREFIX.into(), ..Config::default() };
        let broker = Broker::bind(config.with_secret(secret.clone()).unwrap()).await.unwrap();
        let address = Address {
            host: "127.0.0.1".into(),
            port: broker.local_addr().expect("it listens").port(),
            is_tls: false,
        };
        let broker = tokio::spawn(broker.run(std::future::pending()));
        // Free a moment ago.
        let metrics = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut world = World { address, secret, broker, service: None, metrics, dir };
        world.start_service();
        world
    }

    fn start_service(&mut self) {
        let config = ServiceConfig {
            connection: self.connection(&Role::Service),
            data_dir: self.dir.path().to_owned(),
            boards_dir: None,
            secret: self.secret.clone(),
            ca_dir: None,
            policy: Policy::default(),
            heartbeat_ms: 1_000,
            auto_register: false,
            grants: Grants::default(),
            certificate_life: CERTIFICATE_LIFE,
            max_store_bytes: None,
            metrics_listen: Some(self.metrics),
        };
        let (trigger, stop) = shutdown::channel();
        self.service = Some((trigger, tokio::spawn(service::run(config, stop))));
    }

    pub(crate) async fn restart_service(&mut self) {
        self.stop_service().await;
        self.start_service();
    }

    async fn stop_service(&mut self) {
        if let Some((trigger, service)) = self.service.take() {
            trigger.fire();
            timeout(LIMIT, service).await.unwrap().unwrap().unwrap();
        }
    }

    pub(crate) async fn stop(mut self) {
        self.stop_service().await;
        self.broker.abort();
    }

    pub(crate) fn topic(&self, rest: &str) -> String {
        format!("{PREFIX}/v1/{rest}")
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    pub(crate) fn password(&self, role: &Role) -> String {
        self.secret.password(role)
    }

    /// What the service measures.
    pub(crate) async fn metrics(&self) -> String {
        wasmbed_metrics::get(&self.metrics.to_string(), "/metrics").await.unwrap().1
    }

    /// Waits until the service says that it does its work, or why not.
    pub(crate) async fn health(&self, is_wanted: impl Fn(&Result<(), AskError>) -> bool) {
        let reached = async {
            while !is_wanted(&wasmbed_metrics::healthy(&self.metrics.to_string()).await) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(LIMIT, reached).await.unwrap();
    }

    /// Takes the broker away.
    pub(crate) fn stop_broker(&self) {
        self.broker.abort();
    }

    /// Where the service keeps its data.
    pub(crate) fn data_dir(&self) -> &Path {
        self.dir.path()
    }

    fn connection(&self, role: &Role) -> Connection {
        Connection {
            tls: None,
            address: self.address.clone(),
            username: role.username(),
            password: self.secret.password(role),
            prefix: PREFIX.into(),
            dialect: Dialect::default(),
        }
    }

    /// An operator's client of a service that is there.
    pub(crate) async fn client(&self) -> Client {
        let mut client = Client::connect(self.connection(&Role::Operator)).await.unwrap();
        timeout(LIMIT, client.wait_for_service()).await.unwrap().unwrap();
        client
    }

    pub(crate) async fn device(&self, id: &str) -> Peer {
        self.peer(&Role::Device(id.parse().unwrap()), id, id).await
    }

    /// A client that reads and writes below `{prefix}/v1/{owner}/`.
    pub(crate) async fn peer(&self, role: &Role, owner: &str, client_id: &str) -> Peer {
        let options = self.connection(role).options(client_id);
        let (mqtt, mut events) = AsyncClient::new(options, 64);
        let front = self.topic(&format!("{owner}/"));
        let filter = if matches!(role, Role::Device(_)) { "dn/#" } else { "res/#" };
        mqtt.subscribe(format!("{front}{filter}"), QoS::AtLeastOnce).await.unwrap();
        let (sender, received) = mpsc::channel(256);
        let (ready, mut is_ready) = mpsc::channel(1);
        let cut = front.clone();
        tokio::spawn(async move {
            while let Ok(event) = events.poll().await {
                match event {
                    Event::Incoming(Packet::SubAck(_)) => drop(ready.try_send(())),
                    Event::Incoming(Packet::Publish(message)) => {
                        let topic = String::from_utf8(message.topic.to_vec()).unwrap();
                        let rest = topic.strip_prefix(&cut).unwrap_or(&topic).to_owned();
                        let correlation = message.properties.and_then(|p| p.correlation_data);
                        if sender.send((rest, message.payload, correlation)).await.is_err() {
                            return;
                        }
                    }
                    _ => {}
                }
            }
        });
        timeout(LIMIT, is_ready.recv()).await.unwrap().unwrap();
        if matches!(role, Role::Operator) {
            // A request to a service that has not subscribed yet would be lost.
            self.client().await;
        }
        Peer { mqtt, front, received, asked: None }
    }
}

pub(crate) struct Peer {
    mqtt: AsyncClient,
    front: String,
    received: mpsc::Receiver<(String, Bytes, Option<Bytes>)>,
    asked: Option<Bytes>,
}

impl Peer {
    pub(crate) async fn publish(&self, rest: &str, payload: Vec<u8>, retain: bool) {
        let topic = format!("{}{rest}", self.front);
        self.mqtt.publish(topic, QoS::AtLeastOnce, retain, payload).await.unwrap();
    }

    /// Publishes with a response topic and correlation data; the answer has to carry the latter.
    pub(crate) async fn ask(&mut self, rest: &str, payload: Vec<u8>, answer: &str, correlation: &[u8]) {
        let correlation = Bytes::copy_from_slice(correlation);
        self.asked = Some(correlation.clone());
        let properties = PublishProperties {
            response_topic: Some(answer.to_owned()),
            correlation_data: Some(correlation),
            ..PublishProperties::default()
        };
        let topic = format!("{}{rest}", self.front);
        self.mqtt.publish_with_properties(topic, QoS::AtLeastOnce, false, payload, properties).await.unwrap();
    }

    pub(crate) async fn online(&self, boot: u32) {
        let state = minicbor::to_vec(State { status: Status::Online, boot }).unwrap();
        self.publish("up/state", state, true).await;
    }

    /// The next message on a topic that is as wanted.
    pub(crate) async fn next_where(&mut self, rest: &str, wanted: impl Fn(&[u8]) -> bool) -> Bytes {
        let next = async {
            loop {
                let (topic, payload, correlation) = self.received.recv().await.unwrap();
                if topic == rest && wanted(&payload) {
                    if let Some(asked) = self.asked.take() {
                        assert_eq!(correlation, Some(asked));
                    }
                    return payload;
                }
            }
        };
        let found = timeout(LIMIT, next).await;
        found.unwrap_or_else(|_| panic!("nothing came on {rest}"))
    }

    pub(crate) async fn hears_nothing(&mut self, during: Duration) -> bool {
        timeout(during, self.received.recv()).await.is_err()
    }
}

/// Asks again and again until something is so.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !is_so().await {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LIMIT, wait).await.unwrap_or_else(|_| panic!("waited in vain for {what}"));
}
