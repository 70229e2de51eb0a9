//! The thread that owns the fleet: one thing after the other, each durable before it is seen.

use std::{
    thread,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use tokio::{runtime::Handle, sync::mpsc, time::timeout};
use wasmbed_plan::Time;

use super::{Fleet, Publish, fleet_topic};
use crate::{
    api::{Answer, Problem},
    store::NewModule,
};

/// Longest pause between two looks at the whole fleet.
const MAX_PAUSE: Duration = Duration::from_secs(5);

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
    Built { built: Box<Result<NewModule, Problem>>, reply: Reply },
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

/// Runs the fleet until `inputs` is closed. What is to be published goes to `out`, which has no bound:
/// every message answers an input or is one desired state, and a full queue here would stop the task
/// that has to empty it.
pub(super) fn start(
    runtime: Handle,
    clock: Clock,
    fleet: Fleet,
    inputs: mpsc::Receiver<Input>,
    out: mpsc::UnboundedSender<Publish>,
) -> std::io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().name("fleet".into()).spawn(move || work(&runtime, clock, fleet, inputs, &out))
}

fn work(
    runtime: &Handle,
    clock: Clock,
    mut fleet: Fleet,
    mut inputs: mpsc::Receiver<Input>,
    out: &mpsc::UnboundedSender<Publish>,
) {
    loop {
        let now = clock.now();
        let pause = fleet.next_deadline().map_or(MAX_PAUSE, |at| Duration::from_millis(at.ms_since(now)));
        // The timer has to be made inside the runtime.
        match runtime.block_on(async { timeout(pause.min(MAX_PAUSE), inputs.recv()).await }) {
            Ok(Some(input)) => step(clock.now(), &mut fleet, input),
            Ok(None) => break,
            Err(_) => fleet.on_tick(clock.now()),
        }
        // Deadlines are kept under a stream of inputs, too.
        if fleet.next_deadline().is_some_and(|at| at <= clock.now()) {
            fleet.on_tick(clock.now());
        }
        while let Some(message) = fleet.poll_publish() {
            // Nobody publishes any more: the service is stopping.
            let _ = out.send(message);
        }
    }
    fleet.flush(clock.now());
}

fn step(now: Time, fleet: &mut Fleet, input: Input) {
    match input {
        Input::Connected => fleet.on_connected(now),
        Input::Disconnected => fleet.on_disconnected(now),
        Input::Message { topic, payload, retained } => fleet.on_message(now, &topic, &payload, retained),
        Input::Request { verb, payload, reply } => {
            let answer = fleet.on_request(now, &verb, &payload);
            fleet.answer(reply, &answer);
        }
        Input::Built { built, reply } => {
            let answer = fleet.on_built(now, *built);
            fleet.answer(reply, &answer);
        }
    }
}

impl Fleet {
    fn answer(&mut self, reply: Reply, answer: &Answer) {
        if let Some(message) = reply.message(&self.options.prefix, answer) {
            self.publish(message);
        }
    }
}
