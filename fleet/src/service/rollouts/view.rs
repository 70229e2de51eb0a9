//! What the planner sees of a rollout's devices.

use std::collections::BTreeMap;

use wasmbed_plan::{
    Time,
    rollout::{Facts, Report, Rollout, View},
};
use wasmbed_wire::Digest;

use crate::{
    api,
    service::{
        fleet::{Fleet, Record},
        patches::is_base,
    },
    store::{FirmwareRow, PatchRow, StoreError},
};

/// A rollout's surroundings.
pub(in crate::service) struct Scene {
    pub(in crate::service) view: View,
    /// Every version of every firmware.
    pub(super) known: Vec<FirmwareRow>,
    /// The one that is rolled out; none if it was removed after the rollout was over.
    pub(super) firmware: Option<FirmwareRow>,
}

impl Fleet {
    pub(in crate::service) fn scene(&self, now: Time, rollout: &Rollout) -> Result<Scene, StoreError> {
        let known = self.store.firmware()?;
        let spec = &rollout.spec().firmware;
        let is_meant = |row: &&FirmwareRow| {
            row.name == spec.name && row.version == spec.version && row.digest == spec.image
        };
        let firmware = known.iter().find(is_meant).cloned();
        let mut patches = self.may_patch(now).then(BTreeMap::new);
        let mut devices = BTreeMap::new();
        for id in rollout.devices().keys() {
            let Some(record) = self.records.get(id) else { continue };
            let mut facts = facts(&known, record);
            if let Some(firmware) = &firmware {
                facts.fits = record.takes(firmware).is_ok();
                facts.transfer_bytes = self.transfer_bytes(&known, patches.as_mut(), record, firmware)?;
            }
            devices.insert(*id, facts);
        }
        Ok(Scene { view: View { link: self.view.link, devices }, known, firmware })
    }

    /// What a device would have to fetch. `patches` are those looked up so far, by the image they start from; none
    /// if devices would not believe them.
    fn transfer_bytes(
        &self,
        known: &[FirmwareRow],
        patches: Option<&mut BTreeMap<Digest, Option<PatchRow>>>,
        record: &Record,
        firmware: &FirmwareRow,
    ) -> Result<u64, StoreError> {
        let slots = record.firmware_slots();
        let has_it = |slots: &api::FirmwareSlots| {
            slots.running == Some(firmware.digest) || slots.other == Some(firmware.digest)
        };
        if slots.as_ref().is_some_and(has_it) {
            return Ok(0);
        }
        let whole = u64::from(firmware.size_bytes);
        let base = record.patch_base(firmware).filter(|base| is_base(known, base, firmware));
        let (Some(base), Some(patches)) = (base, patches) else { return Ok(whole) };
        let patch = match patches.get(&base) {
            Some(patch) => *patch,
            None => {
                let patch = self.patch(&base, firmware)?;
                patches.insert(base, patch);
                patch
            }
        };
        let room = slots.map_or(0, |slots| slots.patch_bytes);
        let patch = patch.filter(|patch| patch.size_bytes <= room);
        Ok(patch.map_or(whole, |patch| patch.size_bytes.into()))
    }
}

/// What a device says whatever the firmware is.
fn facts(known: &[FirmwareRow], record: &Record) -> Facts {
    let slots = record.firmware_slots();
    let report = record.firmware_answer().map(|report| Report {
        image: report.image,
        state: report.state,
        progress: report.progress,
        reason: report.reason,
    });
    Facts {
        online: record.is_known_online(),
        quarantined: record.is_quarantined(),
        fits: false,
        owner: record.row.owner,
        // What the registry does not have no device could be brought back to.
        running: slots
            .and_then(|slots| slots.running)
            .filter(|image| record.version_of(known, image).is_some()),
        report,
        transfer_bytes: 0,
    }
}
