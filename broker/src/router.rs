//! The only place that talks to rumqttd: its router as a plain fan-out.
//!
//! The router matches topics, orders messages and pushes back on producers and consumers. Everything else it could do
//! it does wrongly in some case (see the crate's documentation), so it is never asked to:
//!
//! - every link is clean and subscribes at quality of service 0: no acknowledgement, no redelivery, no saved session
//!   ever happens inside;
//! - all messages enter through one link, under one lock together with the retained store, so that both see the same
//!   order;
//! - topics and filters are folded ([`crate::topic::Folding`]), because the router never forgets one;
//! - links do not leave but are emptied and used again: a link that leaves while it is scheduled lets the router sleep
//!   with work to do, one that leaves with a wake-up under way kills it, and the router never forgets a link's name;
//! - the router's event channel is never filled to the brim, because writing to it would then block a whole thread.

mod link;
mod patience;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rumqttd::local::{LinkBuilder, LinkRx, LinkTx};
use rumqttd::protocol::{Packet, Publish, PublishProperties};
use rumqttd::{RouterConfig, SegmentConfig};

use crate::counters::Counters;
use crate::credentials::Role;
use crate::message::Message;
use crate::retained::{Full, Retained};
use crate::settings::Limits;
use crate::topic::Folding;

pub(crate) use link::{Arrival, Link, Route};
use link::{Pipe, Pool};
use patience::patiently;

/// The router's channel holds this many events; ours stops at half.
const EVENT_ROOM: usize = 1000;
/// Distinct filters the router may have to remember.
const MAX_FILTERS: usize = 100_000;
const PROBE_PERIOD: Duration = Duration::from_secs(1);
/// Outside of every prefix, so that no client can see or send it.
const PROBE_TOPIC: &str = "wasmbed-broker-probe";

/// The router does not answer any more; nothing can be delivered and the process has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message router has stopped; restart the broker")]
pub struct RouterStopped;

/// Why a message was not accepted.
#[derive(Debug)]
pub(crate) enum PublishError {
    Full(Full),
    Stopped(RouterStopped),
}

/// Why a link did not subscribe.
#[derive(Debug)]
pub(crate) enum SubscribeError {
    TooManyFilters,
    Stopped(RouterStopped),
}

impl From<RouterStopped> for SubscribeError {
    fn from(stopped: RouterStopped) -> Self {
        SubscribeError::Stopped(stopped)
    }
}

type Connect = dyn Fn(&str) -> Option<(LinkTx, LinkRx)> + Send + Sync;
type Backlog = dyn Fn() -> usize + Send + Sync;

/// A running router.
pub(crate) struct Router {
    connect: Box<Connect>,
    backlog: Box<Backlog>,
    publisher: tokio::sync::Mutex<LinkTx>,
    retained: Mutex<Retained>,
    pool: Mutex<Pool>,
    filters: Mutex<HashSet<String>>,
    folding: Folding,
    started: Instant,
    /// When the last probe came back.
    answered_ms: AtomicU64,
    counters: Arc<Counters>,
}

impl Router {
    /// Starts the router's thread.
    pub(crate) fn start(
        prefix: &str,
        limits: &Limits,
        counters: Arc<Counters>,
    ) -> Result<Arc<Self>, RouterStopped> {
        let events = rumqttd::Router::new(0, config(limits)).spawn();
        let backlog = events.clone();
        let connect = move |name: &str| {
            // It fails only when the router has stopped.
            let (tx, rx, _) = LinkBuilder::new(name, events.clone()).build().ok()?;
            Some((tx, rx))
        };
        let (publisher, _) = connect("publisher").ok_or(RouterStopped)?;
        Ok(Arc::new(Router {
            connect: Box::new(connect),
            backlog: Box::new(move || backlog.len()),
            publisher: tokio::sync::Mutex::new(publisher),
            retained: Mutex::new(Retained::new(limits.retained, limits.retained_each)),
            pool: Mutex::default(),
            filters: Mutex::default(),
            folding: Folding::new(prefix),
            started: Instant::now(),
            answered_ms: AtomicU64::new(0),
            counters,
        }))
    }

    /// Milliseconds of the clock that message deadlines are given in.
    pub(crate) fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Hands a message to all subscribers, now and, if it is to be retained, later.
    pub(crate) async fn publish(&self, owner: Role, message: &Message) -> Result<(), PublishError> {
        let topic = self.folding.topic(message.topic());
        let packet = encode(topic, message);
        let mut publisher = self.publisher.lock().await;
        self.wait_for_room().await.map_err(PublishError::Stopped)?;
        drain(|| publisher.buffer().len()).await.map_err(PublishError::Stopped)?;
        if message.retain() {
            let mut retained = lock(&self.retained);
            let applied = retained.apply(self.now_ms(), owner, message);
            self.counters.retained.set(retained.used().messages as u64);
            self.counters.retained_bytes.set(retained.used().bytes as u64);
            applied.map_err(PublishError::Full)?;
        }
        let first = {
            let mut waiting = publisher.buffer();
            if waiting.is_empty() {
                Some(packet)
            } else {
                // The router was told of those that wait and takes all at once.
                waiting.push_back(packet);
                None
            }
        };
        match first {
            Some(packet) => publisher.send(packet).await.map(drop),
            None => Ok(()),
        }
        .map_err(|_| PublishError::Stopped(RouterStopped))
    }

