//! What the bootloader and the agent tell each other across a reset.

use minicbor::{Decode, Encode};
use wasmbed_wire::{Digest, manifest::Trial, message::Reason};

use crate::{Fault, Flash, ImageSlot, Layout, Log};

/// Longest record, in bytes.
const MAX_RECORD_BYTES: usize = 320;
/// Images that can be blocked at the same time.
const BLOCKED: usize = 4;
/// Trials that may fail for reasons that need not be the image's before it is blocked all the same.
const DOUBTS: u8 = 3;

/// Which image runs, which one is tried, which ones are not tried again, and what else must not go back. Changed by one
/// atomic write.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Record {
    /// The image that is confirmed; none before the first start.
    #[n(0)]
    pub active: Option<ImageSlot>,
    /// The image that is being tried.
    #[n(1)]
    pub trial: Option<Attempt>,
    /// The highest security counter that was confirmed.
    #[n(2)]
    pub counter: u32,
    /// Images that did not prove themselves, the latest first.
    #[n(3)]
    blocked: [Option<Blocked>; BLOCKED],
    /// The highest revision of a desired state that was accepted.
    #[n(4)]
    #[cbor(default)]
    pub revision: u64,
}

/// The trial of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Attempt {
    /// Where it is.
    #[n(0)]
    pub slot: ImageSlot,
    /// Starts it has left.
    #[n(1)]
    pub tries: u8,
    /// Generation of the desired state it was asked for with.
    #[n(2)]
    pub generation: u32,
    /// Whether it was started at least once.
    #[n(3)]
    pub started: bool,
}

/// An image that did not prove itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Blocked {
    /// SHA-256 of the image.
    #[n(0)]
    pub image: Digest,
    /// Why.
    #[n(1)]
    pub reason: Reason,
    /// A higher generation of the desired state tries it again.
    #[n(2)]
    pub generation: u32,
    /// How often it failed for a reason that need not be its own (see [`Record::give_up`]).
    #[n(3)]
    pub doubts: u8,
    /// Whether it is tried again.
    #[n(4)]
    pub standing: Standing,
}

/// What follows from a trial that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Standing {
    /// Not tried again.
    #[n(0)]
    Blocked,
    /// Not tried again before the device knows whether the image was to blame.
    #[n(1)]
    InDoubt,
    /// It was not to blame; known only so that its failures are counted.
    #[n(2)]
    Cleared,
}

impl Record {
    /// The last record; a new one if there is none.
    ///
    /// # Errors
    /// Those of reading.
    #[inline(never)]
    pub fn load(flash: &mut impl Flash, layout: &Layout) -> Result<Self, Fault> {
        let mut bytes = [0; MAX_RECORD_BYTES];
        let len = log(layout).last(flash, &mut bytes)?;
        let bytes = len.and_then(|len| bytes.get(..len)).unwrap_or_default();
        Ok(minicbor::decode(bytes).unwrap_or_default())
    }

    /// Makes this the last record.
    ///
    /// # Errors
    /// Those of writing.
    pub fn save(&self, flash: &mut impl Flash, layout: &Layout) -> Result<(), Fault> {
        let mut bytes = [0; MAX_RECORD_BYTES];
        let mut rest = &mut bytes[..];
        minicbor::encode(self, &mut rest).map_err(|_| Fault::Failed)?;
        let len = MAX_RECORD_BYTES - rest.len();
        log(layout).append(flash, bytes.get(..len).ok_or(Fault::Failed)?)
    }

    /// The slot whose image runs, once the bootloader has decided.
    pub fn running(&self) -> Option<ImageSlot> {
        self.trial.filter(|trial| trial.started).map(|trial| trial.slot).or(self.active)
    }

    /// Lets the next start be a trial of the image in this slot.
    pub fn arm(&mut self, slot: ImageSlot, trial: Trial, generation: u32) {
        self.trial = Some(Attempt { slot, tries: trial.clamped().tries, generation, started: false });
    }

    /// The image in trial has proved itself: it is the one that runs from now on.
    pub fn confirm(&mut self, image: &Digest, counter: u32) {
        let Some(trial) = self.trial.take() else { return };
        self.active = Some(trial.slot);
        self.counter = self.counter.max(counter);
        self.unblock(image);
    }

    /// Ends the trial without a verdict.
    pub fn abandon(&mut self) {
        self.trial = None;
    }

    /// Ends the trial: the image before runs again, and this one is not tried again.
    ///
    /// Where the surroundings may be to blame (no broker, no power) the image is only in doubt until
    /// [`Record::settle`], but not more than three times.
    pub fn give_up(&mut self, image: &Digest, reason: Reason) {
        let Some(trial) = self.trial.take() else { return };
        // Asked for anew it gets the benefit of the doubt anew.
        let same = self.find(image).filter(|blocked| blocked.generation == trial.generation);
        let before = same.map_or(0, |blocked| blocked.doubts);
        let may_be_innocent = matches!(reason, Reason::Unconnected | Reason::PowerLost);
        let (doubts, standing) = match may_be_innocent && before < DOUBTS {
            true => (before + 1, Standing::InDoubt),
            false => (before, Standing::Blocked),
        };
        self.unblock(image);
        self.blocked.rotate_right(1);
        let blocked = Blocked { image: *image, reason, generation: trial.generation, doubts, standing };
        if let Some(first) = self.blocked.first_mut() {
            *first = Some(blocked);
        }
    }

