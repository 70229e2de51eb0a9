//! What is asked and answered about devices.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wasmbed_boards::Machine;
use wasmbed_plan::Stage;
use wasmbed_wire::{
    BoardName, DeviceId, GatewayId, HostId, RuntimeId,
    limits::Class,
    message::{HeardVehicle, LinkCounters, ModuleUse, ResetCause, Status},
};

use super::{DeviceModule, FirmwareKnown, FirmwareReport, FirmwareSlots, Selector};
use crate::host_api::{Info, Power, ReportedDevice};

/// Which devices to list.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeviceList {
    /// Only these; all if absent.
    pub to: Option<Selector>,
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
    /// Has the service choose the host: of those that are connected and can start the board, the one with the most
    /// memory left.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub emulate: bool,
    /// Free words to select it by; keys and values of `[A-Za-z0-9._-]{1,63}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What the machine has that is emulated; what its board has if absent.
    #[serde(default, skip_serializing_if = "Machine::is_default")]
    pub machine: Machine,
}

/// Asks for a token with which a device gets its first certificate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceToken {
    /// The device.
    pub device: DeviceId,
    /// For how long it is good, in seconds, at most [`MAX_TOKEN_S`]; an hour if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_s: Option<u32>,
}

/// Longest life of a token, in seconds: 30 days.
pub const MAX_TOKEN_S: u32 = 30 * 86_400;

/// A token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenMade {
    /// The MQTT password that lets the device ask for a certificate, once.
    pub token: String,
    /// Until when it is good, in seconds of Unix time.
    pub expires_s: u64,
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
    /// What its machine has, if it is emulated; what its board has if absent.
    #[serde(default, skip_serializing_if = "Machine::is_default")]
    pub machine: Machine,
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
    /// What its modules are in ROS 2, if that was told since it came online.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ros: Option<Ros>,
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
    /// What each instance of a module used since the device started.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modules: Vec<ModuleUse>,
    /// The vehicles it hears.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vehicles: Vec<HeardVehicle>,
}

/// What modules of a device are in ROS 2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ros {
    /// The gateway that says so; absent if the device does itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<GatewayId>,
    /// When it was told, in milliseconds of Unix time.
    pub at_ms: u64,
    /// A node for each instance that has anything.
    pub nodes: Vec<RosNode>,
    /// Topics and services that the message had no room for.
    pub omitted: u32,
}

/// A node and what it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RosNode {
    /// Its fully qualified name.
    pub name: String,
    /// Topics that it publishes on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub publishers: Vec<RosTyped>,
    /// Topics that it listens to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subscribers: Vec<RosTyped>,
    /// Services that it calls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<RosTyped>,
    /// Services that it offers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<RosTyped>,
}

/// A topic or service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RosTyped {
    /// Its name.
    pub name: String,
    /// Its type, as `std_msgs/msg/String`.
    #[serde(rename = "type")]
    pub ty: String,
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

/// A host as it is listed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// Its id.
    pub id: HostId,
    /// Whether it is connected.
    pub online: bool,
    /// Since when, in milliseconds of Unix time.
    pub since_ms: u64,
    /// What it said about itself last; absent if nothing was heard since the service started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub info: Option<Info>,
    /// How many devices it should run.
    pub devices: usize,
}
