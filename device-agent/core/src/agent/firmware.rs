//! The firmware this device should run, and how far it is with it.
//!
//! One image is fetched, made and verified at a time, into the slot that does not run; what is there is
//! judged before anything is erased, and everything long is done in pieces ([`Effect::Work`]). The boot
//! record is the only thing the bootloader is told, and every decision is one write to it.
//!
//! Promised: whatever happens between two steps, the image that runs stays what it is, and after the reset
//! the transfer goes on where its journal says. [`Effect::Work`]: crate::Effect::Work
//!
//! Not here: what lies where in flash and the bootloader's side (`wasmbed-update`).

mod blocks;
mod report;
#[cfg(test)]
mod tests;
mod trial;
mod work;

use wasmbed_update::{
    Fault, Filling, Firmware, Flash, Hashing, ImageSlot, Journal, Keyring, Layout, Record, SignedManifest,
    Target, judge_installed,
};
use wasmbed_wire::{
    Digest,
    message::{DesiredFirmware, Reason},
};

use self::trial::{Doubt, Trial};
use super::{Agent, Leave, fetch::may_be_transfer};
use crate::{Platform, window::Window};

/// What the agent knows about its firmware.
pub(super) struct Update {
    layout: Layout,
    record: Record,
    running: Option<Image>,
    /// The complete image in the other slot.
    other: Option<Firmware>,
    wish: Option<DesiredFirmware>,
    /// Whether the broker has said in this start what is wished for; what was kept may be out of date.
    is_told: bool,
    refused: Option<Refused>,
    job: Option<Job>,
    trial: Option<Trial>,
    doubt: Doubt,
}

/// A complete image in its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Image {
    slot: ImageSlot,
    firmware: Firmware,
}

/// A wish that cannot be fulfilled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Refused {
    wish: DesiredFirmware,
    reason: Reason,
}

/// The way from a wish to an image that is ready to be tried.
struct Job {
    wish: DesiredFirmware,
    slot: ImageSlot,
    /// The signed manifest, once it has been judged.
    manifest: SignedManifest,
    step: Step,
    /// Whether what came was already wrong once.
    spoiled: bool,
}

/// What is being done; see `wasmbed_wire::message::FirmwareState`.
enum Step {
    /// Block 0 of the firmware.
    Manifest(Window),
    /// Block 0 of the patch.
    PatchManifest { firmware: Firmware, window: Window },
    /// Making room; sectors are counted from the header's, or from the first one of the patch.
    Erase { firmware: Firmware, cargo: Cargo, next: u32 },
    /// Blocks of an image, or of a patch.
    Blocks { firmware: Firmware, cargo: Cargo, window: Window },
    /// The patch has come; is it the one that was signed?
    HashPatch { firmware: Firmware, cargo: Cargo, hashing: Hashing },
    /// Making room for what the patch makes.
    Clear { firmware: Firmware, cargo: Cargo, next: u32 },
    /// Making the image.
    Apply { firmware: Firmware, cargo: Cargo, at: u32, made: u32 },
    /// The image is there; is it the one that was signed?
    HashImage { firmware: Firmware, hashing: Hashing },
    /// The next start is a trial.
    Armed,
}

/// What is fetched: an image or a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cargo {
    filling: Filling,
    /// Bytes of it.
    size: u32,
    /// SHA-256 of it.
    digest: Digest,
}

impl Job {
    fn new(wish: DesiredFirmware, slot: ImageSlot, step: Step) -> Self {
        Job { wish, slot, manifest: SignedManifest::EMPTY, step, spoiled: false }
    }
}

/// Whether the same way leads to both.
fn is_same_way(a: &DesiredFirmware, b: &DesiredFirmware) -> bool {
    (a.image, a.artifact, a.patch) == (b.image, b.artifact, b.patch)
}

/// What the flash says.
pub(super) struct Found {
    layout: Layout,
    record: Record,
    running: Option<Image>,
    other: Option<Image>,
}

impl Found {
    /// Reads and judges; `None` if the flash cannot be read. Not inlined, like everything here that needs
    /// much of a small stack for a moment.
    #[inline(never)]
    pub(super) fn load<P: Platform>(platform: &mut P, ring: &Keyring) -> Option<Self> {
        let (is_recovery, board) = (platform.is_recovery(), platform.facts().board);
        let (flash, layout) = platform.firmware()?;
        let record = Record::load(flash, &layout).ok()?;
        let slot = record.running().filter(|_| !is_recovery);
        // The image that runs has been judged by the bootloader, with the counter of that time.
        let mut target = Target { board, counter: 0, image_bytes: layout.image_bytes };
        let running = slot.and_then(|slot| find_image(platform, ring, &target, slot));
        target.counter = record.counter;
        let other = slot.and_then(|slot| find_image(platform, ring, &target, slot.other()));
        Some(Found { layout, record, running, other })
    }
}

