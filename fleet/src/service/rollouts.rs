//! Rollouts under way: woken when something changes or a deadline comes, planned, and carried out.
//!
//! The planner (`wasmbed-plan`) decides. Each of its steps is one transaction: the rollout as it is afterwards,
//! what devices should run, and the events that say so. So the service may die between any two of them.
//!
//! Not here: what people do to rollouts (`control`).

mod step;
mod view;

use wasmbed_plan::{
    Stage, Time,
    rollout::{Owner, Rollout},
};
use wasmbed_wire::{
    DeviceId, Digest,
    message::{FirmwareState, Reason, Status},
};

use super::{
    change::Change,
    fleet::{Fleet, Record},
};
use crate::store::{FirmwareRow, RolloutRow, StoreError};
pub(super) use step::event;

/// The counter of deployments of firmware.
pub(super) const DEPLOYMENT: &str = "deployment";
/// Shortest pause between two looks at a rollout without a reason to hurry, in milliseconds.
const PAUSE_MS: u64 = 1_000;
/// Rounds of planning in a row; the second one usually finds nothing.
const MAX_ROUNDS: usize = 8;
/// Pause after the store failed, in milliseconds.
const RETRY_MS: u64 = 1_000;

/// A rollout that is not over.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) row: RolloutRow,
    /// When it was looked at last.
    looked_at: Option<Time>,
    /// When to look at it again.
    due: Option<Time>,
}

impl Live {
    fn wake(&mut self, at: Time) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    fn is_due(&self, now: Time) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// Whether a firmware must stay: it is what is rolled out, or the last one with an image that a device may
    /// have to return to.
    pub(super) fn needs(&self, firmware: &FirmwareRow, is_last: bool) -> bool {
        let rollout = &self.row.rollout;
        let spec = &rollout.spec().firmware;
        let is_it = spec.name == firmware.name && spec.version == firmware.version;
        let mut members = rollout.devices().values();
        is_it || (is_last && members.any(|member| member.from == Some(firmware.digest)))
    }
}

/// What of a device decides about its rollouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gist {
    urgent: Urgent,
    progress: u8,
    is_connected: bool,
    running: Option<Digest>,
    other: Option<Digest>,
}

/// What is looked at without a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Urgent {
    report: Option<(Digest, FirmwareState, Option<Reason>)>,
    owner: Owner,
    is_quarantined: bool,
}

impl Record {
    /// Whether it is connected and has said what it is since.
    fn is_known_online(&self) -> bool {
        let memory = &self.row.memory;
        self.status == Some(Status::Online) && memory.info_boot == Some(memory.boot)
    }

    fn is_quarantined(&self) -> bool {
        self.row.health.stage == Stage::Quarantined
    }

    fn gist(&self) -> Gist {
        let slots = self.firmware_slots();
        let report = self.firmware_answer();
        Gist {
            urgent: Urgent {
                report: report.map(|report| (report.image, report.state, report.reason)),
                owner: self.row.owner,
                is_quarantined: self.is_quarantined(),
            },
            progress: report.map_or(0, |report| report.progress),
            is_connected: self.is_known_online(),
            running: slots.and_then(|slots| slots.running),
            other: slots.and_then(|slots| slots.other),
        }
    }
}

impl Fleet {
    pub(super) fn load_rollouts(&mut self, now: Time) -> Result<(), StoreError> {
        self.deployments = Owner(self.store.counter(DEPLOYMENT)?);
        for row in self.store.live_rollouts()? {
            self.keep_rollout(now, row);
        }
        Ok(())
    }

    /// The number of the next deployment of a firmware.
    pub(super) const fn next_owner(&self) -> Owner {
        Owner(self.deployments.0 + 1)
    }

    /// Takes over what was stored.
    pub(super) fn keep_rollout(&mut self, now: Time, row: RolloutRow) {
        let number = row.number();
        if row.rollout.is_over() {
            self.rollouts.remove(&number);
            return;
        }
        match self.rollouts.get_mut(&number) {
            Some(live) => {
                live.row = row;
                live.wake(now);
            }
            None => {
                let live = Live { row, looked_at: None, due: Some(now) };
                self.rollouts.insert(number, live);
            }
        }
    }

