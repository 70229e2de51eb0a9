//! The two tables of modules: what is wanted, and what is where.

use wasmbed_wire::{
    ArtifactId, ModuleName,
    message::{DesiredModule, ModuleState, ModuleUse, Reason},
};

use crate::{Instant, ModuleInfo, Used, settings::Settings};

/// First and longest wait before a module is started again, in milliseconds.
const BACKOFF_MS: core::ops::RangeInclusive<u64> = 1_000..=60_000;
/// Stops without a stable run in between after which a module is given up.
const MAX_STRIKES: u8 = 5;
/// How long a module must run for its stops to be forgiven, in milliseconds.
const STABLE_MS: u64 = 60_000;

/// Which instance of which module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) name: ModuleName,
    pub(crate) artifact: ArtifactId,
}

/// What an instance is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Terms<const SETTINGS: usize> {
    pub(crate) generation: u32,
    pub(crate) grants: u32,
    pub(crate) settings: Settings<SETTINGS>,
}

impl<const SETTINGS: usize> Terms<SETTINGS> {
    pub(crate) const NONE: Self = Terms { generation: 0, grants: 0, settings: Settings::EMPTY };
}

/// One module of the desired state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted<const SETTINGS: usize> {
    pub(crate) identity: Identity,
    pub(crate) terms: Terms<SETTINGS>,
    pub(crate) life: Life,
    /// Started again after a stop of its own, since it was last changed.
    pub(crate) restarts: u32,
    /// Why it does not run, or why it last stopped.
    pub(crate) reason: Option<Reason>,
    /// Whether a transfer of this artifact already went wrong.
    pub(crate) spoiled: bool,
    strikes: u8,
}

/// How far a wanted module is. Whether a ready one already runs, its [`Place`] knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    Fetching,
    Ready,
    Backoff { until: Instant },
    Failed,
    Refused,
}

impl<const SETTINGS: usize> Wanted<SETTINGS> {
    pub(crate) fn new(module: &DesiredModule<'_>) -> Self {
        let settings = Settings::keep(&module.settings);
        let fits = settings.is_some();
        Wanted {
            identity: Identity { name: module.name, artifact: module.artifact },
            terms: Terms {
                generation: module.generation,
                grants: module.grants,
                settings: settings.unwrap_or(Settings::EMPTY),
            },
            life: if fits { Life::Fetching } else { Life::Refused },
            restarts: 0,
            reason: (!fits).then_some(Reason::OutOfMemory),
            spoiled: false,
            strikes: 0,
        }
    }

    /// Whether this asks for the same as `other`.
    pub(crate) fn same_as(&self, other: &Self) -> bool {
        self.identity == other.identity && self.terms == other.terms
    }

    pub(crate) fn refuse(&mut self, reason: Reason) {
        self.life = Life::Refused;
        self.reason = Some(reason);
    }

    /// Takes note that it stopped by itself, after having run since `since`.
    pub(crate) fn stopped(&mut self, now: Instant, since: Option<Instant>, reason: Reason, random: u32) {
        // What cannot be loaded now, or is not allowed, will not be later either.
        if matches!(reason, Reason::LoadFailed | Reason::Denied) {
            return self.refuse(reason);
        }
        if since.is_some_and(|since| now.since(since) >= STABLE_MS) {
            self.strikes = 0;
        }
        self.reason = Some(reason);
        self.strikes = self.strikes.saturating_add(1);
        if self.strikes >= MAX_STRIKES {
            self.life = Life::Failed;
            return;
        }
        let wait = (BACKOFF_MS.start() << (self.strikes - 1)).min(*BACKOFF_MS.end());
        self.life = Life::Backoff { until: now.after(wait + u64::from(random) % (wait / 8)) };
    }

    /// Makes it ready again if its wait is over; whether it did.
    pub(crate) fn wake(&mut self, now: Instant) -> bool {
        let over = matches!(self.life, Life::Backoff { until } if now >= until);
        if over {
            self.life = Life::Ready;
            self.restarts = self.restarts.saturating_add(1);
        }
        over
    }

    pub(crate) fn state(&self, run: Option<Run>) -> ModuleState {
        match (self.life, run) {
            (Life::Fetching, _) => ModuleState::Downloading,
            (Life::Ready, Some(Run::Running { .. })) => ModuleState::Running,
            (Life::Ready, _) => ModuleState::Starting,
            (Life::Backoff { .. }, _) => ModuleState::Backoff,
            (Life::Failed, _) => ModuleState::Failed,
            (Life::Refused, _) => ModuleState::Refused,
        }
    }
}

