//! The trial of a new image, and what is learned from the one that failed.
//!
//! A trial is over when the fleet has seen the image run. Its clock runs only without a connection: a fleet
//! that is away is no fault of the image. One that finds no broker is given up, but the image before it
//! tells whether the broker was there to be found.

use wasmbed_update::{Record, Standing};
use wasmbed_wire::{manifest, message::Reason};

use super::{Agent, Update};
use crate::{Instant, Platform};

/// How long the image before looks for the broker until the broker is to blame, in milliseconds.
const DOUBT_MS: u64 = manifest::Trial::DEFAULT.confirm_s as u64 * 1_000;

/// The image that runs has to prove itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trial {
    /// How long it may be without a connection, in milliseconds.
    patience_ms: u64,
    /// Given up then; `None` while there is a connection.
    until: Option<Instant>,
    /// The first connect of this start.
    pub(super) since: Option<u32>,
    /// Why it is over; the restart is near.
    pub(super) failed: Option<Reason>,
}

impl Trial {
    pub(super) fn new(trial: manifest::Trial) -> Self {
        let patience_ms = u64::from(trial.confirm_s) * 1_000;
        Trial { patience_ms, until: Some(Instant(patience_ms)), since: None, failed: None }
    }
}

/// Whether it is still open what was to blame for a failed trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Doubt {
    until: Option<Instant>,
}

impl Doubt {
    pub(super) fn new(record: &Record) -> Self {
        let is_open = record.trial.is_none()
            && [Reason::Unconnected, Reason::PowerLost].into_iter().any(|reason| record.doubts(reason));
        Doubt { until: is_open.then_some(Instant(DOUBT_MS)) }
    }
}

impl Update {
    pub(in crate::agent) fn trial_deadline(&self) -> Option<Instant> {
        let trial = self.trial.and_then(|trial| trial.until);
        [trial, self.doubt.until].into_iter().flatten().min()
    }

    pub(super) fn is_trial(&self) -> bool {
        self.trial.is_some()
    }
}

impl<P: Platform, const SLOTS: usize, const SETTINGS: usize> Agent<P, SLOTS, SETTINGS> {
    /// The broker has been reached.
    pub(in crate::agent) fn firmware_connected(&mut self) {
        let boot = self.session.boot;
        let is_fit =
            self.update.as_ref().is_none_or(|update| !update.is_trial()) || self.platform.self_test();
        let Some(update) = &mut self.update else { return };
        if let Some(trial) = &mut update.trial {
            trial.until = None;
            trial.since.get_or_insert(boot);
        }
        if !is_fit {
            return self.give_up(Reason::Unhealthy);
        }
        // The image before reaches it: so could have the one that did not.
        self.settle_doubt(Standing::Blocked);
    }

    pub(in crate::agent) fn firmware_disconnected(&mut self) {
        let now = self.now;
        let Some(update) = &mut self.update else { return };
        update.forget_asked();
        if let Some(trial) = &mut update.trial {
            trial.until.get_or_insert(now.after(trial.patience_ms));
        }
    }

    /// Time has passed.
    pub(in crate::agent) fn check_trial(&mut self) {
        let now = self.now;
        let Some(update) = &self.update else { return };
        let is_over = |until: Option<Instant>| until.is_some_and(|until| now >= until);
        if is_over(update.trial.and_then(|trial| trial.until)) {
            self.give_up(Reason::Unconnected);
        } else if is_over(update.doubt.until) {
            // The image before does not reach it either.
            self.settle_doubt(Standing::Cleared);
        }
    }

    fn settle_doubt(&mut self, unconnected: Standing) {
        let Some(update) = &mut self.update else { return };
        if update.doubt.until.take().is_none() {
            return;
        }
        let mut record = update.record.clone();
        record.settle(Reason::Unconnected, unconnected);
        record.settle(Reason::PowerLost, Standing::Cleared);
        // If it cannot be written the doubt stays until the next start.
        let _ = self.save_record(record);
        self.reported.post();
    }

    /// Ends the trial if the fleet has confirmed it or wants something else; whether there was one to look
    /// after, and nothing else is to be begun.
    #[inline(never)]
    pub(super) fn conclude_trial(&mut self) -> bool {
        let Some(update) = &self.update else { return false };
        let (Some(trial), Some(running)) = (update.trial, update.running) else { return false };
        if !update.is_told {
            return true;
        }
        let mut record = update.record.clone();
        let Some(wish) = update.wish.filter(|wish| wish.image == running.firmware.image) else {
            record.abandon();
            if self.save_record(record).is_ok() {
                self.restart_into();
            }
            return true;
        };
        if wish.confirm.zip(trial.since).is_some_and(|(confirm, since)| confirm >= since) {
            record.confirm(&running.firmware.image, running.firmware.counter);
            let counter = record.counter;
            if self.save_record(record).is_ok()
                && let Some(update) = &mut self.update
            {
                update.trial = None;
                // With a higher counter the image before is none to go back to.
                update.other = update.other.filter(|other| other.counter >= counter);
                self.info.post();
                self.reported.post();
            }
        }
        true
    }

    /// The image in trial did not prove itself: back to the one before.
    #[inline(never)]
    fn give_up(&mut self, reason: Reason) {
        let Some(update) = &mut self.update else { return };
        let (Some(running), Some(trial)) = (update.running, &mut update.trial) else { return };
        trial.until = None;
        trial.failed = Some(reason);
        let mut record = update.record.clone();
        record.give_up(&running.firmware.image, reason);
        // If it cannot be written the bootloader gives up after the last try.
        let _ = self.save_record(record);
        self.restart_into();
    }
}
