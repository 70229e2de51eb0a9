//! The agent: its state, its inputs, and when it wants to be asked again.
//!
//! Every input ends in [`Agent::reconcile`], which compares what is wanted with what is there and sets
//! flags; [`Agent::poll_effect`] turns flags into effects. So it does not matter which inputs came in
//! which order, or were lost.
//!
//! Where something is not inlined it is because a board's stack has 16 KB in all: what one step needs must
//! not lie below what the next one does.

mod command;
mod control;
mod desired;
mod effects;
mod fetch;
mod firmware;
mod restore;
mod supervise;
#[cfg(test)]
mod tests;

use wasmbed_delta::Applier;
use wasmbed_update::Keyring;
use wasmbed_wire::{ModuleName, Seq, limits::HEARTBEAT_MS, message::Setting, sign1, topic::Down};

use self::{
    command::Answer,
    control::Control,
    effects::Scratch,
    fetch::Fetch,
    firmware::{Found, Update},
    supervise::Trapped,
};
use crate::{
    Effect, Instant, ModuleEvent, Platform, Rejected, Slot, Token,
    module::{Life, Run, Tick},
    session::{Letter, Session},
    tables::Tables,
};

/// Commands whose answers can wait at the same time, and that are recognized when they come again.
const ANSWERS: usize = 4;
/// Bytes of a message for each slot, or for all of them where there is none; no less than
/// [`largest_message_bytes`].
const SCRATCH_BYTES: usize = 320;
/// Time for the last words, in milliseconds.
const GOODBYE_MS: u64 = 1_000;
/// Time between two reports of progress, in milliseconds.
const PROGRESS_MS: u64 = 1_000;
/// Allowed time between heartbeats, in milliseconds.
const HEARTBEATS_MS: core::ops::RangeInclusive<u32> = 250..=3_600_000;

/// What the largest message of an agent with so many slots may have, in bytes of payload: a driver that has
/// room for it loses none.
pub const fn largest_message_bytes(slots: usize) -> usize {
    // A slot's module and its successor, besides what everybody says; see the tests of the largest messages.
    let bytes = 160 + 160 * slots;
    if bytes < SCRATCH_BYTES { SCRATCH_BYTES } else { bytes }
}

/// Bytes of settings of each module, counted as CBOR, that an agent keeps unless it has room for more.
const SETTINGS_BYTES: usize = 256;

/// What the largest desired state of so many modules may have, in bytes, signed as it comes. A driver that has room for
/// it loses none that an agent with [`Agent`]'s usual room for settings can follow.
pub const fn largest_desired_bytes(slots: usize) -> usize {
    // See the test of the largest one.
    sign1::OVERHEAD_BYTES + 96 + (64 + SETTINGS_BYTES) * slots
}

/// How an agent behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Time between heartbeats unless the desired state says otherwise, in milliseconds.
    pub heartbeat_ms: u32,
    /// MQTT keep-alive, in seconds.
    pub keep_alive_s: u16,
    /// How many blocks of [`Facts::block_bytes`](crate::Facts::block_bytes) the device can take in at
    /// once, 1 to 32.
    pub window_blocks: u8,
}

impl Default for Config {
    fn default() -> Self {
        Config { heartbeat_ms: HEARTBEAT_MS, keep_alive_s: 20, window_blocks: 4 }
    }
}

/// One device's agent with room for `SLOTS` modules (up to 255) and for `SETTINGS` bytes of settings of
/// each, counted as CBOR.
pub struct Agent<P, const SLOTS: usize, const SETTINGS: usize = SETTINGS_BYTES> {
    platform: P,
    config: Config,
    now: Instant,

    session: Session,
    info: Letter,
    state: Letter,
    reported: Letter,
    crash: Letter,
    trap: Letter,
    trapped: Option<Trapped>,
    answers: [Option<Answer>; ANSWERS],
    next_heartbeat: Instant,
    next_progress: Instant,
    slowest_call_us: u32,
    leaving: Option<Leaving>,

    revision: u64,
    heartbeat_ms: u32,
    tables: Tables<SLOTS, SETTINGS>,
    fetch: Option<Fetch>,
    /// Whom this device believes.
    ring: Keyring,
    control: Control,
    update: Option<Update>,
    /// At work while a patch is applied; here because it is too large to be moved about.
    applier: Applier,

    scratch: Scratch<SLOTS>,
}

/// The end of this agent is near.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Leaving {
    how: Leave,
    until: Instant,
    /// The last effect is out.
    gone: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leave {
    Restart,
    /// Restart into another image.
    Update,
    Disconnect,
}

