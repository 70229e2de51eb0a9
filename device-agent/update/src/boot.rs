//! Which image starts: the bootloader's one decision.
//!
//! Everything is checked again at every start, from where the image runs: who signed it, for which board,
//! its counter, its digest. A trial's start is counted before the jump, so an image that never comes back
//! uses up its tries.

use wasmbed_wire::{
    BoardName, Digest,
    message::{Reason, ResetCause},
};

use crate::{
    Fault, Flash, ImageSlot, Layout, Record, Region,
    image::{Hashing, SignedManifest},
    record::Attempt,
    trust::{BootKeys, Firmware, Target},
};

/// How an image gets to where it runs.
pub trait Place<F> {
    /// Puts the first `bytes` of a region where they run, and returns the SHA-256 of what is there now.
    ///
    /// It may restart the board instead, which then decides again: whatever was placed last is there.
    ///
    /// # Errors
    /// If the flash fails.
    fn place(&mut self, flash: &mut F, region: Region, bytes: u32) -> Result<Digest, Fault>;
}

/// What decides besides the flash.
#[derive(Debug, Clone, Copy)]
pub struct Device<'a> {
    /// Where everything lies.
    pub layout: &'a Layout,
    /// The board.
    pub board: BoardName,
    /// Whom it believes.
    pub keys: &'a BootKeys,
    /// Why this start happens.
    pub cause: ResetCause,
}

/// What to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boot {
    /// The image that was placed last.
    Image {
        /// Which one.
        firmware: Firmware,
        /// Whether it still has to prove itself.
        is_trial: bool,
    },
    /// No image can be started: recovery.
    Recovery,
}

/// Decides, and writes down what has to be known at the next start.
///
/// # Errors
/// If the flash fails.
pub fn decide<F: Flash>(
    flash: &mut F,
    device: &Device<'_>,
    place: &mut impl Place<F>,
) -> Result<Boot, Fault> {
    let mut record = Record::load(flash, device.layout)?;
    if let Some(attempt) = record.trial
        && let Some(firmware) = try_again(flash, device, place, &mut record, attempt)?
    {
        return Ok(Boot::Image { firmware, is_trial: true });
    }
    let first = record.active.unwrap_or(ImageSlot::A);
    for slot in [first, first.other()] {
        let Ok(firmware) = judge(flash, device, slot, record.counter)? else { continue };
        // What failed its trial is no help now.
        if record.active != Some(slot) && record.find(&firmware.image).is_some() {
            continue;
        }
        if slot != first {
            // Before it is placed: where that restarts the board, the next start must not go back to the first.
            if !is_whole(flash, device.layout, slot, &firmware)? {
                continue;
            }
            record.active = Some(slot);
            record.save(flash, device.layout)?;
        }
        if is_placed(flash, device, place, slot, &firmware)? {
            if record.active != Some(slot) {
                record.active = Some(slot);
                record.save(flash, device.layout)?;
            }
            return Ok(Boot::Image { firmware, is_trial: false });
        }
    }
    Ok(Boot::Recovery)
}

/// Starts the image in trial once more, or gives it up.
fn try_again<F: Flash>(
    flash: &mut F,
    device: &Device<'_>,
    place: &mut impl Place<F>,
    record: &mut Record,
    attempt: Attempt,
) -> Result<Option<Firmware>, Fault> {
    let whole = match judge(flash, device, attempt.slot, record.counter)? {
        Ok(firmware) if is_placed(flash, device, place, attempt.slot, &firmware)? => Some(firmware),
        Ok(_) | Err(_) => None,
    };
    if let Some(firmware) = whole.filter(|_| attempt.tries > 0) {
        record.trial = Some(Attempt { tries: attempt.tries - 1, started: true, ..attempt });
        record.save(flash, device.layout)?;
        return Ok(Some(firmware));
    }
    match whole {
        Some(firmware) => record.give_up(&firmware.image, why(device.cause)),
        // What is damaged has no name; it is fetched again if it is still wanted.
        None => record.abandon(),
    }
    record.save(flash, device.layout)?;
    Ok(None)
}

/// Why the last start of a trial did not come to its end.
const fn why(cause: ResetCause) -> Reason {
    match cause {
        ResetCause::Crash => Reason::Crashed,
        ResetCause::Watchdog => Reason::Hung,
        ResetCause::Power => Reason::PowerLost,
        ResetCause::Command => Reason::Unconfirmed,
    }
}

/// Who signed what is in a slot, and whether this board may run it. Not inlined: what it needs of a small stack must
/// not lie below what placing the image does.
#[inline(never)]
fn judge<F: Flash>(
    flash: &mut F,
    device: &Device<'_>,
    slot: ImageSlot,
    counter: u32,
) -> Result<Result<Firmware, Reason>, Fault> {
    let layout = device.layout;
    let mut header = SignedManifest::EMPTY;
    if !header.load(flash, layout, slot)? {
        return Ok(Err(Reason::Damaged));
    }
    let target = Target { board: device.board, counter, image_bytes: layout.image_bytes };
    Ok(device.keys.judge(&target, header.as_ref()))
}

/// Whether the image is the one that was signed, as it lies in flash.
fn is_whole<F: Flash>(
    flash: &mut F,
    layout: &Layout,
    slot: ImageSlot,
    firmware: &Firmware,
) -> Result<bool, Fault> {
    let digest = Hashing::new(layout.image(slot), firmware.size).advance(flash, firmware.size)?;
    Ok(digest == Some(firmware.image))
}

/// Whether the image is the one that was signed, where it runs.
fn is_placed<F: Flash>(
    flash: &mut F,
    device: &Device<'_>,
    place: &mut impl Place<F>,
    slot: ImageSlot,
    firmware: &Firmware,
) -> Result<bool, Fault> {
    let digest = place.place(flash, device.layout.image(slot), firmware.size)?;
    Ok(digest == firmware.image)
}

#[cfg(test)]
mod tests;
