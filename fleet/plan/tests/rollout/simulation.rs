//! Fleets whose devices succeed, fail, hang, vanish and change hands, under a service that loses the broker and
//! is started again at any moment. Whatever happens, the promises of a rollout hold and it comes to an end.

use std::collections::BTreeMap;

use proptest::{collection::vec, prelude::*};
use wasmbed_plan::{
    Link, Time,
    rollout::{
        Action, DeviceState, Facts, OnAbort, Owner, Phase, Progress, Report, Rollout, Spec, Step, View, plan,
    },
};
use wasmbed_wire::{
    DeviceId, Digest,
    message::{FirmwareState, Reason},
};

use crate::world::{NEW, OLD, OTHER, OWNER, id, ready, spec};

/// Longer than any rollout that is still moving can take here.
const MAX_EVENTS: usize = 20_000;

/// What a device does once it is told to run an image.
#[derive(Debug, Clone, Copy)]
enum Manner {
    Succeeds,
    Reverts,
    Refuses,
    Hangs,
}

#[derive(Debug, Clone)]
struct Unit {
    manner: Manner,
    takes_ms: u64,
    online: bool,
    runs_it_already: bool,
}

/// What happens to the fleet, some time after what happened before.
#[derive(Debug, Clone, Copy)]
enum Event {
    Nothing,
    LinkLost,
    LinkBack,
    ServiceRestarts,
    Toggle(usize),
    Quarantine(usize),
    Remove(usize),
    Supersede(usize),
    Pause,
    Resume,
    Cancel,
    RollBack,
}

fn unit() -> impl Strategy<Value = Unit> {
    let manner = prop_oneof![
        12 => Just(Manner::Succeeds),
        1 => Just(Manner::Reverts),
        1 => Just(Manner::Refuses),
        1 => Just(Manner::Hangs),
    ];
    (manner, 0_u64..90_000, prop::bool::weighted(0.9), prop::bool::weighted(0.1)).prop_map(
        |(manner, takes_ms, online, runs_it_already)| Unit { manner, takes_ms, online, runs_it_already },
    )
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => Just(Event::Nothing),
        4 => Just(Event::LinkLost),
        6 => Just(Event::LinkBack),
        3 => Just(Event::ServiceRestarts),
        6 => (0_usize..40).prop_map(Event::Toggle),
        1 => (0_usize..40).prop_map(Event::Quarantine),
        1 => (0_usize..40).prop_map(Event::Remove),
        1 => (0_usize..40).prop_map(Event::Supersede),
        1 => Just(Event::Pause),
        3 => Just(Event::Resume),
        1 => prop::bool::weighted(0.1).prop_map(|yes| if yes { Event::Cancel } else { Event::Nothing }),
        1 => prop::bool::weighted(0.2).prop_map(|yes| if yes { Event::RollBack } else { Event::Nothing }),
    ]
}

fn specs() -> impl Strategy<Value = Spec> {
    let groups = prop_oneof![
        Just(&["canary:1", "10%", "rest"][..]),
        Just(&["canary:3", "rest"][..]),
        Just(&["10%", "50%", "100%"][..]),
        Just(&["rest"][..]),
    ];
    let limits = (0_u8..=100, 1_u8..=100, prop::option::of(1_u32..4), prop::option::of(1_u32..10));
    let pace = (1_u32..8, prop::option::of(100_u64..5_000), 0_u64..60_000, any::<bool>(), any::<bool>());
    let windows = prop::option::weighted(0.3, Just("00:15-00:45"));
    (groups, limits, pace, windows).prop_map(|(groups, limits, pace, windows)| Spec {
        success_percent: limits.0,
        abort_percent: limits.1,
        abort_canary_failures: limits.2,
        abort_failures: limits.3,
        at_once: pace.0,
        bytes_per_second: pace.1,
        soak_ms: pace.2,
        wait_offline: pace.3,
        on_abort: if pace.4 { OnAbort::Rollback } else { OnAbort::Stop },
        windows: windows.iter().map(|text| text.parse().unwrap()).collect(),
        ..spec(groups)
    })
}

/// What a device is doing: returning to or going to an image since a moment.
struct Job {
    image: Digest,
    ready_at: Time,
}

struct Simulation {
    now: Time,
    view: View,
    rollout: Rollout,
    units: BTreeMap<DeviceId, Unit>,
    jobs: BTreeMap<DeviceId, Job>,
    session: u64,
    /// Bytes asked for since the first start, for pacing.
    started: Option<(Time, u64)>,
    seen_done: bool,
}