    /// The retained messages that match `filter`.
    pub(crate) fn retained(&self, filter: &str) -> Vec<Message> {
        lock(&self.retained).matching(self.now_ms(), filter)
    }

    /// A link for one subscriber.
    pub(crate) async fn link(self: &Arc<Self>) -> Result<Link, RouterStopped> {
        let idle = lock(&self.pool).take_idle();
        let pipe = match idle {
            Some(pipe) => pipe,
            None => self.pipe().await?,
        };
        Ok(Link::new(self.clone(), pipe))
    }

    async fn pipe(self: &Arc<Self>) -> Result<Pipe, RouterStopped> {
        self.wait_for_room().await?;
        let name = lock(&self.pool).take_name();
        let router = self.clone();
        // Connecting blocks until the router answers, for ever if it died just now: the runtime's own threads are too
        // good for that, it would wait for them at its end.
        let (done, connected) = tokio::sync::oneshot::channel();
        let connect = move || drop(done.send((router.connect)(&format!("link-{name}"))));
        std::thread::Builder::new()
            .name("router-link".to_owned())
            .spawn(connect)
            .map_err(|_| RouterStopped)?;
        match patiently(connected).await {
            Ok(Ok(Some((tx, rx)))) => Ok(Pipe::new(name, tx, rx)),
            _ => Err(RouterStopped),
        }
    }

    /// Sends a message through the router every second; ends when one does not arrive in time.
    pub(crate) async fn watch(self: Arc<Self>) -> RouterStopped {
        match self.probe().await {
            Err(stopped) => stopped,
            Ok(never) => match never {},
        }
    }

    async fn probe(self: Arc<Self>) -> Result<std::convert::Infallible, RouterStopped> {
        let mut link = self.link().await?;
        match link.subscribe(PROBE_TOPIC).await {
            Ok(_) => {}
            Err(SubscribeError::Stopped(_) | SubscribeError::TooManyFilters) => return Err(RouterStopped),
        }
        let message = Message::new(&crate::message::Parts {
            topic: PROBE_TOPIC,
            payload: &Bytes::new(),
            properties: &[],
            qos: crate::packet::Qos::AtMostOnce,
            retain: false,
            origin: 0,
            deadline_ms: None,
        });
        loop {
            let round_trip = async {
                self.publish(Role::Service, &message).await.map_err(|_| RouterStopped)?;
                link.next().await
            };
            patiently(round_trip).await??;
            self.answered_ms.store(self.now_ms(), Ordering::Relaxed);
            // A dead router ends the link at once; a stuck one is found by the next probe.
            if let Ok(early) = tokio::time::timeout(PROBE_PERIOD, link.next()).await {
                early?;
            }
        }
    }

    /// How long the router has not answered a probe.
    pub(crate) fn silence(&self) -> Duration {
        Duration::from_millis(self.now_ms().saturating_sub(self.answered_ms.load(Ordering::Relaxed)))
    }

    async fn wait_for_room(&self) -> Result<(), RouterStopped> {
        drain(|| (self.backlog)()).await
    }

    /// Notes that the router will remember `filter`; false if that would be one too many.
    fn remember(&self, filter: &str) -> bool {
        let mut filters = lock(&self.filters);
        if !filters.contains(filter) {
            if filters.len() >= MAX_FILTERS {
                return false;
            }
            filters.insert(filter.to_owned());
        }
        true
    }

    /// Wakes a link that has left, on which rumqttd 0.20 panics.
    #[cfg(test)]
    pub(crate) async fn kill(&self) {
        use rumqttd::protocol::{Disconnect, DisconnectReasonCode};
        let (mut tx, rx) = (self.connect)("victim").expect("a link");
        let leave = Disconnect { reason_code: DisconnectReasonCode::NormalDisconnection };
        tx.send(Packet::Disconnect(leave, None)).await.expect("sent");
        rx.wake().await.expect("sent");
    }
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Router").field("folding", &self.folding).finish_non_exhaustive()
    }
}

