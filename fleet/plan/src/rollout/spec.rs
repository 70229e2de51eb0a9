use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use wasmbed_wire::{Digest, ModuleName};

use super::Window;

/// How a firmware is to reach its devices, as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Which firmware.
    pub firmware: Firmware,
    /// The groups, one after the other.
    #[serde(default = "Spec::default_groups")]
    pub groups: Vec<Step>,
    /// Share of a group's finished devices that must be confirmed for the next group to begin, 0 to 100 percent.
    #[serde(default = "Spec::default_success_percent")]
    pub success_percent: u8,
    /// Failures in the canary group that abort the rollout; `None` if none do. At least 1.
    #[serde(default = "Spec::default_abort_canary_failures")]
    pub abort_canary_failures: Option<u32>,
    /// Failures that abort the rollout; `None` for no such limit. At least 1.
    #[serde(default)]
    pub abort_failures: Option<u32>,
    /// Failed share of the devices whose turn has come that aborts the rollout, 1 to 100 percent.
    #[serde(default = "Spec::default_abort_percent")]
    pub abort_percent: u8,
    /// What becomes of an aborted rollout.
    #[serde(default)]
    pub on_abort: OnAbort,
    /// Most devices updating at the same time, at least 1.
    #[serde(default = "Spec::default_at_once")]
    pub at_once: u32,
    /// Devices are started so that, on average, no more bytes per second than this are asked for; `None` for
    /// no limit. At least 1.
    #[serde(default)]
    pub bytes_per_second: Option<u64>,
    /// How long a group is watched before the next begins, in milliseconds.
    #[serde(default = "Spec::default_soak_ms")]
    pub soak_ms: u64,
    /// Outside of these no device is started; always if there are none.
    #[serde(default)]
    pub windows: Vec<Window>,
    /// How long a started device has until it is confirmed, in milliseconds; at least 1. Time without the
    /// broker does not count.
    #[serde(default = "Spec::default_device_timeout_ms")]
    pub device_timeout_ms: u64,
    /// Whether a group waits for its devices that are not connected. Otherwise it ends without them, and
    /// they are started when they come.
    #[serde(default)]
    pub wait_offline: bool,
}

/// Which firmware is rolled out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Firmware {
    /// Its name.
    pub name: ModuleName,
    /// Its version.
    pub version: String,
    /// SHA-256 of its image: a device that runs it is where it should be.
    pub image: Digest,
    /// Size of the image, in bytes.
    pub size_bytes: u64,
}

/// One group: which devices, of those that are in no group before it.
///
/// As text: `canary:N`, `P%`, `rest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Step {
    /// This many, to find out. Only the first group can be one.
    Canary(u32),
    /// So many that together with the groups before they are this share of all devices, rounded up; 1 to 100
    /// percent.
    Percent(u8),
    /// All others. Only the last group can be one.
    Rest,
}

/// What becomes of an aborted rollout. Devices on their way are called back in any case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnAbort {
    /// Nothing more is started; confirmed devices keep the firmware.
    #[default]
    Stop,
    /// Confirmed devices return to the firmware they had.
    Rollback,
}

/// Why a [`Spec`] is not acceptable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSpec {
    /// There are no groups.
    #[error("there are no groups; write for example canary:1, 10%, rest")]
    NoGroups,
    /// A canary group without devices, or one that is not the first group.
    #[error("group {0} is a canary group; only the first can be one, with at least one device")]
    Canary(usize),
    /// A share that is not above those before it.
    #[error("group {group} ends at {percent} %; it must be above the {before} % before it and at most 100")]
    Percent {
        /// Which group, the first being 1.
        group: usize,
        /// Where it ends.
        percent: u8,
        /// Where the one before it ends.
        before: u8,
    },
    /// A group after the rest.
    #[error("group {0} comes after the rest; there is nothing left for it")]
    AfterRest(usize),
    /// The groups do not cover all devices.
    #[error("the groups leave devices out; make the last one rest or 100%")]
    Uncovered,
    /// A share outside its range.
    #[error("{name} is {found} %; it must be {min} to 100")]
    Share {
        /// Which share.
        name: &'static str,
        /// What was found.
        found: u8,
        /// The least that is allowed.
        min: u8,
    },
    /// A number that must not be zero.
    #[error("{0} is 0; it must be at least 1")]
    Zero(&'static str),
}

