//! What follows: every device is judged, then the limits, then the phase.

use std::borrow::Cow;

use wasmbed_wire::DeviceId;

use super::{
    Abort, Action, DeviceState, Facts, Hold, OnAbort, Phase, Plan, Rollout, Skip, Step, View, judge::Case,
    tally::Tally, window,
};
use crate::{Link, Time};

/// How much the rollout's clock may run before what it reads is recorded: so much of it is lost at most when
/// the broker or the service goes away, always to the advantage of the devices.
const CLOCK_STEP_MS: u64 = 10_000;

/// Plans the next steps of a rollout.
pub fn plan(now: Time, view: &View, rollout: &Rollout) -> Plan {
    let Some(link) = view.link else { return Plan::default() };
    let mut draft = Draft::new(now, link, view, rollout);
    while draft.judge_devices() {}
    draft.judge_limits();
    while draft.act() {}
    draft.finish()
}

/// A plan being made, on a rollout in which what was planned so far is recorded.
struct Draft<'a> {
    now: Time,
    view: &'a View,
    /// Until when devices may still connect after an outage.
    awaited_until: Option<Time>,
    clock_ms: u64,
    rollout: Cow<'a, Rollout>,
    plan: Plan,
}

impl<'a> Draft<'a> {
    fn new(now: Time, link: Link, view: &'a View, rollout: &'a Rollout) -> Self {
        Draft {
            now,
            view,
            awaited_until: view.awaited_until(now),
            clock_ms: rollout.clock_ms(now, link),
            rollout: Cow::Borrowed(rollout),
            plan: Plan::default(),
        }
    }

    /// Judges every device; whether anything became of one, which may then be judged further.
    fn judge_devices(&mut self) -> bool {
        let rollout = &self.rollout;
        let judge = |(id, member)| {
            let facts = self.view.devices.get(id);
            Case { now: self.now, clock_ms: self.clock_ms, rollout, id: *id, member, facts }.judge()
        };
        let actions: Vec<Action> = rollout.devices().iter().filter_map(judge).collect();
        let found = !actions.is_empty();
        actions.into_iter().for_each(|action| self.push(action));
        found
    }

    fn judge_limits(&mut self) {
        let Some(why) = self.excess() else { return };
        let is_done = self.rollout.phase() == Phase::Done;
        let to = match self.rollout.spec().on_abort {
            OnAbort::Rollback if !is_done => Phase::RollingBack { why: Some(why) },
            _ => Phase::Aborted { why },
        };
        self.push(Action::Phase { to });
    }

    /// Which limit of the failures is reached.
    fn excess(&self) -> Option<Abort> {
        let spec = self.rollout.spec();
        let last = match self.rollout.phase() {
            Phase::Running { group } | Phase::Soaking { group, .. } => group,
            Phase::Done => spec.groups.len(),
            _ => return None,
        };
        if let (Some(Step::Canary(_)), Some(limit)) = (spec.groups.first(), spec.abort_canary_failures)
            && self.rollout.phase() != Phase::Done
        {
            let failed = self.tally(0, 0).failed;
            if failed >= limit {
                return Some(Abort::Canary { failed });
            }
        }
        let tally = self.tally(0, last);
        let (failed, of) = (tally.failed, tally.due());
        if spec.abort_failures.is_some_and(|limit| failed >= limit) {
            return Some(Abort::Failures { failed });
        }
        tally.failed_share(spec.abort_percent).then_some(Abort::Share { failed, of })
    }

    /// Acts as the phase asks for; whether it went on to another one in which there may be more to do.
    fn act(&mut self) -> bool {
        match self.rollout.phase() {
            Phase::Running { group } => {
                self.start(group);
                self.leave_group(group)
            }
            Phase::Soaking { group, until_ms } => {
                self.start(group);
                self.leave_soak(group, until_ms)
            }
            Phase::Done => {
                self.start(self.rollout.spec().groups.len());
                false
            }
            Phase::Aborted { .. } | Phase::Cancelled => {
                self.call_back();
                false
            }
            Phase::RollingBack { why } => {
                self.call_back();
                if self.roll_back() {
                    self.push(Action::Phase { to: Phase::RolledBack { why } });
                }
                false
            }
            Phase::RolledBack { .. } => {
                self.roll_back();
                false
            }
        }
    }

