//! How far a rollout is, for people.

use serde::{Deserialize, Serialize};
use wasmbed_wire::{DeviceId, message::FirmwareState};

use super::{DeviceState, Facts, Hold, Member, Phase, Rollout, Step, View};
use crate::Time;

/// How far a rollout is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Its phase.
    pub phase: Phase,
    /// Why no further device is started, if so.
    pub hold: Option<Hold>,
    /// Whether it stands still because the broker is away.
    pub suspended: bool,
    /// All its devices.
    pub counts: Counts,
    /// How much of the work is behind, 0 to 100: of what the devices have to fetch, in bytes, or of the devices
    /// that return if it is rolled back. 100 only when nothing is left to do.
    pub percent: u8,
    /// When it will be done if all goes on as it did, in milliseconds from now; `None` while nothing is known
    /// that says so: before the first device is through, outside of running, and with time windows.
    pub eta_ms: Option<u64>,
    /// Its groups.
    pub groups: Vec<GroupProgress>,
}

/// How far a group is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupProgress {
    /// Which devices it has.
    pub step: Step,
    /// They.
    pub counts: Counts,
    /// As [`Progress::percent`], for this group.
    pub percent: u8,
}

/// How many devices are in which state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Counts {
    /// Waiting for their turn, absent ones included.
    pub pending: u32,
    /// Of the pending ones, those that are not connected or quarantined.
    pub absent: u32,
    /// On their way.
    pub started: u32,
    /// There.
    pub confirmed: u32,
    /// Did not get there.
    pub failed: u32,
    /// Have no part any more.
    pub skipped: u32,
    /// Called back.
    pub withdrawn: u32,
    /// Returning.
    pub rolling_back: u32,
    /// Returned.
    pub rolled_back: u32,
}

/// How far a device is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceProgress {
    /// The device.
    pub device: DeviceId,
    /// Its group and state.
    #[serde(flatten)]
    pub member: Member,
    /// What it says itself, while it is on its way.
    pub firmware: Option<FirmwareState>,
    /// How much of the image or patch it has, 0 to 100.
    pub percent: u8,
}

impl Progress {
    /// How far a rollout is now.
    pub fn of(now: Time, view: &View, rollout: &Rollout) -> Self {
        let steps = rollout.spec().groups.iter().enumerate();
        let groups = steps.map(|(group, step)| {
            let work = Work::of(view, rollout, |member| member.group == group);
            GroupProgress { step: *step, counts: work.counts, percent: work.percent(rollout) }
        });
        let all = Work::of(view, rollout, |_| true);
        Progress {
            phase: rollout.phase(),
            hold: rollout.hold(),
            suspended: view.link.is_none(),
            counts: all.counts,
            percent: all.percent(rollout),
            eta_ms: eta_ms(now, view, rollout),
            groups: groups.collect(),
        }
    }
}

impl DeviceProgress {
    /// How far each device is.
    pub fn of(view: &View, rollout: &Rollout) -> Vec<Self> {
        let progress = |(id, member): (&DeviceId, &Member)| {
            let report = member.state.is_updating().then(|| view.devices.get(id)?.report).flatten();
            DeviceProgress {
                device: *id,
                member: member.clone(),
                firmware: report.map(|report| report.state),
                percent: percent(rollout, member, view.devices.get(id)),
            }
        };
        rollout.devices().iter().map(progress).collect()
    }
}

/// Devices counted, and what they have and have to fetch.
#[derive(Default)]
struct Work {
    counts: Counts,
    /// In hundredths of a byte; a device that fetches nothing counts for one byte.
    fetched: u128,
    bytes: u128,
    /// Devices that can still return.
    returning: u32,
}

impl Work {
    fn of(view: &View, rollout: &Rollout, is_meant: impl Fn(&Member) -> bool) -> Self {
        let mut work = Work::default();
        for (id, member) in rollout.devices().iter().filter(|(_, member)| is_meant(member)) {
            let facts = view.devices.get(id);
            let counts = &mut work.counts;
            match member.state {
                DeviceState::Pending => {
                    counts.pending += 1;
                    counts.absent += u32::from(!facts.is_some_and(Facts::is_there));
                }
                DeviceState::Started { .. } => counts.started += 1,
                DeviceState::Confirmed { .. } => counts.confirmed += 1,
                DeviceState::Failed { .. } => counts.failed += 1,
                DeviceState::Skipped { .. } => counts.skipped += 1,
                DeviceState::Withdrawn { .. } => counts.withdrawn += 1,
                DeviceState::RollingBack { .. } => counts.rolling_back += 1,
                DeviceState::RolledBack { .. } => counts.rolled_back += 1,
            }
            work.returning += u32::from(member.returns_to().is_some());
            if !matches!(member.state, DeviceState::Skipped { .. }) {
                let bytes = member.transfer_bytes.or(facts.map(|facts| facts.transfer_bytes));
                let bytes = u128::from(bytes.unwrap_or(0).max(1));
                work.bytes += bytes;
                work.fetched += bytes * u128::from(percent(rollout, member, facts));
            }
        }
        work
    }