/// The text is no group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no group; write canary:N, P% (1 to 100) or rest")]
pub struct BadStep(String);

impl Spec {
    /// The usual rollout of a firmware: one device, a tenth, the rest; the first failed canary or a fifth of
    /// all devices failing aborts it.
    pub fn new(firmware: Firmware) -> Self {
        Spec {
            firmware,
            groups: Spec::default_groups(),
            success_percent: Spec::default_success_percent(),
            abort_canary_failures: Spec::default_abort_canary_failures(),
            abort_failures: None,
            abort_percent: Spec::default_abort_percent(),
            on_abort: OnAbort::default(),
            at_once: Spec::default_at_once(),
            bytes_per_second: None,
            soak_ms: Spec::default_soak_ms(),
            windows: Vec::new(),
            device_timeout_ms: Spec::default_device_timeout_ms(),
            wait_offline: false,
        }
    }

    /// Whether it can be carried out.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn check(&self) -> Result<(), BadSpec> {
        self.check_groups()?;
        for (name, found, min) in
            [("success_percent", self.success_percent, 0), ("abort_percent", self.abort_percent, 1)]
        {
            if !(min..=100).contains(&found) {
                return Err(BadSpec::Share { name, found, min });
            }
        }
        let numbers = [
            ("abort_canary_failures", self.abort_canary_failures.map(u64::from)),
            ("abort_failures", self.abort_failures.map(u64::from)),
            ("at_once", Some(u64::from(self.at_once))),
            ("bytes_per_second", self.bytes_per_second),
            ("device_timeout_ms", Some(self.device_timeout_ms)),
        ];
        match numbers.iter().find(|(_, number)| *number == Some(0)) {
            Some((name, _)) => Err(BadSpec::Zero(name)),
            None => Ok(()),
        }
    }

    fn check_groups(&self) -> Result<(), BadSpec> {
        let mut covered = 0;
        let mut rest = false;
        for (group, step) in (1..).zip(&self.groups) {
            match *step {
                _ if rest => return Err(BadSpec::AfterRest(group)),
                Step::Canary(count) if group > 1 || count == 0 => return Err(BadSpec::Canary(group)),
                Step::Canary(_) => {}
                Step::Percent(percent) if percent <= covered || percent > 100 => {
                    return Err(BadSpec::Percent { group, percent, before: covered });
                }
                Step::Percent(percent) => covered = percent,
                Step::Rest => rest = true,
            }
        }
        match self.groups.is_empty() {
            true => Err(BadSpec::NoGroups),
            false if rest || covered == 100 => Ok(()),
            false => Err(BadSpec::Uncovered),
        }
    }

    fn default_groups() -> Vec<Step> {
        vec![Step::Canary(1), Step::Percent(10), Step::Rest]
    }

    const fn default_success_percent() -> u8 {
        100
    }

    const fn default_abort_canary_failures() -> Option<u32> {
        Some(1)
    }

    const fn default_abort_percent() -> u8 {
        20
    }

    const fn default_at_once() -> u32 {
        10
    }

    const fn default_soak_ms() -> u64 {
        30_000
    }

    const fn default_device_timeout_ms() -> u64 {
        3_600_000
    }
}

impl FromStr for Step {
    type Err = BadStep;

    fn from_str(text: &str) -> Result<Self, BadStep> {
        let parse = || match text {
            "rest" => Some(Step::Rest),
            _ => match text.strip_prefix("canary:") {
                Some(count) => count.parse().ok().map(Step::Canary),
                None => text.strip_suffix('%')?.parse().ok().map(Step::Percent),
            },
        };
        parse().ok_or_else(|| BadStep(text.to_owned()))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Canary(count) => write!(f, "canary:{count}"),
            Step::Percent(percent) => write!(f, "{percent}%"),
            Step::Rest => f.write_str("rest"),
        }
    }
}

impl TryFrom<String> for Step {
    type Error = BadStep;

    fn try_from(text: String) -> Result<Self, BadStep> {
        text.parse()
    }
}

impl From<Step> for String {
    fn from(step: Step) -> String {
        step.to_string()
    }
}