    /// Has every rollout looked at: the connection to the broker came or went.
    pub(super) fn wake_rollouts(&mut self, now: Time) {
        self.rollouts.values_mut().for_each(|live| live.wake(now));
    }

    pub(super) fn next_rollout(&self) -> Option<Time> {
        self.rollouts.values().filter_map(|live| live.due).min()
    }

    /// What of a device decides about its rollouts, if there are any.
    pub(super) fn gist(&self, id: &DeviceId) -> Option<Gist> {
        let record = self.records.get(id).filter(|_| !self.rollouts.is_empty())?;
        Some(record.gist())
    }

    /// The same of every device a change is about.
    pub(super) fn gists(&self, change: &Change) -> Vec<(DeviceId, Option<Gist>)> {
        if self.rollouts.is_empty() {
            return Vec::new();
        }
        let ids = change.devices.keys().chain(&change.removed);
        ids.map(|id| (*id, self.gist(id))).collect()
    }

    /// Has the rollouts of a device looked at if something about it changed.
    pub(super) fn note_for_rollouts(&mut self, now: Time, id: &DeviceId, before: Option<Gist>) {
        let after = self.gist(id);
        if before == after {
            return;
        }
        let is_urgent = before.map(|gist| gist.urgent) != after.map(|gist| gist.urgent);
        for live in self.rollouts.values_mut().filter(|live| live.row.rollout.devices().contains_key(id)) {
            let pause = live.looked_at.filter(|_| !is_urgent).map(|at| at.after_ms(PAUSE_MS));
            live.wake(pause.map_or(now, |at| at.max(now)));
        }
        self.next_rollout().into_iter().for_each(|at| self.come_back(at));
    }

    /// Looks at every rollout that is due, and says when the next one is.
    pub(super) fn roll(&mut self, now: Time) {
        for _ in 0..MAX_ROUNDS {
            let due = self.rollouts.iter().filter(|(_, live)| live.is_due(now));
            let due: Vec<u64> = due.map(|(number, _)| *number).collect();
            if due.is_empty() {
                break;
            }
            for number in due {
                if let Err(error) = self.advance(now, number) {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "cannot take a step of rollout {number}"
                    );
                    if let Some(live) = self.rollouts.get_mut(&number) {
                        live.due = Some(now.after_ms(RETRY_MS));
                    }
                }
            }
        }
        self.next_rollout().into_iter().for_each(|at| self.come_back(at));
    }

    /// Plans one rollout and takes the steps.
    fn advance(&mut self, now: Time, number: u64) -> Result<(), StoreError> {
        let Some(live) = self.rollouts.get(&number) else { return Ok(()) };
        let scene = self.scene(now, &live.row.rollout)?;
        let plan = wasmbed_plan::rollout::plan(now, &scene.view, &live.row.rollout);
        let step = self.step(now, &scene, &live.row, &plan.actions);
        if let Some(live) = self.rollouts.get_mut(&number) {
            (live.looked_at, live.due) = (Some(now), plan.next_deadline);
        }
        let ids: Vec<DeviceId> = step.devices.keys().copied().collect();
        self.commit(now, step)?;
        ids.iter().for_each(|id| self.settle_device(now, id));
        Ok(())
    }

    /// A rollout, whether or not it is over.
    pub(super) fn rollout(&self, number: u64) -> Result<Option<RolloutRow>, StoreError> {
        match self.rollouts.get(&number) {
            Some(live) => Ok(Some(live.row.clone())),
            None => self.store.rollout(number),
        }
    }

    /// Images that devices of a rollout would have to return to, of which the registry has no version for them.
    pub(super) fn missing_images(&self, rollout: &Rollout) -> Result<Vec<(DeviceId, Digest)>, StoreError> {
        let known = self.store.firmware()?;
        let is_missing = |id: &DeviceId, image: &Digest| {
            self.records.get(id).is_some_and(|record| record.version_of(&known, image).is_none())
        };
        let returning = rollout.devices().iter().filter_map(|(id, member)| Some((*id, member.returns_to()?)));
        Ok(returning.filter(|(id, image)| is_missing(id, image)).collect())
    }
}