    fn percent(&self, rollout: &Rollout) -> u8 {
        let counts = &self.counts;
        let is_return = matches!(rollout.phase(), Phase::RollingBack { .. } | Phase::RolledBack { .. });
        let (done, all, left) = if is_return {
            let left = self.returning + counts.rolling_back;
            let done = u128::from(counts.rolled_back);
            (done * 100, done + u128::from(left), left + counts.started)
        } else {
            (self.fetched, self.bytes, counts.pending + counts.started)
        };
        // Nothing to do is done.
        let percent = done.checked_div(all).map_or(100, |percent| percent.min(100) as u8);
        if left > 0 { percent.min(99) } else { percent }
    }
}

/// How much of its image or patch a device has.
fn percent(rollout: &Rollout, member: &Member, facts: Option<&Facts>) -> u8 {
    let image = match member.state {
        DeviceState::Pending | DeviceState::Skipped { .. } => return 0,
        DeviceState::Started { .. } => Some(rollout.spec().firmware.image),
        DeviceState::RollingBack { .. } => member.from,
        // Nothing is left to do for the others, whatever became of them.
        _ => return 100,
    };
    let report = facts.and_then(|facts| facts.report).filter(|report| Some(report.image) == image);
    report.map_or(0, |report| match report.state {
        FirmwareState::Checking | FirmwareState::Downloading => report.progress.min(100),
        FirmwareState::Reverted | FirmwareState::Refused => 0,
        _ => 100,
    })
}

/// The time the groups that are left take if each round of devices takes what those before took on average,
/// or what pacing leaves them if that is more.
fn eta_ms(now: Time, view: &View, rollout: &Rollout) -> Option<u64> {
    let spec = rollout.spec();
    let link = view.link.filter(|_| rollout.hold().is_none() && spec.windows.is_empty())?;
    let (first, soak_left_ms) = match rollout.phase() {
        Phase::Running { group } => (group, 0),
        Phase::Soaking { group, until_ms } => (group, until_ms.saturating_sub(rollout.clock_ms(now, link))),
        _ => return None,
    };
    let took = rollout.devices().values().filter_map(|member| match member.state {
        DeviceState::Confirmed { took_ms, .. } => took_ms,
        _ => None,
    });
    let (sum, count) = took.fold((0_u64, 0), |(sum, count), ms| (sum.saturating_add(ms), count + 1));
    let average_ms = sum.checked_div(count)?;
    let is_soaking = matches!(rollout.phase(), Phase::Soaking { .. });
    let mut eta_ms = soak_left_ms;
    for group in first..spec.groups.len() {
        let (mut left, mut bytes) = (0_u64, 0_u64);
        for (id, member) in rollout.devices().iter().filter(|(_, member)| member.group == group) {
            let facts = view.devices.get(id).filter(|facts| facts.is_there() || spec.wait_offline);
            match (member.state, facts) {
                (DeviceState::Started { .. }, _) => left += 1,
                (DeviceState::Pending, Some(facts)) => {
                    left += 1;
                    bytes = bytes.saturating_add(facts.transfer_bytes);
                }
                _ => {}
            }
        }
        let rounds_ms = left.div_ceil(u64::from(spec.at_once.max(1))).saturating_mul(average_ms);
        let paced_ms = spec.bytes_per_second.map_or(0, |rate| bytes.saturating_mul(1_000) / rate.max(1));
        eta_ms = eta_ms.saturating_add(rounds_ms.max(paced_ms));
        let is_watched = left > 0 && group + 1 < spec.groups.len() && !(is_soaking && group == first);
        eta_ms = eta_ms.saturating_add(if is_watched { spec.soak_ms } else { 0 });
    }
    Some(eta_ms)
}
