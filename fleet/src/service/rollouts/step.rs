//! What the planner's actions change, and what is told about them.

use wasmbed_plan::{
    Time,
    rollout::{Action, DeviceState, Hold, Phase, Progress},
};
use wasmbed_wire::{DeviceId, Digest};

use super::view::Scene;
use crate::{
    service::{change::Change, failure_text, fleet::Fleet},
    store::{NewEvent, RolloutRow, Severity},
};

/// Progress is told at multiples of this, in percent.
const TELL_PERCENT: u8 = 5;

/// A step being put together.
struct Step<'s> {
    now: Time,
    fleet: &'s Fleet,
    scene: &'s Scene,
    row: RolloutRow,
    change: Change,
}

impl Fleet {
    /// Everything these actions change. Nothing if there are none and no progress worth telling.
    pub(super) fn step(&self, now: Time, scene: &Scene, row: &RolloutRow, actions: &[Action]) -> Change {
        let mut step = Step { now, fleet: self, scene, row: row.clone(), change: Change::default() };
        for action in actions {
            step.row.rollout.record(now, action);
            step.take(action);
        }
        step.tell_progress(now);
        if step.row != *row {
            step.change.rollout = Some(step.row);
        }
        step.change
    }
}

impl Step<'_> {
    fn take(&mut self, action: &Action) {
        match *action {
            Action::Clock { .. } => {}
            Action::Start { device, .. } => self.start(&device),
            Action::Withdraw { device, from, to } => {
                self.tell_failure(device, to);
                self.withdraw(&device, from);
            }
            Action::RollBack { device, to } => self.roll_back(&device, to),
            Action::Mark { device, to } => self.tell_failure(device, to),
            Action::Phase { to } => {
                if matches!(to, Phase::RollingBack { .. }) {
                    self.row.told = 0;
                }
                self.tell(phase_severity(to), phase_kind(to), to.to_string());
            }
            Action::Hold { why } => self.tell(Severity::Alert, hold_kind(why), why.to_string()),
        }
    }

    fn start(&mut self, id: &DeviceId) {
        let (fleet, scene) = (self.fleet, self.scene);
        let (Some(record), Some(firmware)) = (fleet.records.get(id), &scene.firmware) else { return };
        let patch = fleet.patch_for(self.now, &scene.known, record, firmware);
        let what = patch.map_or(String::new(), |patch| format!(", as a patch of {} bytes", patch.size_bytes));
        let reason = format!("rollout {} brings version {}{what}", self.row.number(), firmware.version);
        let wanted = Some((firmware, patch));
        fleet.desire_firmware(&mut self.change, record, wanted, "firmware-deployed", reason);
        self.mark_last();
    }

    fn withdraw(&mut self, id: &DeviceId, from: Option<Digest>) {
        let (fleet, scene) = (self.fleet, self.scene);
        let Some(record) = fleet.records.get(id) else { return };
        let before = from.and_then(|image| record.version_of(&scene.known, &image));
        // Without being told what to run instead it would be in a trial nobody ends.
        if before.is_none() && record.is_in_trial() {
            return;
        }
        let what = before.map_or("what runs may stay".to_owned(), |before| {
            format!("version {} is wanted again", before.version)
        });
        let (number, firmware) = (self.row.number(), &self.row.rollout.spec().firmware);
        let reason = format!("rollout {number} calls version {} back; {what}", firmware.version);
        let wanted = before.map(|before| (before, None));
        fleet.desire_firmware(&mut self.change, record, wanted, "firmware-cancelled", reason);
        self.mark_last();
    }

    fn roll_back(&mut self, id: &DeviceId, to: Digest) {
        let (fleet, scene) = (self.fleet, self.scene);
        let Some(record) = fleet.records.get(id) else { return };
        let before = record.version_of(&scene.known, &to);
        let version = before.map_or("?", |before| before.version.as_str());
        let reason =
            format!("rollout {} is rolled back: version {version} is wanted again", self.row.number());
        let patch = |before| fleet.patch_for(self.now, &scene.known, record, before);
        let wanted = before.map(|before| (before, patch(before)));
        fleet.desire_firmware(&mut self.change, record, wanted, "firmware-deployed", reason);
        self.mark_last();
    }

    /// Puts the number of the rollout on the last event.
    fn mark_last(&mut self) {
        if let Some(event) = self.change.events.last_mut() {
            event.rollout = Some(self.row.number());
        }
    }

    fn tell(&mut self, severity: Severity, kind: &'static str, reason: String) {
        let event = event(&self.row, severity, kind, reason);
        self.change.events.push(event);
    }

    fn tell_failure(&mut self, device: DeviceId, to: DeviceState) {
        if let DeviceState::Failed { failure, .. } = to {
            let event = event(&self.row, Severity::Warning, "rollout-device-failed", failure_text(&failure));
            self.change.events.push(event.device(device));
        }
    }

    fn tell_progress(&mut self, now: Time) {
        let progress = Progress::of(now, &self.scene.view, &self.row.rollout);
        let reached = progress.percent / TELL_PERCENT * TELL_PERCENT;
        if reached > self.row.told {
            self.row.told = reached;
            let counts = progress.counts;
            let (done, what) = match progress.phase {
                Phase::RollingBack { .. } | Phase::RolledBack { .. } => (counts.rolled_back, "rolled back"),
                _ => (counts.confirmed, "confirmed"),
            };
            let of = self.row.rollout.devices().len();
            self.tell(
                Severity::Info,
                "rollout-progress",
                format!("{} %: {done} of {of} devices {what}", progress.percent),
            );
        }
    }
}

/// An event of a rollout.
pub(in crate::service) fn event(
    row: &RolloutRow,
    severity: Severity,
    kind: &'static str,
    reason: impl std::fmt::Display,
) -> NewEvent {
    let reason = format!("rollout {}: {reason}", row.number());
    NewEvent::new(severity, kind, reason).firmware(row.rollout.spec().firmware.name).rollout(row.number())
}

const fn phase_kind(phase: Phase) -> &'static str {
    match phase {
        Phase::Running { .. } | Phase::Soaking { .. } | Phase::RollingBack { why: None } => "rollout-group",
        Phase::Done => "rollout-done",
        Phase::Aborted { .. } | Phase::RollingBack { why: Some(_) } => "rollout-aborted",
        Phase::Cancelled => "rollout-cancelled",
        Phase::RolledBack { .. } => "rollout-rolled-back",
    }
}

const fn phase_severity(phase: Phase) -> Severity {
    match phase {
        Phase::Aborted { .. } | Phase::RollingBack { why: Some(_) } => Severity::Alert,
        _ => Severity::Info,
    }
}

const fn hold_kind(hold: Hold) -> &'static str {
    match hold {
        Hold::Paused => "rollout-paused",
        Hold::Group { .. } => "rollout-held",
    }
}
