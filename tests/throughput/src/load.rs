//! Messages in a closed loop.

use std::{
    cell::{Cell, RefCell},
    fmt,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use tokio::{
    sync::Semaphore,
    task::{JoinHandle, spawn_local},
    time::timeout,
};

use crate::{
    broker::{Broker, Link, Login},
    client::{Reader, Writer, connect},
    wire::{self, PUBLISH},
};

/// The many of one-to-many.
pub(crate) const MANY: usize = 1000;
/// Bytes of a payload: a heartbeat's size. It begins with when it was sent.
const PAYLOAD_BYTES: usize = 64;
/// Messages under way while the rate is measured, at quality of service 0 and 1.
const UNDER_WAY: [usize; 2] = [200, 50];
/// How long nothing may arrive.
const STALL: Duration = Duration::from_secs(20);

/// Who speaks to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Shape {
    OneToOne,
    OneToMany,
    ManyToOne,
}

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Load {
    pub(crate) shape: Shape,
    pub(crate) qos: u8,
}

impl Load {
    pub(crate) const ALL: [Load; 6] = {
        use Shape::{ManyToOne, OneToMany, OneToOne};
        [
            Load { shape: OneToOne, qos: 0 },
            Load { shape: OneToOne, qos: 1 },
            Load { shape: OneToMany, qos: 0 },
            Load { shape: OneToMany, qos: 1 },
            Load { shape: ManyToOne, qos: 0 },
            Load { shape: ManyToOne, qos: 1 },
        ]
    };
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shape = match self.shape {
            Shape::OneToOne => "1-1",
            Shape::OneToMany => "1-1000",
            Shape::ManyToOne => "1000-1",
        };
        write!(f, "{shape} q{}", self.qos)
    }
}

/// What came of a load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    /// Messages delivered in a second.
    pub(crate) rate: f64,
    /// The broker's processor time for one, in nanoseconds.
    pub(crate) cost_ns: f64,
    /// The half, 95 % and 99 % of deliveries take at most so long while one message is under way, in microseconds.
    pub(crate) latency_us: [f64; 3],
}

/// What publishers and subscribers share.
struct Shared {
    start: Instant,
    /// Deliveries that may still be under way.
    room: Semaphore,
    delivered: Cell<u64>,
    latencies_us: RefCell<Vec<u32>>,
}

/// Runs a load: latency first, with one message under way, then the rate.
pub(crate) async fn run(broker: &Broker, link: Link, load: Load, each: Duration) -> Result<Measured> {
    let shared = Rc::new(Shared {
        start: Instant::now(),
        room: Semaphore::new(0),
        delivered: Cell::new(0),
        latencies_us: RefCell::default(),
    });
    let (publishers, subscribers) = load.shape.ends();
    let mut tasks = Tasks(Vec::new());
    for number in 0..subscribers {
        tasks.0.push(subscriber(broker, link, load, number, &shared).await?);
    }
    let mut senders = Vec::with_capacity(publishers);
    for number in 0..publishers {
        let (sender, acknowledgements) = publisher(broker, link, load, number).await?;
        senders.push(sender);
        tasks.0.push(acknowledgements);
    }
    let fan_out = u32::try_from(subscribers)?;
    // Warms up, too: the first messages find empty caches.
    shared.room.add_permits(subscribers);
    send(&mut senders, &shared, fan_out, each / 3).await?;
    let latency_us = percentiles(&shared.latencies_us.take());

    let under_way = UNDER_WAY[usize::from(load.qos)].div_ceil(subscribers).max(2);
    shared.room.add_permits((under_way - 1) * subscribers);
    shared.delivered.set(0);
    let (began, before) = (Instant::now(), broker.processor_time()?);
    send(&mut senders, &shared, fan_out, each).await?;
    let (took, after) = (began.elapsed(), broker.processor_time()?);
    let delivered = shared.delivered.get() as f64;
    ensure!(delivered > 0.0, "nothing was delivered");
    Ok(Measured {
        rate: delivered / took.as_secs_f64(),
        cost_ns: (after - before).as_nanos() as f64 / delivered,
        latency_us,
    })
}

/// Tasks that end with the load.
struct Tasks(Vec<JoinHandle<()>>);

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// One publisher.
struct Sender {
    writer: Writer,
    topic: String,
    qos: u8,
    id: u16,
}

