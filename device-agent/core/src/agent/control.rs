//! Whom the agent lets control the device, and what it says about others who try.
//!
//! Desired states and commands are believed with a signature of a key that may ([`Role::Control`]), made for this
//! device and this topic, and only if they are newer than what was accepted. The curve comes last: who forges is to
//! cost the device as little as it can.
//!
//! Not here: what is done about what is believed (`desired`, `command`).

#[cfg(test)]
mod tests;

use wasmbed_wire::{
    keyring::Role,
    message::{Desired, Refusal, Refused, Subject},
    sign1::{Audience, SIGNATURE_BYTES, Sign1},
};

use super::Agent;
use crate::{Instant, Platform, Rejected, session::Letter};

/// No signature is tried for so long after one that did not hold, in milliseconds: forging takes a part of the
/// processor at most.
const CALM_MS: u64 = 2_000;
/// Time between two reports of what was refused, in milliseconds.
const REPORT_MS: u64 = 60_000;
/// Enough of a signature to know it again: who sends something else under it is not heard, that is all.
const KNOWN_BYTES: usize = 4;

/// What was accepted, and what was not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Control {
    /// The highest revision that was accepted, in this start or before.
    pub(super) floor: u64,
    /// The start of the signature of the desired state that is in force; zeros before the first of this start, which is
    /// as good as none: what would be taken for it is in force then, too.
    known: [u8; KNOWN_BYTES],
    /// Number of the last command of this connect.
    number: u64,
    /// No signature is tried before.
    calm: Instant,
    /// How much was refused, up to 65,535, and what is reported of it: the last, or what was forged.
    count: u16,
    last: Option<(Subject, Refusal)>,
    pub(super) letter: Letter,
    /// Nothing about it is said before.
    next_report: Instant,
}

/// What a desired state that may be believed is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard<'m> {
    /// In force already.
    Again,
    /// To be adopted.
    News(&'m [u8]),
}

impl Control {
    pub(super) const fn new() -> Self {
        Control {
            floor: 0,
            known: [0; KNOWN_BYTES],
            number: 0,
            calm: Instant(0),
            count: 0,
            last: None,
            letter: Letter::new(),
            next_report: Instant(0),
        }
    }

    /// Commands are counted anew.
    pub(super) fn connecting(&mut self) {
        self.number = 0;
    }

    /// Whether commands up to this number have been carried out.
    pub(super) const fn has_passed(&self, number: u64) -> bool {
        number <= self.number
    }

    /// The command with this number is carried out.
    pub(super) fn pass(&mut self, number: u64) {
        self.number = number;
    }

    /// Whether a signature may be tried.
    pub(super) fn may_check(&self, now: Instant) -> Result<(), Refusal> {
        if now < self.calm { Err(Refusal::Unchecked) } else { Ok(()) }
    }

    /// Takes note of what is not believed.
    pub(super) fn refuse(&mut self, now: Instant, subject: Subject, reason: Refusal) {
        if reason == Refusal::Forged {
            self.calm = now.after(CALM_MS);
        }
        self.count = self.count.saturating_add(1);
        // What follows from something forged must not hide it, nor what comes before it was reported.
        let is_hidden = |(_, last)| match reason {
            Refusal::Forged => false,
            Refusal::Unchecked => true,
            _ => last == Refusal::Forged && self.letter.is_due(),
        };
        if !self.last.is_some_and(is_hidden) {
            self.last = Some((subject, reason));
        }
        self.letter.post();
    }

    /// Whether there is something to report now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.letter.is_due() && now >= self.next_report
    }

    /// When there will be something to report.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.letter.is_due().then_some(self.next_report)
    }

    /// What is reported; the next report comes later.
    pub(super) fn report(&mut self, now: Instant, boot: u32) -> Option<Refused> {
        let (subject, reason) = self.last?;
        self.next_report = now.after(REPORT_MS);
        Some(Refused { boot, count: self.count.into(), subject, reason, revision: self.floor })
    }
}

impl<P: Platform, const SLOTS: usize, const SETTINGS: usize> Agent<P, SLOTS, SETTINGS> {
    /// Does not believe it: takes note, and changes nothing else.
    #[inline(never)]
    pub(super) fn disbelieve(&mut self, subject: Subject, refusal: Refusal) -> Result<(), Rejected> {
        self.control.refuse(self.now, subject, refusal);
        Err(Rejected::Refused(refusal))
    }

    /// What there is to do about a desired state, if it is to be believed.
    #[inline(never)]
    pub(super) fn judge_desired<'m>(&mut self, topic: &str, bytes: &'m [u8]) -> Result<Heard<'m>, Refusal> {
        let signed = Sign1::decode(bytes).map_err(|_| Refusal::Malformed)?;
        self.ring.permits(Role::Control, &signed.key)?;
        let revision = revision(signed.payload).ok_or(Refusal::Malformed)?;
        if revision < self.control.floor {
            return Err(Refusal::Stale);
        }
        let known = known(signed.signature);
        if revision == self.revision && self.control.known == known {
            return Ok(Heard::Again);
        }
        self.verify_order(topic, &signed)?;
        self.control.known = known;
        Ok(Heard::News(signed.payload))
    }

    /// Carried out only where [`Agent::judge_desired`] and its like have looked at everything that costs less: whether
    /// the fleet signed this for this device and topic.
    #[inline(never)]
    pub(super) fn verify_order(&self, topic: &str, signed: &Sign1<'_>) -> Result<(), Refusal> {
        self.control.may_check(self.now)?;
        let audience = Audience::Device { id: self.platform.device(), topic };
        self.ring.verify(Role::Control, audience, signed)
    }

    /// Remembers a revision that was accepted, beyond this start where that is possible.
    pub(super) fn raise_floor(&mut self, revision: u64) {
        if revision > self.control.floor {
            self.control.floor = revision;
            self.keep_revision(revision);
        }
    }
}

/// Not inlined: what it needs of a small stack must not lie below what verifying does.
#[inline(never)]
fn revision(payload: &[u8]) -> Option<u64> {
    minicbor::decode(payload).ok().map(|desired: Desired<'_>| desired.revision)
}

const fn known(signature: &[u8; SIGNATURE_BYTES]) -> [u8; KNOWN_BYTES] {
    let mut known = [0; KNOWN_BYTES];
    known.copy_from_slice(signature.split_at(KNOWN_BYTES).0);
    known
}
