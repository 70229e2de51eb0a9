//! The service's JSON: what is asked on `{prefix}/v1/_fleet/cmd/{verb}` and what is answered.
//!
//! The command line uses exactly these types, so whatever it does, any MQTT client can do. A request is
//! an object of its verb's fields, plus an optional `id`: a request with an id is carried out once,
//! however often it is sent. The answer is an [`Answer`]. Requests with unknown fields are refused
//! (a misspelt option must not be ignored); readers of answers skip what they do not know.
//!
//! Not here: topics and transport (`control`, `cli`), and what hosts say (`host_api`).

mod firmware;
mod keys;
mod rollout;
mod selector;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wasmbed_plan::Stage;
use wasmbed_wire::{
    ArtifactId, BoardName, CommandId, DeviceId, Digest, HostId, ModuleName, RuntimeId,
    limits::Class,
    message::{LinkCounters, ModuleState, Reason, ResetCause, Status},
};

use crate::host_api::{Power, ReportedDevice};
pub use crate::store::{Event, EventFilter, Severity};
pub use firmware::*;
pub use keys::*;
pub use rollout::*;
pub use selector::{BadSelector, Selector};

/// An answer: `{"ok":true,"result":…}` or `{"ok":false,"error":…}`, with the request's id if it had one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Whether it was done.
    pub ok: bool,
    /// The id of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<CommandId>,
    /// What was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// Why it was not done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Problem>,
}

/// Why a request was not carried out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// What kind of problem, for programs.
    pub code: Code,
    /// What was found and what was expected.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// More, for programs: the class reports of a refused module, the violation of a refused firmware.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Value>,
}

/// Kinds of problems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The request cannot be read.
    BadRequest,
    /// There is no such verb.
    UnknownVerb,
    /// What it names does not exist.
    NotFound,
    /// It contradicts what exists.
    Conflict,
    /// The module or firmware is not acceptable.
    Refused,
    /// It is larger than allowed.
    TooLarge,
    /// The service failed; nothing was changed.
    Internal,
}

impl Problem {
    /// A problem without a hint.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Problem { code, message: message.into(), hint: None, detail: None }
    }

    /// With what to do about it.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Problem { hint: Some(hint.into()), ..self }
    }
}

impl Answer {
    /// The answer to the request with this id.
    pub fn new(id: Option<CommandId>, outcome: Result<Value, Problem>) -> Self {
        match outcome {
            Ok(result) => Answer { ok: true, id, result: Some(result), error: None },
            Err(error) => Answer { ok: false, id, result: None, error: Some(error) },
        }
    }
}

/// One verb with its fields.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// `device-list`: answers [`Device`]s.
    DeviceList(DeviceList),
    /// `device-show`: answers a [`Device`].
    DeviceShow(DeviceId),
    /// `device-add`: answers the [`Device`].
    DeviceAdd(DeviceAdd),
    /// `device-remove`: stops and forgets a device.
    DeviceRemove(DeviceId),
    /// `device-restart`: takes devices off power and on again, or asks real ones to restart.
    DeviceRestart(Targets),
    /// `device-stop`: switches emulated devices off.
    DeviceStop(Targets),
    /// `device-start`: switches emulated devices on.
    DeviceStart(Targets),
    /// `device-clear`: ends a quarantine and tries again.
    DeviceClear(Targets),
    /// `device-logs`: answers [`LogLine`]s.
    DeviceLogs(DeviceLogs),
    /// `module-list`: answers [`Module`]s.
    ModuleList,
    /// `module-remove`: forgets a version no device should run.
    ModuleRemove(ModuleRemove),
    /// `deploy`: answers a [`Deployed`].
    Deploy(Deploy),
    /// `undeploy`: answers a [`Deployed`].
    Undeploy(Undeploy),
    /// `firmware-list`: answers [`Firmware`]s.
    FirmwareList,
    /// `firmware-show`: answers a [`Firmware`].
    FirmwareShow(FirmwareNamed),
    /// `firmware-verify`: answers a [`FirmwareVerified`].
    FirmwareVerify(FirmwareNamed),
    /// `firmware-remove`: forgets a version no device should run.
    FirmwareRemove(FirmwareRemove),
    /// `firmware-deploy`: answers a [`FirmwareChanged`], as the next three do.
    FirmwareDeploy(FirmwareDeploy),
    /// `firmware-cancel`: devices keep, or go back to, the firmware they have confirmed.
    FirmwareCancel(Targets),
    /// `firmware-rollback`: devices go back to the firmware in their other slot.
    FirmwareRollback(Targets),
    /// `firmware-clear`: devices try again what they refused or reverted.
    FirmwareClear(Targets),
    /// `firmware-status`: answers [`FirmwareStatus`]es.
    FirmwareStatus(FirmwareStatusOf),
    /// `key-list`: answers [`Keys`], as the next three do.
    KeyList,
    /// `key-add`: trusts a key, or changes what it is trusted with.
    KeyAdd(KeyAdd),
    /// `key-retire`: trusts a key no longer.
    KeyRetire(KeyRetire),
    /// `keyring-import`: takes over a keyring that was signed elsewhere.
    KeyringImport(KeyringImport),
    /// `rollout-create`: answers a [`Rollout`], as the others do except for the list.
    RolloutCreate(RolloutCreate),
    /// `rollout-list`: answers [`Rollout`]s without their devices, oldest first.
    RolloutList,
    /// `rollout-show`: how far it is.
    RolloutShow(RolloutNamed),
    /// `rollout-pause`: starts no further device.
    RolloutPause(RolloutNamed),
    /// `rollout-resume`: goes on.
    RolloutResume(RolloutNamed),
    /// `rollout-cancel`: ends it; devices on their way are called back.
    RolloutCancel(RolloutNamed),
    /// `rollout-rollback`: ends it; confirmed devices return to the firmware they had.
    RolloutRollback(RolloutNamed),
    /// `event-list`: answers [`Event`]s, oldest first.
    EventList(EventFilter),
}

