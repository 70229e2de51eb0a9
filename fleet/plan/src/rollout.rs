//! Bringing one firmware to many devices, in groups, and back.
//!
//! The service makes a [`Rollout`] of a [`Spec`], stores it as JSON, and asks [`plan`] what to do whenever a
//! fact changes, somebody asks for something ([`Rollout::pause`], [`Rollout::resume`], [`Rollout::cancel`],
//! [`Rollout::roll_back`]) or a deadline comes. It makes each [`Action`] durable together with the rollout it
//! was recorded in ([`Rollout::record`]) and then carries it out. Planning again right after that yields
//! nothing.
//!
//! What is promised:
//! - Never more than [`Spec::at_once`] devices update at the same time, forward or back. Those that failed or were
//!   called back do not count.
//! - No device of a group is started before the groups before it succeeded, or somebody resumed the rollout.
//! - While the broker is away nothing is planned and no time passes for anybody: a rollout is suspended then,
//!   not failed.
//! - A device that runs the firmware for good counts as confirmed, whoever brought it there. A device that a
//!   later deployment has ([`Owner`]) is left alone.
//! - A device that fails, times out or is called back gets [`Action::Withdraw`] once: its desired firmware is
//!   what it was before.
//!
//! Devices that are not connected or are quarantined are absent: they are not started, and unless
//! [`Spec::wait_offline`] says so a group ends without them. A group with a group after it needs one device
//! that was there, though. Absent devices are started when they come, also after the rollout is done; if then
//! too many of them fail the rollout is aborted, without a rollback: nobody expects one of a rollout that was
//! done. In the same way absent devices of a rolled back rollout return when they come.
//!
//! A group in which too few devices succeeded does not abort the rollout but holds it ([`Hold::Group`]) for
//! somebody to resume, cancel or roll back; what aborts it are the limits of the [`Spec`].
//!
//! Not here: choosing devices, generations and patches, and the confirmation of a trial.

mod groups;
mod judge;
mod planner;
mod progress;
mod spec;
mod state;
mod tally;
mod text;
mod window;

pub use planner::plan;
pub use progress::{Counts, DeviceProgress, GroupProgress, Progress};
pub use spec::{BadSpec, BadStep, Firmware, OnAbort, Spec, Step};
pub use state::{Abort, DeviceState, Failure, Found, Hold, Member, NotNow, Phase, Rollout, Skip};
pub use window::{BadWindow, Window};

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wasmbed_wire::{
    DeviceId, Digest,
    message::{self, FirmwareState},
};

use crate::{Link, Time};

/// A number that rises with every deployment of a firmware, rollouts included. The highest that named a
/// device has it: the service remembers that number with the device, for a rollout from its beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Owner(pub u64);

/// What a plan follows from.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// The service's own connection to the broker; `None` while there is none.
    pub link: Option<Link>,
    /// The devices of the rollout; those that are missing are no longer registered.
    pub devices: BTreeMap<DeviceId, Facts>,
}

/// What is known of a device.
#[derive(Debug, Clone, Copy, Default)]
pub struct Facts {
    /// Whether it is connected, and what it is and runs has been heard.
    pub online: bool,
    /// Whether it was quarantined.
    pub quarantined: bool,
    /// Whether the firmware is made for its board and it can be updated at all.
    pub fits: bool,
    /// The last deployment that named it.
    pub owner: Owner,
    /// SHA-256 of the image that runs, if one does and it is known.
    pub running: Option<Digest>,
    /// What it says of the firmware it was last asked to run; `None` while it says nothing, or speaks of
    /// what it was asked before that (another image, or a lower generation).
    pub report: Option<Report>,
    /// What it would have to fetch, in bytes: the image, a patch, or 0 if its other slot has the image.
    pub transfer_bytes: u64,
}

/// What a device says of a firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// SHA-256 of the image.
    pub image: Digest,
    /// How far it is.
    pub state: FirmwareState,
    /// Blocks present, in percent.
    pub progress: u8,
    /// Why it was refused or reverted.
    pub reason: Option<message::Reason>,
}

/// What should be done now, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The steps.
    pub actions: Vec<Action>,
    /// When to plan again if nothing happens before; `None` to wait for something to happen.
    pub next_deadline: Option<Time>,
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Note what the rollout's clock reads. Of no interest to anybody else; need not be durable by itself.
    Clock {
        /// In milliseconds.
        ms: u64,
    },
    /// Have the device run the firmware: with a new generation, and owned by this rollout.
    Start {
        /// The device.
        device: DeviceId,
        /// What it runs now.
        from: Option<Digest>,
        /// What it will have to fetch, in bytes.
        transfer_bytes: u64,
    },
    /// Have the device run what it ran before it was started, or nothing in particular if that is unknown.
    Withdraw {
        /// The device.
        device: DeviceId,
        /// What it ran.
        from: Option<Digest>,
        /// Its state: failed or withdrawn.
        to: DeviceState,
    },
    /// Have the device, which is confirmed, return to the firmware it had: with a new generation.
    RollBack {
        /// The device.
        device: DeviceId,
        /// What it ran.
        to: Digest,
    },
    /// The device's state changed; nothing is asked of it.
    Mark {
        /// The device.
        device: DeviceId,
        /// Its state.
        to: DeviceState,
    },
    /// The rollout goes on, or ends.
    Phase {
        /// How far it is.
        to: Phase,
    },
    /// The rollout waits for somebody to resume it.
    Hold {
        /// Why.
        why: Hold,
    },
}

/// How long devices have to connect again after the service did before they count as absent, in
/// milliseconds: they and the service lose a broker at the same time.
const RETURN_MS: u64 = 30_000;

impl View {
    /// Until when nobody counts as absent yet, if that is not over.
    fn awaited_until(&self, now: Time) -> Option<Time> {
        let until = self.link?.since.after_ms(RETURN_MS);
        (now < until).then_some(until)
    }
}

impl Facts {
    fn is_there(&self) -> bool {
        self.online && !self.quarantined
    }

    /// Whether it runs the image for good, as far as a device shows that was not asked to run it.
    fn has(&self, image: Digest) -> bool {
        let is_settled = |report: Report| report.image != image || report.state == FirmwareState::Confirmed;
        self.running == Some(image) && self.report.is_none_or(is_settled)
    }

    /// Whether it says that it runs the image for good. Without its word it may be in a trial.
    fn confirms(&self, image: Digest) -> bool {
        self.running == Some(image)
            && self
                .report
                .is_some_and(|report| report.image == image && report.state == FirmwareState::Confirmed)
    }

    fn failure(&self, image: Digest) -> Option<Failure> {
        let report = self.report.filter(|report| report.image == image)?;
        let reason = report.reason;
        match report.state {
            FirmwareState::Reverted => Some(Failure::Reverted { reason }),
            FirmwareState::Refused => Some(Failure::Refused { reason }),
            _ => None,
        }
    }
}
