//! Verbs that set which firmware devices should run.
//!
//! Whoever decides, it comes down to [`Fleet::desire_firmware`] for one device.

use wasmbed_plan::Time;
use wasmbed_wire::{Digest, keyring::Role, message::FirmwareState};

use super::{Outcome, internal, with};
use crate::{
    api::{
        Code, FirmwareChange, FirmwareChanged, FirmwareDeploy, FirmwareKnown, FirmwareStatus,
        FirmwareStatusOf, Problem, Revision, Selector,
    },
    artifacts::Trust,
    service::{
        change::{Change, Desired},
        fleet::{Fleet, Record},
    },
    store::{DeviceRow, FirmwareRow, FirmwareWish, NewEvent, PatchRow, Severity},
};

impl Fleet {
    pub(super) fn firmware_deploy(&self, now: Time, deploy: &FirmwareDeploy) -> Result<Outcome, Problem> {
        let firmware = self.named(&deploy.firmware, deploy.version.as_deref())?;
        let trust = self.trust(now);
        let known = self.store.firmware().map_err(internal)?;
        self.for_each(&deploy.to, ("deployed", true), |change, record| {
            if !deploy.force {
                self.fits(&trust, record, &firmware)?;
            }
            if !deploy.force && is_settled(record, &firmware) {
                return Ok(unchanged(record));
            }
            let patch = self.patch_for(now, &known, record, &firmware).filter(|_| deploy.delta);
            let what =
                patch.map_or(String::new(), |patch| format!(", as a patch of {} bytes", patch.size_bytes));
            let reason = format!("version {} was requested to run{what}", firmware.version);
            Ok(self.desire_firmware(change, record, Some((&firmware, patch)), "firmware-deployed", reason))
        })
    }

    pub(super) fn firmware_rollback(&self, now: Time, to: &Selector) -> Result<Outcome, Problem> {
        let known = self.store.firmware().map_err(internal)?;
        let trust = self.trust(now);
        self.for_each(to, ("rolled back", true), |change, record| {
            let slots = record.firmware_slots();
            let other =
                slots.and_then(|slots| slots.other).ok_or("it has no complete image in its other slot")?;
            let firmware = record
                .version_of(&known, &other)
                .ok_or_else(|| format!("the registry does not know the image {other} in its other slot"))?;
            self.fits(&trust, record, firmware)?;
            if is_settled(record, firmware) {
                return Ok(unchanged(record));
            }
            let reason = format!("a rollback to version {} was requested", firmware.version);
            Ok(self.desire_firmware(change, record, Some((firmware, None)), "firmware-deployed", reason))
        })
    }

    pub(super) fn firmware_cancel(&self, to: &Selector) -> Result<Outcome, Problem> {
        let known = self.store.firmware().map_err(internal)?;
        self.for_each(to, ("cancelled", true), |change, record| {
            let confirmed = record.confirmed_image();
            let Some(wish) = record.firmware.as_ref().filter(|wish| Some(wish.image) != confirmed) else {
                return Ok(unchanged(record));
            };
            let firmware = confirmed.and_then(|image| record.version_of(&known, &image));
            // Without being told what to run instead, a device goes on with its trial.
            if firmware.is_none() && record.is_in_trial() {
                return Err("it runs the new firmware in a trial, and the registry does not know the one \
                            before; push that first"
                    .to_owned());
            }
            let reason = match firmware {
                Some(before) => {
                    format!("version {} is no longer wanted, but {}", wish.version, before.version)
                }
                None => format!("version {} is no longer wanted; what runs may stay", wish.version),
            };
            let wanted = firmware.map(|firmware| (firmware, None));
            Ok(self.desire_firmware(change, record, wanted, "firmware-cancelled", reason))
        })
    }

    pub(super) fn firmware_clear(&self, now: Time, to: &Selector) -> Result<Outcome, Problem> {
        let known = self.store.firmware().map_err(internal)?;
        self.for_each(to, ("cleared", false), |change, record| {
            let Some(wish) = record.firmware.as_ref().filter(|_| has_given_up(record)) else {
                return Ok(unchanged(record));
            };
            let firmware = self.named(&wish.name, Some(&wish.version)).map_err(|problem| problem.message)?;
            let reason = format!("version {} is to be tried again", wish.version);
            let patch = wish.patch.and_then(|_| self.patch_for(now, &known, record, &firmware));
            Ok(self.desire_firmware(change, record, Some((&firmware, patch)), "firmware-deployed", reason))
        })
    }

    pub(super) fn firmware_status(&self, of: &FirmwareStatusOf) -> Result<Vec<FirmwareStatus>, Problem> {
        let known = self.store.firmware().map_err(internal)?;
        let records = match &of.to {
            Some(to) => self.select(to)?,
            None => self.records.values().collect(),
        };
        Ok(records.into_iter().map(|record| status(&known, record)).collect())
    }

