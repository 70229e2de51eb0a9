//! The gateway's MQTT connection.
//!
//! What is said is repeated until it is heard, or of no use later; so nothing waits for room, and what has none is
//! dropped. A task of its own polls: it waits for the gateway, and the gateway never for it.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use rumqttc::{
    Outgoing,
    v5::{
        Event,
        mqttbytes::{
            QoS,
            v5::{Filter, LastWill, Packet, SubscribeReasonCode},
        },
    },
};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{sleep, timeout},
};
use wasmbed_broker::credentials::Role;
use wasmbed_broker_client::{Client, Events};
use wasmbed_wire::{
    DeviceId, GatewayId, ModuleName,
    message::Status,
    topic::{Down, Full, RosDown, Up, VERSION},
};

use super::{
    GATEWAY_LEVEL, GATEWAY_NODES,
    counts::{Counts, more},
    unix_ms,
};
use crate::{connection::Connection, host_api::State};

/// Messages that may wait for the gateway; then the connection is no longer read.
const HEARD: usize = 1024;
/// Messages that may wait for the connection.
const WAITING: usize = 1024;
/// First and longest pause before connecting again.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));
/// How long the last messages may take at a stop.
const GOODBYE: Duration = Duration::from_secs(2);

/// What comes from the broker.
#[derive(Debug)]
pub(super) enum Heard {
    /// There is a connection.
    Up,
    Message(Message),
    /// The broker does not let the gateway read what it has to.
    Refused(String),
}

/// A message on a device's topic.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) device: DeviceId,
    /// The topic below the device's.
    pub(super) topic: String,
    pub(super) payload: Bytes,
}

/// Something to say to an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) device: DeviceId,
    pub(super) instance: ModuleName,
    pub(super) kind: RosDown,
    pub(super) payload: Vec<u8>,
}

pub(super) struct Link {
    id: GatewayId,
    prefix: String,
    served: Served,
    client: Client,
    counts: Arc<Counts>,
    started_ms: u64,
    poller: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.poller.abort();
    }
}

impl Link {
    /// Connects, again whenever the connection ends.
    pub(super) fn open(
        id: GatewayId,
        connection: Connection,
        devices: Option<&BTreeSet<DeviceId>>,
        counts: Arc<Counts>,
    ) -> (Self, mpsc::Receiver<Heard>) {
        let prefix = connection.prefix.clone();
        let served = Served::new(devices);
        let started_ms = unix_ms();
        let mut options = connection.options(Role::Gateway(id).username());
        let will = state(Status::Offline, started_ms);
        options.set_last_will(LastWill::new(state_topic(&prefix, id), will, QoS::AtLeastOnce, true, None));
        let (client, events) = connection.client(options, WAITING);
        let (heard, hears) = mpsc::channel(HEARD);
        let poller = Poller {
            prefix: prefix.clone(),
            served: served.clone(),
            client: client.clone(),
            counts: Arc::clone(&counts),
            heard,
            is_complaining: false,
        };
        let poller = tokio::spawn(poller.run(events));
        (Link { id, prefix, served, client, counts, started_ms, poller }, hears)
    }

    /// Says that the gateway is there.
    pub(super) fn introduce(&self) {
        self.say_state(Status::Online);
    }

    /// Has the broker send every desired state once more.
    pub(super) fn read_desired_again(&self) {
        let filters = self.served.filters(&self.prefix, &[Down::Desired.to_string()]);
        if self.client.try_subscribe_many(wanted(filters)).is_err() {
            tracing::warn!("the connection is behind; desired states are read again at the next connect");
        }
    }

    pub(super) fn say(&self, said: Said) {
        let Said { device, instance, kind, payload } = said;
        let topic = Full { prefix: &self.prefix, device, rest: Down::Ros(kind, instance) }.to_string();
        match self.client.try_publish(topic, QoS::AtMostOnce, false, payload) {
            Ok(()) => more(&self.counts.said),
            Err(_) => more(&self.counts.unsaid),
        }
    }

    /// Tells the fleet what a device's nodes are.
    pub(super) fn report(&self, device: &DeviceId, report: Vec<u8>) {
        // It is told again; nothing old is to wait for the connection.
        if !self.counts.connected.load(Ordering::Relaxed) {
            return;
        }
        let topic = topic(&self.prefix, self.id, &format!("{GATEWAY_NODES}{device}"));
        let _ = self.client.try_publish(topic, QoS::AtMostOnce, false, report);
    }

    /// Says that the gateway is gone, and ends the connection in order.
    pub(super) async fn say_goodbye(&mut self) {
        if !self.counts.connected.load(Ordering::Relaxed) {
            return;
        }
        self.say_state(Status::Offline);
        if self.client.try_disconnect().is_ok() {
            let _ = timeout(GOODBYE, &mut self.poller).await;
        }
    }

