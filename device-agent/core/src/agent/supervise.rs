//! Starting, ticking and stopping modules.

use wasmbed_wire::message::Reason;

use super::Agent;
use crate::{
    Instant, ModuleEvent, Platform, Slot,
    module::{Life, Place, Run, Tick},
};

impl<P: Platform, const SLOTS: usize, const SETTINGS: usize> Agent<P, SLOTS, SETTINGS> {
    pub(super) fn supervise(&mut self, slot: Slot, event: ModuleEvent) {
        let now = self.now;
        let Some(held) = self.tables.held_mut(slot) else { return };
        match (held.run, event) {
            (Run::Stopping, ModuleEvent::Halted) => held.run = Run::Idle,
            (Run::Starting, ModuleEvent::Started { period_ms }) => {
                held.run = Run::Running { since: now, tick: Tick::following(now, now, period_ms) };
                self.reported.post();
            }
            (Run::Running { since, tick: Tick::Called(due) }, ModuleEvent::Ran { period_ms, took_us }) => {
                held.run = Run::Running { since, tick: Tick::following(due, now, period_ms) };
                self.slowest_call_us = self.slowest_call_us.max(took_us);
            }
            (Run::Starting, ModuleEvent::Stopped { reason, took_us }) => {
                self.slowest_call_us = self.slowest_call_us.max(took_us);
                self.stopped(slot, None, reason);
            }
            (Run::Running { since, .. }, ModuleEvent::Stopped { reason, took_us }) => {
                self.slowest_call_us = self.slowest_call_us.max(took_us);
                self.stopped(slot, Some(since), reason);
            }
            // Late news of what is being ended, or of nothing at all.
            _ => {}
        }
    }

    fn stopped(&mut self, slot: Slot, since: Option<Instant>, reason: Reason) {
        let (now, random) = (self.now, self.platform.random());
        let Some(held) = self.tables.held_mut(slot) else { return };
        held.run = Run::Idle;
        let identity = held.module.identity();
        if let Some(wanted) = self.tables.find_wanted_mut(identity) {
            wanted.stopped(now, since, reason, random);
        }
        self.reported.post();
    }

    /// Ends what is not wanted, or not wanted like this, and empties its slot.
    pub(super) fn clear_out(&mut self) {
        for slot in self.tables.slots() {
            let Some(held) = self.tables.held(slot) else { continue };
            let wanted = self.tables.find_wanted(held.module.identity());
            let keep = match wanted {
                Some(wanted) => !held.is_outdated(wanted),
                None => matches!(held.run, Run::Running { .. }) && self.tables.is_predecessor(held),
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
            let module = held.module;
            if held.run != Run::Idle || self.tables.has_other_version(&module) {
                continue;
            }
            let Some(wanted) = self.tables.find_wanted_mut(module.identity()) else { continue };
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
