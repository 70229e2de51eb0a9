//! The host's own MQTT connection: what it hears and what it tells.
//!
//! What is told is a level ([`Reported`]) or an event kept until the broker has it; so a broker that is
//! away costs nothing but time. One message of quality of service 1 is under way at a time, which makes
//! its acknowledgement unmistakable.
//!
//! Not here: what to do about what was heard (`manager`).

use std::time::Duration;

use rumqttc::v5::mqttbytes::{QoS, v5::LastWill};
use serde::Serialize;
use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval, sleep},
};
use wasmbed_wire::{CommandId, DeviceId, HostId, message::Status, topic::Delivery};

use super::{
    reporter::{Fact, Reporter, Told, unix_ms},
    session::{Event, Message, Policy, Session, Subscription},
    usage::Gauge,
};
use crate::{
    connection::Connection,
    host_api::{self, Desired, Down, Info, Order, Reported, State, Up},
};

/// How often numbers that change all the time are told.
const COUNTERS: Duration = Duration::from_secs(15);
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LAST: Duration = Duration::from_secs(3);

const LEVEL: Delivery = Delivery { qos: 1, retain: true };
const FACT: Delivery = Delivery { qos: 1, retain: false };
const LINE: Delivery = Delivery { qos: 0, retain: false };

/// The host's connection, made again whenever it ends.
pub(super) struct Uplink {
    /// This host.
    pub(super) id: HostId,
    /// When this process started, in milliseconds of Unix time.
    pub(super) started_ms: u64,
    /// The broker.
    pub(super) connection: Connection,
    /// What to tell.
    pub(super) reporter: Reporter,
    /// Lines to pass on.
    pub(super) lines: mpsc::Receiver<(DeviceId, String)>,
    /// Gets every desired state.
    pub(super) desired: mpsc::Sender<Desired>,
    /// Gets every order, with its number.
    pub(super) orders: mpsc::Sender<(CommandId, Order)>,
    /// Describes the host; called with the number of the connect.
    pub(super) info: Box<dyn Fn(u64) -> Info + Send + Sync>,
}

impl Uplink {
    /// Connects for ever.
    pub(super) async fn run(mut self) {
        let mut pause = RETRY_FIRST;
        let mut boot = 0;
        let mut complained = false;
        loop {
            boot = unix_ms().max(boot + 1);
            let session = self.connect(boot);
            let reason = match session.next().await {
                Event::Closed(reason) => reason,
                _ => {
                    tracing::info!(host = %self.id, broker = %self.connection.address, "host connected");
                    (pause, complained) = (RETRY_FIRST, false);
                    self.reporter.connected(true);
                    let reason = Online::new(&mut self, session, boot).run().await;
                    self.reporter.connected(false);
                    reason
                }
            };
            if complained {
                tracing::debug!(host = %self.id, reason, "still no connection");
            } else {
                let broker = &self.connection.address;
                tracing::warn!(host = %self.id, %broker, reason, "no connection to the broker; trying again");
            }
            complained = true;
            sleep(pause).await;
            pause = (pause * 2).min(RETRY_LAST);
        }
    }

    fn connect(&self, boot: u64) -> Session {
        let mut options = self.connection.options(format!("{}.{}", host_api::HOST_LEVEL, self.id));
        let will = json(&State { status: Status::Offline, boot, started_ms: self.started_ms });
        options.set_last_will(LastWill::new(self.topic(Up::State), will, QoS::AtLeastOnce, true, None));
        let base = host_api::topic(&self.connection.prefix, &self.id, "");
        Session::open(options, &self.connection.dialect, Subscription { base, filter: "dn/#", policy })
    }

    fn topic(&self, up: Up) -> String {
        host_api::topic(&self.connection.prefix, &self.id, up)
    }
}

fn policy(topic: &str) -> Policy {
    match Down::parse(topic) {
        Some(Down::Desired) => Policy::Latest,
        Some(Down::Order(_)) => Policy::Wanted,
        None => Policy::Ignored,
    }
}

/// What the broker has not yet acknowledged.
#[derive(Debug, Clone, Copy)]
enum UnderWay {
    State,
    Info,
    Reported,
    Fact(u64),
}

/// One connection that is up.
struct Online<'a> {
    uplink: &'a mut Uplink,
    told: watch::Receiver<Told>,
    session: Session,
    boot: u64,
    under_way: Option<UnderWay>,
    /// What was last reported on this connection.
    reported: Option<Reported>,
    /// What was last said about this host on this connection.
    info: Option<Info>,
}

