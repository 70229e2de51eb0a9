//! What is asked and answered about rollouts.

use serde::{Deserialize, Deserializer, Serialize};
use wasmbed_plan::rollout::{self, OnAbort, Spec, Step, Window};
use wasmbed_wire::ModuleName;

use super::Selector;
pub use wasmbed_plan::rollout::{DeviceProgress, Progress};

/// A rollout to make. What is left out is as in [`Spec::new`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolloutCreate {
    /// Which firmware.
    pub firmware: ModuleName,
    /// Which version; the last one pushed if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// To which devices.
    pub to: Selector,
    /// The groups, one after the other: `canary:N`, `P%`, `rest`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<Step>>,
    /// Share of a group that must be confirmed for the next to begin, 0 to 100 percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success_percent: Option<u8>,
    /// Failures in the canary group that abort it, at least 1; `null` if none do.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub abort_canary_failures: Option<Option<u32>>,
    /// Failures that abort it, at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abort_failures: Option<u32>,
    /// Failed share of the devices whose turn has come that aborts it, 1 to 100 percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abort_percent: Option<u8>,
    /// What becomes of it then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_abort: Option<OnAbort>,
    /// Most devices updating at the same time, at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_once: Option<u32>,
    /// How many bytes a second may be asked for on average, at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<u64>,
    /// How long a group is watched before the next begins, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soak_ms: Option<u64>,
    /// How long a device has until it is confirmed, in milliseconds; at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_timeout_ms: Option<u64>,
    /// When devices may be started: `mon-fri 22:00-04:00`, in UTC; always if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<Window>,
    /// Whether a group waits for its devices that are not connected.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub wait_offline: bool,
}

/// Tells `null` from nothing.
fn given<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Option<u32>>, D::Error> {
    Option::deserialize(d).map(Some)
}

impl RolloutCreate {
    /// The usual rollout of a firmware.
    pub const fn new(firmware: ModuleName, version: Option<String>, to: Selector) -> Self {
        RolloutCreate {
            firmware,
            version,
            to,
            groups: None,
            success_percent: None,
            abort_canary_failures: None,
            abort_failures: None,
            abort_percent: None,
            on_abort: None,
            at_once: None,
            bytes_per_second: None,
            soak_ms: None,
            device_timeout_ms: None,
            windows: Vec::new(),
            wait_offline: false,
        }
    }

    /// How this firmware is to reach its devices.
    pub(crate) fn spec(&self, firmware: rollout::Firmware) -> Spec {
        let usual = Spec::new(firmware);
        Spec {
            groups: self.groups.clone().unwrap_or(usual.groups),
            success_percent: self.success_percent.unwrap_or(usual.success_percent),
            abort_canary_failures: self.abort_canary_failures.unwrap_or(usual.abort_canary_failures),
            abort_failures: self.abort_failures.or(usual.abort_failures),
            abort_percent: self.abort_percent.unwrap_or(usual.abort_percent),
            on_abort: self.on_abort.unwrap_or(usual.on_abort),
            at_once: self.at_once.unwrap_or(usual.at_once),
            bytes_per_second: self.bytes_per_second.or(usual.bytes_per_second),
            soak_ms: self.soak_ms.unwrap_or(usual.soak_ms),
            device_timeout_ms: self.device_timeout_ms.unwrap_or(usual.device_timeout_ms),
            windows: self.windows.clone(),
            wait_offline: self.wait_offline,
            firmware: usual.firmware,
        }
    }
}

/// One rollout, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolloutNamed {
    /// Its number.
    pub rollout: u64,
}

/// Where a rollout stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    /// Its number among all deployments of firmware: rises, but not by one.
    pub rollout: u64,
    /// When it was made, in milliseconds of Unix time.
    pub created_ms: u64,
    /// The selector of its devices. Those it found when it was made are meant.
    pub to: String,
    /// How the firmware is to reach them.
    pub spec: Spec,
    /// Whether nothing more will happen unless somebody rolls it back.
    pub over: bool,
    /// Where it stands, for people.
    pub summary: String,
    /// Where it stands.
    #[serde(flatten)]
    pub progress: Progress,
    /// Its devices; absent in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub devices: Option<Vec<DeviceProgress>>,
}