impl Simulation {
    fn new(spec: Spec, units: &[Unit], seed: u64) -> Self {
        let now = Time(1_000_000);
        let units: BTreeMap<DeviceId, Unit> = (0..).map(id).zip(units.iter().cloned()).collect();
        let facts = |unit: &Unit| Facts {
            online: unit.online,
            running: Some(if unit.runs_it_already { NEW } else { OLD }),
            ..ready()
        };
        let devices = units.iter().map(|(id, unit)| (*id, facts(unit))).collect();
        let view = View { link: Some(Link { session: 1, since: now }), devices };
        Simulation {
            now,
            rollout: Rollout::new(now, spec, OWNER, seed, units.keys().copied()).unwrap(),
            view,
            units,
            jobs: BTreeMap::new(),
            session: 1,
            started: None,
            seen_done: false,
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Nothing => {}
            Event::LinkLost => self.view.link = None,
            Event::LinkBack => self.connect(),
            Event::ServiceRestarts => {
                let stored = serde_json::to_string(&self.rollout).unwrap();
                self.rollout = serde_json::from_str(&stored).unwrap();
                if self.view.link.take().is_some() {
                    self.connect();
                }
            }
            Event::Toggle(number) => self.edit(number, |facts| facts.online = !facts.online),
            Event::Quarantine(number) => self.edit(number, |facts| facts.quarantined = !facts.quarantined),
            Event::Remove(number) => {
                self.view.devices.remove(&id(number));
            }
            Event::Supersede(number) => {
                self.edit(number, |facts| facts.owner = Owner(OWNER.0 + 1));
                self.jobs.insert(id(number), Job { image: OTHER, ready_at: self.now.after_ms(1_000) });
            }
            // Refusals of what does not go now are part of it.
            Event::Pause => _ = self.rollout.pause(),
            Event::Resume => _ = self.rollout.resume(),
            Event::Cancel => _ = self.rollout.cancel(),
            Event::RollBack => _ = self.rollout.roll_back(),
        }
    }

    fn connect(&mut self) {
        self.session += 1;
        self.view.link.get_or_insert(Link { session: self.session, since: self.now });
    }

    fn edit(&mut self, number: usize, edit: impl FnOnce(&mut Facts)) {
        if let Some(facts) = self.view.devices.get_mut(&id(number)) {
            edit(facts);
        }
    }

    /// Devices work while the service is away, but are heard only with the broker there.
    fn hear(&mut self) {
        if self.view.link.is_none() {
            return;
        }
        for (id, job) in &self.jobs {
            let (Some(facts), Some(unit)) = (self.view.devices.get_mut(id), self.units.get(id)) else {
                continue;
            };
            if !facts.online {
                continue;
            }
            let report = |state, reason| Some(Report { image: job.image, state, progress: 50, reason });
            // Every image but the new one is known to work.
            let manner = if job.image == NEW { unit.manner } else { Manner::Succeeds };
            facts.report = match manner {
                _ if self.now < job.ready_at => report(FirmwareState::Downloading, None),
                Manner::Hangs => report(FirmwareState::Downloading, None),
                Manner::Reverts => report(FirmwareState::Reverted, Some(Reason::Crashed)),
                Manner::Refuses => report(FirmwareState::Refused, Some(Reason::Downgrade)),
                Manner::Succeeds => {
                    facts.running = Some(job.image);
                    report(FirmwareState::Confirmed, None)
                }
            };
        }
    }

    fn step(&mut self) -> Option<Time> {
        self.hear();
        let before = self.rollout.clone();
        let found = plan(self.now, &self.view, &self.rollout);
        if self.view.link.is_none() {
            assert_eq!((found.actions.len(), found.next_deadline), (0, None), "it should be suspended");
            return None;
        }
        for action in &found.actions {
            self.check(action);
            self.rollout.record(self.now, action);
            self.carry_out(action);
            let updating = self.rollout.devices().values().filter(|member| member.state.is_updating());
            assert!(updating.count() <= self.rollout.spec().at_once as usize, "too many at once");
        }
        self.check_limits(&before);
        assert_eq!(plan(self.now, &self.view, &self.rollout).actions, [], "after {:#?}", found.actions);
        assert!(found.next_deadline.is_none_or(|at| at > self.now));
        let progress = Progress::of(self.now, &self.view, &self.rollout);
        assert!(progress.percent <= 100);
        found.next_deadline
    }

    fn check(&mut self, action: &Action) {
        match *action {
            Action::Start { device, transfer_bytes, .. } => self.check_start(&device, transfer_bytes),
            Action::Withdraw { device, .. } => {
                assert!(self.view.devices[&device].owner <= OWNER, "another deployment has {device}");
            }
            Action::RollBack { device, .. } => {
                let is_confirmed = matches!(
                    self.rollout.devices()[&device].state,
                    DeviceState::Confirmed { took_ms: Some(_), .. }
                );
                assert!(is_confirmed && self.view.devices[&device].owner <= OWNER);
            }
            Action::Phase { to: Phase::Done } => self.seen_done = true,
            Action::Phase { to: Phase::Running { .. } | Phase::Soaking { .. } } => self.check_group(),
            Action::Phase { to: Phase::RollingBack { .. } } => assert!(!self.seen_done),
            _ => {}
        }
    }