/// What is in one slot of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place<const SETTINGS: usize> {
    Empty,
    /// The running transfer writes here.
    Open,
    Held(Held<SETTINGS>),
}

/// A verified module, running or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held<const SETTINGS: usize> {
    /// The instance it is for.
    pub(crate) instance: ModuleName,
    pub(crate) module: ModuleInfo,
    pub(crate) run: Run,
    /// What it was last started with.
    pub(crate) terms: Terms<SETTINGS>,
    pub(crate) tally: Tally,
}

/// What an instance used since the device started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    calls: u32,
    busy_us: u64,
    slowest_us: u32,
    fuel: u64,
    memory_bytes: u64,
    stops: u32,
}

impl Tally {
    pub(crate) fn add(&mut self, used: Used) {
        self.calls = self.calls.saturating_add(1);
        self.busy_us = self.busy_us.saturating_add(used.took_us.into());
        self.slowest_us = self.slowest_us.max(used.took_us);
        self.fuel = self.fuel.saturating_add(used.fuel);
        self.memory_bytes = self.memory_bytes.max(used.memory_bytes);
    }

    /// Counts a stop; how many there are now.
    pub(crate) fn stopped(&mut self) -> u32 {
        self.stops = self.stops.saturating_add(1);
        self.stops
    }

    fn report(&self, name: ModuleName) -> ModuleUse {
        let thousands = |number: u64| u32::try_from(number / 1000).unwrap_or(u32::MAX);
        ModuleUse {
            name,
            calls: self.calls,
            busy_ms: thousands(self.busy_us),
            slowest_us: self.slowest_us,
            kilo_fuel: thousands(self.fuel),
            memory_bytes: self.memory_bytes,
            stops: self.stops,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Run {
    Idle,
    StartDue,
    Starting,
    Running { since: Instant, tick: Tick },
    StopDue,
    Stopping,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tick {
    Never,
    At(Instant),
    /// Being called; it was due at this time.
    Called(Instant),
}

impl Tick {
    /// The one after a tick that was due at `due`.
    pub(crate) fn following(due: Instant, now: Instant, period_ms: u32) -> Self {
        if period_ms == 0 {
            return Tick::Never;
        }
        let next = due.after(period_ms.into());
        // Missed ticks are not made up for: a module that is too slow would leave no time for others.
        Tick::At(if next > now { next } else { now.after(period_ms.into()) })
    }
}

impl<const SETTINGS: usize> Held<SETTINGS> {
    pub(crate) fn new(instance: ModuleName, module: ModuleInfo) -> Self {
        Held { instance, module, run: Run::Idle, terms: Terms::NONE, tally: Tally::default() }
    }

    /// What it used, once it was called.
    pub(crate) fn used(&self) -> Option<ModuleUse> {
        (self.tally.calls > 0).then(|| self.tally.report(self.instance))
    }

    pub(crate) fn is_running(&self) -> bool {
        matches!(self.run, Run::Running { .. })
    }

    pub(crate) fn identity(&self) -> Identity {
        Identity { name: self.instance, artifact: self.module.artifact }
    }

    /// Ends it, however far its start is.
    pub(crate) fn end(&mut self) {
        self.run = match self.run {
            Run::Idle | Run::StartDue => Run::Idle,
            Run::Starting | Run::Running { .. } | Run::StopDue => Run::StopDue,
            Run::Stopping => Run::Stopping,
        };
    }

    /// Whether it runs, or is about to, with something else than is wanted.
    pub(crate) fn is_outdated(&self, wanted: &Wanted<SETTINGS>) -> bool {
        matches!(self.run, Run::Starting | Run::Running { .. }) && self.terms != wanted.terms
    }
}

impl<const SETTINGS: usize> Place<SETTINGS> {
    pub(crate) fn held(&self) -> Option<&Held<SETTINGS>> {
        match self {
            Place::Held(held) => Some(held),
            Place::Empty | Place::Open => None,
        }
    }

    pub(crate) fn held_mut(&mut self) -> Option<&mut Held<SETTINGS>> {
        match self {
            Place::Held(held) => Some(held),
            Place::Empty | Place::Open => None,
        }
    }
}
