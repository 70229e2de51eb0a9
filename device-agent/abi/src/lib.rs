//! The guest ABI, version 1: what a module may import, what it must export, and what both mean.
//!
//! One table ([`Call`]) is read by the fleet service, which refuses a module at admission, and by the
//! runtime, which links it: neither has a list of its own, so they cannot disagree. A call once
//! published keeps its name, types and meaning; a different meaning gets a new name.
//!
//! Every call answers with a number: zero or more is success, a negative one is an [`Errno`]. Pointers
//! and lengths are unsigned 32-bit values carried in an `i32`; a pair that does not lie inside the
//! memory is answered with [`Errno::Fault`], never with a trap ([`span`]).
//!
//! To add a call: one entry in `calls.rs`, a method on the runtime's `Host` with a default that answers
//! [`Errno::Unsupported`], the arm the compiler then asks for in the runtime's `link.rs`, and a
//! declaration in the guest SDK (a test compares the C header with this table).
//!
//! Not here: the WebAssembly engine, and reading module files.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod calls;
mod capability;
mod destination;
mod edges;
mod errno;
mod exports;
mod features;
mod file_path;
mod import;
mod layout;
mod memory;
mod ros;
mod sensor;
mod span;
mod types;
mod vehicle;

pub use calls::Call;
pub use capability::{Capabilities, Capability, UnknownCapability};
pub use destination::{Destination, MAX_DESTINATION_BYTES, NoPattern, Pattern, Peer, Protocol};
pub use edges::Edges;
pub use errno::Errno;
pub use exports::{Export, ExportError};
pub use features::Features;
pub use file_path::FilePath;
pub use import::{IMPORT_MODULE, Import, ImportError, OPTIONAL_IMPORT_MODULE};
pub use layout::{Field, Number};
pub use memory::{DeclaredMemory, MEMORY_IMPORT, MemoryError};
pub use ros::{
    ALLOW_ROS_CALL, ALLOW_ROS_PUBLISH, ALLOW_ROS_SERVE, ALLOW_ROS_SUBSCRIBE, MAX_ROS_BYTES,
    MAX_ROS_NAME_BYTES, MAX_SERVICE_CALLS, MAX_SERVICE_CLIENTS, MAX_SERVICES, NoRosPattern, NodeInfo,
    RosName, RosPattern, TopicInfo, Typed,
};
pub use sensor::{ADC_INPUTS, Sensor, Unit};
pub use span::span;
pub use types::{Signature, ValueType};
pub use vehicle::{
    ANSWER_STALE_MS, ARM_DISARM, ARMED, BATTERY_STALE_MS, BatteryStatus, LocalPosition,
    MAX_PARAMETER_NAME_BYTES, MAX_VEHICLE_COMMANDS, MAX_VEHICLE_QUESTIONS, NAV_LAND, NAV_TAKEOFF, NO_FRAME,
    POSITION_STALE_MS, ParameterName, STALE, STATUS_STALE_MS, UNKNOWN, UNKNOWN_PERCENT, VehicleCommand,
    VehicleParameter, VehicleStatus,
};

/// Longest line `log` takes, in bytes; a device may accept less.
pub const MAX_LOG_BYTES: usize = 200;
/// Longest payload `telemetry` takes, in bytes; a device may accept less.
pub const MAX_TELEMETRY_BYTES: usize = 1024;
/// Longest message `publish` takes and `message_read` gives, in bytes; a device may accept less.
pub const MAX_MESSAGE_BYTES: usize = 1024;
/// Most subscriptions of an instance.
pub const MAX_SUBSCRIPTIONS: usize = 16;
/// Longest key of settings and of stored values, in bytes.
pub const MAX_KEY_BYTES: usize = 64;
/// Longest value `kv_set` takes, in bytes; a device may accept less.
pub const MAX_VALUE_BYTES: usize = 4096;
/// What a module may store on a Linux device, in bytes of keys and values.
pub const STORE_BYTES: usize = 256 * 1024;
/// How many values a module may store on a Linux device.
pub const STORE_VALUES: usize = 256;
/// Most bytes that calls for security take at once; a device may accept less.
pub const MAX_SECURITY_BYTES: usize = 64 * 1024;
/// Most bytes that are authenticated and not encrypted.
pub const MAX_AAD_BYTES: usize = 64;
/// What `seal` adds: a nonce of 12 bytes before, a tag of 16 after.
pub const SEAL_BYTES: usize = 12 + 16;
/// Keys each module has, numbered from 0.
pub const KEYS: u8 = 8;
/// Most bytes that a transaction on a bus writes, and most that it reads.
pub const MAX_BUS_BYTES: usize = 256;
/// Addresses that a chip on an I2C bus can have; the others are reserved (NXP UM10204, section 3.1.12).
pub const I2C_ADDRESSES: core::ops::RangeInclusive<u8> = 0x08..=0x77;
/// Longest path of a file, in bytes.
pub const MAX_PATH_BYTES: usize = 128;
/// Most bytes that calls for files take or give at once.
pub const MAX_FILE_CALL_BYTES: usize = 64 * 1024;
/// What the files of one module may have, in bytes.
pub const FILES_BYTES: u64 = 16 * 1024 * 1024;
/// How many files one module may have, with the folders they lie in.
pub const MAX_FILES: usize = 256;
/// The setting whose value says where a module may connect to: [`Pattern`]s separated by spaces.
pub const ALLOW_NETWORK: &str = "allow.network";
/// Connections one instance may have, numbered from 0.
pub const MAX_SOCKETS: usize = 8;
/// Most bytes that calls for the network take or give at once.
pub const MAX_NET_CALL_BYTES: usize = 16 * 1024;
/// What one instance may send and receive within a second, in bytes.
pub const NET_BYTES_PER_SECOND: usize = 256 * 1024;
/// Time between two ticks `timer_set` accepts, in milliseconds.
pub const INTERVAL_MS: core::ops::RangeInclusive<u32> = 10..=86_400_000;
/// Time between two ticks of a module that never called `timer_set`, in milliseconds.
pub const DEFAULT_INTERVAL_MS: u32 = 1000;
