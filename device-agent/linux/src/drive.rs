//! The loop between the agent's core and this machine: events in, effects out.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant as Clock},
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    task::yield_now,
    time::{Instant as Deadline, sleep_until},
};
use wasmbed_abi::MAX_MESSAGE_BYTES;
use wasmbed_core::{Agent, Assignment, Config, Effect, Instant, ModuleEvent, Slot};
use wasmbed_metrics::Server;
use wasmbed_runtime::Runtime;
use wasmbed_sandbox::Network;
use wasmbed_wire::{
    Channel, Seq,
    message::{Reason, Setting},
    topic::{self, Down},
};

use crate::{
    device::{CLASS, Device, SETTINGS_BYTES, SLOTS, WINDOW_BLOCKS, modules_dir},
    enrol::Renewal,
    folders::Folders,
    launch::Watchdog,
    metrics::{Counts, Metrics},
    mqtt::{Event, Session},
    pins::Pins,
    px4::Px4,
    ros,
    secrets::Secrets,
    sensors::Sensors,
    settings::Settings,
    store::SlotStore,
    values::Values,
    worker::{Ended, Message, News, OUTBOX, Surroundings, Worker},
};

/// Time without traffic after which the broker is asked for a sign of life, in seconds.
const KEEP_ALIVE_S: u16 = 10;
/// News of modules under way to the loop.
const NEWS: usize = 64;
/// When to look again if nothing is due, which cannot last: a session always has a deadline.
const IDLE: Duration = Duration::from_secs(60);

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// A signal asked for it.
    Stop,
    /// A command asked for it.
    Restart,
}

/// Runs the agent until a signal or a command ends it.
pub(crate) async fn run(
    settings: Settings,
    mut device: Device,
    watchdog: Watchdog,
    start: Clock,
) -> anyhow::Result<End> {
    let config = Config {
        heartbeat_ms: settings.heartbeat_ms,
        keep_alive_s: KEEP_ALIVE_S,
        window_blocks: WINDOW_BLOCKS,
    };
    let (news, news_of_modules) = mpsc::channel(NEWS);
    let (outbox, messages) = mpsc::channel(OUTBOX);
    let surroundings = Surroundings {
        runtime: Arc::new(Runtime::new(CLASS)?),
        news,
        outbox,
        online: Arc::new(AtomicBool::new(false)),
        buses: settings.buses.clone(),
        sensors: Sensors::new(settings.sensors_dir.clone(), settings.simulate),
        pins: Pins::new(&settings.wiring, settings.simulate),
        secrets: Secrets::new(&settings.data_dir),
        values: Values::new(&settings.data_dir),
        folders: Folders::new(&settings.data_dir),
        network: Network::new(tokio::runtime::Handle::current()),
        px4: Px4::start(settings.px4.clone(), start),
        ros: ros::start(settings.ros.clone())?,
        start,
    };
    device.hear(surroundings.px4.clone());
    if let Some(ros) = surroundings.ros.clone() {
        tokio::spawn(ros::tell(ros, surroundings.outbox.clone(), start));
    }
    let renewal = Renewal::new(&settings);
    let counts = Arc::new(Counts::default());
    if let Some(listen) = settings.metrics_listen {
        let (online, ros) = (Arc::clone(&surroundings.online), surroundings.ros.clone());
        let metrics = Metrics { online, counts: Arc::clone(&counts), ros };
        // It ends with the runtime.
        tokio::spawn(Server::bind(listen).await?.serve(Arc::new(metrics)));
    }
    let machine = Machine {
        settings,
        surroundings,
        counts,
        renewal,
        session: None,
        workers: BTreeMap::new(),
        halted: None,
        works: false,
    };
    let inputs = Inputs {
        news_of_modules,
        messages,
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
    };
    // On the heap: it is some 150 KB.
    let agent = Box::new(Agent::new(device, config));
    Driver { agent, machine, inputs, watchdog, start }.run().await
}

struct Driver {
    agent: Box<Agent<Device, SLOTS, SETTINGS_BYTES>>,
    machine: Machine,
    inputs: Inputs,
    watchdog: Watchdog,
    start: Clock,
}

/// Where events come from, besides the session.
struct Inputs {
    news_of_modules: mpsc::Receiver<News>,
    messages: mpsc::Receiver<Message>,
    terminate: Signal,
    interrupt: Signal,
}

