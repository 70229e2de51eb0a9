//! What comes over the network: manifests, and blocks of images and patches.

use wasmbed_update::{Filling, Firmware, Flash as _, Hashing, Journal, What, artifact_id, judge_firmware};
use wasmbed_wire::{
    ArtifactId,
    keyring::Role,
    limits::BLOCK_BYTES,
    manifest::{Kind, Manifest},
    message::{Block, Get, Reason},
};

use super::{Agent, Cargo, Job, Step, Update};
use crate::{
    Instant, Platform, Rejected,
    agent::{PROGRESS_MS, fetch::place_of},
    window::{Ask, Window},
};

impl Job {
    /// What is being fetched, and its window.
    fn fetching(&mut self) -> Option<(ArtifactId, &mut Window)> {
        let (artifact, patch) = (self.wish.artifact, self.wish.patch);
        match &mut self.step {
            Step::Manifest(window) => Some((artifact, window)),
            Step::PatchManifest { window, .. } => Some((patch?, window)),
            Step::Blocks { cargo, window, .. } => Some((cargo.filling.artifact, window)),
            _ => None,
        }
    }

    fn window(&self) -> Option<&Window> {
        match &self.step {
            Step::Manifest(window) | Step::PatchManifest { window, .. } | Step::Blocks { window, .. } => {
                Some(window)
            }
            _ => None,
        }
    }
}

impl Update {
    /// Nothing that was asked for will come.
    pub(in crate::agent) fn forget_asked(&mut self) {
        if let Some((_, window)) = self.job.as_mut().and_then(Job::fetching) {
            window.forget_asked();
        }
    }

    pub(in crate::agent) fn expects(&mut self, artifact: ArtifactId) -> bool {
        self.job.as_mut().and_then(Job::fetching).is_some_and(|(fetched, _)| fetched == artifact)
    }

    /// The next request for blocks.
    pub(in crate::agent) fn ask(&mut self, now: Instant, random: u32) -> Option<Get> {
        let (artifact, window) = self.job.as_mut()?.fetching()?;
        let Ask { base, bitmap } = window.ask(now, random)?;
        Some(Get { artifact, base, bitmap })
    }

    pub(in crate::agent) fn fetch_deadline(&self) -> Option<Instant> {
        self.job.as_ref()?.window()?.deadline()
    }

    pub(super) fn percent(&self) -> u8 {
        match self.job.as_ref() {
            Some(Job {
                step: Step::Manifest(_) | Step::PatchManifest { .. } | Step::Erase { .. }, ..
            }) => 0,
            Some(job) => job.window().map_or(100, Window::percent),
            None => 0,
        }
    }
}

impl<P: Platform, const SLOTS: usize, const SETTINGS: usize> Agent<P, SLOTS, SETTINGS> {
    /// Takes a block of what the firmware's way needs.
    pub(in crate::agent) fn on_firmware_block(&mut self, block: &Block<'_>) -> Result<(), Rejected> {
        let job = self.update.as_mut().and_then(|update| update.job.as_mut()).ok_or(Rejected::Unasked)?;
        let (_, window) = job.fetching().ok_or(Rejected::Unasked)?;
        if !window.expects(block.index) {
            return Err(Rejected::Unasked);
        }
        let judged = match job.step {
            Step::Manifest(_) => self.on_manifest(block.bytes),
            Step::PatchManifest { firmware, .. } => self.on_patch_manifest(firmware, block.bytes),
            Step::Blocks { cargo, .. } => return self.on_piece(cargo, block),
            _ => return Err(Rejected::Unasked),
        };
        if let Err(reason) = judged {
            self.fail_job(reason);
        }
        Ok(())
    }

    /// The firmware's manifest: everything is judged before anything is erased.
    fn on_manifest(&mut self, signed: &[u8]) -> Result<(), Reason> {
        let firmware = judge_firmware(&self.ring, &self.target(), signed)?;
        let block_bytes = self.platform.facts().block_bytes;
        let Some(update) = &mut self.update else { return Ok(()) };
        let is_running = update.running.is_some();
        let Some(job) = &mut update.job else { return Ok(()) };
        if (firmware.artifact, firmware.image) != (job.wish.artifact, job.wish.image) {
            return Err(Reason::WrongArtifact);
        }
        check_blocks(firmware.block_bytes, block_bytes)?;
        job.manifest.set(signed).ok_or(Reason::BadManifest)?;
        // Without an image there is nothing a patch could start from.
        if job.wish.patch.is_some() && is_running {
            job.step = Step::PatchManifest { firmware, window: Window::new(1) };
            return Ok(());
        }
        let filling = Filling {
            artifact: firmware.artifact,
            what: What::Slot(job.slot),
            blocks: firmware.size.div_ceil(firmware.block_bytes.into()),
            block_bytes: firmware.block_bytes,
        };
        let cargo = Cargo { filling, size: firmware.size, digest: firmware.image };
        self.begin_transfer(firmware, cargo)
    }

