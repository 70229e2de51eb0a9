//! What takes long: erasing, hashing, applying a patch. Done in pieces, so that everything else goes on.

use wasmbed_delta::{Applier, ApplyError, Failed, Old, Sink};
use wasmbed_update::{Flash, Hashing, ImageSlot, Journal, Layout, Region, What, read_header, write_header};
use wasmbed_wire::{Digest, message::Reason};

use super::{Agent, Cargo, Firmware, Step, Update, reason, sectors};
use crate::{Platform, window::Window};

/// Bytes hashed in one piece of work.
const HASH_BYTES: u32 = 4096;
/// Bytes of a patch applied in one piece of work; each may stand for many of the image.
const PATCH_BYTES: usize = 32;

/// A piece of flash work, and where it leads.
enum Next {
    /// More of the same.
    Same,
    Step(Step),
    /// The image is complete and verified.
    Ready(Firmware),
}

impl Update {
    /// Whether there is work that waits for nobody.
    pub(in crate::agent) fn has_work(&self) -> bool {
        self.job.as_ref().is_some_and(|job| {
            !matches!(
                job.step,
                Step::Manifest(_) | Step::PatchManifest { .. } | Step::Blocks { .. } | Step::Armed
            )
        })
    }
}

impl<P: Platform, const SLOTS: usize, const SETTINGS: usize> Agent<P, SLOTS, SETTINGS> {
    /// Does one piece of work.
    #[inline(never)]
    pub(in crate::agent) fn work(&mut self) {
        let credit = self.config.window_blocks;
        let Some(update) = &mut self.update else { return };
        // What a patch is applied to.
        let old = update.running.map_or(Region { origin: 0, bytes: 0 }, |image| Region {
            bytes: image.firmware.size,
            ..update.layout.image(image.slot)
        });
        let Some(job) = &mut update.job else { return };
        let is_emptied = match &job.step {
            Step::Erase { cargo, .. } => cargo.filling.what != What::Patch,
            step => matches!(step, Step::Clear { .. }),
        };
        if is_emptied && update.other.take().is_some() {
            self.info.post();
        }
        let slot = job.slot;
        let Some((flash, layout)) = self.platform.firmware() else { return };
        let done = match &mut job.step {
            Step::Erase { firmware, cargo, next } => erase(flash, &layout, credit, (firmware, cargo, next)),
            Step::HashPatch { firmware, cargo, hashing } => hash_patch(flash, firmware, cargo, hashing),
            Step::Clear { firmware, cargo, next } => {
                self.applier.restart(old.bytes, firmware.size);
                clear(flash, &layout, slot, (firmware, cargo, next))
            }
            Step::Apply { firmware, cargo, at, made } => {
                let image = layout.image(slot);
                apply(flash, &layout, image, old, &mut self.applier, (firmware, cargo, at, made))
            }
            Step::HashImage { firmware, hashing } => hash_image(flash, firmware, hashing),
            Step::Manifest(_) | Step::PatchManifest { .. } | Step::Blocks { .. } | Step::Armed => return,
        };
        match done {
            Ok(Next::Same) => {}
            Ok(Next::Step(step)) => {
                job.step = step;
                self.reported.post();
            }
            Ok(Next::Ready(firmware)) => {
                if let Err(reason) = self.arm(firmware) {
                    self.fail_job(reason);
                }
            }
            Err(reason) => self.fail_job(reason),
        }
    }

    /// Completes the slot and lets the next start be a trial of it.
    fn arm(&mut self, firmware: Firmware) -> Result<(), Reason> {
        let Some(update) = &mut self.update else { return Ok(()) };
        let mut record = update.record.clone();
        let Some(job) = &update.job else { return Ok(()) };
        let (slot, generation) = (job.slot, job.wish.generation);
        let (flash, layout) = self.platform.firmware().ok_or(Reason::StoreFailed)?;
        record.arm(slot, firmware.trial, generation);
        // In recovery the slot may be that of the image that was confirmed. The next start must not take what
        // is there now for it: the record comes first.
        let is_first = update.running.is_none();
        if is_first {
            record.active = record.active.filter(|active| *active != slot);
            record.save(flash, &layout).map_err(reason)?;
        }
        let known = read_header(flash, &layout, slot).map_err(reason)?;
        if known.is_none_or(|known| known != job.manifest) {
            write_header(flash, &layout, slot, job.manifest.as_ref()).map_err(reason)?;
        }
        if !is_first {
            record.save(flash, &layout).map_err(reason)?;
        }
        update.record = record;
        update.other = Some(firmware);
        self.set_step(Step::Armed);
        self.restart_into();
        Ok(())
    }
}