impl Update {
    /// What follows from what the flash says.
    #[inline(never)]
    pub(super) fn new(found: Found) -> Self {
        let Found { layout, record, running, other } = found;
        let trial = record.trial.filter(|trial| trial.started).and(running);
        Update {
            layout,
            running,
            other: other.map(|other| other.firmware),
            wish: None,
            is_told: false,
            refused: None,
            job: None,
            trial: trial.map(|image| Trial::new(image.firmware.trial)),
            doubt: Doubt::new(&record),
            record,
        }
    }

    /// The highest revision of a desired state that was accepted before this start.
    pub(super) fn revision(&self) -> u64 {
        self.record.revision
    }

    /// Takes up what was wished for before this start.
    pub(super) fn recall(&mut self, wish: Option<DesiredFirmware>) {
        self.wish = wish;
    }

    /// Takes up what the broker says is wished for.
    pub(super) fn tell(&mut self, wish: Option<DesiredFirmware>) {
        self.wish = wish;
        self.is_told = true;
    }

    /// Other keys are trusted now: what was refused may be acceptable.
    pub(super) fn trust_changed(&mut self) {
        self.refused = None;
    }

    /// Where a new image goes.
    fn free_slot(&self) -> ImageSlot {
        self.running.map_or(ImageSlot::A, |running| running.slot.other())
    }

    /// What the wish is about, if the image that runs is not it already.
    fn unfulfilled(&self) -> Option<DesiredFirmware> {
        let is_running =
            |wish: &DesiredFirmware| self.running.is_some_and(|running| running.firmware.image == wish.image);
        self.wish.filter(|wish| !is_running(wish))
    }

    /// Why the wish is not pursued.
    fn obstacle(&self, wish: &DesiredFirmware) -> Option<Reason> {
        let refused = self
            .refused
            .filter(|refused| is_same_way(&refused.wish, wish) && wish.generation <= refused.wish.generation);
        self.record.blocks(&wish.image, wish.generation).or(refused.map(|refused| refused.reason))
    }
}

impl<P: Platform, const SLOTS: usize, const SETTINGS: usize> Agent<P, SLOTS, SETTINGS> {
    /// Compares the firmware that is wished for with the one that is there, and begins or ends the way.
    #[inline(never)]
    pub(super) fn reconcile_firmware(&mut self) {
        let Some(update) = &mut self.update else { return };
        let before = update.job.is_some();
        let wish = update.unfulfilled();
        if wish.is_none_or(|wish| update.job.as_ref().is_some_and(|job| !is_same_way(&job.wish, &wish))) {
            update.job = None;
        }
        if let (Some(wish), Some(job)) = (wish, &mut update.job) {
            job.wish = wish;
        }
        if before && update.job.is_none() {
            self.reported.post();
        }
        if self.conclude_trial() {
            return;
        }
        let Some(update) = &self.update else { return };
        let Some(wish) = wish.filter(|wish| update.obstacle(wish).is_none()) else { return };
        if update.job.is_none() {
            self.begin(wish);
        }
    }

    /// Sets out for an image: the one in the other slot, if that is it, or else for block 0. Without a
    /// connection its trial could not end well.
    #[inline(never)]
    fn begin(&mut self, wish: DesiredFirmware) {
        if !self.session.is_connected() {
            return;
        }
        let reusable = self.reusable(&wish);
        let credit = self.config.window_blocks;
        if let Some(update) = &mut self.update {
            let slot = update.free_slot();
            update.job = Some(Job::new(wish, slot, Step::Manifest(Window::new(credit.min(1)))));
            self.reported.post();
        }
        if let Some(image) = reusable {
            self.reuse(image);
        }
    }

    /// The image that is complete in the other slot; `None` if it is not the one that is wished for, or not
    /// acceptable as it is: what is served now under its name may be.
    #[inline(never)]
    fn reusable(&mut self, wish: &DesiredFirmware) -> Option<Image> {
        let is_wished = |other: Firmware| other.image == wish.image;
        let update = self.update.as_ref().filter(|update| update.other.is_some_and(is_wished))?;
        let (slot, target) = (update.free_slot(), self.target());
        find_image(&mut self.platform, &self.ring, &target, slot)
    }

    /// Lets the way to the wish begin with this image; if that fails it is fetched.
    #[inline(never)]
    fn reuse(&mut self, image: Image) -> Option<()> {
        let job = self.update.as_mut()?.job.as_mut()?;
        let (flash, layout) = self.platform.firmware()?;
        job.manifest.load(flash, &layout, image.slot).ok().filter(|is_there| *is_there)?;
        let Image { slot, firmware } = image;
        job.step = Step::HashImage { firmware, hashing: Hashing::new(layout.image(slot), firmware.size) };
        Some(())
    }