    /// Whether an image must not be tried for this generation of the desired state, and why.
    pub fn blocks(&self, image: &Digest, generation: u32) -> Option<Reason> {
        let blocked = self.find(image)?;
        let holds = blocked.standing != Standing::Cleared && blocked.generation >= generation;
        holds.then_some(blocked.reason)
    }

    /// What is known against an image.
    pub fn find(&self, image: &Digest) -> Option<&Blocked> {
        self.blocked.iter().flatten().find(|blocked| blocked.image == *image)
    }

    /// Forgets what is known against an image.
    pub fn unblock(&mut self, image: &Digest) {
        let known = self.blocked.iter_mut().find(|blocked| blocked.is_some_and(|b| b.image == *image));
        if let Some(known) = known {
            *known = None;
        }
    }

    /// Whether an image failed for this reason and it is not known yet what was to blame.
    pub fn doubts(&self, reason: Reason) -> bool {
        self.blocked.iter().flatten().any(|blocked| is_doubted(blocked, reason))
    }

    /// Decides about the images that are in doubt for this reason. One that is in doubt for the first time is
    /// not blocked: the surroundings may have come back between its last attempt and this one.
    pub fn settle(&mut self, reason: Reason, standing: Standing) {
        for blocked in self.blocked.iter_mut().flatten().filter(|blocked| is_doubted(blocked, reason)) {
            blocked.standing = if blocked.doubts > 1 { standing } else { Standing::Cleared };
        }
    }
}

fn is_doubted(blocked: &Blocked, reason: Reason) -> bool {
    blocked.standing == Standing::InDoubt && blocked.reason == reason
}

const fn log(layout: &Layout) -> Log {
    Log::new(layout.records, layout.sector_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Nor;

    const LAYOUT: Layout = Layout::new(0, 0x1000, 0x4000, 0x1000);

    fn image(n: u8) -> Digest {
        Digest([n; 32])
    }

    fn fail(record: &mut Record, n: u8, generation: u32, reason: Reason) {
        record.arm(ImageSlot::B, Trial::DEFAULT, generation);
        record.give_up(&image(n), reason);
    }

    #[test]
    fn the_largest_record_is_kept() {
        let mut flash = Nor::new(LAYOUT.end(), 0x1000);
        let mut record =
            Record { active: Some(ImageSlot::B), counter: u32::MAX, revision: u64::MAX, ..Record::default() };
        for n in 0..BLOCKED as u8 {
            fail(&mut record, n, u32::MAX, Reason::Blocked);
        }
        record.arm(ImageSlot::A, Trial { tries: 99, confirm_s: 1 }, u32::MAX);
        record.save(&mut flash, &LAYOUT).expect("saved");
        assert_eq!(Record::load(&mut flash, &LAYOUT), Ok(record));
    }

    #[test]
    fn what_failed_is_blocked_until_a_higher_generation_asks_for_it() {
        let mut record = Record::default();
        fail(&mut record, 1, 7, Reason::Crashed);
        assert_eq!(record.blocks(&image(1), 7), Some(Reason::Crashed));
        assert_eq!(record.blocks(&image(1), 8), None);
        assert_eq!(record.blocks(&image(2), 7), None);
        record.unblock(&image(1));
        assert_eq!(record.blocks(&image(1), 7), None);
    }

    #[test]
    fn an_image_that_may_be_innocent_is_tried_again_but_not_for_ever() {
        let mut record = Record::default();
        for _ in 0..DOUBTS {
            fail(&mut record, 1, 7, Reason::Unconnected);
            assert!(record.doubts(Reason::Unconnected) && !record.doubts(Reason::PowerLost));
            assert_eq!(record.blocks(&image(1), 7), Some(Reason::Unconnected), "until it is known");
            record.settle(Reason::Unconnected, Standing::Cleared);
            assert_eq!(record.blocks(&image(1), 7), None);
        }
        fail(&mut record, 1, 7, Reason::Unconnected);
        record.settle(Reason::Unconnected, Standing::Cleared);
        assert_eq!(record.blocks(&image(1), 7), Some(Reason::Unconnected));
    }

    #[test]
    fn an_image_is_blocked_when_it_is_in_doubt_for_the_second_time() {
        let mut record = Record::default();
        for expected in [None, Some(Reason::Unconnected)] {
            fail(&mut record, 1, 7, Reason::Unconnected);
            record.settle(Reason::Unconnected, Standing::Blocked);
            assert_eq!(record.blocks(&image(1), 7), expected);
        }
        fail(&mut record, 1, 8, Reason::Unconnected);
        record.settle(Reason::Unconnected, Standing::Blocked);
        assert_eq!(record.blocks(&image(1), 8), None, "a higher generation begins anew");
    }

    #[test]
    fn the_image_that_failed_longest_ago_is_forgotten_first() {
        let mut record = Record::default();
        for n in 0..=BLOCKED as u8 {
            fail(&mut record, n, 1, Reason::Hung);
        }
        assert_eq!(record.blocks(&image(0), 1), None);
        assert_eq!(record.blocks(&image(1), 1), Some(Reason::Hung));
    }

    #[test]
    fn a_confirmed_image_runs_and_raises_the_counter() {
        let mut record = Record { active: Some(ImageSlot::A), counter: 3, ..Record::default() };
        record.arm(ImageSlot::B, Trial::DEFAULT, 1);
        assert_eq!(record.running(), Some(ImageSlot::A), "not started yet");
        record.trial = record.trial.map(|trial| Attempt { started: true, ..trial });
        assert_eq!(record.running(), Some(ImageSlot::B));
        record.confirm(&image(1), 2);
        assert_eq!((record.running(), record.counter), (Some(ImageSlot::B), 3), "it never falls");
    }
}
