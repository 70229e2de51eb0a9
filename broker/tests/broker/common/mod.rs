//! A broker for each test, and clients that speak MQTT as bytes.
#![allow(dead_code, unreachable_pub, reason = "the crowd uses a part of it")]

pub mod authority;
pub mod process;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use wasmbed_broker::credentials::{Role, Secret};
use wasmbed_broker::{Broker, Config, Error, Meter, Snapshot};

/// Longest wait for anything that has to happen.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// How long nothing has to happen before we believe that it does not.
pub const QUIET: Duration = Duration::from_millis(300);

pub const SECRET: [u8; 32] = [9; 32];

pub fn device(id: &str) -> Role {
    Role::Device(id.parse().expect("a device id"))
}

pub fn password(role: &Role) -> String {
    Secret::new(SECRET).password(role)
}

/// A running broker on a port of its own.
pub struct Running {
    pub address: SocketAddr,
    pub meter: Meter,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), Error>>,
}

impl Running {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config { listen: "127.0.0.1:0".to_owned(), ..Config::default() };
        change(&mut config);
        let settings = config.with_secret(Secret::new(SECRET)).expect("settings");
        let broker = Broker::bind(settings).await.expect("a broker");
        let (stop, stopped) = oneshot::channel();
        Running {
            address: broker.local_addr().or(broker.local_tls_addr()).expect("it listens"),
            meter: broker.meter(),
            stop: Some(stop),
            task: tokio::spawn(broker.run(async {
                let _ = stopped.await;
            })),
        }
    }

    /// Ends the broker in an orderly way.
    pub async fn stop(mut self) -> Result<(), Error> {
        drop(self.stop.take());
        within(&mut self.task).await.expect("no panic")
    }

    /// Waits until the counters are as wanted.
    pub async fn until(&self, wanted: impl Fn(&Snapshot) -> bool) {
        within(async {
            while !wanted(&self.meter.snapshot()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    pub async fn open(&self) -> Raw {
        Raw::new(TcpStream::connect(self.address).await.expect("connected"))
    }

    /// A connected client; its client id is `id`.
    pub async fn connect(&self, role: Role, id: &str) -> Raw {
        let mut raw = self.open().await;
        raw.send(&Connect::new(role, id).bytes()).await;
        assert_eq!(raw.packet().await, (0x20, vec![0, 0]), "accepted");
        raw
    }

    /// The same with MQTT 5.
    pub async fn connect5(&self, role: Role, id: &str) -> Raw {
        let mut raw = self.open().await;
        raw.send(&Connect { version: 5, ..Connect::new(role, id) }.bytes()).await;
        let (first, body) = raw.packet().await;
        assert_eq!((first, &body[..2]), (0x20, &[0, 0][..]), "accepted");
        raw.is_v5 = true;
        raw
    }
}

/// Where the device `pump-7` tells how it is.
pub const STATE: &str = "wasmbed/v1/pump-7/up/state";

/// The fleet service, connected.
pub async fn service(running: &Running) -> Raw {
    running.connect(Role::Service, "fleet").await
}

/// The device `pump-7`, connected.
pub async fn pump(running: &Running) -> Raw {
    running.connect(device("pump-7"), "pump-7").await
}

pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("in time")
}

/// CONNECT.
pub struct Connect {
    pub version: u8,
    pub id: String,
    /// Without one there is no password either.
    pub username: String,
    pub password: String,
    pub clean: bool,
    pub keep_alive: u16,
    /// topic, payload, quality of service, retain
    pub will: Option<(String, String, u8, bool)>,
    /// Encoded, of MQTT 5.
    pub properties: Vec<u8>,
    pub will_properties: Vec<u8>,
}

impl Connect {
    pub fn new(role: Role, id: &str) -> Self {
        Connect {
            version: 4,
            id: id.to_owned(),
            username: role.username(),
            password: password(&role),
            clean: true,
            keep_alive: 0,
            will: None,
            properties: vec![],
            will_properties: vec![],
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let is_named = !self.username.is_empty();
        let mut flags = (u8::from(is_named) * 0xC0) | (u8::from(self.clean) << 1);
        if let Some((_, _, qos, retain)) = &self.will {
            flags |= 4 | qos << 3 | u8::from(*retain) << 5;
        }
        let mut body = text("MQTT");
        body.extend([self.version, flags]);
        body.extend(self.keep_alive.to_be_bytes());
        self.add_properties(&mut body, &self.properties);
        body.extend(text(&self.id));
        if let Some((topic, payload, _, _)) = &self.will {
            self.add_properties(&mut body, &self.will_properties);
            body.extend(text(topic));
            body.extend(text(payload));
        }
        if is_named {
            body.extend(text(&self.username));
            body.extend(text(&self.password));
        }
        packet(0x10, &body)
    }

    fn add_properties(&self, body: &mut Vec<u8>, properties: &[u8]) {
        if self.version == 5 {
            body.push(properties.len() as u8);
            body.extend(properties);
        }
    }
}

pub fn text(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u16).to_be_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut len = body.len();
    loop {
        let more = if len > 0x7F { 0x80 } else { 0 };
        bytes.push((len & 0x7F) as u8 | more);
        len >>= 7;
        if len == 0 {
            break;
        }
    }
    bytes.extend(body);
    bytes
}

/// A received PUBLISH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
    pub duplicate: bool,
    pub id: u16,
    pub properties: Vec<u8>,
}

/// What carries a client's bytes.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A client that does just what it is told.
pub struct Raw {
    pub stream: Box<dyn Stream>,
    pub is_v5: bool,
}

impl Raw {
    pub fn new(stream: impl Stream + 'static) -> Self {
        Raw { stream: Box::new(stream), is_v5: false }
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("sent");
    }

    /// The next packet: first byte and body.
    pub async fn packet(&mut self) -> (u8, Vec<u8>) {
        within(self.try_packet()).await.expect("a packet and not the end")
    }

    /// `None` at the end of the connection.
    pub async fn try_packet(&mut self) -> Option<(u8, Vec<u8>)> {
        let first = self.stream.read_u8().await.ok()?;
        let (mut len, mut shift) = (0_usize, 0);
        loop {
            let byte = self.stream.read_u8().await.ok()?;
            len |= usize::from(byte & 0x7F) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; len];
        self.stream.read_exact(&mut body).await.ok()?;
        Some((first, body))
    }

    /// The broker ends the connection without another packet.
    pub async fn ends(&mut self) {
        assert_eq!(within(self.try_packet()).await, None);
    }

    /// Nothing comes for a while, and then the broker still answers.
    pub async fn is_quiet(&mut self) {
        self.send(&[0xC0, 0]).await;
        assert_eq!(self.packet().await, (0xD0, vec![]), "only the answer to a ping");
        let early = tokio::time::timeout(QUIET, self.try_packet()).await;
        assert!(early.is_err(), "unexpected {early:?}");
    }

    pub async fn publish(&mut self, topic: &str, payload: &[u8], qos: u8, retain: bool, id: u16) {
        self.publish_with(topic, payload, qos, retain, id, &[]).await;
    }

    pub async fn publish_with(
        &mut self,
        topic: &str,
        payload: &[u8],
        qos: u8,
        retain: bool,
        id: u16,
        properties: &[u8],
    ) {
        let mut body = text(topic);
        if qos > 0 {
            body.extend(id.to_be_bytes());
        }
        if self.is_v5 {
            body.push(properties.len() as u8);
            body.extend(properties);
        }
        body.extend(payload);
        self.send(&packet(0x30 | qos << 1 | u8::from(retain), &body)).await;
    }

    /// Publishes at least once and takes the acknowledgement.
    pub async fn publish_acknowledged(&mut self, topic: &str, payload: &[u8], retain: bool) {
        self.publish(topic, payload, 1, retain, 77).await;
        assert_eq!(self.packet().await, (0x40, vec![0, 77]));
    }

    pub async fn subscribe(&mut self, filter: &str, options: u8) {
        let granted = self.subscribe_with(filter, options, &[]).await;
        assert_eq!(granted, options & 3, "granted");
    }

    /// The code in SUBACK.
    pub async fn subscribe_with(&mut self, filter: &str, options: u8, properties: &[u8]) -> u8 {
        let mut body = vec![0, 5];
        if self.is_v5 {
            body.push(properties.len() as u8);
            body.extend(properties);
        }
        body.extend(text(filter));
        body.push(options);
        self.send(&packet(0x82, &body)).await;
        let (first, body) = self.packet().await;
        assert_eq!((first, &body[..2]), (0x90, &[0, 5][..]));
        *body.last().expect("a code")
    }

    /// The next packet, which is a PUBLISH.
    pub async fn received(&mut self) -> Received {
        let (first, body) = self.packet().await;
        assert_eq!(first >> 4, 3, "a PUBLISH and not {first:02x} {body:02x?}");
        let qos = first >> 1 & 3;
        let topic_end = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
        let mut at = topic_end;
        let mut id = 0;
        if qos > 0 {
            id = u16::from_be_bytes([body[at], body[at + 1]]);
            at += 2;
        }
        let mut properties = vec![];
        if self.is_v5 {
            let len = usize::from(body[at]);
            properties = body[at + 1..at + 1 + len].to_vec();
            at += 1 + len;
        }
        Received {
            topic: String::from_utf8(body[2..topic_end].to_vec()).expect("text"),
            payload: body[at..].to_vec(),
            qos,
            retain: first & 1 != 0,
            duplicate: first & 8 != 0,
            id,
            properties,
        }
    }

    pub async fn acknowledge(&mut self, id: u16) {
        let [high, low] = id.to_be_bytes();
        self.send(&[0x40, 2, high, low]).await;
    }

    pub async fn disconnect(mut self) {
        self.send(&[0xE0, 0]).await;
        self.ends().await;
    }
}
