//! What became of one device since it was last looked at.

use wasmbed_wire::DeviceId;

use super::{Action, DeviceState, Facts, Failure, Member, Phase, Rollout, Skip};
use crate::Time;

/// One device with everything that decides about it.
pub(super) struct Case<'a> {
    pub(super) now: Time,
    /// What the rollout's clock reads.
    pub(super) clock_ms: u64,
    pub(super) rollout: &'a Rollout,
    pub(super) id: DeviceId,
    pub(super) member: &'a Member,
    /// Nothing if it is no longer registered.
    pub(super) facts: Option<&'a Facts>,
}

impl Case<'_> {
    pub(super) fn judge(&self) -> Option<Action> {
        let (state, facts) = (self.member.state, self.facts);
        match (state, facts) {
            (DeviceState::Pending, _) if !self.rollout.is_open() => None,
            (DeviceState::Pending | DeviceState::Started { .. } | DeviceState::RollingBack { .. }, None) => {
                Some(self.skip(Skip::Removed))
            }
            (DeviceState::Pending, Some(facts)) => self.pending(facts),
            (DeviceState::Started { clock_ms, .. }, Some(facts)) => self.started(facts, clock_ms),
            (DeviceState::Confirmed { took_ms: Some(_), .. }, Some(facts)) => self.watched(facts),
            (DeviceState::RollingBack { clock_ms, .. }, Some(facts)) => self.rolling_back(facts, clock_ms),
            _ => None,
        }
    }

    fn pending(&self, facts: &Facts) -> Option<Action> {
        if facts.has(self.rollout.spec().firmware.image) {
            return Some(self.mark(DeviceState::Confirmed { at: self.now, took_ms: None }));
        }
        if self.is_superseded(facts) {
            return Some(self.skip(Skip::Superseded));
        }
        (!facts.fits).then(|| self.skip(Skip::Unfit))
    }

    fn started(&self, facts: &Facts, since_ms: u64) -> Option<Action> {
        let image = self.rollout.spec().firmware.image;
        if facts.confirms(image) {
            let took_ms = Some(self.clock_ms.saturating_sub(since_ms));
            return Some(self.mark(DeviceState::Confirmed { at: self.now, took_ms }));
        }
        if self.is_superseded(facts) {
            return Some(self.skip(Skip::Superseded));
        }
        let timed_out = self.timed_out(since_ms).map(|ms| Failure::TimedOut { ms });
        facts.failure(image).or(timed_out).map(|failure| self.withdraw(failure))
    }

    /// A firmware that lets itself be confirmed and then crashes again and again has failed, too.
    fn watched(&self, facts: &Facts) -> Option<Action> {
        let is_watched = match self.rollout.phase() {
            Phase::Running { group } | Phase::Soaking { group, .. } => group == self.member.group,
            _ => false,
        };
        let failed = is_watched && facts.quarantined && !self.is_superseded(facts);
        failed.then(|| self.withdraw(Failure::Quarantined))
    }

    fn rolling_back(&self, facts: &Facts, since_ms: u64) -> Option<Action> {
        // Only devices whose image was known are asked to return to it.
        let image = self.member.from?;
        if facts.confirms(image) {
            return Some(self.mark(DeviceState::RolledBack { at: self.now }));
        }
        if self.is_superseded(facts) {
            return Some(self.skip(Skip::Superseded));
        }
        let timed_out = self.timed_out(since_ms).map(|ms| Failure::NotReturned { ms });
        let failure = facts.failure(image).or(timed_out)?;
        // Nothing to call it back to: it stays asked to return.
        Some(self.mark(DeviceState::Failed { at: self.now, failure }))
    }

    fn timed_out(&self, since_ms: u64) -> Option<u64> {
        let ms = self.rollout.spec().device_timeout_ms;
        (self.clock_ms >= since_ms.saturating_add(ms)).then_some(ms)
    }

    fn is_superseded(&self, facts: &Facts) -> bool {
        facts.owner > self.rollout.owner()
    }

    fn withdraw(&self, failure: Failure) -> Action {
        let to = DeviceState::Failed { at: self.now, failure };
        Action::Withdraw { device: self.id, from: self.member.from, to }
    }

    fn skip(&self, why: Skip) -> Action {
        self.mark(DeviceState::Skipped { why })
    }

    fn mark(&self, to: DeviceState) -> Action {
        Action::Mark { device: self.id, to }
    }
}
