//! The thread that owns the fleet: one thing after the other, each durable before it is seen.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
    time::timeout,
};
use wasmbed_plan::Time;
use wasmbed_wire::CommandId;

use super::{Built, Fleet, PatchOrder, Publish, Reaction, fleet_topic, metrics::Look, patches::Pair};
use crate::{
    api::{Answer, Problem},
    store::NewPatch,
};

/// Longest pause between two looks at the whole fleet.
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// How long a request waits for patches; then it is carried out without them.
const PATCH_MS: u64 = 10_000;
/// Requests that may wait for patches; further ones are carried out without them.
const MAX_PARKED: usize = 64;

/// What happens to the fleet.
#[derive(Debug)]
pub(super) enum Input {
    /// The broker is connected and subscribed.
    Connected,
    /// The broker is gone.
    Disconnected,
    /// A device or host said something.
    Message { topic: String, payload: Bytes, retained: bool },
    /// Somebody wants something.
    Request { verb: String, payload: Bytes, reply: Reply },
    /// An upload was checked and compiled, or refused.
    Built { built: Box<Result<Built, Problem>>, reply: Reply },
    /// A patch was made, or is not worth making.
    Patched { order: PatchOrder, made: Option<Box<NewPatch>> },
    /// Somebody wants to know how the fleet is.
    Look(oneshot::Sender<Look>),
}

/// Where an answer goes.
#[derive(Debug, Clone, Default)]
pub(super) struct Reply {
    /// The topic asked for.
    pub(super) topic: Option<String>,
    /// What comes back with it.
    pub(super) correlation: Option<Bytes>,
}

impl Reply {
    /// The answer as a message; none if nobody said where to.
    pub(super) fn message(self, prefix: &str, answer: &Answer) -> Option<Publish> {
        let by_id = || answer.id.map(|id| fleet_topic(prefix, format_args!("res/{id}")));
        let topic = self.topic.or_else(by_id)?;
        let message = Publish::json(topic, answer, false);
        Some(Publish { correlation: self.correlation, ..message })
    }
}

/// Unix time that never goes back while the service runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    start: Instant,
    start_ms: u64,
}

impl Clock {
    pub(super) fn new() -> Self {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Clock { start: Instant::now(), start_ms: millis(unix) }
    }

    pub(super) fn now(&self) -> Time {
        Time(self.start_ms).after_ms(millis(self.start.elapsed()))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A request that waits for patches to be made.
struct Parked {
    verb: String,
    payload: Bytes,
    reply: Reply,
    pairs: Vec<Pair>,
    until: Time,
}

/// Where the fleet's thread sends what others do.
pub(super) struct Outputs {
    /// What is to be published. It has no bound: every message answers an input or is one desired state, and
    /// a full queue here would stop the task that has to empty it.
    pub(super) publish: mpsc::UnboundedSender<Publish>,
    /// Patches to make; never more than there are pairs of images.
    pub(super) patches: mpsc::UnboundedSender<PatchOrder>,
}

/// Runs the fleet until `inputs` is closed.
pub(super) fn start(
    runtime: Handle,
    clock: Clock,
    fleet: Fleet,
    inputs: mpsc::Receiver<Input>,
    out: Outputs,
) -> std::io::Result<thread::JoinHandle<()>> {
    let worker = Worker { clock, fleet, out, parked: Vec::new(), relayed: BTreeMap::new() };
    thread::Builder::new().name("fleet".into()).spawn(move || worker.run(&runtime, inputs))
}

struct Worker {
    clock: Clock,
    fleet: Fleet,
    out: Outputs,
    parked: Vec<Parked>,
    /// Where the answers to what hosts carry out go.
    relayed: BTreeMap<CommandId, Reply>,
}

impl Worker {
    fn run(mut self, runtime: &Handle, mut inputs: mpsc::Receiver<Input>) {
        loop {
            let now = self.clock.now();
            let pause = self.next_deadline().map_or(MAX_PAUSE, |at| Duration::from_millis(at.ms_since(now)));
            // The timer has to be made inside the runtime.
            match runtime.block_on(async { timeout(pause.min(MAX_PAUSE), inputs.recv()).await }) {
                Ok(Some(input)) => self.step(input),
                Ok(None) => break,
                Err(_) => self.fleet.on_tick(self.clock.now()),
            }
            self.resume();
            // Deadlines are kept under a stream of inputs, too.
            let now = self.clock.now();
            if self.fleet.next_deadline().is_some_and(|at| at <= now) {
                self.fleet.on_tick(now);
            }
            self.send();
        }
        self.fleet.flush(self.clock.now());
    }

    fn next_deadline(&self) -> Option<Time> {
        self.parked.iter().map(|parked| parked.until).chain(self.fleet.next_deadline()).min()
    }

    fn send(&mut self) {
        while let Some((number, answer)) = self.fleet.poll_relayed() {
            let reply = self.relayed.remove(&number).unwrap_or_default();
            self.fleet.answer(reply, &answer);
        }
        // Nobody takes anything any more when the service is stopping.
        while let Some(message) = self.fleet.poll_publish() {
            let _ = self.out.publish.send(message);
        }
        while let Some(order) = self.fleet.poll_patch() {
            let _ = self.out.patches.send(order);
        }
    }

    fn step(&mut self, input: Input) {
        let (now, fleet) = (self.clock.now(), &mut self.fleet);
        match input {
            Input::Connected => fleet.on_connected(now),
            Input::Disconnected => fleet.on_disconnected(now),
            Input::Message { topic, payload, retained } => fleet.on_message(now, &topic, &payload, retained),
            Input::Request { verb, payload, reply } => {
                let pairs = fleet.lacking(now, &verb, &payload);
                if pairs.is_empty() || self.parked.len() >= MAX_PARKED {
                    self.request(now, &verb, &payload, reply);
                } else {
                    let until = now.after_ms(PATCH_MS);
                    self.parked.push(Parked { verb, payload, reply, pairs, until });
                }
            }
            Input::Built { built, reply } => {
                let answer = fleet.on_built(now, *built);
                fleet.answer(reply, &answer);
            }
            Input::Patched { order, made } => fleet.on_patch(now, &order, made.map(|made| *made)),
            // Whoever asked may have gone.
            Input::Look(asked) => drop(asked.send(fleet.look())),
        }
    }

    /// Carries out what has waited long enough for its patches.
    fn resume(&mut self) {
        let (now, fleet) = (self.clock.now(), &mut self.fleet);
        let is_due = |parked: &mut Parked| {
            parked.until <= now || parked.pairs.iter().all(|pair| !fleet.patches.is_pending(pair))
        };
        let due: Vec<Parked> = self.parked.extract_if(.., is_due).collect();
        for Parked { verb, payload, reply, .. } in due {
            self.request(now, &verb, &payload, reply);
        }
    }

    fn request(&mut self, now: Time, verb: &str, payload: &[u8], reply: Reply) {
        match self.fleet.on_request(now, verb, payload) {
            Reaction::Answer(answer) => self.fleet.answer(reply, &answer),
            // Who asked last for the same is told.
            Reaction::Relayed(number) => drop(self.relayed.insert(number, reply)),
        }
    }
}

impl Fleet {
    fn answer(&mut self, reply: Reply, answer: &Answer) {
        self.tally.answered(answer.ok);
        if let Some(message) = reply.message(&self.options.prefix, answer) {
            self.publish(message);
        }
    }
}