/// Sends by turns as long as there is room, and waits until all has arrived.
async fn send(senders: &mut [Sender], shared: &Shared, fan_out: u32, during: Duration) -> Result<()> {
    let until = Instant::now() + during;
    let all = shared.room.available_permits();
    let mut payload = [0x5a; PAYLOAD_BYTES];
    let mut next = 0;
    while Instant::now() < until {
        let stalled = "messages were lost: nothing arrives any more";
        timeout(STALL, shared.room.acquire_many(fan_out)).await.context(stalled)??.forget();
        let count = senders.len();
        let Some(sender) = senders.get_mut(next % count) else { break };
        next += 1;
        payload[..8].copy_from_slice(&(shared.start.elapsed().as_micros() as u64).to_le_bytes());
        sender.id = sender.id % 60_000 + 1;
        wire::publish(&sender.topic, sender.qos, sender.id, &payload, &mut sender.writer.out);
        // What there is room for goes out together, as a busy client's messages do.
        let is_last = count > 1 || shared.room.available_permits() < fan_out as usize;
        if is_last {
            sender.writer.flush().await?;
        }
    }
    for sender in senders.iter_mut() {
        sender.writer.flush().await?;
    }
    let back = timeout(STALL, shared.room.acquire_many(u32::try_from(all)?)).await;
    drop(back.context("messages were lost: not all arrived")??);
    Ok(())
}

async fn publisher(
    broker: &Broker,
    link: Link,
    load: Load,
    number: usize,
) -> Result<(Sender, JoinHandle<()>)> {
    let (login, topic) = match load.shape {
        Shape::OneToMany => {
            (Login::new("_service", "publisher".to_owned())?, "wasmbed/v1/_fleet/events".to_owned())
        }
        Shape::OneToOne | Shape::ManyToOne => {
            let id = format!("device-{number}");
            let topic = format!("wasmbed/v1/{id}/up/hb");
            (Login::new(&id, id.clone())?, topic)
        }
    };
    let (mut reader, writer) = connect(broker, link, &login).await?;
    // Ends with the connection; who waits for messages then says so.
    let acknowledgements = spawn_local(async move { while reader.packet().await.is_ok() {} });
    Ok((Sender { writer, topic, qos: load.qos, id: 0 }, acknowledgements))
}

async fn subscriber(
    broker: &Broker,
    link: Link,
    load: Load,
    number: usize,
    shared: &Rc<Shared>,
) -> Result<JoinHandle<()>> {
    let (login, filter) = match load.shape {
        Shape::OneToMany => {
            (Login::new("_operator", format!("reader-{number}"))?, "wasmbed/v1/_fleet/events")
        }
        Shape::OneToOne | Shape::ManyToOne => {
            (Login::new("_service", "reader".to_owned())?, "wasmbed/v1/+/up/#")
        }
    };
    let (mut reader, mut writer) = connect(broker, link, &login).await?;
    writer.subscribe(&mut reader, filter, load.qos).await?;
    let shared = Rc::clone(shared);
    // Ends with the connection; who waits for messages then says so.
    Ok(spawn_local(async move { while receive(&mut reader, &mut writer, &shared).await.is_ok() {} }))
}

/// Takes everything that has come, and answers it at once.
async fn receive(reader: &mut Reader, writer: &mut Writer, shared: &Shared) -> Result<()> {
    let mut next = Some(reader.packet().await?);
    let mut delivered = 0;
    while let Some(packet) = next {
        if packet.kind() == PUBLISH {
            let (id, payload) = packet.into_message().context("half a message")?;
            if id != 0 {
                wire::puback(id, &mut writer.out);
            }
            let sent = payload.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
            let now = shared.start.elapsed().as_micros() as u64;
            shared
                .latencies_us
                .borrow_mut()
                .push(u32::try_from(now.saturating_sub(sent)).unwrap_or(u32::MAX));
            delivered += 1;
        }
        next = reader.ready();
    }
    shared.delivered.set(shared.delivered.get() + delivered as u64);
    shared.room.add_permits(delivered);
    if writer.out.is_empty() { Ok(()) } else { writer.flush().await }
}

fn percentiles(values: &[u32]) -> [f64; 3] {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    [50, 95, 99].map(|percent| {
        let at = sorted.len() * percent / 100;
        sorted.get(at).or(sorted.last()).map_or(f64::NAN, |us| f64::from(*us))
    })
}