enum Input {
    Session(Event),
    News(News),
    Message(Message),
    Deadline,
    /// There is work to go on with, and everything else had its turn.
    Work,
    Shutdown,
}

impl Driver {
    async fn run(mut self) -> anyhow::Result<End> {
        loop {
            self.watchdog.renew();
            if let Some(end) = self.carry_out() {
                if let Some(session) = self.machine.session.take() {
                    session.close().await;
                }
                if let Some(ros) = &self.machine.surroundings.ros {
                    ros.stop();
                }
                return Ok(end);
            }
            let works = std::mem::take(&mut self.machine.works);
            let deadline = self.deadline();
            let input = self.inputs.next(self.machine.session.as_mut(), deadline, works).await;
            self.take(input);
        }
    }

    fn deadline(&self) -> Clock {
        let idle = Clock::now() + self.watchdog.renew_every().unwrap_or(IDLE).min(IDLE);
        let due = self.agent.next_deadline().map(|at| self.start + Duration::from_millis(at.0));
        due.map_or(idle, |due| due.min(idle))
    }

    /// Carries out everything there is room for, but not more than one piece of longer work.
    fn carry_out(&mut self) -> Option<End> {
        loop {
            while self.machine.has_room() {
                let Some(effect) = self.agent.poll_effect() else { break };
                if let Some(end) = self.machine.carry_out(effect) {
                    return Some(end);
                }
            }
            // Halting what does not run is answered at once, and the answer may have effects.
            let (slot, event) = self.machine.halted.take()?;
            self.agent.on_module(self.now(), slot, event);
        }
    }

    fn take(&mut self, input: Input) {
        let now = self.now();
        match input {
            Input::Session(event) => self.take_session_event(now, event),
            Input::News(News::Event(slot, event)) => self.agent.on_module(now, slot, event),
            Input::News(News::Over(slot, ended)) => {
                let event = self.machine.over(slot, ended);
                self.agent.on_module(now, slot, event);
            }
            Input::Message(message) => self.machine.forward(&message),
            Input::Deadline | Input::Work => {
                self.agent.on_deadline(now);
                self.machine.renew_certificate();
            }
            Input::Shutdown => self.agent.shutdown(now),
        }
    }

