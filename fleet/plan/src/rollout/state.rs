//! Where a rollout stands, and what people do to it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wasmbed_wire::{DeviceId, Digest, message};

use super::{Action, BadSpec, Owner, Spec, groups};
use crate::{Link, Time};

/// One rollout. Whole as JSON: a service that reads it back goes on where the last one stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    spec: Spec,
    owner: Owner,
    phase: Phase,
    hold: Option<Hold>,
    clock: Clock,
    /// The clock at which the next device with something to transfer may be started.
    next_start_ms: u64,
    devices: BTreeMap<DeviceId, Member>,
}

/// How far a rollout is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum Phase {
    /// The devices of this group and those before it are being updated.
    Running {
        /// Which group, from 0.
        group: usize,
    },
    /// This group is through and is watched.
    Soaking {
        /// Which group, from 0.
        group: usize,
        /// Until the rollout's clock reads this, in milliseconds.
        until_ms: u64,
    },
    /// All groups are through. Devices that were not connected are still started when they come.
    Done,
    /// Too many devices failed.
    Aborted {
        /// What was too much.
        why: Abort,
    },
    /// Somebody ended it.
    Cancelled,
    /// Devices are returning to the firmware they had.
    RollingBack {
        /// What was too much; `None` if somebody asked for it.
        why: Option<Abort>,
    },
    /// All that were connected have returned. The others still do when they come.
    RolledBack {
        /// As in [`Phase::RollingBack`].
        why: Option<Abort>,
    },
}

impl Phase {
    /// The name it has in JSON.
    pub const fn name(&self) -> &'static str {
        match self {
            Phase::Running { .. } => "running",
            Phase::Soaking { .. } => "soaking",
            Phase::Done => "done",
            Phase::Aborted { .. } => "aborted",
            Phase::Cancelled => "cancelled",
            Phase::RollingBack { .. } => "rolling-back",
            Phase::RolledBack { .. } => "rolled-back",
        }
    }
}

/// Why a rollout was aborted; displayed as a sentence for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "kebab-case")]
pub enum Abort {
    /// Failures in the canary group.
    Canary {
        /// How many.
        failed: u32,
    },
    /// Failures, whatever the number of devices.
    Failures {
        /// How many.
        failed: u32,
    },
    /// The failed share of the devices whose turn has come.
    Share {
        /// How many failed.
        failed: u32,
        /// Of how many.
        of: u32,
    },
}

/// Why no further device is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "kebab-case")]
pub enum Hold {
    /// Somebody paused it.
    Paused,
    /// Too few devices of this group succeeded to go on without anybody having a look.
    Group {
        /// Which group, from 0.
        group: usize,
        /// How many succeeded.
        confirmed: u32,
        /// How many did not.
        failed: u32,
    },
}

/// One device's part in a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its group, from 0.
    pub group: usize,
    /// SHA-256 of the image it ran when it was started: where it returns to.
    pub from: Option<Digest>,
    /// What it had to fetch when it was started, in bytes.
    pub transfer_bytes: Option<u64>,
    /// How far it is.
    #[serde(flatten)]
    pub state: DeviceState,
}

/// How far a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum DeviceState {
    /// Its turn has not come.
    Pending,
    /// It was told to update.
    Started {
        /// When.
        at: Time,
        /// What the rollout's clock read, in milliseconds.
        clock_ms: u64,
    },
    /// It runs the firmware for good.
    Confirmed {
        /// Since when, as far as is known.
        at: Time,
        /// How long it took, in milliseconds of the rollout's clock; `None` if it ran the firmware already.
        took_ms: Option<u64>,
    },
    /// It did not get there, and was told to stay with or return to what it had.
    Failed {
        /// When.
        at: Time,
        /// Why.
        failure: Failure,
    },
    /// It has no part in the rollout any more.
    Skipped {
        /// Why.
        why: Skip,
    },
    /// It was on its way and was called back.
    Withdrawn {
        /// When.
        at: Time,
    },
    /// It was told to return to the firmware it had.
    RollingBack {
        /// When.
        at: Time,
        /// What the rollout's clock read, in milliseconds.
        clock_ms: u64,
    },
    /// It runs the firmware it had before.
    RolledBack {
        /// Since when, as far as is known.
        at: Time,
    },
}

