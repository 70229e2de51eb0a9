//! One MQTT connection: from CONNECT to its end, never twice.
//!
//! [`Session::open`] connects, subscribes, and says [`Event::Up`] when both are done. Whoever wants
//! another connection after [`Event::Closed`] opens another session: each has its own last will, and
//! nothing of an old one leaks into a new one. Dropping a session ends the connection without a
//! DISCONNECT, so that the broker publishes the will.
//!
//! A reader that falls behind costs bounded memory: [`Policy`] says what gives way.
//!
//! Not here: reconnecting and what is said (`bridge`, `uplink`).

mod inbox;

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use rumqttc::{
    Outgoing,
    v5::{
        Event as MqttEvent, MqttOptions,
        mqttbytes::{
            QoS,
            v5::{Filter, Packet, PubAck, PubAckReason, SubAck, SubscribeReasonCode},
        },
    },
};
use tokio::task::JoinHandle;
use wasmbed_broker_client::{Client, Dialect, Events, connect};
use wasmbed_wire::topic::Delivery;

use inbox::Inbox;

/// Messages of quality of service 1 under way to the broker.
const IN_FLIGHT: u16 = 32;
/// Messages waiting to be sent.
const WAITING: usize = 128;

/// What a session subscribes to.
#[derive(Debug, Clone)]
pub(super) struct Subscription {
    /// What topics begin with; taken off what is received.
    pub(super) base: String,
    /// The rest of the filter.
    pub(super) filter: &'static str,
    /// What to do with a message on the rest of its topic.
    pub(super) policy: fn(&str) -> Policy,
}

/// What happens to a message that is not read at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Policy {
    /// A level: only the last of its topic counts.
    Latest,
    /// Asked for again if lost.
    Droppable,
    /// Wanted, each of them.
    Wanted,
    /// Not a message for this reader.
    Ignored,
}

/// A message received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    /// Its topic after [`Subscription::base`].
    pub(super) topic: String,
    /// Its payload.
    pub(super) payload: Bytes,
}

/// What happened to a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// Connected and subscribed; once.
    Up,
    /// The broker has answered the publish with this token.
    Acked(u16),
    /// A message arrived.
    Message(Message),
    /// The connection could not be made or is gone, for this reason; the last event.
    Closed(String),
}

/// The broker takes messages more slowly than they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

/// One connection.
pub(super) struct Session {
    client: Client,
    tokens: Arc<Mutex<VecDeque<u16>>>,
    inbox: Arc<Inbox>,
    task: JoinHandle<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Session {
    /// Starts to connect.
    pub(super) fn open(mut options: MqttOptions, dialect: &Dialect, subscription: Subscription) -> Self {
        let mut network = options.network_options();
        // Messages are small and wait for each other: gathering them only adds delay.
        network.set_tcp_nodelay(true);
        options.set_network_options(network).set_outgoing_inflight_upper_limit(IN_FLIGHT);
        let (client, eventloop) = connect(options, dialect, WAITING);
        let inbox = Arc::new(Inbox::default());
        let tokens = Arc::new(Mutex::new(VecDeque::new()));
        let driver = Driver {
            client: client.clone(),
            inbox: Arc::clone(&inbox),
            tokens: Arc::clone(&tokens),
            under_way: HashMap::new(),
            collided: None,
            subscription,
        };
        let task = tokio::spawn(driver.run(eventloop));
        Session { client, tokens, inbox, task }
    }

    /// Publishes; at quality of service 1, [`Event::Acked`] follows with this token.
    pub(super) fn publish(
        &mut self,
        token: u16,
        topic: String,
        delivery: Delivery,
        payload: impl Into<Bytes>,
    ) -> Result<(), Full> {
        let qos = if delivery.qos == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
        let mut tokens = lock(&self.tokens);
        let sent = self.client.try_publish(topic, qos, delivery.retain, payload);
        if sent.is_ok() && qos != QoS::AtMostOnce {
            tokens.push_back(token);
        }
        sent.map_err(|_| Full)
    }

    /// What happened next. Safe to drop and call again.
    pub(super) async fn next(&self) -> Event {
        self.inbox.next().await
    }
}

/// The task that owns the connection.
struct Driver {
    client: Client,
    inbox: Arc<Inbox>,
    /// Of publishes accepted and not yet numbered, in their order.
    tokens: Arc<Mutex<VecDeque<u16>>>,
    /// Of publishes numbered and not yet acknowledged, by packet id.
    under_way: HashMap<u16, u16>,
    /// Of a publish that waits until its packet id is free.
    collided: Option<u16>,
    subscription: Subscription,
}

impl Driver {
    async fn run(mut self, mut eventloop: Events) {
        let reason = loop {
            match eventloop.poll().await {
                Ok(event) => {
                    if let Err(reason) = self.on_event(event) {
                        break reason;
                    }
                }
                Err(error) => break error.to_string(),
            }
        };
        drop(eventloop);
        self.inbox.close(reason);
    }

    fn on_event(&mut self, event: MqttEvent) -> Result<(), String> {
        match event {
            MqttEvent::Incoming(Packet::ConnAck(_)) => self.subscribe()?,
            MqttEvent::Incoming(Packet::SubAck(ack)) => self.on_subscribed(&ack)?,
            MqttEvent::Incoming(Packet::PubAck(ack)) => self.on_acked(&ack),
            MqttEvent::Incoming(Packet::Publish(publish)) => self.on_message(&publish.topic, publish.payload),
            MqttEvent::Outgoing(Outgoing::Publish(id)) if id != 0 => {
                if let Some(token) = self.collided.take().or_else(|| lock(&self.tokens).pop_front()) {
                    self.under_way.insert(id, token);
                }
            }
            MqttEvent::Outgoing(Outgoing::AwaitAck(_)) => self.collided = lock(&self.tokens).pop_front(),
            _ => {}
        }
        Ok(())
    }

    fn subscribe(&self) -> Result<(), String> {
        let filter = format!("{}{}", self.subscription.base, self.subscription.filter);
        let filters = vec![Filter::new(filter, QoS::AtLeastOnce)];
        self.client.try_subscribe_many(filters).map_err(|error| error.to_string())
    }

    fn on_subscribed(&self, ack: &SubAck) -> Result<(), String> {
        match ack.return_codes.first() {
            Some(SubscribeReasonCode::Success(_)) => self.inbox.up(),
            refusal => return Err(format!("the broker refused the subscription: {refusal:?}")),
        }
        Ok(())
    }

    fn on_acked(&mut self, ack: &PubAck) {
        if !matches!(ack.reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers) {
            // Sending it again would be refused again: the sender goes on.
            tracing::warn!(base = self.subscription.base, reason = ?ack.reason, "the broker refused a message");
        }
        if let Some(token) = self.under_way.remove(&ack.pkid) {
            self.inbox.acked(token);
        }
    }

    fn on_message(&self, topic: &Bytes, payload: Bytes) {
        let topic =
            std::str::from_utf8(topic).ok().and_then(|topic| topic.strip_prefix(&self.subscription.base));
        if let Some(topic) = topic {
            let policy = (self.subscription.policy)(topic);
            self.inbox.message(policy, Message { topic: topic.to_owned(), payload });
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