    fn on_patch_manifest(&mut self, firmware: Firmware, signed: &[u8]) -> Result<(), Reason> {
        let payload = self.ring.manifest(Role::Patch, signed)?;
        let manifest: Manifest<'_> = minicbor::decode(payload).map_err(|_| Reason::BadManifest)?;
        let Some(update) = &self.update else { return Ok(()) };
        let artifact = update.job.as_ref().and_then(|job| job.wish.patch);
        let patch = manifest.patch.filter(|_| manifest.kind == Kind::Patch).ok_or(Reason::WrongArtifact)?;
        if artifact != Some(artifact_id(payload)) || patch.image != firmware.image {
            return Err(Reason::WrongArtifact);
        }
        if update.running.is_none_or(|running| running.firmware.image != patch.base) {
            return Err(Reason::WrongBase);
        }
        if manifest.size == 0 {
            return Err(Reason::BadManifest);
        }
        if manifest.size > update.layout.patch.bytes {
            return Err(Reason::TooLarge);
        }
        check_blocks(manifest.block_bytes, self.platform.facts().block_bytes)?;
        let filling = Filling {
            artifact: artifact_id(payload),
            what: What::Patch,
            blocks: manifest.payload_blocks(),
            block_bytes: manifest.block_bytes,
        };
        let cargo = Cargo { filling, size: manifest.size, digest: manifest.digest };
        self.begin_transfer(firmware, cargo)
    }

    /// Goes on with a transfer the journal knows, or makes room for a new one.
    fn begin_transfer(&mut self, firmware: Firmware, cargo: Cargo) -> Result<(), Reason> {
        let credit = self.config.window_blocks;
        let blocks = cargo.filling.blocks;
        let known = self.with_flash(|flash, layout| {
            let journal = Journal::new(layout);
            match journal.filling(flash)? {
                Some(filling) if filling == cargo.filling => journal.missing(flash, blocks).map(Some),
                _ => Ok(None),
            }
        })?;
        let step = match known {
            Some((first, got)) => {
                let window = Window::resumed(credit, 1 + first, got, 1 + blocks);
                Step::Blocks { firmware, cargo, window }
            }
            None => Step::Erase { firmware, cargo, next: 0 },
        };
        self.set_step(step);
        self.finish_blocks();
        self.reported.post();
        Ok(())
    }

    fn on_piece(&mut self, cargo: Cargo, block: &Block<'_>) -> Result<(), Rejected> {
        let offset = place_of(block, cargo.size, cargo.filling.block_bytes)?;
        let written = self.with_flash(|flash, layout| {
            flash.program(cargo.filling.what.region(layout).origin + offset, block.bytes)?;
            Journal::new(layout).mark(flash, block.index - 1)
        });
        if let Err(reason) = written {
            self.fail_job(reason);
            return Ok(());
        }
        let now = self.now;
        if let Some(Step::Blocks { window, .. }) = self.step_mut() {
            window.take(now, block.index);
        }
        if !self.finish_blocks() && now >= self.next_progress {
            self.next_progress = now.after(PROGRESS_MS);
            self.reported.post();
        }
        Ok(())
    }

    /// Goes on once all blocks are there; whether they are.
    fn finish_blocks(&mut self) -> bool {
        let Some(update) = &mut self.update else { return false };
        let layout = update.layout;
        let Some(job) = &mut update.job else { return false };
        let Step::Blocks { firmware, cargo, window } = &job.step else { return false };
        if !window.is_complete() {
            return false;
        }
        let (firmware, cargo) = (*firmware, *cargo);
        let hashing = Hashing::new(cargo.filling.what.region(&layout), cargo.size);
        job.step = match cargo.filling.what {
            What::Patch => Step::HashPatch { firmware, cargo, hashing },
            What::Slot(_) => Step::HashImage { firmware, hashing },
        };
        self.reported.post();
        true
    }

    pub(super) fn step_mut(&mut self) -> Option<&mut Step> {
        Some(&mut self.update.as_mut()?.job.as_mut()?.step)
    }

    pub(super) fn set_step(&mut self, step: Step) {
        if let Some(place) = self.step_mut() {
            *place = step;
        }
    }
}

/// Whether blocks of this size can be taken in.
fn check_blocks(found: u16, most: u16) -> Result<(), Reason> {
    match found {
        _ if !BLOCK_BYTES.contains(&found.into()) => Err(Reason::BadManifest),
        _ if found > most => Err(Reason::TooLarge),
        _ => Ok(()),
    }
}
