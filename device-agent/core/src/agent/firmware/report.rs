//! What is told about the firmware.

use wasmbed_wire::message::{DesiredFirmware, FirmwareReport, FirmwareSlots, FirmwareState};

use super::{Job, Step, Update};

impl Update {
    /// For `up/info`.
    pub(in crate::agent) fn slots(&self) -> FirmwareSlots {
        FirmwareSlots {
            running: self.running.map(|running| running.firmware.image),
            other: self.other.map(|other| other.image),
            image_bytes: self.layout.image_bytes,
            patch_bytes: self.layout.patch.bytes,
            counter: self.record.counter,
        }
    }

    /// For `up/reported`.
    pub(in crate::agent) fn report(&self) -> Option<FirmwareReport> {
        let running = self.running.map(|running| running.firmware.image);
        let Some(wish) = self.wish else { return self.trial_report(running, 0) };
        if running == Some(wish.image) {
            return self
                .trial_report(running, wish.generation)
                .or(Some(report(&wish, FirmwareState::Confirmed)));
        }
        let fields = report(&wish, FirmwareState::Checking);
        if let Some(job) = &self.job {
            return Some(FirmwareReport { state: job.state(), progress: self.percent(), ..fields });
        }
        match self.obstacle(&wish) {
            Some(reason) => {
                let is_reverted = self.record.blocks(&wish.image, wish.generation).is_some();
                let state = if is_reverted { FirmwareState::Reverted } else { FirmwareState::Refused };
                Some(FirmwareReport { state, reason: Some(reason), progress: 0, ..fields })
            }
            None => Some(FirmwareReport { progress: 0, ..fields }),
        }
    }

    fn trial_report(&self, image: Option<wasmbed_wire::Digest>, generation: u32) -> Option<FirmwareReport> {
        let trial = self.trial?;
        Some(FirmwareReport {
            image: image?,
            state: if trial.failed.is_some() { FirmwareState::Reverted } else { FirmwareState::Trial },
            progress: 100,
            reason: trial.failed,
            generation,
            since: trial.since,
        })
    }
}

fn report(wish: &DesiredFirmware, state: FirmwareState) -> FirmwareReport {
    let DesiredFirmware { image, generation, .. } = *wish;
    FirmwareReport { image, state, progress: 100, reason: None, generation, since: None }
}

impl Job {
    fn state(&self) -> FirmwareState {
        match self.step {
            Step::Manifest(_) | Step::PatchManifest { .. } => FirmwareState::Checking,
            Step::Erase { .. } | Step::Blocks { .. } => FirmwareState::Downloading,
            Step::HashPatch { .. } | Step::Clear { .. } | Step::Apply { .. } => FirmwareState::Patching,
            Step::HashImage { .. } => FirmwareState::Verifying,
            Step::Armed => FirmwareState::Armed,
        }
    }
}