    fn say_state(&self, status: Status) {
        let topic = state_topic(&self.prefix, self.id);
        // Only a connection that is full of messages does not take it; then the will is said.
        let _ = self.client.try_publish(topic, QoS::AtLeastOnce, true, state(status, self.started_ms));
    }
}

fn state_topic(prefix: &str, id: GatewayId) -> String {
    topic(prefix, id, "up/state")
}

fn topic(prefix: &str, id: GatewayId, rest: &str) -> String {
    format!("{prefix}/{VERSION}/{GATEWAY_LEVEL}/{id}/{rest}")
}

/// The type has text keys only, so that this cannot fail.
fn state(status: Status, started_ms: u64) -> Vec<u8> {
    serde_json::to_vec(&State { status, boot: unix_ms(), started_ms }).unwrap_or_default()
}

/// Whose topics are read: those of each device, or of all. What brokers retain, some send only for filters without
/// wildcards.
#[derive(Debug, Clone)]
struct Served(Vec<String>);

impl Served {
    fn new(devices: Option<&BTreeSet<DeviceId>>) -> Self {
        let names = |devices: &BTreeSet<DeviceId>| devices.iter().map(DeviceId::to_string).collect();
        Served(devices.map_or_else(|| vec!["+".to_owned()], names))
    }

    fn filters(&self, prefix: &str, rest: &[String]) -> Vec<String> {
        let of = |device| rest.iter().map(move |rest| Full { prefix, device, rest }.to_string());
        self.0.iter().flat_map(of).collect()
    }
}

fn wanted(filters: Vec<String>) -> Vec<Filter> {
    filters.into_iter().map(|filter| Filter::new(filter, QoS::AtLeastOnce)).collect()
}

/// Owns the connection.
struct Poller {
    prefix: String,
    served: Served,
    client: Client,
    counts: Arc<Counts>,
    heard: mpsc::Sender<Heard>,
    is_complaining: bool,
}

impl Poller {
    /// Until nobody listens, or the connection was ended in order.
    async fn run(mut self, mut events: Events) {
        let (mut pause, mut is_leaving) = (RECONNECT.0, false);
        loop {
            match events.poll().await {
                Ok(Event::Incoming(packet)) => {
                    if let Packet::ConnAck(_) = packet {
                        pause = RECONNECT.0;
                    }
                    if self.on_packet(packet).await.is_err() {
                        return;
                    }
                }
                Ok(Event::Outgoing(outgoing)) => is_leaving |= outgoing == Outgoing::Disconnect,
                Err(_) if is_leaving => return,
                Err(error) => {
                    if self.counts.connected.swap(false, Ordering::Relaxed) || !self.is_complaining {
                        tracing::warn!(%error, "no connection to the broker; trying again");
                    }
                    self.is_complaining = true;
                    sleep(pause).await;
                    pause = (pause * 2).min(RECONNECT.1);
                }
            }
        }
    }

    /// An error means that nobody listens.
    async fn on_packet(&mut self, packet: Packet) -> Result<(), mpsc::error::SendError<Heard>> {
        match packet {
            Packet::ConnAck(_) => self.subscribe(),
            Packet::SubAck(ack) => {
                let refused = |code: &SubscribeReasonCode| !matches!(code, SubscribeReasonCode::Success(_));
                if ack.return_codes.iter().any(refused) {
                    let why = format!(
                        "the broker refuses the gateway's subscriptions ({:?}); let its user read {}",
                        ack.return_codes,
                        self.filters().join(", ")
                    );
                    return self.heard.send(Heard::Refused(why)).await;
                }
                if !self.counts.connected.swap(true, Ordering::Relaxed) {
                    tracing::info!("connected to the broker");
                    self.is_complaining = false;
                    self.heard.send(Heard::Up).await?;
                }
            }
            Packet::Publish(publish) => {
                let topic = std::str::from_utf8(&publish.topic).ok();
                let Some((device, topic)) =
                    topic.and_then(|topic| wasmbed_wire::topic::split(&self.prefix, topic))
                else {
                    return Ok(());
                };
                if let Ok(device) = device.parse() {
                    let message = Message { device, topic: topic.to_owned(), payload: publish.payload };
                    self.heard.send(Heard::Message(message)).await?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn filters(&self) -> Vec<String> {
        let rest =
            [Down::Keys.to_string(), Down::Desired.to_string(), Up::State.to_string(), "up/ros/#".to_owned()];
        self.served.filters(&self.prefix, &rest)
    }

    fn subscribe(&self) {
        let (client, filters) = (self.client.clone(), wanted(self.filters()));
        // A task of its own: the queue may be full, and this one empties it.
        tokio::spawn(async move { client.subscribe_many(filters).await });
    }
}
