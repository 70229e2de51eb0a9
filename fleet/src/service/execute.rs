//! Carries out what the planner decides.

use wasmbed_plan::{Action, Effect, Health, Plan, Reason, Stage, Time, plan_device};
use wasmbed_wire::{DeviceId, message::Verb};

use super::{change::Change, fleet::Fleet};
use crate::store::{DeviceRow, NewEvent, Severity, StoreError};

/// Rounds of planning after one fact; each follows from the last, so few are ever needed.
const MAX_ROUNDS: usize = 8;

impl Fleet {
    /// Plans and acts for one device after something about it changed.
    pub(super) fn settle_device(&mut self, now: Time, id: &DeviceId) {
        let plan = plan_device(now, &self.view, id);
        self.settle(now, plan, Some(id));
    }

    /// Acts until nothing is left to do now. `scope` is the only device that can have anything to do,
    /// if that is known.
    pub(super) fn settle(&mut self, now: Time, mut plan: Plan, scope: Option<&DeviceId>) {
        for _ in 0..MAX_ROUNDS {
            if plan.actions.is_empty() {
                break;
            }
            for action in &plan.actions {
                if let Err(error) = self.execute(now, action) {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "cannot take a step: {action:?}"
                    );
                    plan.next_deadline = Some(now.after_ms(1_000));
                    self.finish(&plan, scope);
                    return;
                }
            }
            plan = match scope {
                Some(id) => plan_device(now, &self.view, id),
                None => wasmbed_plan::plan(now, &self.view),
            };
        }
        self.finish(&plan, scope);
    }

    fn finish(&mut self, plan: &Plan, scope: Option<&DeviceId>) {
        match (scope, plan.next_deadline) {
            // The other devices' deadlines stay.
            (Some(_), Some(at)) => self.come_back(at),
            (Some(_), None) => {}
            (None, at) => self.set_deadline(at),
        }
    }

    fn execute(&mut self, now: Time, action: &Action) -> Result<(), StoreError> {
        match *action {
            Action::PublishDevice(id) => {
                self.view.record(now, action);
                // First the keys: what is desired may be signed by one that is new.
                let messages = [self.keys_of_device(&id), self.desired_of_device(&id)];
                messages.into_iter().flatten().for_each(|message| self.publish(message));
            }
            Action::PublishHost(id) => {
                self.view.record(now, action);
                if let Some(message) = self.desired_of_host(&id) {
                    self.publish(message);
                }
            }
            Action::RaiseDevice(id, above) => {
                let Some(record) = self.records.get(&id) else { return Ok(()) };
                let row = DeviceRow { revision: above + 1, ..record.row.clone() };
                self.commit(now, Change { devices: [(id, row)].into(), ..Change::default() })?;
            }
            Action::RaiseHost(id, above) => {
                self.commit(now, Change { hosts: [(id, above)].into(), ..Change::default() })?;
            }
            Action::Move { device, to, reason, effect } => self.climb(now, device, to, reason, effect)?,
        }
        Ok(())
    }

    fn climb(
        &mut self,
        now: Time,
        id: DeviceId,
        to: Health,
        reason: Reason,
        effect: Option<Effect>,
    ) -> Result<(), StoreError> {
        let Some(record) = self.records.get(&id) else { return Ok(()) };
        let mut row = DeviceRow { health: to, ..record.row.clone() };
        let mut change = Change::default();
        match effect {
            Some(Effect::PowerCycle) => {
                row.cycle = row.cycle.saturating_add(1);
                change.raise_host(row.host);
            }
            Some(Effect::PowerOff) => change.raise_host(row.host),
            Some(Effect::Ping) => change.commands.push((id, Verb::Ping)),
            Some(Effect::Restart) => change.commands.push((id, Verb::Restart)),
            None => {}
        }
        if reason != Reason::Settled {
            let event = NewEvent::new(severity(to.stage), kind(to.stage), reason.to_string());
            change.events.push(event.device(id));
        }
        change.devices.insert(id, row);
        self.commit(now, change)
    }
}

fn severity(stage: Stage) -> Severity {
    match stage {
        Stage::Off | Stage::Starting | Stage::Healthy => Severity::Info,
        Stage::Suspect | Stage::Recovering | Stage::Backoff | Stage::Offline | Stage::Unknown => {
            Severity::Warning
        }
        Stage::Quarantined => Severity::Alert,
    }
}

fn kind(stage: Stage) -> &'static str {
    match stage {
        Stage::Off => "device-off",
        Stage::Starting => "device-starting",
        Stage::Healthy => "device-healthy",
        Stage::Suspect => "device-suspect",
        Stage::Recovering => "device-restarted",
        Stage::Backoff => "device-backoff",
        Stage::Quarantined => "device-quarantined",
        Stage::Offline => "device-offline",
        Stage::Unknown => "device-unknown",
    }
}
