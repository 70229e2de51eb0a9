//! From flags to effects: first what to do, then how it reads.

use minicbor::Encode;
use wasmbed_wire::{
    Seq,
    message::{
        CommandResult, Crash, Get, HeardVehicle, Heartbeat, Info, MAX_HEARD_VEHICLES, PROTOCOL, Reported,
        State, Status, Trap,
    },
    topic::Up,
};

use super::{Agent, Leave, Leaving, SCRATCH_BYTES, Update, supervise::Trapped};
use crate::{
    Assignment, Effect, Platform, Slot, Token,
    module::{Held, Place, Run, Tick},
    window::Ask,
};

/// Longest firmware version and crash message sent, in bytes.
const MAX_TEXT_BYTES: usize = 64;
const MAX_CRASH_BYTES: usize = 160;

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Leave(Leave),
    Connect,
    Stop(Slot),
    Tick(Slot),
    Start(Slot),
    Info,
    State,
    Reported,
    Crash,
    Trap,
    Refused,
    Answer(usize),
    Get(Get),
    Heartbeat,
    Work,
}

impl<P: Platform, const SLOTS: usize, const SETTINGS: usize> Agent<P, SLOTS, SETTINGS> {
    /// Decides; changes nothing but the block window, whose question counts as asked.
    pub(super) fn next_step(&mut self) -> Option<Step> {
        if let Some(leaving) = &mut self.leaving {
            if leaving.gone {
                return None;
            }
            let how = leaving.how;
            if self.has_said_goodbye() {
                return Some(Step::Leave(how));
            }
        } else if let Some(step) = self.module_step() {
            return Some(step);
        } else if self.session.wants_connect(self.now) {
            return Some(Step::Connect);
        }
        let message = if self.is_connected() { self.message_step() } else { None };
        message.or_else(|| self.has_work().then_some(Step::Work))
    }

    fn has_work(&self) -> bool {
        self.leaving.is_none() && self.update.as_ref().is_some_and(Update::has_work)
    }

    fn has_said_goodbye(&self) -> bool {
        let late = self.leaving.is_some_and(|leaving| self.now >= leaving.until);
        let answered = self.answers.iter().flatten().all(|answer| answer.letter.is_settled());
        let told =
            self.reported.is_settled() || self.leaving.is_none_or(|leaving| leaving.how != Leave::Update);
        late || !self.is_connected() || (answered && told && self.state.is_settled())
    }

    fn module_step(&self) -> Option<Step> {
        self.tables.slots().find_map(|slot| match self.tables.held(slot)?.run {
            Run::StopDue => Some(Step::Stop(slot)),
            Run::StartDue => Some(Step::Start(slot)),
            Run::Running { tick: Tick::At(at), .. } if self.now >= at => Some(Step::Tick(slot)),
            _ => None,
        })
    }

    fn message_step(&mut self) -> Option<Step> {
        let answer = self.answers.iter().position(|a| a.as_ref().is_some_and(|a| a.letter.is_due()));
        if self.info.is_due() {
            Some(Step::Info)
        } else if self.state.is_due() {
            Some(Step::State)
        } else if let Some(nth) = answer {
            Some(Step::Answer(nth))
        } else if self.reported.is_due() {
            Some(Step::Reported)
        } else if self.crash.is_due() {
            Some(Step::Crash)
        } else if self.trap.is_due() {
            Some(Step::Trap)
        } else if self.control.is_due(self.now) {
            Some(Step::Refused)
        } else if self.now >= self.next_heartbeat {
            Some(Step::Heartbeat)
        } else {
            self.ask().map(Step::Get)
        }
    }

    fn ask(&mut self) -> Option<Get> {
        let random = self.platform.random();
        let fetch = self.fetch.as_mut().filter(|fetch| fetch.may_ask());
        let module = fetch.and_then(|fetch| {
            let Ask { base, bitmap } = fetch.window.ask(self.now, random)?;
            Some(Get { artifact: fetch.identity.artifact, base, bitmap })
        });
        module.or_else(|| self.update.as_mut()?.ask(self.now, random))
    }