/// Every verb.
pub const VERBS: [&str; 34] = [
    "device-list",
    "device-show",
    "device-add",
    "device-remove",
    "device-restart",
    "device-stop",
    "device-start",
    "device-clear",
    "device-logs",
    "module-list",
    "module-remove",
    "deploy",
    "undeploy",
    "firmware-list",
    "firmware-show",
    "firmware-verify",
    "firmware-remove",
    "firmware-deploy",
    "firmware-cancel",
    "firmware-rollback",
    "firmware-clear",
    "firmware-status",
    "key-list",
    "key-add",
    "key-retire",
    "keyring-import",
    "rollout-create",
    "rollout-list",
    "rollout-show",
    "rollout-pause",
    "rollout-resume",
    "rollout-cancel",
    "rollout-rollback",
    "event-list",
];

impl Request {
    /// Reads the fields of a verb.
    pub fn parse(verb: &str, fields: Value) -> Result<Self, Problem> {
        fn read<T: serde::de::DeserializeOwned>(verb: &str, fields: Value) -> Result<T, Problem> {
            serde_json::from_value(fields).map_err(|error| {
                Problem::new(Code::BadRequest, format!("the fields of {verb} cannot be read: {error}"))
            })
        }
        Ok(match verb {
            "device-list" => Request::DeviceList(read(verb, fields)?),
            "device-show" => Request::DeviceShow(read::<One>(verb, fields)?.device),
            "device-add" => Request::DeviceAdd(read(verb, fields)?),
            "device-remove" => Request::DeviceRemove(read::<One>(verb, fields)?.device),
            "device-restart" => Request::DeviceRestart(read(verb, fields)?),
            "device-stop" => Request::DeviceStop(read(verb, fields)?),
            "device-start" => Request::DeviceStart(read(verb, fields)?),
            "device-clear" => Request::DeviceClear(read(verb, fields)?),
            "device-logs" => Request::DeviceLogs(read(verb, fields)?),
            "module-list" => read::<Nothing>(verb, fields).map(|Nothing {}| Request::ModuleList)?,
            "module-remove" => Request::ModuleRemove(read(verb, fields)?),
            "deploy" => Request::Deploy(read(verb, fields)?),
            "undeploy" => Request::Undeploy(read(verb, fields)?),
            "firmware-list" => read::<Nothing>(verb, fields).map(|Nothing {}| Request::FirmwareList)?,
            "firmware-show" => Request::FirmwareShow(read(verb, fields)?),
            "firmware-verify" => Request::FirmwareVerify(read(verb, fields)?),
            "firmware-remove" => Request::FirmwareRemove(read(verb, fields)?),
            "firmware-deploy" => Request::FirmwareDeploy(read(verb, fields)?),
            "firmware-cancel" => Request::FirmwareCancel(read(verb, fields)?),
            "firmware-rollback" => Request::FirmwareRollback(read(verb, fields)?),
            "firmware-clear" => Request::FirmwareClear(read(verb, fields)?),
            "firmware-status" => Request::FirmwareStatus(read(verb, fields)?),
            "key-list" => read::<Nothing>(verb, fields).map(|Nothing {}| Request::KeyList)?,
            "key-add" => Request::KeyAdd(read(verb, fields)?),
            "key-retire" => Request::KeyRetire(read(verb, fields)?),
            "keyring-import" => Request::KeyringImport(read(verb, fields)?),
            "rollout-create" => Request::RolloutCreate(read(verb, fields)?),
            "rollout-list" => read::<Nothing>(verb, fields).map(|Nothing {}| Request::RolloutList)?,
            "rollout-show" => Request::RolloutShow(read(verb, fields)?),
            "rollout-pause" => Request::RolloutPause(read(verb, fields)?),
            "rollout-resume" => Request::RolloutResume(read(verb, fields)?),
            "rollout-cancel" => Request::RolloutCancel(read(verb, fields)?),
            "rollout-rollback" => Request::RolloutRollback(read(verb, fields)?),
            "event-list" => Request::EventList(read(verb, fields)?),
            _ => {
                return Err(Problem::new(Code::UnknownVerb, format!("there is no verb {verb:?}"))
                    .hint(format!("verbs are: {}", VERBS.join(", "))));
            }
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct One {
    device: DeviceId,
}

/// Which devices to list.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeviceList {
    /// Only these; all if absent.
    pub to: Option<Selector>,
}

/// Which devices to act on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Targets {
    /// These.
    pub to: Selector,
}

/// A device to register. Registering it again with the same fields changes nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceAdd {
    /// Its id.
    pub device: DeviceId,
    /// Its board.
    pub board: BoardName,
    /// Who runs it, if it is emulated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostId>,
    /// Free words to select it by; keys and values of `[A-Za-z0-9._-]{1,63}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// Which log lines to list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceLogs {
    /// Of which device.
    pub device: DeviceId,
    /// At most this many, the latest ones; 100 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

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
    /// Which module.
    pub module: ModuleName,
    /// On which devices.
    pub to: Selector,
}

/// What a deploy or undeploy changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deployed {
    /// The module.
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

/// One device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Device {
    /// Its id.
    pub id: DeviceId,
    /// Its board.
    pub board: BoardName,
    /// Its class.
    pub class: Class,
    /// Who runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostId>,
    /// Free words to select it by.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Whether it should run.
    pub power: Power,
    /// `online`, `updating` or `offline` as it says itself; absent before it said anything.
    #[serde(default)]
    pub status: Option<Status>,
    /// How well it is.
    pub health: Health,
    /// What it is.
    #[serde(default)]
    pub info: Option<DeviceInfo>,
    /// Its last heartbeat.
    #[serde(default)]
    pub heartbeat: Option<Heartbeat>,
    /// When it last gave a sign of life, in milliseconds of Unix time.
    #[serde(default)]
    pub seen_ms: Option<u64>,
    /// Revisions of its desired state.
    pub revision: Revision,
    /// What it should run and what it runs.
    pub modules: Vec<DeviceModule>,
    /// The firmware it should run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<FirmwareKnown>,
    /// How far it is with that or another firmware, as it said last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware_report: Option<FirmwareReport>,
    /// Its process, as its host says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ReportedDevice>,
}

