//! What is asked and answered about firmware.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wasmbed_wire::{
    ArtifactId, BoardName, DeviceId, Digest, KeyId, ModuleName,
    message::{FirmwareState, Reason, Status},
};

use super::{KeyName, Selector};
pub use crate::store::Source;

/// One firmware, by name and perhaps version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirmwareNamed {
    /// Its name.
    pub firmware: ModuleName,
    /// Its version; the last one pushed if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// Which version to forget.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirmwareRemove {
    /// Of which firmware.
    pub firmware: ModuleName,
    /// The version.
    pub version: String,
}

/// Which firmware devices should run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirmwareDeploy {
    /// Which one.
    pub firmware: ModuleName,
    /// Which version; the last one pushed if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// On which devices.
    pub to: Selector,
    /// Ask again whatever the devices said before; each still refuses what it must.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// Whether a patch may be sent instead of the image where that is less.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub delta: bool,
}

const fn yes() -> bool {
    true
}

fn is_yes(value: &bool) -> bool {
    *value
}

/// Which devices' firmware to show.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FirmwareStatusOf {
    /// Only these; all if absent.
    pub to: Option<Selector>,
}

/// One version of a firmware.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Firmware {
    /// Its name.
    pub name: ModuleName,
    /// Its version.
    pub version: String,
    /// The board it runs on.
    pub board: BoardName,
    /// Its security counter: devices that have confirmed a higher one refuse it.
    pub counter: u32,
    /// Size of the image, in bytes.
    pub size_bytes: u32,
    /// SHA-256 of the image.
    pub digest: Digest,
    /// Its artifact.
    pub artifact: ArtifactId,
    /// The key that signed it.
    pub key: KeyId,
    /// What that key is called; absent if it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_name: Option<KeyName>,
    /// How it came.
    pub source: Source,
    /// What is new, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub notes: String,
    /// Facts about the build.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub build: BTreeMap<String, String>,
    /// When it was pushed, in milliseconds of Unix time.
    pub pushed_ms: u64,
    /// Devices that should run it.
    pub devices: Vec<DeviceId>,
    /// Devices that said last that they run its image.
    pub running: Vec<DeviceId>,
    /// What may be in the way of deploying it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Whether what is stored is what was signed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FirmwareVerified {
    /// Its name.
    pub firmware: ModuleName,
    /// Its version.
    pub version: String,
    /// SHA-256 of the stored image, computed just now.
    pub sha256: Digest,
    /// Its size, in bytes.
    pub size_bytes: u32,
    /// The key that signed the manifest.
    pub key: KeyId,
    /// What that key is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_name: Option<KeyName>,
    /// Whether image, manifest and signature fit together and the key is trusted.
    pub ok: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What a request changed about the firmware devices should run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FirmwareChanged {
    /// Every selected device.
    pub devices: Vec<FirmwareChange>,
}

/// One device of such a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FirmwareChange {
    /// The device.
    pub id: DeviceId,
    /// Revision of its desired state with this change in it.
    pub revision: u64,
    /// Whether anything changed.
    pub changed: bool,
    /// The firmware it should run now; absent if it may run whatever it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<ModuleName>,
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// SHA-256 of its image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Digest>,
    /// What the device has to fetch for it at most: the image or a patch, in bytes.
    pub transfer_bytes: u32,
    /// Whether that is a patch.
    pub patch: bool,
}

/// Where one device stands with its firmware.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FirmwareStatus {
    /// The device.
    pub id: DeviceId,
    /// Its board.
    pub board: BoardName,
    /// What it says of itself; absent before it said anything.
    #[serde(default)]
    pub status: Option<Status>,
    /// Revisions of its desired state.
    pub revision: super::Revision,
    /// What it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<FirmwareKnown>,
    /// What it could run without a download.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other: Option<FirmwareKnown>,
    /// What it should run; absent if it may run whatever it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired: Option<FirmwareKnown>,
    /// How far it is with that; absent before it said anything about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<FirmwareState>,
    /// Blocks present, in percent.
    pub progress: u8,
    /// Bytes fetched, by that progress.
    pub done_bytes: u32,
    /// Bytes to fetch.
    pub transfer_bytes: u32,
    /// Whether they are those of a patch.
    pub patch: bool,
    /// Why it was refused or reverted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Security counter it has confirmed; absent before it said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counter: Option<u32>,
    /// Version of the keyring it uses; absent while that is the provisioned one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyring: Option<u32>,
}

/// An image, and what is known about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirmwareKnown {
    /// SHA-256 of the image.
    pub image: Digest,
    /// The firmware it is of; absent if the registry does not know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<ModuleName>,
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// What is in a device's firmware slots, from `up/info`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirmwareSlots {
    /// SHA-256 of the running image; absent in recovery, where none runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<Digest>,
    /// SHA-256 of the complete image in the other slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other: Option<Digest>,
    /// Largest image, in bytes.
    pub image_bytes: u32,
    /// Largest patch, in bytes; 0 where patches are not applied.
    pub patch_bytes: u32,
    /// The highest security counter it has confirmed.
    pub counter: u32,
}

/// One firmware on its way, from `up/reported`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirmwareReport {
    /// SHA-256 of the image.
    pub image: Digest,
    /// How far it is.
    pub state: FirmwareState,
    /// Blocks present, in percent.
    pub progress: u8,
    /// Why it was refused or reverted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The attempt this is about.
    pub generation: u32,
    /// The connect from which on the fleet may confirm it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u32>,
}