impl<'a> Online<'a> {
    fn new(uplink: &'a mut Uplink, session: Session, boot: u64) -> Self {
        let told = uplink.reporter.subscribe();
        Online { uplink, told, session, boot, under_way: None, reported: None, info: None }
    }

    /// Until the connection ends, for the reason returned.
    async fn run(mut self) -> String {
        self.send(UnderWay::State);
        let mut counters = interval(COUNTERS);
        counters.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut gauge = Gauge::new();
        loop {
            tokio::select! {
                event = self.session.next() => match event {
                    Event::Closed(reason) => return reason,
                    Event::Acked(_) => self.on_acked(),
                    Event::Message(message) => self.on_message(&message).await,
                    Event::Up => {}
                },
                Ok(()) = self.told.changed() => self.advance(),
                Some((device, line)) = self.uplink.lines.recv() => {
                    let topic = self.uplink.topic(Up::Console(device));
                    // The log has what the broker does not take.
                    let _ = self.session.publish(0, topic, LINE, line);
                }
                _ = counters.tick() => {
                    self.uplink.reporter.measure(&mut gauge);
                    self.look_around();
                    self.advance();
                }
            }
        }
    }

    /// An error of a reader means that the host is ending.
    async fn on_message(&self, message: &Message) {
        let unreadable = |error: serde_json::Error| {
            tracing::warn!(%error, topic = message.topic, bytes = message.payload.len(), "ignored what cannot be read");
        };
        match Down::parse(&message.topic) {
            Some(Down::Desired) => match serde_json::from_slice(&message.payload) {
                Ok(desired) => drop(self.uplink.desired.send(desired).await),
                Err(error) => unreadable(error),
            },
            Some(Down::Order(id)) => match serde_json::from_slice(&message.payload) {
                Ok(order) => drop(self.uplink.orders.send((id, order)).await),
                Err(error) => unreadable(error),
            },
            None => {}
        }
    }

    fn on_acked(&mut self) {
        match self.under_way.take() {
            Some(UnderWay::State) => {
                self.info = Some((self.uplink.info)(self.boot));
                return self.send(UnderWay::Info);
            }
            Some(UnderWay::Fact(number)) => self.uplink.reporter.forget_fact(number),
            _ => {}
        }
        self.advance();
    }

    /// Sends what is due, if nothing is under way. What happened goes before what is: whoever sees a
    /// level has seen how it came about.
    fn advance(&mut self) {
        if self.under_way.is_some() {
            return;
        }
        let (fact, reported) = {
            let told = self.told.borrow_and_update();
            (told.fact().map(|(number, _)| number), told.reported())
        };
        if let Some(number) = fact {
            self.send(UnderWay::Fact(number));
        } else if self.reported.as_ref() != Some(&reported) {
            self.reported = Some(reported);
            self.send(UnderWay::Reported);
        }
    }

    /// Says anew what this host is, if that is something else now.
    fn look_around(&mut self) {
        let now = (self.uplink.info)(self.boot);
        let is_new = self.info.as_ref().is_some_and(|said| {
            let moved = said.free_memory_bytes.abs_diff(now.free_memory_bytes);
            said.boards != now.boards || moved > said.free_memory_bytes / 16
        });
        if is_new && self.under_way.is_none() {
            self.info = Some(now);
            self.send(UnderWay::Info);
        }
    }

    fn send(&mut self, what: UnderWay) {
        let (up, delivery, payload) = match what {
            UnderWay::State => {
                let started_ms = self.uplink.started_ms;
                (Up::State, LEVEL, json(&State { status: Status::Online, boot: self.boot, started_ms }))
            }
            UnderWay::Info => (Up::Info, LEVEL, json(&self.info)),
            UnderWay::Reported => (Up::Reported, LEVEL, json(&self.reported)),
            UnderWay::Fact(_) => match self.told.borrow().fact() {
                Some((_, Fact::Event(event))) => (Up::Event, FACT, json(event)),
                Some((_, Fact::Result(id, answer))) => (Up::Result(*id), FACT, json(answer)),
                None => return,
            },
        };
        let topic = self.uplink.topic(up);
        match self.session.publish(0, topic, delivery, payload) {
            Ok(()) => self.under_way = Some(what),
            // The way is full of console lines: the next change or tick tries again.
            Err(_) => self.reported = None,
        }
    }
}

/// The types of `host_api` have text keys only, so that this cannot fail.
fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}