/// Waits until the router has taken most of what waits for it.
async fn drain(length: impl Fn() -> usize) -> Result<(), RouterStopped> {
    if length() <= EVENT_ROOM / 2 {
        return Ok(());
    }
    let wait = async {
        while length() > EVENT_ROOM / 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    patiently(wait).await
}

fn config(limits: &Limits) -> RouterConfig {
    // A device's log is small: there are many, and what a device has not taken it asks for again. It holds
    // the largest window a device may ask for, 32 blocks of 16 KiB, when its oldest segment is dropped.
    let device = SegmentConfig { max_segment_size: 256 * 1024, max_segment_count: 3 };
    RouterConfig {
        // Sessions and a few of our own; while one session replaces another both have a link.
        max_connections: 2 * (limits.connections + limits.kept_sessions) + 64,
        max_outgoing_packet_count: 100,
        max_segment_size: 1024 * 1024,
        max_segment_count: 8,
        custom_segment: Some(HashMap::from([("+/+/+/dn/#".to_owned(), device)])),
        ..RouterConfig::default()
    }
}

fn encode(topic: String, message: &Message) -> Packet {
    let properties =
        PublishProperties { correlation_data: Some(message.head().clone()), ..Default::default() };
    let publish = Publish::new(Bytes::from(topic), message.payload().clone(), false);
    Packet::Publish(publish, Some(properties))
}

/// Nothing panics while holding one of these locks; should it, the data is still whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Parts;
    use crate::packet::Qos;

    fn router() -> Arc<Router> {
        Router::start("p", &Limits::default(), Arc::default()).expect("a router")
    }

    fn message(topic: &str, number: u32) -> Message {
        Message::new(&Parts {
            topic,
            payload: &Bytes::from(number.to_string()),
            properties: &[],
            qos: Qos::AtMostOnce,
            retain: false,
            origin: 1,
            deadline_ms: None,
        })
    }

    async fn next(link: &mut Link) -> Arrival {
        loop {
            if let Some(arrival) = link.next().await.expect("a running router") {
                return arrival;
            }
        }
    }

    #[tokio::test]
    async fn messages_arrive_in_order_however_many() {
        let router = router();
        let mut link = router.link().await.expect("a link");
        let route = link.subscribe("p/v1/+/up/#").await.expect("a route");
        let publisher = router.clone();
        let publishing = tokio::spawn(async move {
            for number in 0..5000 {
                publisher
                    .publish(Role::Service, &message("p/v1/pump-7/up/tm/x", number))
                    .await
                    .expect("accepted");
            }
        });
        for number in 0..5000 {
            let arrival = next(&mut link).await;
            assert_eq!((arrival.route, arrival.missed), (route, 0));
            assert_eq!(arrival.message.payload(), &Bytes::from(number.to_string()));
        }
        publishing.await.expect("all published");
        link.close().await;
    }

    #[tokio::test]
    async fn a_slow_link_learns_that_it_missed_messages() {
        let router = router();
        let mut link = router.link().await.expect("a link");
        link.subscribe("p/v1/pump-7/dn/#").await.expect("a route");
        let big = Message::new(&Parts {
            topic: "p/v1/pump-7/dn/blk/1",
            payload: &Bytes::from(vec![0; 32 * 1024]),
            properties: &[],
            qos: Qos::AtMostOnce,
            retain: false,
            origin: 1,
            deadline_ms: None,
        });
        for _ in 0..1000 {
            router.publish(Role::Service, &big).await.expect("accepted");
        }
        let mut seen = 0;
        while next(&mut link).await.missed == 0 {
            seen += 1;
            assert!(seen < 1000, "nothing was missed");
        }
    }

    #[tokio::test]
    async fn filters_that_fold_alike_share_a_route() {
        let router = router();
        let mut link = router.link().await.expect("a link");
        let first = link.subscribe("p/v1/a/up/x/y/z").await.expect("a route");
        let second = link.subscribe("p/v1/a/up/x/y/w").await.expect("a route");
        assert_eq!(first, second);
        link.unsubscribe(first).await.expect("done");
        router.publish(Role::Service, &message("p/v1/a/up/x/y/w", 1)).await.expect("accepted");
        assert_eq!(next(&mut link).await.message.topic(), "p/v1/a/up/x/y/w");
        link.unsubscribe(second).await.expect("done");
        assert!(link.is_empty());
    }

    #[tokio::test]
    async fn links_that_come_and_go_use_few_names() {
        let router = router();
        for _ in 0..100 {
            let mut link = router.link().await.expect("a link");
            link.subscribe("p/v1/a/dn/#").await.expect("a route");
            link.close().await;
        }
        assert_eq!(lock(&router.pool).names_made(), 1);
    }

    #[tokio::test]
    async fn the_death_of_the_router_is_noticed() {
        let router = router();
        let watching = tokio::spawn(router.clone().watch());
        router.kill().await;
        let noticed = tokio::time::timeout(Duration::from_secs(20), watching).await.expect("in time");
        assert_eq!(noticed.expect("no panic"), RouterStopped);
        assert!(router.link().await.is_err());
    }
}