impl<P: Platform, const SLOTS: usize, const SETTINGS: usize> Agent<P, SLOTS, SETTINGS> {
    /// What it always holds for updates of its firmware, in bytes.
    pub const UPDATE_BYTES: usize = size_of::<Option<Update>>() + size_of::<Applier>();

    /// An agent that has just started. Modules kept by the store are verified and started again
    /// without waiting for a connection.
    pub fn new(platform: P, config: Config) -> Self {
        let mut agent = Agent::asleep(platform, config);
        agent.wake();
        agent
    }

    /// What [`Agent::new`] makes before it has read anything: a device with a small stack puts it where it
    /// stays and calls [`Agent::wake`] there, once and before anything else.
    pub fn asleep(platform: P, config: Config) -> Self {
        const { assert!(SLOTS <= 255, "a slot has a number of one byte") };
        let ring = provisioned(&platform);
        Agent {
            platform,
            config,
            now: Instant(0),
            session: Session::new(),
            info: Letter::default(),
            state: Letter::default(),
            reported: Letter::default(),
            crash: Letter::default(),
            trap: Letter::default(),
            trapped: None,
            answers: [const { None }; ANSWERS],
            next_heartbeat: Instant(0),
            next_progress: Instant(0),
            slowest_call_us: 0,
            leaving: None,
            revision: 0,
            heartbeat_ms: config.heartbeat_ms,
            tables: Tables::new(),
            fetch: None,
            ring,
            control: Control::new(),
            update: None,
            applier: Applier::new(0, 0),
            scratch: Scratch::new(),
        }
    }

    /// Reads what the device keeps; see [`Agent::asleep`].
    #[inline(never)]
    pub fn wake(&mut self) {
        self.load_keyring();
        if let Some(found) = Found::load(&mut self.platform, &self.ring) {
            self.keep_firmware(found);
        }
        self.restore();
        self.reconcile();
    }

    #[inline(never)]
    fn load_keyring(&mut self) {
        // A flash that cannot be read has no firmware slots either; what it was provisioned with still counts.
        if let Some((flash, layout)) = self.platform.firmware()
            && let Ok(ring) = self.ring.load(flash, &layout)
        {
            self.ring = ring;
        }
    }

    #[inline(never)]
    fn keep_firmware(&mut self, found: Found) {
        let update = Update::new(found);
        self.control.floor = update.revision();
        self.update = Some(update);
    }

    /// The device.
    pub fn platform(&self) -> &P {
        &self.platform
    }

    /// The device.
    pub fn platform_mut(&mut self) -> &mut P {
        &mut self.platform
    }

    /// Whether the MQTT session is up: whether telemetry has somewhere to go.
    pub fn is_connected(&self) -> bool {
        self.session.is_connected()
    }

    /// What the module in this slot was last started with; empty if there is none.
    pub fn settings(&self, slot: Slot) -> Seq<'_, Setting<'_>> {
        self.tables.held(slot).map(|held| held.terms.settings.get()).unwrap_or_default()
    }

    /// Where the instance runs that messages under this name are for.
    pub fn recipient(&self, instance: &ModuleName) -> Option<Slot> {
        self.tables.slots().find(|slot| {
            self.tables.held(*slot).is_some_and(|held| held.instance == *instance && held.is_running())
        })
    }

    /// The MQTT session is up and subscribed.
    pub fn on_connected(&mut self, now: Instant) {
        self.now = now;
        if self.session.connected(now) {
            // The broker may have forgotten everything.
            self.settle_nothing();
            for letter in [&mut self.info, &mut self.state, &mut self.reported] {
                letter.post();
            }
            if self.platform.crash().is_some() {
                self.crash.post();
            }
            self.next_heartbeat = now;
            self.firmware_connected();
        }
        self.reconcile();
    }

    /// The MQTT session is gone, or could not be opened.
    pub fn on_disconnected(&mut self, now: Instant) {
        self.now = now;
        self.disconnect();
        self.reconcile();
    }

    /// A message arrived on `topic`, given from `dn/` on.
    ///
    /// # Errors
    /// Why it changed nothing; worth a log line, nothing more.
    pub fn on_message(&mut self, now: Instant, topic: &str, payload: &[u8]) -> Result<(), Rejected> {
        self.now = now;
        let result = match Down::parse(topic).ok_or(Rejected::UnknownTopic)? {
            Down::Desired => self.on_desired(topic, payload),
            Down::Block(artifact) => self.on_block(artifact, payload),
            Down::Command(id) => self.on_command(id, topic, payload),
            Down::Keys => self.on_keys(payload),
            // The driver's to deliver, see `recipient`.
            Down::Message(..) | Down::Ros(..) => Ok(()),
        };
        self.reconcile();
        result
    }