    /// What an image must be to run here.
    fn target(&self) -> Target {
        let board = self.platform.facts().board;
        let (counter, image_bytes) =
            self.update.as_ref().map_or((0, 0), |update| (update.record.counter, update.layout.image_bytes));
        Target { board, counter, image_bytes }
    }

    fn refuse(&mut self, wish: DesiredFirmware, reason: Reason) {
        let Some(update) = &mut self.update else { return };
        update.job = None;
        update.refused = Some(Refused { wish, reason });
        self.reported.post();
    }

    /// Ends the way to the wish for this reason; what may be the transfer's fault is fetched once more.
    #[inline(never)]
    fn fail_job(&mut self, reason: Reason) {
        let credit = self.config.window_blocks;
        let Some(update) = &mut self.update else { return };
        let Some(job) = &mut update.job else { return };
        let wish = job.wish;
        let is_begun = !matches!(job.step, Step::Manifest(_) | Step::PatchManifest { .. });
        if may_be_transfer(reason) && !job.spoiled {
            let slot = job.slot;
            let step = Step::Manifest(Window::new(credit.min(1)));
            update.job = Some(Job { spoiled: true, ..Job::new(wish, slot, step) });
            // What came is not to be gone on with; a manifest has not changed anything yet.
            let clear = |flash: &mut P::Flash, layout: &Layout| Journal::new(layout).clear(flash);
            if is_begun && self.with_flash(clear).is_err() {
                self.refuse(wish, Reason::StoreFailed);
            }
            return self.reported.post();
        }
        self.refuse(wish, reason);
    }

    /// Whether the image that runs would still be started with these keys in use.
    #[inline(never)]
    pub(super) fn would_start(&mut self, ring: &Keyring) -> bool {
        let target = Target { counter: 0, ..self.target() };
        let Some(update) = &self.update else { return true };
        let Some(running) = update.running else { return true };
        // In a trial also the image before.
        let slots = [Some(running.slot), update.record.active];
        slots.into_iter().flatten().all(|slot| judge_slot(&mut self.platform, ring, &target, slot).is_ok())
    }

    fn with_flash<T>(
        &mut self,
        act: impl FnOnce(&mut P::Flash, &Layout) -> Result<T, Fault>,
    ) -> Result<T, Reason> {
        let (flash, layout) = self.platform.firmware().ok_or(Reason::StoreFailed)?;
        act(flash, &layout).map_err(reason)
    }

    /// Makes the boot record durable; what could not be written is as it was.
    fn save_record(&mut self, record: Record) -> Result<(), Reason> {
        self.with_flash(|flash, layout| record.save(flash, layout))?;
        if let Some(update) = &mut self.update {
            update.record = record;
        }
        Ok(())
    }

    /// Remembers the revision of a desired state that was accepted. Best effort: a device whose flash fails has to be
    /// reached all the same, and has forgotten it at the next start.
    #[inline(never)]
    pub(super) fn keep_revision(&mut self, revision: u64) {
        let Some(update) = &mut self.update else { return };
        update.record.revision = revision;
        if let Some((flash, layout)) = self.platform.firmware() {
            let _ = update.record.save(flash, &layout);
        }
    }

    /// Restarts into what the record says.
    fn restart_into(&mut self) {
        self.reported.post();
        self.leave(Leave::Update);
    }
}

/// The complete image in a slot, if it is acceptable.
fn find_image<P: Platform>(
    platform: &mut P,
    ring: &Keyring,
    target: &Target,
    slot: ImageSlot,
) -> Option<Image> {
    judge_slot(platform, ring, target, slot).ok().flatten().map(|firmware| Image { slot, firmware })
}

/// What is in a slot, judged with these keys and those the device was provisioned with; `None` if there is no
/// complete image.
#[inline(never)]
fn judge_slot<P: Platform>(
    platform: &mut P,
    ring: &Keyring,
    target: &Target,
    slot: ImageSlot,
) -> Result<Option<Firmware>, Reason> {
    let mut header = SignedManifest::EMPTY;
    let (flash, layout) = platform.firmware().ok_or(Reason::StoreFailed)?;
    if !header.load(flash, &layout, slot).map_err(reason)? {
        return Ok(None);
    }
    judge_installed(ring, || super::provisioned(platform), target, header.as_ref()).map(Some)
}

/// What a fault of the flash means for the way to an image.
const fn reason(fault: Fault) -> Reason {
    match fault {
        // Something else was written there before: what came then or what comes now is wrong.
        Fault::NotErased => Reason::DigestMismatch,
        _ => Reason::StoreFailed,
    }
}

/// Sectors from the first byte of a header or patch to the last of what lies there.
fn sectors(flash: &impl Flash, bytes: u32) -> u32 {
    bytes.div_ceil(flash.sector_bytes().max(1))
}
