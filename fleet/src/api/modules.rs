//! What is asked and answered about modules.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wasmbed_wire::{
    ArtifactId, DeviceId, Digest, ModuleName, RuntimeId,
    limits::Class,
    message::{ModuleState, ModuleUse, Reason},
};

use super::Selector;

/// Which version to forget.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleRemove {
    /// Of which module.
    pub module: ModuleName,
    /// The version.
    pub version: String,
}

/// What devices should run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deploy {
    /// Which module.
    pub module: ModuleName,
    /// The name it runs under, so that several instances run side by side; the module's own if absent.
    #[serde(rename = "as", default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<ModuleName>,
    /// Which version; the last one pushed if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// On which devices.
    pub to: Selector,
    /// What it reads with `config_get`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
}

/// What devices should no longer run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Undeploy {
    /// Which instance: the module's name, or the one it was deployed as.
    pub module: ModuleName,
    /// On which devices.
    pub to: Selector,
}

/// What a deploy or undeploy changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deployed {
    /// The instance.
    pub module: ModuleName,
    /// The version; absent for undeploy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Every selected device.
    pub devices: Vec<DeployedDevice>,
}

/// One device of a deploy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeployedDevice {
    /// The device.
    pub id: DeviceId,
    /// Revision of its desired state with this change in it.
    pub revision: u64,
    /// Whether anything changed.
    pub changed: bool,
}

/// One module of a device's report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModuleReport {
    /// Its name.
    pub name: ModuleName,
    /// Which artifact.
    pub artifact: ArtifactId,
    /// How far it is.
    pub state: ModuleState,
    /// Blocks present, in percent.
    pub progress: u8,
    /// How often it was started again after a stop of its own.
    pub restarts: u32,
    /// Why it is not running, or why it last stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

/// One module a device should run or runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeviceModule {
    /// The name it runs under.
    pub name: ModuleName,
    /// The module, if it runs under another name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<ModuleName>,
    /// Whether the device should run it.
    pub wanted: bool,
    /// The wanted version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The wanted artifact, or the reported one of a module that is not wanted.
    pub artifact: ArtifactId,
    /// How far the device is with that artifact; absent before it said anything about it.
    #[serde(default)]
    pub state: Option<ModuleState>,
    /// Blocks present, in percent.
    #[serde(default)]
    pub progress: u8,
    /// How often it was started again after a stop of its own.
    #[serde(default)]
    pub restarts: u32,
    /// Why it is not running, or why it last stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// What it reads with `config_get`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
    /// What it used since the device started, as of the last heartbeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<ModuleUse>,
    /// Functions it was in when it last stopped by itself, innermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backtrace: Vec<String>,
}

/// One version of a module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Module {
    /// Its name.
    pub name: ModuleName,
    /// Its version.
    pub version: String,
    /// SHA-256 of the uploaded file.
    pub digest: Digest,
    /// Size of the uploaded file, in bytes.
    pub wasm_bytes: u64,
    /// When it was uploaded, in milliseconds of Unix time.
    pub pushed_ms: u64,
    /// What each class says to it.
    pub classes: Vec<ClassReport>,
    /// Capabilities it must be granted.
    #[serde(default)]
    pub needs: Vec<String>,
    /// Capabilities it has a use for, with those it needs.
    #[serde(default)]
    pub uses: Vec<String>,
    /// What was made of it.
    pub artifacts: Vec<Artifact>,
    /// Devices that should run it.
    pub devices: Vec<DeviceId>,
}

/// What one class says to a module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassReport {
    /// The class.
    pub class: Class,
    /// Whether it may run there.
    pub admitted: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub violations: Vec<Violation>,
    /// What it may be slow or fail with there, admitted or not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Violation>,
}

/// One rule a module or firmware breaks, or that a module is warned about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Which rule. Of a module: `format`, `feature`, `memory`, `functions`, `tables`, `import`, `export`,
    /// `stack`, `size`, `compile`, and for warnings `stack`, `start`, `alignment`, `branch-table`,
    /// `optimization`, `debug`; of a firmware: `format`, `name`, `version`, `board`, `class`, `memory`, `size`, `digest`,
    /// `blocks`, `signature`, `key`, `role`, `expired`.
    pub rule: String,
    /// What was found.
    pub found: String,
    /// What is allowed.
    pub limit: String,
}

/// One artifact of a module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Its id.
    pub id: ArtifactId,
    /// Classes it runs on.
    pub classes: Vec<Class>,
    /// The runtime it was made for.
    pub runtime: RuntimeId,
    /// Size of its payload, in bytes.
    pub payload_bytes: u64,
}
