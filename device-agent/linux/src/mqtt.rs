//! One MQTT session: connect with a will, subscribe, carry messages until it breaks.
//!
//! A session never reconnects by itself: the agent decides when, and each connect has a will of its
//! own. Dropping a session closes its connection.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use rumqttc::{
    Outgoing,
    v5::{
        Event as MqttEvent, MqttOptions,
        mqttbytes::{
            QoS,
            v5::{Filter, LastWill, Packet, PubAck, PubAckReason, Publish, SubAck, SubscribeReasonCode},
        },
    },
};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use wasmbed_broker_client::{Client, Events, connect};
use wasmbed_core::Token;
use wasmbed_wire::{
    DeviceId,
    topic::{Delivery, Down, Full, Up},
};

use crate::settings::Settings;

/// Messages waiting to be sent.
const QUEUE: usize = 256;
/// Of these, how many may come from modules: the agent always finds room.
const QUEUE_OF_MODULES: usize = QUEUE / 2;
/// Largest packet accepted, in bytes: a block of 16 KiB or the desired state of every slot.
const MAX_PACKET_BYTES: u32 = 256 * 1024;
/// Time to say goodbye to the broker.
const GOODBYE: Duration = Duration::from_millis(500);

/// What happened to a session.
#[derive(Debug)]
pub(crate) enum Event {
    /// Connected and subscribed.
    Up,
    /// The broker has the publish with this token.
    Acked(Token),
    /// A message arrived; the topic begins with `dn/`.
    Message(String, Bytes),
    /// There is room for more messages.
    Room,
    /// The connection could not be made or is gone, for this reason; nothing follows.
    Closed(String),
}

pub(crate) struct Session {
    client: Client,
    shared: Arc<Shared>,
    names: Names,
    events: mpsc::Receiver<Event>,
    task: JoinHandle<()>,
}

/// What the driving task and the publishing side both touch.
#[derive(Default)]
struct Shared {
    /// Of publishes accepted and not yet numbered, in their order.
    tokens: Mutex<VecDeque<Token>>,
    /// Messages accepted and not yet written.
    queued: AtomicUsize,
}

/// Who this is on which topics.
#[derive(Debug, Clone)]
struct Names {
    prefix: String,
    device: DeviceId,
}

