//! One MQTT 5 connection of a simulated device.
//!
//! It never reconnects by itself: the agent decides when. Dropping it ends the connection as a reset does,
//! so that the broker publishes the last will.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use rumqttc::{
    Outgoing,
    v5::{
        AsyncClient, Event as MqttEvent, EventLoop, MqttOptions,
        mqttbytes::{
            QoS,
            v5::{LastWill, Packet, Publish, SubscribeReasonCode},
        },
    },
};
use tokio::{sync::mpsc, task::JoinHandle};
use wasmbed_core::Token;
use wasmbed_wire::{
    DeviceId,
    topic::{DEFAULT_PREFIX, Down, Full, Up},
};

/// Messages waiting to be sent.
const QUEUE: usize = 32;
/// Messages of quality of service 1 under way; the client keeps room for each.
const IN_FLIGHT: u16 = 16;
/// Largest packet accepted, in bytes: a block of 16 KiB, or the desired state.
const MAX_PACKET_BYTES: u32 = 64 * 1024;

/// A broker on this machine, with topics below the default prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broker(
    /// Where it listens.
    pub SocketAddr,
);

impl Broker {
    /// Options of a client with this name and password, and room for few messages under way.
    pub fn options(&self, client_id: &str, username: &str, password: &str) -> MqttOptions {
        let mut options = MqttOptions::new(client_id, self.0.ip().to_string(), self.0.port());
        let mut network = options.network_options();
        // Messages are small and wait for each other: gathering them only adds delay.
        network.set_tcp_nodelay(true);
        options
            .set_network_options(network)
            .set_credentials(username, password)
            .set_clean_start(true)
            .set_outgoing_inflight_upper_limit(IN_FLIGHT)
            .set_max_packet_size(Some(MAX_PACKET_BYTES));
        options
    }
}

/// What happened to a session.
pub(crate) enum Event {
    /// Connected and subscribed.
    Up,
    /// The broker has the publish with this token.
    Acked(Token),
    /// A message arrived; the topic begins with `dn/`.
    Message(String, Bytes),
    /// There is room for more messages.
    Room,
    /// The connection could not be made or is gone; nothing follows.
    Closed,
}

pub(crate) struct Session {
    client: AsyncClient,
    shared: Rc<Shared>,
    device: DeviceId,
    events: mpsc::Receiver<Event>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    /// Of publishes accepted and not yet numbered, in their order.
    tokens: RefCell<VecDeque<Token>>,
    /// Messages accepted and not yet written.
    queued: Cell<usize>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Session {
    /// Starts to connect with this will on `up/state`; on a thread with a `LocalSet`.
    pub(crate) fn open(
        broker: Broker,
        device: DeviceId,
        password: &str,
        will: &[u8],
        keep_alive_s: u16,
    ) -> Self {
        let mut options = broker.options(device.as_str(), device.as_str(), password);
        let retain = Up::State.delivery().retain;
        options.set_keep_alive(Duration::from_secs(keep_alive_s.max(5).into())).set_last_will(LastWill::new(
            full(device, Up::State),
            will.to_vec(),
            QoS::AtLeastOnce,
            retain,
            None,
        ));
        let (client, eventloop) = AsyncClient::new(options, QUEUE);
        let shared = Rc::new(Shared::default());
        let (sender, events) = mpsc::channel(QUEUE);
        let driver = Driver {
            client: client.clone(),
            shared: Rc::clone(&shared),
            device,
            events: sender,
            under_way: HashMap::new(),
            collided: None,
        };
        let task = tokio::task::spawn_local(driver.run(eventloop));
        Session { client, shared, device, events, task }
    }

    /// What happened next. Safe to drop and call again.
    pub(crate) async fn next(&mut self) -> Event {
        self.events.recv().await.unwrap_or(Event::Closed)
    }

    /// What has happened already.
    pub(crate) fn try_next(&mut self) -> Option<Event> {
        self.events.try_recv().ok()
    }

    /// Whether a publish finds room.
    pub(crate) fn has_room(&self) -> bool {
        self.shared.queued.get() < QUEUE - 1
    }

    /// Publishes; at quality of service 1, [`Event::Acked`] follows. Without room the message is lost.
    pub(crate) fn publish(&self, topic: Up, payload: &[u8], token: Token) {
        let delivery = topic.delivery();
        let qos = if delivery.qos == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
        let sent = self.client.try_publish(full(self.device, topic), qos, delivery.retain, payload.to_vec());
        if sent.is_ok() {
            self.shared.queued.set(self.shared.queued.get() + 1);
            if qos == QoS::AtLeastOnce {
                self.shared.tokens.borrow_mut().push_back(token);
            }
        }
    }
}

fn full(device: DeviceId, rest: impl std::fmt::Display) -> String {
    Full { prefix: DEFAULT_PREFIX, device, rest }.to_string()
}

/// The task that owns the connection.
struct Driver {
    client: AsyncClient,
    shared: Rc<Shared>,
    device: DeviceId,
    events: mpsc::Sender<Event>,
    /// Of publishes numbered and not yet acknowledged, by packet id.
    under_way: HashMap<u16, Token>,
    /// Of a publish that waits until its packet id is free.
    collided: Option<Token>,
}

/// The connection is of no more use.
struct Over;

impl Driver {
    async fn run(mut self, mut eventloop: EventLoop) {
        while let Ok(event) = eventloop.poll().await {
            match self.on_event(event) {
                Ok(None) => {}
                Ok(Some(event)) => {
                    if self.events.send(event).await.is_err() {
                        return;
                    }
                }
                Err(Over) => break,
            }
        }
        drop(eventloop);
        // Nobody listens if the session is being dropped.
        let _ = self.events.send(Event::Closed).await;
    }

    fn on_event(&mut self, event: MqttEvent) -> Result<Option<Event>, Over> {
        Ok(match event {
            MqttEvent::Incoming(Packet::ConnAck(_)) => {
                let filter = full(self.device, Down::FILTER);
                self.client.try_subscribe(filter, QoS::AtLeastOnce).map_err(|_| Over)?;
                None
            }
            MqttEvent::Incoming(Packet::SubAck(ack)) => match ack.return_codes.first() {
                Some(SubscribeReasonCode::Success(_)) => Some(Event::Up),
                _ => return Err(Over),
            },
            MqttEvent::Incoming(Packet::PubAck(ack)) => self.under_way.remove(&ack.pkid).map(Event::Acked),
            MqttEvent::Incoming(Packet::Publish(publish)) => self.on_message(publish),
            MqttEvent::Incoming(Packet::Disconnect(_)) => return Err(Over),
            MqttEvent::Outgoing(Outgoing::Publish(id)) => self.on_sent(id),
            MqttEvent::Outgoing(Outgoing::AwaitAck(_)) => {
                self.collided = self.shared.tokens.borrow_mut().pop_front();
                None
            }
            _ => None,
        })
    }

    fn on_sent(&mut self, id: u16) -> Option<Event> {
        if id != 0
            && let Some(token) = self.collided.take().or_else(|| self.shared.tokens.borrow_mut().pop_front())
        {
            self.under_way.insert(id, token);
        }
        let before = self.shared.queued.get();
        self.shared.queued.set(before.saturating_sub(1));
        (before >= QUEUE - 1).then_some(Event::Room)
    }

    fn on_message(&self, publish: Publish) -> Option<Event> {
        let front = full(self.device, "");
        let topic = std::str::from_utf8(&publish.topic).ok()?.strip_prefix(&front)?;
        Some(Event::Message(topic.to_owned(), publish.payload))
    }
}
