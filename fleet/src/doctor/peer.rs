//! One connection of an examination, one thing at a time.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use rumqttc::v5::{
    Event, MqttOptions,
    mqttbytes::{
        QoS,
        v5::{
            ConnAck, Filter, Packet, PubAck, PubAckReason, Publish, PublishProperties, SubscribeReasonCode,
        },
    },
};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};
use wasmbed_broker_client::{Client, Events, Version, connect};

/// How long a broker may take to answer anything.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long an upload of some megabytes may take to come back.
const PATIENCE_FOR_LARGE: Duration = Duration::from_secs(30);
/// Requests waiting to be sent.
const WAITING: usize = 1024;

/// The connection is gone or silent, for this reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Broken(pub(super) String);

/// A connection that stands. Dropping it ends it without a DISCONNECT.
pub(super) struct Peer {
    client: Client,
    packets: mpsc::UnboundedReceiver<Result<Packet, Broken>>,
    messages: VecDeque<Publish>,
    task: JoinHandle<()>,
    /// What the broker said of itself.
    pub(super) welcome: ConnAck,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Peer {
    pub(super) async fn connect(options: MqttOptions, version: Version) -> Result<Self, Broken> {
        let (client, events) = connect(options, &version.into(), WAITING);
        let (sender, mut packets) = mpsc::unbounded_channel();
        let task = tokio::spawn(poll(events, sender));
        let first = timeout(PATIENCE, packets.recv()).await;
        let welcome = match first {
            Ok(Some(Ok(Packet::ConnAck(ack)))) => Ok(ack),
            Ok(Some(Ok(other))) => Err(Broken(format!("it began with {other:?}"))),
            Ok(Some(Err(broken))) => Err(broken),
            Ok(None) => Err(Broken("the connection ended".into())),
            Err(_) => Err(silent()),
        };
        match welcome {
            Ok(welcome) => Ok(Peer { client, packets, messages: VecDeque::new(), task, welcome }),
            Err(broken) => {
                task.abort();
                Err(broken)
            }
        }
    }

    /// Subscribes and returns the broker's answer.
    pub(super) async fn subscribe(&mut self, filter: Filter) -> Result<SubscribeReasonCode, Broken> {
        self.client.subscribe_many(vec![filter]).await.map_err(|error| Broken(error.to_string()))?;
        let ack = self.wait(PATIENCE, |packet| match packet {
            Packet::SubAck(ack) => Some(ack.return_codes.first().copied()),
            _ => None,
        });
        ack.await?.ok_or_else(|| Broken("it answered a subscription with nothing".into()))
    }

    /// Publishes at quality of service 1 and returns the broker's answer.
    pub(super) async fn publish(
        &mut self,
        topic: &str,
        retain: bool,
        payload: impl Into<Bytes>,
        properties: PublishProperties,
    ) -> Result<PubAckReason, Broken> {
        self.send(topic, retain, payload, properties).await?;
        self.acked(PATIENCE_FOR_LARGE).await
    }

    /// Publishes many at once.
    pub(super) async fn publish_all(
        &mut self,
        messages: impl IntoIterator<Item = (String, Bytes)>,
        retain: bool,
    ) -> Result<(), Broken> {
        let mut under_way = 0_usize;
        for (topic, payload) in messages {
            self.send(&topic, retain, payload, PublishProperties::default()).await?;
            under_way += 1;
        }
        for _ in 0..under_way {
            self.acked(PATIENCE).await?;
        }
        Ok(())
    }

    async fn send(
        &self,
        topic: &str,
        retain: bool,
        payload: impl Into<Bytes>,
        properties: PublishProperties,
    ) -> Result<(), Broken> {
        let sent = self.client.publish(topic, QoS::AtLeastOnce, retain, payload, properties).await;
        sent.map_err(|error| Broken(error.to_string()))
    }

    async fn acked(&mut self, patience: Duration) -> Result<PubAckReason, Broken> {
        self.wait(patience, |packet| match packet {
            Packet::PubAck(PubAck { reason, .. }) => Some(*reason),
            _ => None,
        })
        .await
    }

    /// The next message, if one comes within `patience`.
    pub(super) async fn next_within(&mut self, patience: Duration) -> Option<Publish> {
        if let Some(message) = self.messages.pop_front() {
            return Some(message);
        }
        let message = self.wait_for(patience, |_| None::<()>, true).await;
        match message {
            Ok(None) => self.messages.pop_front(),
            _ => None,
        }
    }

    /// The next message.
    pub(super) async fn next(&mut self) -> Option<Publish> {
        self.next_within(PATIENCE).await
    }

    /// The message on this topic, of those that come within `patience`.
    pub(super) async fn on_topic(&mut self, topic: &str, patience: Duration) -> Option<Publish> {
        let deadline = Instant::now() + patience;
        loop {
            let message = self.next_within(deadline.saturating_duration_since(Instant::now())).await?;
            if message.topic == topic {
                return Some(message);
            }
        }
    }

    /// Says goodbye, so that the broker publishes no will.
    pub(super) async fn disconnect(mut self) {
        if self.client.disconnect().await.is_ok() {
            let ended = async { while matches!(self.packets.recv().await, Some(Ok(_))) {} };
            // Whoever does not end the connection is left.
            let _ = timeout(PATIENCE, ended).await;
        }
    }

    async fn wait<T>(
        &mut self,
        patience: Duration,
        wanted: impl Fn(&Packet) -> Option<T>,
    ) -> Result<T, Broken> {
        self.wait_for(patience, wanted, false).await?.ok_or_else(silent)
    }

    /// Waits for a packet, or also for a message, which gives none.
    async fn wait_for<T>(
        &mut self,
        patience: Duration,
        wanted: impl Fn(&Packet) -> Option<T>,
        or_message: bool,
    ) -> Result<Option<T>, Broken> {
        let deadline = Instant::now() + patience;
        loop {
            match timeout_at(deadline, self.packets.recv()).await {
                Ok(Some(Ok(Packet::Publish(message)))) => {
                    self.messages.push_back(message);
                    if or_message {
                        return Ok(None);
                    }
                }
                Ok(Some(Ok(packet))) => {
                    if let Some(found) = wanted(&packet) {
                        return Ok(Some(found));
                    }
                }
                Ok(Some(Err(broken))) => return Err(broken),
                Ok(None) => return Err(Broken("the connection ended".into())),
                Err(_) => return Err(silent()),
            }
        }
    }
}

fn silent() -> Broken {
    Broken(format!("no answer within {} s", PATIENCE.as_secs()))
}

/// Passes on what comes, until the first error.
async fn poll(mut events: Events, packets: mpsc::UnboundedSender<Result<Packet, Broken>>) {
    loop {
        let packet = match events.poll().await {
            Ok(Event::Incoming(packet)) => Ok(packet),
            Ok(Event::Outgoing(_)) => continue,
            Err(error) => Err(Broken(match error.refusal() {
                Some(code) => format!("it refuses the connection ({code})"),
                None => error.to_string(),
            })),
        };
        let is_last = packet.is_err();
        if packets.send(packet).is_err() || is_last {
            return;
        }
    }
}