impl Device {
    /// Whether it is connected and gives signs of life.
    pub fn is_online(&self) -> bool {
        self.status == Some(Status::Online) && self.health.stage == Stage::Healthy
    }
}

/// Where a device stands on the health ladder.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// The rung.
    pub stage: Stage,
    /// Since when, in milliseconds of Unix time.
    pub since_ms: u64,
    /// Restarts since it was last healthy for long.
    pub attempts: u32,
}

/// Revisions of a desired state.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Revision {
    /// The last one.
    pub desired: u64,
    /// The last one the device accepted.
    pub reported: Option<u64>,
}

/// What a device is, from `up/info`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeviceInfo {
    /// Its version of the contract.
    pub protocol: u8,
    /// Its board.
    pub board: BoardName,
    /// Its class.
    pub class: Class,
    /// Version of its firmware.
    pub firmware: String,
    /// The runtime ABI it loads.
    pub runtime: RuntimeId,
    /// Why it last started.
    pub reset: ResetCause,
    /// How many modules it can hold.
    pub slots: u8,
    /// Largest module payload, in bytes.
    pub slot_bytes: u32,
    /// Largest block it accepts, in bytes.
    pub block_bytes: u16,
    /// RAM for modules and agent together, in bytes; 0 where it is not fixed.
    pub heap_bytes: u32,
    /// Its firmware slots; absent where its firmware cannot be replaced from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware_slots: Option<FirmwareSlots>,
}

/// A device's last heartbeat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Rises with every connect.
    pub boot: u32,
    /// Rises with every heartbeat of a connect.
    pub seq: u32,
    /// Since the device started, in milliseconds.
    pub uptime_ms: u64,
    /// Memory in use, in bytes.
    pub heap_used: u32,
    /// Most memory that was ever in use, in bytes.
    pub heap_peak: u32,
    /// Stack never touched, in bytes; 0 where it is not measured.
    pub stack_free: u32,
    /// Modules running.
    pub running: u8,
    /// Serial link counters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkCounters>,
    /// The slowest module call since the heartbeat before, in microseconds.
    pub slowest_call_us: u32,
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
    /// Its name.
    pub name: ModuleName,
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
}

/// One line a device said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When the service got it, in milliseconds of Unix time.
    pub at_ms: u64,
    /// `error`, `warn`, `info` or `debug` from the device, `console` from its host.
    pub source: String,
    /// The line.
    pub text: String,
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
}

/// One rule a module or firmware breaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Which rule. Of a module: `format`, `feature`, `memory`, `functions`, `import`, `export`, `size`,
    /// `compile`; of a firmware: `format`, `name`, `version`, `board`, `class`, `memory`, `size`, `digest`,
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

/// `_fleet/state`, retained; also the last will with `online` false.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceState {
    /// Whether the service is connected.
    pub online: bool,
    /// When it connected, in milliseconds of Unix time.
    pub since_ms: u64,
    /// Its version.
    pub version: String,
}
