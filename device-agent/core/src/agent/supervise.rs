//! Starting, ticking and stopping modules.

use wasmbed_wire::{Backtrace, message::Reason};

use super::Agent;
use crate::{
    Instant, ModuleEvent, Platform, Slot,
    module::{Identity, Life, Place, Run, Tick},
};

/// What the fleet is told of the last module that stopped by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trapped {
    pub(super) identity: Identity,
    pub(super) reason: Reason,
    /// How often it has stopped.
    pub(super) stops: u32,
    pub(super) backtrace: Backtrace,
}

impl<P: Platform, const SLOTS: usize, const SETTINGS: usize> Agent<P, SLOTS, SETTINGS> {
    pub(super) fn supervise(&mut self, slot: Slot, event: ModuleEvent) {
        let now = self.now;
        let Some(held) = self.tables.held_mut(slot) else { return };
        match (held.run, event) {
            (Run::Stopping, ModuleEvent::Halted) => held.run = Run::Idle,
            (Run::Starting, ModuleEvent::Started { period_ms, used }) => {
                held.run = Run::Running { since: now, tick: Tick::following(now, now, period_ms) };
                held.tally.add(used);
                self.reported.post();
            }
            (Run::Running { since, tick: Tick::Called(due) }, ModuleEvent::Ran { period_ms, used }) => {
                held.run = Run::Running { since, tick: Tick::following(due, now, period_ms) };
                held.tally.add(used);
                self.slowest_call_us = self.slowest_call_us.max(used.took_us);
            }
            (Run::Running { .. }, ModuleEvent::Handled { used }) => {
                held.tally.add(used);
                self.slowest_call_us = self.slowest_call_us.max(used.took_us);
            }
            (Run::Starting | Run::Running { .. }, ModuleEvent::Stopped { reason, used, backtrace }) => {
                let since = match held.run {
                    Run::Running { since, .. } => Some(since),
                    _ => None,
                };
                held.tally.add(used);
                self.slowest_call_us = self.slowest_call_us.max(used.took_us);
                self.stopped(slot, since, reason, backtrace);
            }
            // Late news of what is being ended, or of nothing at all.
            _ => {}
        }
    }

    fn stopped(&mut self, slot: Slot, since: Option<Instant>, reason: Reason, backtrace: Backtrace) {
        let (now, random) = (self.now, self.platform.random());
        let Some(held) = self.tables.held_mut(slot) else { return };
        held.run = Run::Idle;
        let stops = held.tally.stopped();
        let identity = held.identity();
        if let Some(wanted) = self.tables.find_wanted_mut(identity) {
            wanted.stopped(now, since, reason, random);
        }
        self.trapped = Some(Trapped { identity, reason, stops, backtrace });
        self.trap.post();
        self.reported.post();
    }

    /// Ends what is not wanted, or not wanted like this, and empties its slot.
    pub(super) fn clear_out(&mut self) {
        for slot in self.tables.slots() {
            let Some(held) = self.tables.held(slot) else { continue };
            let wanted = self.tables.wanted_in(slot);
            let keep = match wanted {
                Some(wanted) => !held.is_outdated(wanted),
                None => held.is_running() && self.tables.is_predecessor(held),
            };
            let wanted = wanted.is_some();
            if !keep {
                self.end(slot, wanted);
            }
        }
    }

    fn end(&mut self, slot: Slot, wanted: bool) {
        let Some(held) = self.tables.held_mut(slot) else { return };
        let before = held.run;
        held.end();
        let idle = held.run == Run::Idle;
        if held.run != before {
            self.reported.post();
        }
        if idle && !wanted {
            self.platform.discard(slot);
            self.tables.put(slot, Place::Empty);
            self.reported.post();
        }
    }

    /// Starts what is ready and has no other version in its way.
    pub(super) fn start_ready(&mut self) {
        for slot in self.tables.slots() {
            let Some(held) = self.tables.held(slot) else { continue };
            let identity = held.identity();
            if held.run != Run::Idle || self.tables.has_other_version(identity) {
                continue;
            }
            let Some(wanted) = self.tables.find_wanted_mut(identity) else { continue };
            let woken = wanted.wake(self.now);
            if wanted.life != Life::Ready {
                continue;
            }
            if let Some(held) = self.tables.held_mut(slot) {
                held.run = Run::StartDue;
            }
            if woken {
                self.reported.post();
            }
        }
    }
}