    /// Starts devices of the groups up to this one, as many as may be.
    fn start(&mut self, last: usize) {
        if self.rollout.hold().is_some() {
            return;
        }
        let mut candidates = self.candidates(last);
        if candidates.is_empty() {
            return;
        }
        // Those whose group has gone on without them come first.
        candidates.sort_by_key(|(group, ..)| *group);
        let opening = window::next_opening(self.now, &self.rollout.spec().windows);
        if opening > self.now {
            self.come_back(opening);
            return;
        }
        let mut room = self.room();
        for (_, device, facts) in candidates {
            if room == 0 {
                break;
            }
            let transfer_bytes = facts.transfer_bytes;
            if transfer_bytes > 0 && self.clock_ms < self.rollout.next_start_ms() {
                self.come_back_at_clock(self.rollout.next_start_ms());
                continue;
            }
            room -= 1;
            let from = facts.running.filter(|running| *running != self.rollout.spec().firmware.image);
            self.push(Action::Start { device, from, transfer_bytes });
        }
    }

    fn leave_group(&mut self, group: usize) -> bool {
        if self.rollout.hold().is_some() {
            return false;
        }
        let is_last = group + 1 >= self.rollout.spec().groups.len();
        // The last group takes with it whoever came late to the others.
        let tally = self.tally(if is_last { 0 } else { group }, group);
        if tally.updating + tally.waiting > 0 {
            // Those awaited may turn out to be absent.
            self.awaited_until.into_iter().for_each(|until| self.come_back(until));
            return false;
        }
        if is_last {
            self.push(Action::Phase { to: Phase::Done });
            return true;
        }
        if tally.is_empty() {
            self.push(Action::Phase { to: Phase::Running { group: group + 1 } });
            return true;
        }
        if tally.finished() == 0 || self.hold_if_failed(group, &tally) {
            return false;
        }
        let soak_ms = self.rollout.spec().soak_ms;
        // Devices that ran the firmware already have been watched for longer.
        if soak_ms == 0 || tally.confirmed == tally.had {
            self.push(Action::Phase { to: Phase::Running { group: group + 1 } });
        } else {
            let until_ms = self.clock_ms.saturating_add(soak_ms);
            self.push(Action::Phase { to: Phase::Soaking { group, until_ms } });
        }
        true
    }

    fn leave_soak(&mut self, group: usize, until_ms: u64) -> bool {
        if self.rollout.hold().is_some() {
            return false;
        }
        if self.clock_ms < until_ms {
            self.come_back_at_clock(until_ms);
            return false;
        }
        let tally = self.tally(group, group);
        if self.hold_if_failed(group, &tally) {
            return false;
        }
        self.push(Action::Phase { to: Phase::Running { group: group + 1 } });
        true
    }

    fn hold_if_failed(&mut self, group: usize, tally: &Tally) -> bool {
        let failed = !tally.succeeded(self.rollout.spec().success_percent);
        if failed {
            let why = Hold::Group { group, confirmed: tally.confirmed, failed: tally.failed };
            self.push(Action::Hold { why });
        }
        failed
    }

    /// Calls back everybody who is on the way.
    fn call_back(&mut self) {
        let started = self.rollout.devices().iter();
        let started = started.filter(|(_, member)| matches!(member.state, DeviceState::Started { .. }));
        let started: Vec<_> = started.map(|(id, member)| (*id, member.from)).collect();
        for (device, from) in started {
            self.push(Action::Withdraw { device, from, to: DeviceState::Withdrawn { at: self.now } });
        }
    }