/// Why a device failed; displayed as a sentence for people, without the device's own reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "failure", rename_all = "kebab-case")]
pub enum Failure {
    /// The firmware did not prove itself.
    Reverted {
        /// Why, as the device says.
        reason: Option<message::Reason>,
    },
    /// The device did not accept it.
    Refused {
        /// Why, as the device says.
        reason: Option<message::Reason>,
    },
    /// It was not confirmed in time.
    TimedOut {
        /// How long it had, in milliseconds.
        ms: u64,
    },
    /// It was confirmed and then had to be quarantined while its group was watched.
    Quarantined,
    /// It did not return to the firmware it had in time.
    NotReturned {
        /// How long it had, in milliseconds.
        ms: u64,
    },
}

impl Failure {
    /// What the device said about it.
    pub const fn reason(&self) -> Option<message::Reason> {
        match *self {
            Failure::Reverted { reason } | Failure::Refused { reason } => reason,
            _ => None,
        }
    }
}

/// Why a device has no part in the rollout any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Skip {
    /// It is no longer registered.
    Removed,
    /// A later deployment has it.
    Superseded,
    /// The firmware is not made for it.
    Unfit,
}

/// What was asked for does not go with where the rollout stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot {verb} the rollout: {found}")]
pub struct NotNow {
    /// What was asked for.
    pub verb: &'static str,
    /// Where it stands.
    pub found: Found,
}

/// What stands against a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// It is in this phase.
    In(Phase),
    /// It is not held.
    NotHeld,
}

/// Time with the broker since the rollout was made: it stands still while the broker or the service is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Clock {
    /// What it read at `at`, in milliseconds.
    ms: u64,
    at: Time,
}

impl Rollout {
    /// A rollout to these devices. `owner` is its number among all deployments, above all before it; `seed`
    /// decides which devices are the canaries.
    ///
    /// # Errors
    /// What [`Spec::check`] finds.
    pub fn new(
        now: Time,
        spec: Spec,
        owner: Owner,
        seed: u64,
        devices: impl IntoIterator<Item = DeviceId>,
    ) -> Result<Self, BadSpec> {
        spec.check()?;
        let groups = groups::assign(&spec.groups, seed, devices);
        let member = |group| Member { group, from: None, transfer_bytes: None, state: DeviceState::Pending };
        Ok(Rollout {
            devices: groups.into_iter().map(|(id, group)| (id, member(group))).collect(),
            spec,
            owner,
            phase: Phase::Running { group: 0 },
            hold: None,
            clock: Clock { ms: 0, at: now },
            next_start_ms: 0,
        })
    }

    /// How it was written.
    pub const fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Its number among all deployments.
    pub const fn owner(&self) -> Owner {
        self.owner
    }

    /// How far it is.
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// Why no further device is started, if so.
    pub const fn hold(&self) -> Option<Hold> {
        self.hold
    }

    /// Its devices.
    pub const fn devices(&self) -> &BTreeMap<DeviceId, Member> {
        &self.devices
    }

    /// Whether nothing will ever be planned again unless somebody asks for it.
    pub fn is_over(&self) -> bool {
        let mut states = self.devices.values().map(|member| member.state);
        match self.phase {
            Phase::Running { .. } | Phase::Soaking { .. } | Phase::RollingBack { .. } => false,
            Phase::Done => {
                !states.any(|state| matches!(state, DeviceState::Pending | DeviceState::Started { .. }))
            }
            Phase::Aborted { .. } | Phase::Cancelled => {
                !states.any(|state| matches!(state, DeviceState::Started { .. }))
            }
            Phase::RolledBack { .. } => !self.devices.values().any(|member| {
                member.returns_to().is_some()
                    || matches!(member.state, DeviceState::Started { .. } | DeviceState::RollingBack { .. })
            }),
        }
    }

    /// Starts no further device until [`Rollout::resume`]; those on their way go on.
    ///
    /// # Errors
    /// If it is ended or being rolled back.
    pub fn pause(&mut self) -> Result<(), NotNow> {
        self.expect("pause", self.is_open())?;
        self.hold = self.hold.or(Some(Hold::Paused));
        Ok(())
    }