    fn check_start(&mut self, device: &DeviceId, transfer_bytes: u64) {
        let facts = &self.view.devices[device];
        assert!(facts.online && !facts.quarantined && facts.fits && facts.owner <= OWNER);
        assert_eq!(self.rollout.hold(), None);
        let member = &self.rollout.devices()[device];
        assert_eq!(member.state, DeviceState::Pending);
        match self.rollout.phase() {
            Phase::Running { group } | Phase::Soaking { group, .. } => assert!(member.group <= group),
            phase => assert_eq!(phase, Phase::Done),
        }
        let spec = self.rollout.spec();
        if let Some(rate) = spec.bytes_per_second {
            let (first, bytes) = self.started.unwrap_or((self.now, 0));
            let allowed = rate * self.now.ms_since(first) / 1_000;
            assert!(transfer_bytes == 0 || bytes <= allowed, "{bytes} bytes asked for, {allowed} allowed");
            self.started = Some((first, bytes + transfer_bytes));
        }
        if !spec.windows.is_empty() {
            assert!((15..45).contains(&(self.now.0 / 60_000 % 1_440)), "started outside the window");
        }
    }

    /// The group that is left succeeded.
    fn check_group(&self) {
        let (Phase::Running { group } | Phase::Soaking { group, .. }) = self.rollout.phase() else {
            panic!("a group follows {}", self.rollout.phase());
        };
        assert_eq!(self.rollout.hold(), None);
        let is_waiting = |id: &DeviceId| {
            self.rollout.spec().wait_offline
                || self.view.devices.get(id).is_some_and(|facts| facts.online && !facts.quarantined)
        };
        let (mut confirmed, mut failed, mut absent) = (0, 0, 0);
        for (id, member) in self.rollout.devices().iter().filter(|(_, member)| member.group == group) {
            match member.state {
                DeviceState::Confirmed { .. } => confirmed += 1,
                DeviceState::Failed { .. } => failed += 1,
                DeviceState::Skipped { .. } => {}
                // Devices that come while a group is watched do not have it watched for longer.
                _ if matches!(self.rollout.phase(), Phase::Soaking { .. }) => {}
                DeviceState::Pending if !is_waiting(id) => absent += 1,
                state => panic!("{id} is {state:?}"),
            }
        }
        assert!(confirmed * 100 >= (confirmed + failed) * u32::from(self.rollout.spec().success_percent));
        assert!(confirmed + failed > 0 || absent == 0, "a group that proved nothing");
    }

    /// Nobody goes on above a limit.
    fn check_limits(&self, before: &Rollout) {
        if !matches!(self.rollout.phase(), Phase::Running { .. } | Phase::Soaking { .. }) {
            return;
        }
        let spec = before.spec();
        let failed = self.rollout.devices().values();
        let failed: Vec<_> =
            failed.filter(|member| matches!(member.state, DeviceState::Failed { .. })).collect();
        assert!(spec.abort_failures.is_none_or(|limit| failed.len() < limit as usize));
        if let Some(Step::Canary(_)) = spec.groups.first() {
            let canaries = failed.iter().filter(|member| member.group == 0).count();
            assert!(spec.abort_canary_failures.is_none_or(|limit| canaries < limit as usize));
        }
    }

    fn carry_out(&mut self, action: &Action) {
        let (device, image) = match *action {
            Action::Start { device, .. } => (device, NEW),
            Action::RollBack { device, to } => (device, to),
            Action::Withdraw { device, from, .. } => (device, from.unwrap_or(OLD)),
            _ => return,
        };
        let takes_ms = self.units[&device].takes_ms;
        self.jobs.insert(device, Job { image, ready_at: self.now.after_ms(takes_ms) });
        // What it said before is about something else.
        self.view.devices.get_mut(&device).unwrap().report = None;
    }

    /// The next moment at which something happens by itself.
    fn next(&self, deadline: Option<Time>) -> Option<Time> {
        let jobs = self.jobs.values().map(|job| job.ready_at).filter(|at| *at > self.now);
        jobs.chain(deadline).min()
    }

    fn run_until(&mut self, end: Time) {
        for _ in 0..MAX_EVENTS {
            let deadline = self.step();
            match self.next(deadline).filter(|at| *at <= end) {
                Some(at) => self.now = at,
                None => {
                    self.now = end;
                    self.step();
                    return;
                }
            }
        }
        panic!("it does not come to rest");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn the_promises_hold_whatever_happens_and_a_rollout_ends(
        spec in specs(),
        units in vec(unit(), 0..40),
        seed: u64,
        events in vec((event(), 0_u64..40_000), 0..60),
    ) {
        let mut simulation = Simulation::new(spec, &units, seed);
        for (event, ms) in events {
            simulation.happen(event);
            simulation.run_until(simulation.now.after_ms(ms));
        }
        // From here on everybody is there, and whoever holds the rollout lets it go on.
        simulation.connect();
        simulation.view.devices.values_mut().for_each(|facts| (facts.online, facts.quarantined) = (true, false));
        for _ in 0..20 {
            _ = simulation.rollout.resume();
            simulation.run_until(simulation.now.after_ms(24 * 3_600_000));
        }
        prop_assert!(simulation.rollout.is_over(), "{:#?}", simulation.rollout);
        let progress = Progress::of(simulation.now, &simulation.view, &simulation.rollout);
        if matches!(simulation.rollout.phase(), Phase::Done) {
            prop_assert_eq!(progress.percent, 100);
        }
    }
}