    /// The broker has the publish with this token.
    pub fn on_acked(&mut self, now: Instant, token: Token) {
        self.now = now;
        if self.crash.acked(token) {
            self.platform.clear_crash();
        }
        for letter in self.letters() {
            letter.acked(token);
        }
    }

    /// Something happened to the module in this slot.
    pub fn on_module(&mut self, now: Instant, slot: Slot, event: ModuleEvent) {
        self.now = now;
        self.supervise(slot, event);
        self.reconcile();
    }

    /// Time has passed; call it when [`Agent::next_deadline`] has come, or more often.
    pub fn on_deadline(&mut self, now: Instant) {
        self.now = now;
        if self.session.timed_out(now) {
            self.disconnect();
        }
        for letter in self.letters() {
            letter.check(now);
        }
        self.check_trial();
        self.reconcile();
    }

    /// Say goodbye: ends with [`Effect::Disconnect`] after a second at most, and nothing follows.
    pub fn shutdown(&mut self, now: Instant) {
        self.now = now;
        self.leave(Leave::Disconnect);
    }

    /// When to call [`Agent::on_deadline`] next, if no other input comes before.
    pub fn next_deadline(&self) -> Option<Instant> {
        if let Some(leaving) = &self.leaving {
            return (!leaving.gone).then_some(leaving.until);
        }
        let session = self.session.deadline();
        let trial = self.update.as_ref().and_then(Update::trial_deadline);
        let connected = self.is_connected().then(|| self.connected_deadline()).flatten();
        let ticks = self.tables.places.iter().filter_map(|place| match place.held()?.run {
            Run::Running { tick: Tick::At(at), .. } => Some(at),
            _ => None,
        });
        let waits = self.tables.wanted.iter().flatten().filter_map(|wanted| match wanted.life {
            Life::Backoff { until } => Some(until),
            _ => None,
        });
        ticks.chain(waits).chain(session).chain(trial).chain(connected).min()
    }

    fn connected_deadline(&self) -> Option<Instant> {
        let letters =
            [&self.info, &self.state, &self.reported, &self.crash, &self.trap, &self.control.letter];
        let answers = self.answers.iter().flatten().map(|answer| &answer.letter);
        let acks = letters.into_iter().chain(answers).filter_map(Letter::deadline);
        let fetch = self.fetch.as_ref().and_then(Fetch::deadline);
        let update = self.update.as_ref().and_then(Update::fetch_deadline);
        acks.chain(fetch).chain(update).chain(self.control.deadline()).chain([self.next_heartbeat]).min()
    }

    /// The next thing to do. Call it after every input until it returns `None`; a driver without room
    /// for a message may come back later.
    pub fn poll_effect(&mut self) -> Option<Effect<'_>> {
        let step = self.next_step()?;
        self.perform(step)
    }

    fn letters(&mut self) -> impl Iterator<Item = &mut Letter> {
        let letters = [
            &mut self.info,
            &mut self.state,
            &mut self.reported,
            &mut self.crash,
            &mut self.trap,
            &mut self.control.letter,
        ];
        letters.into_iter().chain(self.answers.iter_mut().flatten().map(|answer| &mut answer.letter))
    }

    fn disconnect(&mut self) {
        let random = self.platform.random();
        if self.session.disconnected(self.now, random) {
            self.settle_nothing();
        }
    }

    /// Nothing that is on its way will arrive.
    fn settle_nothing(&mut self) {
        for letter in self.letters() {
            letter.lost();
        }
        if let Some(fetch) = &mut self.fetch {
            fetch.window.forget_asked();
        }
        self.firmware_disconnected();
    }

    fn leave(&mut self, how: Leave) {
        let until = self.now.after(GOODBYE_MS);
        self.leaving.get_or_insert(Leaving { how, until, gone: false });
        self.state.post();
    }

    /// Compares what is wanted with what is there, and decides what comes next.
    fn reconcile(&mut self) {
        if self.leaving.is_some() {
            return;
        }
        self.abandon_fetch();
        self.clear_out();
        self.start_ready();
        self.advance_fetch();
        self.reconcile_firmware();
    }
}

/// The keys a device was provisioned with.
fn provisioned<P: Platform>(platform: &P) -> Keyring {
    let keys = (0..).map_while(|nth| platform.trusted(nth));
    Keyring::provisioned(keys, platform.earliest_s())
}