    /// Goes on, also with the next group although too few of this one succeeded.
    ///
    /// # Errors
    /// If it is not held.
    pub fn resume(&mut self) -> Result<(), NotNow> {
        self.expect("resume", self.is_open())?;
        match self.hold.take() {
            None => return Err(NotNow { verb: "resume", found: Found::NotHeld }),
            Some(Hold::Paused) => {}
            Some(Hold::Group { group, .. }) => self.phase = Phase::Running { group: group + 1 },
        }
        Ok(())
    }

    /// Ends it: devices on their way are called back, confirmed ones keep the firmware.
    ///
    /// # Errors
    /// If it is ended or being rolled back.
    pub fn cancel(&mut self) -> Result<(), NotNow> {
        self.expect("cancel", self.is_open() && !self.is_over())?;
        (self.phase, self.hold) = (Phase::Cancelled, None);
        Ok(())
    }

    /// Ends it, and has confirmed devices return to the firmware they had.
    ///
    /// # Errors
    /// If that was done already.
    pub fn roll_back(&mut self) -> Result<(), NotNow> {
        let is_new = !matches!(self.phase, Phase::RollingBack { .. } | Phase::RolledBack { .. });
        self.expect("roll back", is_new)?;
        (self.phase, self.hold) = (Phase::RollingBack { why: None }, None);
        Ok(())
    }

    fn expect(&self, verb: &'static str, holds: bool) -> Result<(), NotNow> {
        if holds { Ok(()) } else { Err(NotNow { verb, found: Found::In(self.phase) }) }
    }

    /// Whether devices are still started.
    pub(super) const fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Running { .. } | Phase::Soaking { .. } | Phase::Done)
    }

    /// Notes that an action is being carried out. `now` is that of the plan.
    pub fn record(&mut self, now: Time, action: &Action) {
        match *action {
            Action::Clock { ms } => self.clock = Clock { ms: self.clock.ms.max(ms), at: now },
            Action::Start { device, from, transfer_bytes } => {
                let clock_ms = self.clock.ms;
                self.pace(transfer_bytes);
                if let Some(member) = self.devices.get_mut(&device) {
                    (member.from, member.transfer_bytes) = (from, Some(transfer_bytes));
                    member.state = DeviceState::Started { at: now, clock_ms };
                }
            }
            Action::RollBack { device, .. } => {
                self.set(&device, DeviceState::RollingBack { at: now, clock_ms: self.clock.ms });
            }
            Action::Withdraw { device, to, .. } | Action::Mark { device, to } => self.set(&device, to),
            Action::Phase { to } => {
                self.phase = to;
                if !self.is_open() {
                    self.hold = None;
                }
            }
            Action::Hold { why } => self.hold = Some(why),
        }
    }

    fn set(&mut self, device: &DeviceId, state: DeviceState) {
        if let Some(member) = self.devices.get_mut(device) {
            member.state = state;
        }
    }

    fn pace(&mut self, transfer_bytes: u64) {
        if let Some(bytes_per_second) = self.spec.bytes_per_second {
            let takes_ms = transfer_bytes.saturating_mul(1_000).div_ceil(bytes_per_second.max(1));
            self.next_start_ms = self.next_start_ms.max(self.clock.ms).saturating_add(takes_ms);
        }
    }

    /// What the clock reads on this connection, in milliseconds.
    pub(super) fn clock_ms(&self, now: Time, link: Link) -> u64 {
        // A time to come was read off another clock.
        let from = if self.clock.at > now { link.since } else { self.clock.at.max(link.since) };
        self.clock.ms.saturating_add(now.ms_since(from))
    }

    pub(super) const fn recorded_clock_ms(&self) -> u64 {
        self.clock.ms
    }

    pub(super) const fn next_start_ms(&self) -> u64 {
        self.next_start_ms
    }
}

impl Member {
    /// Where it can return to, if the rollout brought it the firmware.
    pub fn returns_to(&self) -> Option<Digest> {
        let was_brought = matches!(self.state, DeviceState::Confirmed { took_ms: Some(_), .. });
        self.from.filter(|_| was_brought)
    }
}

impl DeviceState {
    /// Whether the device is being updated, forward or back.
    pub const fn is_updating(&self) -> bool {
        matches!(self, DeviceState::Started { .. } | DeviceState::RollingBack { .. })
    }
}
