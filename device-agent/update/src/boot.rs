//! Which image starts: the bootloader's one decision.
//!
//! Everything is checked again at every start, from the flash and from where the image runs: who signed
//! it, for which board, its counter, its digest. A trial's start is counted before the jump, so an image
//! that never comes back uses up its tries.

use wasmbed_wire::{
    BoardName, Digest,
    message::{Reason, ResetCause},
};

use crate::{
    Fault, Flash, ImageSlot, Layout, Record, Region,
    image::read_header,
    record::Attempt,
    trust::{BootKeys, Firmware, Target},
};

/// How an image gets to where it runs.
pub trait Place<F> {
    /// Puts the first `bytes` of a region where they run, and returns the SHA-256 of what is there now.
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
        let Ok(firmware) = check(flash, device, place, slot, record.counter)? else { continue };
        // What failed its trial is no help now.
        if record.active != Some(slot) && record.find(&firmware.image).is_some() {
            continue;
        }
        if record.active != Some(slot) {
            record.active = Some(slot);
            record.save(flash, device.layout)?;
        }
        return Ok(Boot::Image { firmware, is_trial: false });
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
    let checked = check(flash, device, place, attempt.slot, record.counter)?;
    let given_up = match checked {
        Ok(firmware) if attempt.tries > 0 => {
            record.trial = Some(Attempt { tries: attempt.tries - 1, started: true, ..attempt });
            record.save(flash, device.layout)?;
            return Ok(Some(firmware));
        }
        Ok(firmware) => Some((firmware.image, why(device.cause))),
        Err(_) => None,
    };
    match given_up {
        Some((image, reason)) => record.give_up(&image, reason),
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

fn check<F: Flash>(
    flash: &mut F,
    device: &Device<'_>,
    place: &mut impl Place<F>,
    slot: ImageSlot,
    counter: u32,
) -> Result<Result<Firmware, Reason>, Fault> {
    let layout = device.layout;
    let Some(header) = read_header(flash, layout, slot)? else { return Ok(Err(Reason::Damaged)) };
    let target = Target { board: device.board, counter, image_bytes: layout.image_bytes };
    let firmware = match device.keys.judge(&target, header.as_ref()) {
        Ok(firmware) => firmware,
        Err(reason) => return Ok(Err(reason)),
    };
    let digest = place.place(flash, layout.image(slot), firmware.size)?;
    Ok(if digest == firmware.image { Ok(firmware) } else { Err(Reason::Damaged) })
}