    /// Makes the effect and takes note that it is on its way.
    pub(super) fn perform(&mut self, step: Step) -> Option<Effect<'_>> {
        match step {
            Step::Leave(how) => self.gone(how),
            Step::Connect => self.connect(),
            Step::Stop(slot) => {
                self.tables.held_mut(slot)?.run = Run::Stopping;
                Some(Effect::Stop { slot })
            }
            Step::Tick(slot) => {
                let run = &mut self.tables.held_mut(slot)?.run;
                if let Run::Running { tick, .. } = run
                    && let Tick::At(due) = *tick
                {
                    *tick = Tick::Called(due);
                }
                Some(Effect::Tick { slot })
            }
            Step::Start(slot) => self.start(slot),
            Step::Info => self.publish_info(),
            Step::State => self.publish_state(),
            Step::Reported => self.publish_reported(),
            Step::Crash => self.publish_crash(),
            Step::Trap => self.publish_trap(),
            Step::Refused => self.publish_refused(),
            Step::Answer(nth) => self.publish_answer(nth),
            Step::Get(get) => self.publish_get(&get),
            Step::Heartbeat => self.publish_heartbeat(),
            Step::Work => {
                self.work();
                Some(Effect::Work)
            }
        }
    }

    fn gone(&mut self, how: Leave) -> Option<Effect<'_>> {
        self.leaving.as_mut()?.gone = true;
        Some(match how {
            Leave::Restart | Leave::Update => Effect::Restart,
            Leave::Disconnect => Effect::Disconnect,
        })
    }

    fn connect(&mut self) -> Option<Effect<'_>> {
        let boot = self.platform.next_boot();
        self.session.connecting(self.now, boot);
        self.control.connecting();
        let will = encode(&mut self.scratch, &State { status: Status::Offline, boot })?;
        Some(Effect::Connect { will, keep_alive_s: self.config.keep_alive_s })
    }

    fn start(&mut self, slot: Slot) -> Option<Effect<'_>> {
        let terms = self.tables.wanted_in(slot)?.terms.clone();
        let held = self.tables.held_mut(slot)?;
        held.run = Run::Starting;
        held.terms = terms;
        Some(Effect::Start {
            slot,
            assignment: Assignment {
                instance: held.instance,
                module: held.module,
                grants: held.module.capabilities & held.terms.grants,
            },
            settings: held.terms.settings.get(),
        })
    }

    fn publish_info(&mut self) -> Option<Effect<'_>> {
        let token = self.session.token();
        self.info.sent(self.now, token);
        let facts = self.platform.facts();
        let info = Info {
            boot: self.session.boot,
            protocol: PROTOCOL,
            board: facts.board,
            class: facts.class,
            firmware: cut(facts.firmware, MAX_TEXT_BYTES),
            runtime: facts.runtime,
            reset: facts.reset,
            slots: SLOTS as u8,
            slot_bytes: facts.slot_bytes,
            block_bytes: facts.block_bytes,
            heap_bytes: facts.heap_bytes,
            firmware_slots: self.update.as_ref().map(Update::slots),
        };
        let payload = encode(&mut self.scratch, &info)?;
        Some(Effect::Publish { topic: Up::Info, payload, token })
    }

    fn publish_state(&mut self) -> Option<Effect<'_>> {
        let token = self.session.token();
        self.state.sent(self.now, token);
        let status = match self.leaving {
            Some(Leaving { how: Leave::Update, .. }) => Status::Updating,
            Some(_) => Status::Offline,
            None => Status::Online,
        };
        let payload = encode(&mut self.scratch, &State { status, boot: self.session.boot })?;
        Some(Effect::Publish { topic: Up::State, payload, token })
    }

    fn publish_reported(&mut self) -> Option<Effect<'_>> {
        let token = self.session.token();
        self.reported.sent(self.now, token);
        let fetched = self.fetch.as_ref().map(|fetch| (fetch.identity, fetch.window.percent()));
        let (boot, revision) = (self.session.boot, self.revision);
        let firmware = self.update.as_ref().and_then(Update::report);
        let keyring = self.ring.version();
        let payload = self.tables.with_reports(fetched, |reports| {
            encode(
                &mut self.scratch,
                &Reported { boot, revision, modules: Seq::new(reports), firmware, keyring },
            )
        })?;
        Some(Effect::Publish { topic: Up::Reported, payload, token })
    }

    fn publish_crash(&mut self) -> Option<Effect<'_>> {
        let token = self.session.token();
        self.crash.sent(self.now, token);
        let crash = self.platform.crash()?;
        let crash = Crash { message: cut(crash.message, MAX_CRASH_BYTES), ..crash };
        let payload = encode(&mut self.scratch, &crash)?;
        Some(Effect::Publish { topic: Up::Crash, payload, token })
    }

    fn publish_trap(&mut self) -> Option<Effect<'_>> {
        let token = self.session.token();
        self.trap.sent(self.now, token);
        let Trapped { identity, reason, stops, backtrace } = self.trapped?;
        let trap = Trap {
            boot: self.session.boot,
            name: identity.name,
            artifact: identity.artifact,
            reason,
            stops,
            frames: Seq::new(backtrace.frames()),
        };
        let payload = encode(&mut self.scratch, &trap)?;
        Some(Effect::Publish { topic: Up::Trap, payload, token })
    }

    fn publish_refused(&mut self) -> Option<Effect<'_>> {
        let token = self.session.token();
        self.control.letter.sent(self.now, token);
        let refused = self.control.report(self.now, self.session.boot)?;
        let payload = encode(&mut self.scratch, &refused)?;
        Some(Effect::Publish { topic: Up::Refused, payload, token })
    }

    fn publish_answer(&mut self, nth: usize) -> Option<Effect<'_>> {
        let token = self.session.token();
        let answer = self.answers.get_mut(nth)?.as_mut()?;
        answer.letter.sent(self.now, token);
        let result = CommandResult { boot: self.session.boot, outcome: answer.outcome };
        let topic = Up::Result(answer.id);
        let payload = encode(&mut self.scratch, &result)?;
        Some(Effect::Publish { topic, payload, token })
    }

    fn publish_get(&mut self, get: &Get) -> Option<Effect<'_>> {
        let payload = encode(&mut self.scratch, get)?;
        Some(Effect::Publish { topic: Up::Get, payload, token: Token(0) })
    }

    fn publish_heartbeat(&mut self) -> Option<Effect<'_>> {
        let early = self.platform.random() % (self.heartbeat_ms / 16 + 1);
        self.next_heartbeat = self.now.after((self.heartbeat_ms - early).into());
        self.session.seq = self.session.seq.wrapping_add(1);
        let running = |place: &&Place<SETTINGS>| place.held().is_some_and(Held::is_running);
        let vitals = self.platform.vitals();
        let (boot, seq, uptime_ms) = (self.session.boot, self.session.seq, self.now.0);
        let slowest_call_us = core::mem::take(&mut self.slowest_call_us);
        let running = self.tables.places.iter().filter(running).count() as u8;
        let mut vehicles = [HeardVehicle::default(); MAX_HEARD_VEHICLES];
        let count = self.platform.vehicles(&mut vehicles);
        let vehicles = vehicles.get(..count).unwrap_or_default();
        let payload = self.tables.with_uses(|modules| {
            let heartbeat = Heartbeat {
                boot,
                seq,
                uptime_ms,
                heap_used: vitals.heap_used,
                heap_peak: vitals.heap_peak,
                stack_free: vitals.stack_free,
                running,
                link: vitals.link,
                slowest_call_us,
                modules: Seq::new(modules),
                vehicles: Seq::new(vehicles),
            };
            encode(&mut self.scratch, &heartbeat)
        })?;
        Some(Effect::Publish { topic: Up::Heartbeat, payload, token: Token(0) })
    }
}

/// Where messages are written.
pub(super) struct Scratch<const SLOTS: usize> {
    slots: [[u8; SCRATCH_BYTES]; SLOTS],
    /// For a device without slots.
    least: [u8; SCRATCH_BYTES],
}

impl<const SLOTS: usize> Scratch<SLOTS> {
    pub(super) const fn new() -> Self {
        Scratch { slots: [[0; SCRATCH_BYTES]; SLOTS], least: [0; SCRATCH_BYTES] }
    }

    fn bytes(&mut self) -> &mut [u8] {
        if SLOTS == 0 { &mut self.least } else { self.slots.as_flattened_mut() }
    }
}

/// Writes a message and returns it. Every message fits, see the test of the largest ones.
fn encode<'b, const SLOTS: usize>(
    scratch: &'b mut Scratch<SLOTS>,
    message: &impl Encode<()>,
) -> Option<&'b [u8]> {
    let scratch = scratch.bytes();
    let mut rest = &mut scratch[..];
    minicbor::encode(message, &mut rest).ok()?;
    let left = rest.len();
    scratch.get(..scratch.len() - left)
}

/// The start of a text, whole characters only.
fn cut(text: &str, max_bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(max_bytes)).unwrap_or_default()
}