impl Names {
    fn full(&self, rest: impl std::fmt::Display) -> String {
        Full { prefix: &self.prefix, device: self.device, rest }.to_string()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Session {
    /// Starts to connect with this will on `up/state`.
    pub(crate) fn open(settings: &Settings, will: &[u8], keep_alive_s: u16) -> Self {
        let names = Names { prefix: settings.prefix.clone(), device: settings.device };
        let keep_alive = Duration::from_secs(keep_alive_s.max(1).into());
        let options = options(settings, &names, will, keep_alive);
        let (client, eventloop) = connect(options, &settings.dialect, QUEUE);
        let shared = Arc::new(Shared::default());
        let (sender, events) = mpsc::channel(QUEUE);
        let driver = Driver {
            client: client.clone(),
            shared: Arc::clone(&shared),
            names: names.clone(),
            events: sender,
            under_way: HashMap::new(),
            collided: None,
        };
        let task = tokio::spawn(driver.run(eventloop, keep_alive));
        Session { client, shared, names, events, task }
    }

    /// What happened next. Safe to drop and call again.
    pub(crate) async fn next(&mut self) -> Event {
        self.events.recv().await.unwrap_or_else(|| Event::Closed("the session ended".into()))
    }

    /// Whether a publish of the agent finds room.
    pub(crate) fn has_room(&self) -> bool {
        self.shared.queued.load(Ordering::Relaxed) < QUEUE - 1
    }

    /// Whether a publish of a module finds room.
    pub(crate) fn has_room_for_modules(&self) -> bool {
        self.shared.queued.load(Ordering::Relaxed) < QUEUE_OF_MODULES
    }

    /// Publishes; at quality of service 1, [`Event::Acked`] follows. Without room the message is lost.
    pub(crate) fn publish(&self, topic: Up, payload: &[u8], token: Token) {
        let Delivery { qos, retain } = topic.delivery();
        let qos = if qos == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
        let topic = self.names.full(topic);
        // Held until the token is in its place: the task takes them in the order of the messages.
        let mut tokens = self.shared.lock();
        if let Err(error) = self.client.try_publish(topic, qos, retain, payload.to_vec()) {
            tracing::warn!("a message was dropped: {error}");
            return;
        }
        self.shared.queued.fetch_add(1, Ordering::Relaxed);
        if qos == QoS::AtLeastOnce {
            tokens.push_back(token);
        }
    }

    /// Publishes at most once, on a topic below the device's own that is not the agent's.
    pub(crate) fn publish_plain(&self, topic: &str, payload: Vec<u8>) {
        match self.client.try_publish(self.names.full(topic), QoS::AtMostOnce, false, payload) {
            Ok(()) => drop(self.shared.queued.fetch_add(1, Ordering::Relaxed)),
            Err(error) => tracing::warn!("a message was dropped: {error}"),
        }
    }

    /// Sends what is queued, then ends the session so that the broker does not publish the will.
    pub(crate) async fn close(mut self) {
        if self.client.try_disconnect().is_ok() {
            let closed = async { while !matches!(self.next().await, Event::Closed(_)) {} };
            // A broker that does not answer any more publishes the will instead: as good.
            let _ = timeout(GOODBYE, closed).await;
        }
    }
}

fn options(settings: &Settings, names: &Names, will: &[u8], keep_alive: Duration) -> MqttOptions {
    let broker = &settings.broker;
    let mut options = MqttOptions::new(settings.device.as_str(), &broker.host, broker.port);
    let Delivery { retain, .. } = Up::State.delivery();
    let will = LastWill::new(names.full(Up::State), will.to_vec(), QoS::AtLeastOnce, retain, None);
    let mut network = options.network_options();
    // Messages are small and wait for each other: gathering them only adds delay.
    network.set_tcp_nodelay(true);
    options
        .set_network_options(network)
        .set_last_will(will)
        .set_keep_alive(keep_alive)
        .set_clean_start(true)
        .set_max_packet_size(Some(MAX_PACKET_BYTES));
    if let Some(tls) = &settings.tls {
        options.set_transport(tls.transport());
    }
    if let Some(password) = &settings.password {
        options.set_credentials(&settings.username, password);
    }
    options
}

/// The task that owns the connection.
struct Driver {
    client: Client,
    shared: Arc<Shared>,
    names: Names,
    events: mpsc::Sender<Event>,
    /// Of publishes numbered and not yet acknowledged, by packet id.
    under_way: HashMap<u16, Token>,
    /// Of a publish that waits until its packet id is free.
    collided: Option<Token>,
}

impl Driver {
    async fn run(mut self, mut eventloop: Events, keep_alive: Duration) {
        let reason = loop {
            // A broker that takes no bytes blocks the ping as well, so its absence counts too.
            let event = match timeout(keep_alive * 2, eventloop.poll()).await {
                Ok(Ok(MqttEvent::Outgoing(Outgoing::Disconnect))) => break "closed".into(),
                Ok(Ok(event)) => self.on_event(event),
                Ok(Err(error)) => break error.to_string(),
                Err(_) => break "the broker takes no more bytes".into(),
            };
            let closed = match event {
                Ok(Some(event)) => self.events.send(event).await.is_err(),
                Ok(None) => false,
                Err(reason) => break reason,
            };
            if closed {
                return;
            }
        };
        drop(eventloop);
        // Nobody listens if the session is being dropped.
        let _ = self.events.send(Event::Closed(reason)).await;
    }

    fn on_event(&mut self, event: MqttEvent) -> Result<Option<Event>, String> {
        match event {
            MqttEvent::Incoming(Packet::ConnAck(_)) => self.subscribe().map(|()| None),
            MqttEvent::Incoming(Packet::SubAck(ack)) => on_subscribed(&ack).map(Some),
            MqttEvent::Incoming(Packet::PubAck(ack)) => Ok(self.on_acked(&ack)),
            MqttEvent::Incoming(Packet::Publish(publish)) => Ok(self.on_message(&publish)),
            MqttEvent::Incoming(Packet::Disconnect(disconnect)) => {
                Err(format!("the broker said goodbye: {:?}", disconnect.reason_code))
            }
            MqttEvent::Outgoing(Outgoing::Publish(id)) => Ok(self.on_sent(id)),
            MqttEvent::Outgoing(Outgoing::AwaitAck(_)) => {
                self.collided = self.shared.lock().pop_front();
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    fn subscribe(&self) -> Result<(), String> {
        let filter = self.names.full(Down::FILTER);
        let filters = vec![Filter::new(filter, QoS::AtLeastOnce)];
        self.client.try_subscribe_many(filters).map_err(|error| error.to_string())
    }

    fn on_sent(&mut self, id: u16) -> Option<Event> {
        if id != 0
            && let Some(token) = self.collided.take().or_else(|| self.shared.lock().pop_front())
        {
            self.under_way.insert(id, token);
        }
        let before = self.shared.queued.fetch_sub(1, Ordering::Relaxed);
        (before >= QUEUE - 1).then_some(Event::Room)
    }

    fn on_acked(&mut self, ack: &PubAck) -> Option<Event> {
        if !matches!(ack.reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers) {
            // Sending it again would be refused again.
            tracing::warn!("the broker refused a message: {:?}", ack.reason);
        }
        self.under_way.remove(&ack.pkid).map(Event::Acked)
    }

    fn on_message(&self, publish: &Publish) -> Option<Event> {
        let front = self.names.full("");
        let topic = std::str::from_utf8(&publish.topic).ok()?.strip_prefix(&front)?;
        Some(Event::Message(topic.to_owned(), publish.payload.clone()))
    }
}

fn on_subscribed(ack: &SubAck) -> Result<Event, String> {
    match ack.return_codes.first() {
        Some(SubscribeReasonCode::Success(_)) => Ok(Event::Up),
        refusal => Err(format!("the broker refused the subscription: {refusal:?}")),
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Token>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
