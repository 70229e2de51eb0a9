//! The service's JSON: what is asked on `{prefix}/v1/_fleet/cmd/{verb}` and what is answered.
//!
//! The command line uses exactly these types, so whatever it does, any MQTT client can do. A request is
//! an object of its verb's fields, plus an optional `id`: a request with an id is carried out once,
//! however often it is sent. The answer is an [`Answer`]. Requests with unknown fields are refused
//! (a misspelt option must not be ignored); readers of answers skip what they do not know.
//!
//! Not here: topics and transport (`control`, `cli`), and what hosts say (`host_api`).

mod devices;
mod firmware;
mod grants;
mod keys;
mod modules;
mod rollout;
mod selector;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wasmbed_wire::{CommandId, DeviceId};

pub use crate::{
    host_api::{Control, FlashRegion, Order},
    store::{Event, EventFilter, Severity},
};
pub use devices::*;
pub use firmware::*;
pub use grants::*;
pub use keys::*;
pub use modules::*;
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
    /// Who has to do it did not answer in time.
    NoAnswer,
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
    /// `device-token`: answers a [`TokenMade`].
    DeviceToken(DeviceToken),
    /// `device-control`: has the device's host do something to its emulator; answers what that gave.
    DeviceControl(Order),
    /// `host-list`: answers [`Host`]s.
    HostList,
    /// `module-list`: answers [`Module`]s.
    ModuleList,
    /// `module-remove`: forgets a version no device should run.
    ModuleRemove(ModuleRemove),
    /// `module-grant`: answers a [`Granted`], as the next one does.
    ModuleGrant(GrantChange),
    /// `module-revoke`: takes grants from a module.
    ModuleRevoke(GrantChange),
    /// `grant-list`: answers a [`GrantList`].
    GrantList,
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
pub const VERBS: [&str; 40] = [
    "device-list",
    "device-show",
    "device-add",
    "device-remove",
    "device-restart",
    "device-stop",
    "device-start",
    "device-clear",
    "device-logs",
    "device-token",
    "device-control",
    "host-list",
    "module-list",
    "module-remove",
    "module-grant",
    "module-revoke",
    "grant-list",
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
            "device-token" => Request::DeviceToken(read(verb, fields)?),
            "device-control" => Request::DeviceControl(read(verb, fields)?),
            "host-list" => read::<Nothing>(verb, fields).map(|Nothing {}| Request::HostList)?,
            "module-list" => read::<Nothing>(verb, fields).map(|Nothing {}| Request::ModuleList)?,
            "module-remove" => Request::ModuleRemove(read(verb, fields)?),
            "module-grant" => Request::ModuleGrant(read(verb, fields)?),
            "module-revoke" => Request::ModuleRevoke(read(verb, fields)?),
            "grant-list" => read::<Nothing>(verb, fields).map(|Nothing {}| Request::GrantList)?,
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

/// Which devices to act on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Targets {
    /// These.
    pub to: Selector,
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