/// Erases a sector of what is to be filled: first what says that something is there, last the rest.
fn erase<F: Flash>(
    flash: &mut F,
    layout: &Layout,
    credit: u8,
    (firmware, cargo, next): (&Firmware, &Cargo, &mut u32),
) -> Result<Next, Reason> {
    let journal = Journal::new(layout);
    let (origin, bytes) = match cargo.filling.what {
        What::Patch => (layout.patch.origin, cargo.size),
        What::Slot(slot) => (layout.header(slot), layout.sector_bytes + cargo.size),
    };
    if *next == 0 {
        journal.clear(flash).map_err(reason)?;
    }
    if *next < sectors(flash, bytes) {
        flash.erase(origin + *next * layout.sector_bytes).map_err(reason)?;
        *next += 1;
        return Ok(Next::Same);
    }
    journal.begin(flash, &cargo.filling).map_err(reason)?;
    let window = Window::resumed(credit, 1, 0, 1 + cargo.filling.blocks);
    Ok(Next::Step(Step::Blocks { firmware: *firmware, cargo: *cargo, window }))
}

/// Erases a sector of the slot that a patch is about to fill.
fn clear<F: Flash>(
    flash: &mut F,
    layout: &Layout,
    slot: ImageSlot,
    (firmware, cargo, next): (&Firmware, &Cargo, &mut u32),
) -> Result<Next, Reason> {
    if *next < sectors(flash, layout.sector_bytes + firmware.size) {
        flash.erase(layout.header(slot) + *next * layout.sector_bytes).map_err(reason)?;
        *next += 1;
        return Ok(Next::Same);
    }
    Ok(Next::Step(Step::Apply { firmware: *firmware, cargo: *cargo, at: 0, made: 0 }))
}

fn hash_patch<F: Flash>(
    flash: &mut F,
    firmware: &Firmware,
    cargo: &Cargo,
    hashing: &mut Hashing,
) -> Result<Next, Reason> {
    Ok(match advance(flash, hashing, &cargo.digest)? {
        true => Next::Step(Step::Clear { firmware: *firmware, cargo: *cargo, next: 0 }),
        false => Next::Same,
    })
}

fn hash_image<F: Flash>(flash: &mut F, firmware: &Firmware, hashing: &mut Hashing) -> Result<Next, Reason> {
    Ok(match advance(flash, hashing, &firmware.image)? {
        true => Next::Ready(*firmware),
        false => Next::Same,
    })
}

/// Whether the digest is there, and right.
fn advance<F: Flash>(flash: &mut F, hashing: &mut Hashing, expected: &Digest) -> Result<bool, Reason> {
    match hashing.advance(flash, HASH_BYTES).map_err(reason)? {
        None => Ok(false),
        Some(digest) if digest == *expected => Ok(true),
        Some(_) => Err(Reason::DigestMismatch),
    }
}

/// Applies a piece of the patch: reads it, the old image, and writes what they make.
fn apply<F: Flash>(
    flash: &mut F,
    layout: &Layout,
    image: Region,
    old: Region,
    applier: &mut Applier,
    (firmware, cargo, at, made): (&Firmware, &Cargo, &mut u32, &mut u32),
) -> Result<Next, Reason> {
    let mut piece = [0; PATCH_BYTES];
    let len = (cargo.size - *at).min(PATCH_BYTES as u32);
    let piece = piece.get_mut(..len as usize).unwrap_or_default();
    flash.read(layout.patch.origin + *at, piece).map_err(reason)?;
    let flash = core::cell::RefCell::new(flash);
    let mut source = Reader { flash: &flash, origin: old.origin };
    let mut sink = Writer { flash: &flash, next: image.origin + *made };
    applier.push(piece, &mut source, &mut sink).map_err(unapplied)?;
    *made = sink.next - image.origin;
    *at += len;
    if *at < cargo.size {
        return Ok(Next::Same);
    }
    let whole = applier.finish().map_err(unapplied)?;
    if whole != firmware.size {
        return Err(Reason::BadPatch);
    }
    Ok(Next::Step(Step::HashImage { firmware: *firmware, hashing: Hashing::new(image, firmware.size) }))
}

const fn unapplied(error: ApplyError) -> Reason {
    match error {
        ApplyError::OldFailed | ApplyError::SinkFailed => Reason::StoreFailed,
        _ => Reason::BadPatch,
    }
}

struct Reader<'f, 'm, F> {
    flash: &'f core::cell::RefCell<&'m mut F>,
    origin: u32,
}

impl<F: Flash> Old for Reader<'_, '_, F> {
    fn read(&mut self, offset: u32, out: &mut [u8]) -> Result<(), Failed> {
        self.flash.borrow_mut().read(self.origin + offset, out).map_err(|_| Failed)
    }
}

struct Writer<'f, 'm, F> {
    flash: &'f core::cell::RefCell<&'m mut F>,
    next: u32,
}

impl<F: Flash> Sink for Writer<'_, '_, F> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Failed> {
        self.flash.borrow_mut().program(self.next, bytes).map_err(|_| Failed)?;
        self.next += bytes.len() as u32;
        Ok(())
    }
}