    /// Has confirmed devices return, as many as may; whether there is nobody left to wait for.
    fn roll_back(&mut self) -> bool {
        let mut left = false;
        let members = self.rollout.devices().iter();
        let returning: Vec<_> =
            members.filter_map(|(id, member)| Some((*id, member.returns_to()?))).collect();
        let mut room = self.room();
        for (device, to) in returning {
            let Some(facts) = self.view.devices.get(&device) else {
                self.skip(device, Skip::Removed);
                continue;
            };
            if facts.owner > self.rollout.owner() {
                self.skip(device, Skip::Superseded);
            } else if room > 0 && facts.is_there() {
                room -= 1;
                self.push(Action::RollBack { device, to });
            } else {
                left |= facts.is_there() || self.awaited_until.is_some();
                self.awaited_until.into_iter().for_each(|until| self.come_back(until));
            }
        }
        !left && self.updating() == 0
    }

    fn skip(&mut self, device: DeviceId, why: Skip) {
        self.push(Action::Mark { device, to: DeviceState::Skipped { why } });
    }

    /// Devices of the groups up to this one that are there and have not been started, with their groups.
    fn candidates(&self, last: usize) -> Vec<(usize, DeviceId, Facts)> {
        let members = self.rollout.devices().iter();
        let pending =
            members.filter(|(_, member)| member.group <= last && member.state == DeviceState::Pending);
        let known = pending.filter_map(|(id, member)| Some((member.group, *id, *self.view.devices.get(id)?)));
        known.filter(|(.., facts)| facts.is_there()).collect()
    }

    /// How many more devices may update now.
    fn room(&self) -> usize {
        usize::try_from(self.rollout.spec().at_once).unwrap_or(usize::MAX).saturating_sub(self.updating())
    }

    fn updating(&self) -> usize {
        self.rollout.devices().values().filter(|member| member.state.is_updating()).count()
    }

    fn tally(&self, first: usize, last: usize) -> Tally {
        Tally::of(&self.rollout, self.view, self.awaited_until.is_some(), first, last)
    }

    fn push(&mut self, action: Action) {
        // What is recorded next may be measured by the clock.
        if self.rollout.recorded_clock_ms() < self.clock_ms {
            self.record(Action::Clock { ms: self.clock_ms });
        }
        self.record(action);
    }

    fn record(&mut self, action: Action) {
        self.rollout.to_mut().record(self.now, &action);
        self.plan.actions.push(action);
    }

    fn come_back(&mut self, at: Time) {
        self.plan.next_deadline = Some(self.plan.next_deadline.map_or(at, |before| before.min(at)));
    }

    /// Comes back when the rollout's clock reads this, should it not stand still before.
    fn come_back_at_clock(&mut self, clock_ms: u64) {
        self.come_back(self.now.after_ms(clock_ms.saturating_sub(self.clock_ms)));
    }

    /// Sees to what is measured by the clock.
    fn finish(mut self) -> Plan {
        let timeout_ms = self.rollout.spec().device_timeout_ms;
        let since = self.rollout.devices().values().filter_map(|member| match member.state {
            DeviceState::Started { clock_ms, .. } | DeviceState::RollingBack { clock_ms, .. } => {
                Some(clock_ms)
            }
            _ => None,
        });
        let first_timeout_ms = since.min().map(|clock_ms| clock_ms.saturating_add(timeout_ms));
        first_timeout_ms.into_iter().for_each(|clock_ms| self.come_back_at_clock(clock_ms));
        let is_soaking = matches!(self.rollout.phase(), Phase::Soaking { .. });
        let is_pacing = self.rollout.is_open() && self.clock_ms < self.rollout.next_start_ms();
        if first_timeout_ms.is_some() || is_soaking || is_pacing {
            if self.clock_ms >= self.rollout.recorded_clock_ms().saturating_add(CLOCK_STEP_MS) {
                self.record(Action::Clock { ms: self.clock_ms });
            }
            self.come_back_at_clock(self.rollout.recorded_clock_ms().saturating_add(CLOCK_STEP_MS));
        }
        self.plan
    }
}
