//! One simulated device: its agent, its connection and its restarts.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant as Clock},
};

use tokio::{task::yield_now, time::sleep_until};
use wasmbed_core::{Effect, Instant, ModuleEvent, Used};
use wasmbed_wire::{
    Backtrace, PublicKey,
    message::{Block, Get, Reason, Reported, ResetCause},
    topic::{Down, Up},
};

use crate::{
    Broker, Kind, Member, Report,
    platform::{Memory, SimulatedAgent, start},
    session::{Event, Session},
};

/// When to look again if nothing is due, which cannot last: a connection always has a deadline.
const IDLE: Duration = Duration::from_secs(60);

/// A device that is switched off.
pub(crate) struct Parts {
    pub(crate) kind: Kind,
    pub(crate) broker: Broker,
    pub(crate) member: Member,
    pub(crate) trusted: Arc<[PublicKey]>,
    pub(crate) memory: Memory,
    pub(crate) report: Arc<Mutex<Report>>,
}

struct Device {
    kind: Kind,
    broker: Broker,
    member: Member,
    trusted: Arc<[PublicKey]>,
    report: Arc<Mutex<Report>>,
    agent: Box<SimulatedAgent>,
    session: Option<Session>,
    started: Clock,
}

/// What comes after the effects.
enum Then {
    Wait,
    /// More work is left.
    GoOn,
    Restart,
    End,
}

/// Switches a device on. It runs until it cannot go on, and its report says why; on a thread with a `LocalSet`.
pub(crate) async fn run(parts: Parts) {
    let report = Arc::clone(&parts.report);
    let end = match Device::new(parts) {
        Ok(device) => device.run().await,
        Err(error) => error,
    };
    lock(&report).failure = Some(format!("{end:#}"));
}

impl Device {
    fn new(parts: Parts) -> anyhow::Result<Self> {
        let Parts { kind, broker, member, trusted, memory, report } = parts;
        let agent = start(member.device, kind, &trusted, memory, ResetCause::Power)?;
        lock(&report).starts += 1;
        Ok(Device { kind, broker, member, trusted, report, agent, session: None, started: Clock::now() })
    }

    async fn run(mut self) -> anyhow::Error {
        loop {
            match self.carry_out() {
                Then::Wait => self.wait().await,
                Then::GoOn => {
                    yield_now().await;
                    self.look();
                }
                Then::Restart => {
                    if let Err(error) = self.restart() {
                        return error;
                    }
                }
                Then::End => return anyhow::anyhow!("the agent ended"),
            }
        }
    }

    /// Carries out everything there is room for.
    fn carry_out(&mut self) -> Then {
        while self.session.as_ref().is_none_or(Session::has_room) {
            let answer = match self.agent.poll_effect() {
                None => return Then::Wait,
                Some(Effect::Connect { will, keep_alive_s }) => {
                    let Member { device, password } = &self.member;
                    self.session = Some(Session::open(self.broker, *device, password, will, keep_alive_s));
                    lock(&self.report).is_online = false;
                    continue;
                }
                Some(Effect::Publish { topic, payload, token }) => {
                    note(&mut lock(&self.report), topic, payload);
                    self.session.as_ref().inspect(|session| session.publish(topic, payload, token));
                    continue;
                }
                Some(Effect::Start { slot, .. } | Effect::Tick { slot }) => (
                    slot,
                    ModuleEvent::Stopped {
                        reason: Reason::LoadFailed,
                        used: Used::default(),
                        backtrace: Backtrace::default(),
                    },
                ),
                Some(Effect::Stop { slot }) => (slot, ModuleEvent::Halted),
                Some(Effect::Work) => return Then::GoOn,
                Some(Effect::Restart) => return Then::Restart,
                Some(Effect::Disconnect) => return Then::End,
            };
            self.agent.on_module(self.now(), answer.0, answer.1);
        }
        Then::Wait
    }

    async fn wait(&mut self) {
        let deadline = self.agent.next_deadline();
        let deadline = deadline.map_or(Clock::now() + IDLE, |at| self.started + Duration::from_millis(at.0));
        let event = async {
            match &mut self.session {
                Some(session) => session.next().await,
                None => std::future::pending().await,
            }
        };
        let event = tokio::select! {
            event = event => Some(event),
            () = sleep_until(deadline.into()) => None,
        };
        self.take(event);
    }

    /// Takes in what has come while the device was at work.
    fn look(&mut self) {
        let event = self.session.as_mut().and_then(Session::try_next);
        self.take(event);
    }

    fn take(&mut self, event: Option<Event>) {
        let now = self.now();
        match event {
            Some(Event::Up) => {
                lock(&self.report).is_online = true;
                self.agent.on_connected(now);
            }
            Some(Event::Acked(token)) => self.agent.on_acked(now, token),
            Some(Event::Message(topic, payload)) => self.on_message(now, &topic, &payload),
            Some(Event::Closed) => {
                lock(&self.report).is_online = false;
                self.session = None;
                self.agent.on_disconnected(now);
            }
            Some(Event::Room) | None => self.agent.on_deadline(now),
        }
    }

    fn on_message(&mut self, now: Instant, topic: &str, payload: &[u8]) {
        if let Some(Down::Block(_)) = Down::parse(topic)
            && let Ok(block) = minicbor::decode::<Block<'_>>(payload)
        {
            lock(&self.report).block(block.index, block.bytes.len());
        }
        // What changes nothing is nobody's mistake: blocks come twice, states come again.
        let _ = self.agent.on_message(now, topic, payload);
    }

    fn restart(&mut self) -> anyhow::Result<()> {
        self.session = None;
        let memory = self.agent.platform_mut().switch_off();
        self.agent = start(self.member.device, self.kind, &self.trusted, memory, ResetCause::Command)?;
        self.started = Clock::now();
        let mut report = lock(&self.report);
        report.is_online = false;
        report.starts += 1;
        Ok(())
    }

    fn now(&self) -> Instant {
        Instant(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

/// Takes note of what the device says.
fn note(report: &mut Report, topic: Up, payload: &[u8]) {
    match topic {
        Up::Get => {
            if let Ok(get) = minicbor::decode::<Get>(payload) {
                report.ask(&get);
            }
        }
        Up::Reported => {
            if let Ok(reported) = minicbor::decode::<Reported<'_>>(payload) {
                report.tell(reported.firmware);
            }
        }
        _ => {}
    }
}

pub(crate) fn lock(report: &Mutex<Report>) -> MutexGuard<'_, Report> {
    report.lock().unwrap_or_else(PoisonError::into_inner)
}
