//! Verbs about rollouts.

use wasmbed_plan::{
    Time,
    rollout::{DeviceProgress, Firmware, NotNow, Phase, Progress, Rollout, Spec},
};

use super::{Outcome, internal, with};
use crate::{
    api::{self, Code, Problem, RolloutCreate, RolloutNamed},
    service::{change::Change, fleet::Fleet, rollouts::event},
    store::{RolloutRow, Severity},
};

impl Fleet {
    pub(super) fn rollout_create(&self, now: Time, create: &RolloutCreate) -> Result<Outcome, Problem> {
        let firmware = self.named(&create.firmware, create.version.as_deref())?;
        let trust = self.trust(now);
        let records = self.select(&create.to)?;
        let unfit = records.iter().filter_map(|record| {
            let why = self.fits(&trust, record, &firmware).err()?;
            Some(format!("{}: {why}", record.row.id))
        });
        let unfit: Vec<String> = unfit.collect();
        if !unfit.is_empty() {
            return Err(Problem::new(
                Code::Conflict,
                format!(
                    "{} {} cannot be rolled out to every selected device\n  {}",
                    firmware.name,
                    firmware.version,
                    unfit.join("\n  ")
                ),
            )
            .hint("there is no rollout; select only devices that can take it (for example board=NAME)"));
        }
        let spec = create.spec(Firmware {
            name: firmware.name,
            version: firmware.version,
            image: firmware.digest,
            size_bytes: firmware.size_bytes.into(),
        });
        let owner = self.next_owner();
        // The number is as good a seed as any: each rollout has other canaries.
        let rollout = Rollout::new(now, spec, owner, owner.0, records.iter().map(|record| record.row.id));
        let rollout = rollout.map_err(|error| Problem::new(Code::BadRequest, error.to_string()))?;
        let row = RolloutRow { rollout, target: create.to.to_string(), told: 0, at_ms: now.0 };
        let mut change = Change::default();
        records.iter().for_each(|record| change.own(record, owner));
        change.events.push(event(&row, Severity::Info, "rollout-created", planned(&row)));
        let shown = self.shown(now, &row, true)?;
        change.rollout = Some(row);
        with(shown, change)
    }

    pub(super) fn rollout_list(&self, now: Time) -> Result<Vec<api::Rollout>, Problem> {
        let rows = self.store.rollouts().map_err(internal)?;
        rows.iter().map(|row| self.shown(now, row, false)).collect()
    }

    pub(super) fn rollout_show(&self, now: Time, named: &RolloutNamed) -> Result<api::Rollout, Problem> {
        self.shown(now, &self.rollout_named(named)?, true)
    }

    pub(super) fn rollout_pause(&self, now: Time, named: &RolloutNamed) -> Result<Outcome, Problem> {
        self.steer(now, named, "rollout-paused", "a pause was requested", Rollout::pause)
    }

    pub(super) fn rollout_resume(&self, now: Time, named: &RolloutNamed) -> Result<Outcome, Problem> {
        self.steer(now, named, "rollout-resumed", "it was requested to go on", Rollout::resume)
    }

    pub(super) fn rollout_cancel(&self, now: Time, named: &RolloutNamed) -> Result<Outcome, Problem> {
        self.steer(now, named, "rollout-cancelled", "its end was requested", Rollout::cancel)
    }

    pub(super) fn rollout_rollback(&self, now: Time, named: &RolloutNamed) -> Result<Outcome, Problem> {
        let row = self.rollout_named(named)?;
        let missing = self.missing_images(&row.rollout).map_err(internal)?;
        if !missing.is_empty() {
            let lines: Vec<String> = missing.iter().map(|(id, image)| format!("{id}: {image}")).collect();
            return Err(Problem::new(
                Code::Conflict,
                format!("the registry no longer has what devices would return to\n  {}", lines.join("\n  ")),
            )
            .hint("push that firmware again first; nothing was rolled back"));
        }
        self.steer(now, named, "rollout-group", "a rollback was requested", Rollout::roll_back)
    }

    /// Does something to a rollout; what follows from it is planned right after.
    fn steer(
        &self,
        now: Time,
        named: &RolloutNamed,
        kind: &'static str,
        reason: &str,
        work: impl FnOnce(&mut Rollout) -> Result<(), NotNow>,
    ) -> Result<Outcome, Problem> {
        let before = self.rollout_named(named)?;
        let mut row = before.clone();
        work(&mut row.rollout).map_err(|error| {
            Problem::new(Code::Conflict, error.to_string())
                .hint(format!("see `wasmbed rollout show {}`", named.rollout))
        })?;
        let mut change = Change::default();
        if row.rollout.phase() != before.rollout.phase()
            && matches!(row.rollout.phase(), Phase::RollingBack { .. })
        {
            row.told = 0;
        }
        let shown = self.shown(now, &row, true)?;
        if row != before {
            change.events.push(event(&row, Severity::Info, kind, reason));
            change.rollout = Some(row);
        }
        with(shown, change)
    }

    fn rollout_named(&self, named: &RolloutNamed) -> Result<RolloutRow, Problem> {
        self.rollout(named.rollout).map_err(internal)?.ok_or_else(|| {
            Problem::new(Code::NotFound, format!("there is no rollout {}", named.rollout))
                .hint("see `wasmbed rollout list`")
        })
    }

    /// A rollout as it is shown.
    fn shown(&self, now: Time, row: &RolloutRow, with_devices: bool) -> Result<api::Rollout, Problem> {
        let rollout = &row.rollout;
        let view = self.scene(now, rollout).map_err(internal)?.view;
        let progress = Progress::of(now, &view, rollout);
        let standing = progress.hold.map_or_else(|| progress.phase.to_string(), |hold| hold.to_string());
        Ok(api::Rollout {
            rollout: row.number(),
            created_ms: row.at_ms,
            to: row.target.clone(),
            spec: rollout.spec().clone(),
            over: rollout.is_over(),
            summary: standing,
            progress,
            devices: with_devices.then(|| DeviceProgress::of(&view, rollout)),
        })
    }
}

/// What a rollout is going to do, for people.
fn planned(row: &RolloutRow) -> String {
    let Spec { firmware, groups, .. } = row.rollout.spec();
    let groups: Vec<String> = groups.iter().map(ToString::to_string).collect();
    format!(
        "version {} to {} devices ({}), in groups {}",
        firmware.version,
        row.rollout.devices().len(),
        row.target,
        groups.join(", ")
    )
}