    /// Sets the firmware one device should run, or that it may run whatever it runs. A new attempt always:
    /// what was refused or reverted before is tried again.
    pub(in crate::service) fn desire_firmware(
        &self,
        change: &mut Change,
        record: &Record,
        wanted: Option<(&FirmwareRow, Option<PatchRow>)>,
        kind: &'static str,
        reason: String,
    ) -> FirmwareChange {
        let id = record.row.id;
        let revision = record.row.revision + 1;
        let wish = wanted.map(|(firmware, patch)| FirmwareWish {
            name: firmware.name,
            version: firmware.version.clone(),
            artifact: firmware.artifact,
            image: firmware.digest,
            size_bytes: firmware.size_bytes,
            patch,
            // Revisions only rise, so this is higher than every generation before.
            generation: u32::try_from(revision).unwrap_or(u32::MAX),
            confirm: None,
        });
        let named = wish.as_ref().or(record.firmware.as_ref()).map(|wish| wish.name);
        let event = NewEvent { firmware: named, ..NewEvent::new(Severity::Info, kind, reason) };
        change.events.push(event.device(id));
        change.devices.insert(id, DeviceRow { revision, ..record.row.clone() });
        let told = changed(record, revision, true, wish.as_ref());
        change.desired.push((id, Desired::Firmware(wish)));
        told
    }

    /// Does the same to every selected device, or nothing to any. Rollouts leave the devices alone from now on
    /// that are changed, and those that are `named` in any case.
    fn for_each(
        &self,
        to: &Selector,
        (what, named): (&str, bool),
        mut work: impl FnMut(&mut Change, &Record) -> Result<FirmwareChange, String>,
    ) -> Result<Outcome, Problem> {
        let mut change = Change::default();
        let owner = self.next_owner();
        let (mut devices, mut unfit) = (Vec::new(), Vec::new());
        for record in self.select(to)? {
            match work(&mut change, record) {
                Ok(device) => {
                    if device.changed || named {
                        change.own(record, owner);
                    }
                    devices.push(device);
                }
                Err(why) => unfit.push(format!("{}: {why}", record.row.id)),
            }
        }
        if unfit.is_empty() {
            return with(FirmwareChanged { devices }, change);
        }
        Err(Problem::new(
            Code::Conflict,
            format!("it cannot be {what} on every selected device\n  {}", unfit.join("\n  ")),
        )
        .hint(format!("nothing was {what}; select only devices that can (for example board=NAME)")))
    }

    /// Whether a device can take a firmware, by what it said of itself last.
    pub(in crate::service) fn fits(
        &self,
        trust: &Trust,
        record: &Record,
        firmware: &FirmwareRow,
    ) -> Result<(), String> {
        record.takes(firmware)?;
        let allowed = trust.permits(Role::Firmware, firmware.key);
        allowed.map_err(|error| format!("it would refuse it: {error}"))
    }
}

/// Whether the device will not do anything more about the firmware it should run.
fn has_given_up(record: &Record) -> bool {
    record
        .firmware_answer()
        .is_some_and(|report| matches!(report.state, FirmwareState::Refused | FirmwareState::Reverted))
}

/// Whether the device is told to run just this already and has not given up on it.
fn is_settled(record: &Record, firmware: &FirmwareRow) -> bool {
    record.firmware.as_ref().is_some_and(|wish| wish.artifact == firmware.artifact) && !has_given_up(record)
}

fn unchanged(record: &Record) -> FirmwareChange {
    changed(record, record.row.revision, false, record.firmware.as_ref())
}

fn changed(record: &Record, revision: u64, changed: bool, wish: Option<&FirmwareWish>) -> FirmwareChange {
    FirmwareChange {
        id: record.row.id,
        revision,
        changed,
        firmware: wish.map(|wish| wish.name),
        version: wish.map(|wish| wish.version.clone()),
        image: wish.map(|wish| wish.image),
        transfer_bytes: wish.map_or(0, FirmwareWish::transfer_bytes),
        patch: wish.is_some_and(|wish| wish.patch.is_some()),
    }
}

fn status(known: &[FirmwareRow], record: &Record) -> FirmwareStatus {
    let row = &record.row;
    let slots = record.firmware_slots();
    let name = |image: Digest| {
        let found = record.version_of(known, &image);
        let (firmware, version) = (found.map(|row| row.name), found.map(|row| row.version.clone()));
        FirmwareKnown { image, firmware, version }
    };
    let wish = record.firmware.as_ref();
    // What became of the last one is shown also when nothing is wanted any more.
    let report = if wish.is_some() { record.firmware_answer() } else { row.memory.firmware.as_ref() };
    let progress = report.map_or(0, |report| report.progress);
    let transfer = wish.map_or(0, FirmwareWish::transfer_bytes);
    let done = u64::from(transfer) * u64::from(progress.min(100)) / 100;
    FirmwareStatus {
        id: row.id,
        board: row.board,
        status: record.status,
        revision: Revision { desired: row.revision, reported: row.memory.revision },
        running: slots.and_then(|slots| slots.running).map(name),
        other: slots.and_then(|slots| slots.other).map(name),
        desired: wish.map(wanted),
        state: report.map(|report| report.state),
        progress,
        done_bytes: u32::try_from(done).unwrap_or(transfer),
        transfer_bytes: transfer,
        patch: wish.is_some_and(|wish| wish.patch.is_some()),
        reason: report.and_then(|report| report.reason),
        counter: slots.map(|slots| slots.counter),
        keyring: row.memory.keyring,
    }
}

/// A wish as it is shown.
pub(super) fn wanted(wish: &FirmwareWish) -> FirmwareKnown {
    FirmwareKnown { image: wish.image, firmware: Some(wish.name), version: Some(wish.version.clone()) }
}
