use super::{DeviceState, Member, Rollout, View};

/// How many devices of some groups are in which state. Skipped ones do not count at all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) confirmed: u32,
    /// Of the confirmed ones, those that ran the firmware already.
    pub(super) had: u32,
    pub(super) failed: u32,
    pub(super) updating: u32,
    /// Pending, and expected to be there.
    pub(super) waiting: u32,
    /// Pending, and not expected.
    pub(super) absent: u32,
}

impl Tally {
    /// Counts the devices in the groups up to `last`, from `first` on. While `is_awaiting`, every device is
    /// expected.
    pub(super) fn of(rollout: &Rollout, view: &View, is_awaiting: bool, first: usize, last: usize) -> Self {
        let mut tally = Tally::default();
        let is_awaiting = is_awaiting || rollout.spec().wait_offline;
        let members = rollout.devices().iter().filter(|(_, member)| (first..=last).contains(&member.group));
        for (id, member) in members {
            let is_there = || view.devices.get(id).is_some_and(super::Facts::is_there);
            tally.count(member, || is_awaiting || is_there());
        }
        tally
    }

    fn count(&mut self, member: &Member, is_expected: impl FnOnce() -> bool) {
        let number = match member.state {
            DeviceState::Pending if is_expected() => &mut self.waiting,
            DeviceState::Pending => &mut self.absent,
            DeviceState::Confirmed { took_ms: None, .. } => {
                self.had += 1;
                &mut self.confirmed
            }
            DeviceState::Confirmed { .. } => &mut self.confirmed,
            DeviceState::Failed { .. } => &mut self.failed,
            DeviceState::Started { .. } => &mut self.updating,
            _ => return,
        };
        *number += 1;
    }

    /// Devices of which it is known whether they succeeded.
    pub(super) const fn finished(&self) -> u32 {
        self.confirmed + self.failed
    }

    /// Devices whose turn has come: all that had to do something, or are about to.
    pub(super) const fn due(&self) -> u32 {
        self.confirmed - self.had + self.failed + self.updating + self.waiting
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.finished() + self.updating + self.waiting + self.absent == 0
    }

    /// Whether at least this share of the finished devices succeeded.
    pub(super) const fn succeeded(&self, percent: u8) -> bool {
        self.confirmed as u64 * 100 >= self.finished() as u64 * percent as u64
    }

    /// Whether this share or more of the devices whose turn has come failed.
    pub(super) const fn failed_share(&self, percent: u8) -> bool {
        self.failed > 0 && self.failed as u64 * 100 >= self.due() as u64 * percent as u64
    }
}