    fn take_session_event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Up => {
                tracing::info!("online");
                self.machine.set_online(true);
                self.machine.counts.connected();
                self.agent.on_connected(now);
                self.machine.renew_certificate();
            }
            Event::Acked(token) => self.agent.on_acked(now, token),
            Event::Message(topic, payload) => {
                if topic == topic::ENROLLED {
                    self.machine.renewal.take(&payload);
                } else if let Some(Down::Message(instance, channel)) = Down::parse(&topic) {
                    match self.agent.recipient(&instance) {
                        Some(slot) => self.machine.deliver(slot, channel, &payload),
                        None => tracing::debug!("{topic} was ignored: {instance} does not run"),
                    }
                } else if let Err(rejected) = self.agent.on_message(now, &topic, &payload) {
                    tracing::debug!("{topic} was ignored: {rejected}");
                }
            }
            Event::Room => self.agent.on_deadline(now),
            Event::Closed(reason) => {
                tracing::warn!("offline: {reason}");
                self.machine.session = None;
                self.machine.set_online(false);
                self.agent.on_disconnected(now);
            }
        }
    }

    fn now(&self) -> Instant {
        Instant(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

impl Inputs {
    async fn next(&mut self, session: Option<&mut Session>, deadline: Clock, works: bool) -> Input {
        let session_event = async {
            match session {
                Some(session) => session.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            event = session_event => Input::Session(event),
            Some(news) = self.news_of_modules.recv() => Input::News(news),
            Some(message) = self.messages.recv() => Input::Message(message),
            _ = self.terminate.recv() => Input::Shutdown,
            _ = self.interrupt.recv() => Input::Shutdown,
            () = sleep_until(Deadline::from_std(deadline)) => Input::Deadline,
            // Ready only after whatever else is: the session's task among it.
            () = yield_now(), if works => Input::Work,
        }
    }
}

/// What effects act upon.
struct Machine {
    settings: Settings,
    surroundings: Surroundings,
    counts: Arc<Counts>,
    session: Option<Session>,
    renewal: Renewal,
    /// The threads of modules; `None` once the thread was told to end.
    workers: BTreeMap<Slot, Option<Worker>>,
    /// News made while carrying out an effect.
    halted: Option<(Slot, ModuleEvent)>,
    /// A piece of longer work was done.
    works: bool,
}

impl Machine {
    fn has_room(&self) -> bool {
        !self.works && self.halted.is_none() && self.session.as_ref().is_none_or(Session::has_room)
    }

    fn carry_out(&mut self, effect: Effect<'_>) -> Option<End> {
        match effect {
            Effect::Connect { will, keep_alive_s } => {
                self.set_online(false);
                self.session = Some(Session::open(&self.settings, will, keep_alive_s));
            }
            Effect::Publish { topic, payload, token } => {
                if let Some(session) = &self.session {
                    session.publish(topic, payload, token);
                }
            }
            Effect::Start { slot, assignment, settings } => self.start(slot, &assignment, settings),
            Effect::Tick { slot } => {
                if let Some(Some(worker)) = self.workers.get(&slot) {
                    worker.tick();
                }
            }
            Effect::Stop { slot } => match self.workers.get_mut(&slot) {
                Some(worker) => *worker = None,
                None => self.halted = Some((slot, ModuleEvent::Halted)),
            },
            Effect::Work => self.works = true,
            Effect::Restart => return Some(End::Restart),
            Effect::Disconnect => return Some(End::Stop),
        }
        None
    }

    fn start(&mut self, slot: Slot, assignment: &Assignment, settings: Seq<'_, Setting<'_>>) {
        let Assignment { instance, module, .. } = assignment;
        tracing::info!(module = %instance, artifact = %module.artifact, "starting");
        let settings =
            settings.iter().map(|setting| (setting.key.to_owned(), setting.value.to_owned())).collect();
        let payload = SlotStore::payload(&modules_dir(&self.settings.data_dir), slot);
        match Worker::start(&self.surroundings, slot, assignment, settings, payload) {
            Ok(worker) => {
                self.counts.started();
                self.workers.insert(slot, Some(worker));
            }
            Err(error) => {
                tracing::error!(module = %instance, "no thread: {error}");
                self.halted = Some((slot, stopped(Reason::OutOfMemory.into())));
            }
        }
    }

    /// What it means that the thread of this slot is over.
    fn over(&mut self, slot: Slot, ended: Option<Ended>) -> ModuleEvent {
        let worker = self.workers.remove(&slot);
        let ended = ended.filter(|_| matches!(worker, Some(Some(_))));
        self.counts.ended(ended.as_ref().map(|ended| ended.reason));
        ended.map_or(ModuleEvent::Halted, stopped)
    }

    /// Gives a module a message.
    fn deliver(&self, slot: Slot, channel: Channel, payload: &[u8]) {
        if payload.len() > MAX_MESSAGE_BYTES {
            tracing::warn!(
                "a message of {} bytes on {channel} was dropped: modules take {MAX_MESSAGE_BYTES}",
                payload.len()
            );
        } else if let Some(Some(worker)) = self.workers.get(&slot) {
            worker.message(channel, payload.to_vec());
        }
    }

    fn forward(&self, message: &Message) {
        let session = self.session.as_ref().filter(|session| session.has_room_for_modules());
        // Telemetry and logs are only worth something now.
        if let Some(session) = session {
            session.publish(message.topic, &message.payload, wasmbed_core::Token(0));
        }
    }

    /// Asks for another certificate before the one it connects with ends.
    fn renew_certificate(&mut self) {
        let Some(session) = self.session.as_ref().filter(|_| self.is_online()) else { return };
        if let Some(request) = self.renewal.request(&self.settings, Clock::now()) {
            session.publish_plain(topic::RENEW, request);
        }
    }

    fn is_online(&self) -> bool {
        self.surroundings.online.load(Ordering::Relaxed)
    }

    fn set_online(&self, online: bool) {
        self.surroundings.online.store(online, Ordering::Relaxed);
    }
}

fn stopped(ended: Ended) -> ModuleEvent {
    let Ended { reason, used, backtrace } = ended;
    ModuleEvent::Stopped { reason, used, backtrace }
}
