//! What devices and the fleet say to each other: CBOR maps with integer keys (RFC 8949).
//!
//! Unknown keys are skipped and missing optional ones are absent, so either side may be newer.
//! Each type names the topic it travels on; see [`crate::topic`].

use minicbor::{Decode, Encode};

use crate::{ArtifactId, BoardName, Digest, ModuleName, RuntimeId, Seq, limits::Class};

/// Version of this contract, reported in [`Info`].
///
/// From 2 on a device takes desired states and commands only with a signature; one of version 1 knows none.
pub const PROTOCOL: u8 = 2;

/// `up/state`, retained; also the last will with [`Status::Offline`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct State {
    /// What the device is doing.
    #[n(0)]
    pub status: Status,
    /// Rises with every connect; a will older than the last one is ignored.
    #[n(1)]
    pub boot: u32,
}

/// Whether a device can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[cbor(index_only)]
pub enum Status {
    /// Not connected.
    #[n(0)]
    Offline,
    /// Connected and working.
    #[n(1)]
    Online,
    /// Restarting into another firmware.
    #[n(2)]
    Updating,
}

/// `up/info`, retained: what the device is.
#[derive(Debug, Clone, Copy, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Info<'a> {
    /// The connect this was sent on.
    #[n(0)]
    pub boot: u32,
    /// [`PROTOCOL`] of the device.
    #[n(1)]
    pub protocol: u8,
    /// The board.
    #[n(2)]
    pub board: BoardName,
    /// The class of its limits.
    #[n(3)]
    pub class: Class,
    /// Version of the running firmware.
    #[b(4)]
    pub firmware: &'a str,
    /// The only runtime ABI this device loads.
    #[n(5)]
    pub runtime: RuntimeId,
    /// Why it last started.
    #[n(6)]
    pub reset: ResetCause,
    /// How many modules it can hold.
    #[n(7)]
    pub slots: u8,
    /// Largest module payload, in bytes.
    #[n(8)]
    pub slot_bytes: u32,
    /// Largest block it accepts, in bytes.
    #[n(9)]
    pub block_bytes: u16,
    /// RAM for modules and agent together, in bytes; 0 where it is not fixed.
    #[n(10)]
    pub heap_bytes: u32,
    /// Its firmware slots; absent on a device whose firmware cannot be replaced from here.
    #[n(11)]
    pub firmware_slots: Option<FirmwareSlots>,
}

/// What is in a device's two firmware slots, and what it can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct FirmwareSlots {
    /// SHA-256 of the running image; absent in recovery, where none runs.
    #[n(0)]
    pub running: Option<Digest>,
    /// SHA-256 of the complete image in the other slot: it can be run without a download.
    #[n(1)]
    pub other: Option<Digest>,
    /// Largest image, in bytes.
    #[n(2)]
    pub image_bytes: u32,
    /// Largest patch, in bytes; 0 where patches are not applied.
    #[n(3)]
    pub patch_bytes: u32,
    /// The highest security counter it has confirmed: images below it are refused.
    #[n(4)]
    pub counter: u32,
}

/// Why a device started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[cbor(index_only)]
pub enum ResetCause {
    /// Power came on.
    #[n(0)]
    Power,
    /// A command asked for it.
    #[n(1)]
    Command,
    /// The firmware crashed; a [`Crash`] follows.
    #[n(2)]
    Crash,
    /// A watchdog ran out.
    #[n(3)]
    Watchdog,
}

/// `up/reported`, retained: what the device runs.
#[derive(Debug, Clone, Copy, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Reported<'a> {
    /// The connect this was sent on.
    #[n(0)]
    pub boot: u32,
    /// Revision of the last desired state the device accepted; 0 before the first.
    #[n(1)]
    pub revision: u64,
    /// Its modules.
    #[b(2)]
    pub modules: Seq<'a, ModuleReport>,
    /// How far it is with the firmware it should run, or what became of the last one; absent before any.
    #[n(3)]
    pub firmware: Option<FirmwareReport>,
    /// Version of the keyring in use; absent while it is the provisioned one.
    #[n(4)]
    pub keyring: Option<u32>,
}

/// One firmware on its way to being the confirmed one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct FirmwareReport {
    /// SHA-256 of the image.
    #[n(0)]
    pub image: Digest,
    /// How far it is.
    #[n(1)]
    pub state: FirmwareState,
    /// Blocks present, in percent.
    #[n(2)]
    pub progress: u8,
    /// Why it was refused or reverted.
    #[n(3)]
    pub reason: Option<Reason>,
    /// [`DesiredFirmware::generation`] this is about; 0 for what was not asked for.
    #[n(4)]
    pub generation: u32,
    /// The connect from which on the fleet may confirm it ([`DesiredFirmware::confirm`]); in a trial only.
    #[n(5)]
    pub since: Option<u32>,
}

/// How far a firmware is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[cbor(index_only)]
pub enum FirmwareState {
    /// Its manifest is being fetched and judged; nothing has been erased.
    #[n(0)]
    Checking,
    /// Blocks are still missing.
    #[n(1)]
    Downloading,
    /// A patch is being applied.
    #[n(2)]
    Patching,
    /// The image is being read back and hashed.
    #[n(3)]
    Verifying,
    /// Complete in its slot.
    #[n(4)]
    Staged,
    /// The next start is a trial of it.
    #[n(5)]
    Armed,
    /// Running, not yet confirmed.
    #[n(6)]
    Trial,
    /// Running for good.
    #[n(7)]
    Confirmed,
    /// Did not prove itself: the one before runs again, and this one is blocked.
    #[n(8)]
    Reverted,
    /// Not acceptable.
    #[n(9)]
    Refused,
}

/// One instance of a module on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ModuleReport {
    /// Its name, as in [`DesiredModule::name`].
    #[n(0)]
    pub name: ModuleName,
    /// Which artifact.
    #[n(1)]
    pub artifact: ArtifactId,
    /// How far it is.
    #[n(2)]
    pub state: ModuleState,
    /// Blocks present, in percent.
    #[n(3)]
    pub progress: u8,
    /// How often it was started again after a stop of its own.
    #[n(4)]
    pub restarts: u32,
    /// Why it is not running, or why it last stopped.
    #[n(5)]
    pub reason: Option<Reason>,
}

/// How far a module is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[cbor(index_only)]
pub enum ModuleState {
    /// Wanted; blocks are still missing.
    #[n(0)]
    Downloading,
    /// Complete and being instantiated.
    #[n(1)]
    Starting,
    /// Running.
    #[n(2)]
    Running,
    /// Stopped by itself; will be started again.
    #[n(3)]
    Backoff,
    /// Stopped by itself too often; waits for a new desired state.
    #[n(4)]
    Failed,
    /// Never ran: the artifact is not acceptable.
    #[n(5)]
    Refused,
}

/// Why a module or firmware does not run, or why it stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[cbor(index_only)]
pub enum Reason {
    /// The manifest cannot be read.
    #[n(0)]
    BadManifest,
    /// No trusted key signed the manifest.
    #[n(1)]
    BadSignature,
    /// Made for another class of device.
    #[n(2)]
    WrongClass,
    /// Made for another runtime ABI.
    #[n(3)]
    WrongRuntime,
    /// Not a module, or another module than the one that was asked for.
    #[n(4)]
    WrongArtifact,
    /// Larger than a slot.
    #[n(5)]
    TooLarge,
    /// No free slot.
    #[n(6)]
    NoSlot,
    /// The payload is not what the manifest promises.
    #[n(7)]
    DigestMismatch,
    /// The store failed.
    #[n(8)]
    StoreFailed,
    /// The runtime could not load or link it.
    #[n(9)]
    LoadFailed,
    /// Its `init` or `health` answered with an error.
    #[n(10)]
    Unhealthy,
    /// It trapped.
    #[n(11)]
    Trapped,
    /// It ran longer than its class allows.
    #[n(12)]
    TimedOut,
    /// It needed more memory than there is.
    #[n(13)]
    OutOfMemory,
    /// Made for another board.
    #[n(14)]
    WrongBoard,
    /// Its security counter is below the one the device has confirmed.
    #[n(15)]
    Downgrade,
    /// A patch for another image than the one that runs.
    #[n(16)]
    WrongBase,
    /// The key that signed it has expired.
    #[n(17)]
    KeyExpired,
    /// The key that signed it must not sign this kind of artifact.
    #[n(18)]
    WrongRole,
    /// The patch cannot be applied.
    #[n(19)]
    BadPatch,
    /// It crashed in its trial.
    #[n(20)]
    Crashed,
    /// It was reset by a watchdog in its trial.
    #[n(21)]
    Hung,
    /// It did not reach the broker in its trial.
    #[n(22)]
    Unconnected,
    /// The fleet did not confirm it in its trial.
    #[n(23)]
    Unconfirmed,
    /// It lost power in every start of its trial.
    #[n(24)]
    PowerLost,
    /// What is in its slot is not the image that was put there.
    #[n(25)]
    Damaged,
    /// It did not prove itself before: a higher generation tries it again.
    #[n(26)]
    Blocked,
    /// It needs a capability that it was not granted.
    #[n(27)]
    Denied,
}

/// `up/hb`: the heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Heartbeat<'a> {
    /// The connect this was sent on.
    #[n(0)]
    pub boot: u32,
    /// Rises by one with every heartbeat of this connect.
    #[n(1)]
    pub seq: u32,
    /// Since the device started, in milliseconds.
    #[n(2)]
    pub uptime_ms: u64,
    /// Memory in use, in bytes.
    #[n(3)]
    pub heap_used: u32,
    /// Most memory that was ever in use, in bytes.
    #[n(4)]
    pub heap_peak: u32,
    /// Stack never touched so far, in bytes; 0 where it is not measured.
    #[n(5)]
    pub stack_free: u32,
    /// Modules running.
    #[n(6)]
    pub running: u8,
    /// Serial link counters; absent on other links.
    #[n(7)]
    pub link: Option<LinkCounters>,
    /// Time the slowest module call took since the last heartbeat, in microseconds.
    #[n(8)]
    pub slowest_call_us: u32,
    /// What each instance of a module used.
    #[b(9)]
    #[cbor(default, skip_if = "Seq::is_empty")]
    pub modules: Seq<'a, ModuleUse>,
    /// The vehicles it hears, at most four.
    #[b(10)]
    #[cbor(default, skip_if = "Seq::is_empty")]
    pub vehicles: Seq<'a, HeardVehicle>,
}

/// Vehicles that a heartbeat has room for.
pub const MAX_HEARD_VEHICLES: usize = 4;

/// A vehicle that a device hears over MAVLink. Numbers are those of MAVLink's common messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cbor(map)]
pub struct HeardVehicle {
    /// Its system id.
    #[n(0)]
    pub system: u8,
    /// What it is: `MAV_TYPE`.
    #[n(1)]
    pub kind: u8,
    /// Its mode: bits of `MAV_MODE_FLAG`, of which 128 says that it is armed.
    #[n(2)]
    pub base_mode: u8,
    /// Whether it is in the air: `MAV_LANDED_STATE`.
    #[n(3)]
    pub landed: u8,
    /// What its battery has left, in percent; absent while it does not say.
    #[n(4)]
    pub battery: Option<u8>,
    /// Since its last heartbeat, in milliseconds.
    #[n(5)]
    pub age_ms: u32,
}

/// What one instance of a module used since the device started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cbor(map)]
pub struct ModuleUse {
    /// Its name, as in [`DesiredModule::name`].
    #[n(0)]
    pub name: ModuleName,
    /// Calls into it.
    #[n(1)]
    pub calls: u32,
    /// Time these calls took, in milliseconds.
    #[n(2)]
    pub busy_ms: u32,
    /// Time the slowest took, in microseconds.
    #[n(3)]
    pub slowest_us: u32,
    /// Instructions these calls were charged for, in thousands; 0 where a clock limits calls.
    #[n(4)]
    pub kilo_fuel: u32,
    /// Its memory at its largest, in bytes.
    #[n(5)]
    pub memory_bytes: u64,
    /// How often it stopped by itself.
    #[n(6)]
    pub stops: u32,
}

/// What a serial link went through since the device started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cbor(map)]
pub struct LinkCounters {
    /// Datagrams received in order.
    #[n(0)]
    pub received: u32,
    /// Datagrams sent for the first time.
    #[n(1)]
    pub sent: u32,
    /// Datagrams sent again.
    #[n(2)]
    pub resent: u32,
    /// Frames dropped because their check failed.
    #[n(3)]
    pub corrupt: u32,
}

/// `up/crash`: what is left of a crash after the reset it caused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Crash<'a> {
    /// The connect that preceded the crash.
    #[n(0)]
    pub boot: u32,
    /// What was said, perhaps cut short.
    #[b(1)]
    pub message: &'a str,
    /// Where, as a program address; 0 if not known.
    #[n(2)]
    pub pc: u32,
    /// When, since that start, in milliseconds.
    #[n(3)]
    pub uptime_ms: u64,
}

/// `up/trap`: why and where an instance of a module stopped by itself.
#[derive(Debug, Clone, Copy, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Trap<'a> {
    /// The connect this was sent on.
    #[n(0)]
    pub boot: u32,
    /// Its name, as in [`DesiredModule::name`].
    #[n(1)]
    pub name: ModuleName,
    /// Which artifact.
    #[n(2)]
    pub artifact: ArtifactId,
    /// Why.
    #[n(3)]
    pub reason: Reason,
    /// How often it has stopped by itself since the device started, with this time.
    #[n(4)]
    pub stops: u32,
    /// Where, innermost first; empty where that is not known.
    #[b(5)]
    pub frames: Seq<'a, Frame>,
}

/// A function that was being executed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Frame {
    /// Its index in the module's WebAssembly file.
    #[n(0)]
    pub function: u32,
    /// Where in the file, in bytes from its start; 0 where that is not kept.
    #[n(1)]
    pub offset: u32,
}

/// Most frames of a [`Trap`].
pub const MAX_FRAMES: usize = 6;

/// `up/refused`: the device was told something that it does not believe; at most once a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Refused {
    /// The connect this was sent on.
    #[n(0)]
    pub boot: u32,
    /// How often that happened since the device started, with this time.
    #[n(1)]
    pub count: u32,
    /// What it was told the last time.
    #[n(2)]
    pub subject: Subject,
    /// Why it does not believe that.
    #[n(3)]
    pub reason: Refusal,
    /// The highest revision of a desired state that it has accepted: those below are refused.
    #[n(4)]
    pub revision: u64,
}

/// What a device is told under a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[cbor(index_only)]
pub enum Subject {
    /// A [`Desired`] state.
    #[n(0)]
    Desired,
    /// A [`Command`].
    #[n(1)]
    Command,
    /// A [`Keyring`](crate::keyring::Keyring).
    #[n(2)]
    Keys,
}

/// Why something signed is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[cbor(index_only)]
pub enum Refusal {
    /// It is not signed, cut short, or not the message of its topic.
    #[n(0)]
    Malformed,
    /// It names a key that the device does not trust.
    #[n(1)]
    UnknownKey,
    /// It names a key that must not sign this.
    #[n(2)]
    WrongRole,
    /// It names a key that has expired.
    #[n(3)]
    KeyExpired,
    /// The key did not sign this, or not for this device and topic.
    #[n(4)]
    Forged,
    /// It is older than what the device has accepted, or a command of another connect.
    #[n(5)]
    Stale,
    /// It was not looked at, because something forged came just before.
    #[n(6)]
    Unchecked,
}

impl core::fmt::Display for Refusal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Refusal::Malformed => "not signed, or not the message of its topic",
            Refusal::UnknownKey => "signed with a key that is not trusted",
            Refusal::WrongRole => "signed with a key that has not the role for it",
            Refusal::KeyExpired => "signed with a key that has expired",
            Refusal::Forged => "the signature is not that of the key for this device and topic",
            Refusal::Stale => "older than what was accepted",
            Refusal::Unchecked => "not looked at, because something forged came just before",
        })
    }
}

/// `up/get`: asks for blocks. Each request is the credit for the blocks it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Get {
    /// Of which artifact.
    #[n(0)]
    pub artifact: ArtifactId,
    /// First block of the window. Block 0 is the signed manifest, block `n` the `n`th piece of the payload.
    #[n(1)]
    pub base: u32,
    /// Bit `i` asks for block `base + i`.
    #[n(2)]
    pub bitmap: u32,
}

/// `dn/blk/{artifact}`: one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Block<'a> {
    /// Which one.
    #[n(0)]
    pub index: u32,
    /// Its bytes; the manifest's block size, except for the last one and the manifest itself.
    #[cbor(b(1), with = "minicbor::bytes")]
    pub bytes: &'a [u8],
}

/// `dn/cmd/{id}`, signed: a one-shot command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Command {
    /// What to do.
    #[n(0)]
    pub verb: Verb,
    /// The connect it is for; on any other it is refused.
    #[n(1)]
    #[cbor(default)]
    pub boot: u32,
    /// Rises with every command; one that is not above the last one of this connect is refused.
    #[n(2)]
    #[cbor(default)]
    pub number: u64,
}

/// What a command asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[cbor(index_only)]
pub enum Verb {
    /// Answer, and send a heartbeat.
    #[n(0)]
    Ping,
    /// Answer, then restart the device.
    #[n(1)]
    Restart,
}

/// `up/res/{id}`: the answer to a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CommandResult {
    /// The connect this was sent on.
    #[n(0)]
    pub boot: u32,
    /// How it went.
    #[n(1)]
    pub outcome: Outcome,
}

/// How a command went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[cbor(index_only)]
pub enum Outcome {
    /// Done, or about to be done where it ends the connection.
    #[n(0)]
    Done,
    /// The device does not know the command.
    #[n(1)]
    Unsupported,
}

/// `dn/desired`, signed and retained: what the device should run.
#[derive(Debug, Clone, Copy, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Desired<'a> {
    /// Rises with every change; one below the highest that was accepted is refused, also after a restart.
    #[n(0)]
    pub revision: u64,
    /// The modules, all of them: others are removed.
    #[b(1)]
    pub modules: Seq<'a, DesiredModule<'a>>,
    /// Time between heartbeats, in milliseconds; the device's default if absent.
    #[n(2)]
    pub heartbeat_ms: Option<u32>,
    /// The firmware it should run; whatever runs may stay if absent.
    #[n(3)]
    pub firmware: Option<DesiredFirmware>,
}

/// The firmware a device should run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DesiredFirmware {
    /// Which artifact.
    #[n(0)]
    pub artifact: ArtifactId,
    /// SHA-256 of its image: a device that has it already need not ask for anything.
    #[n(1)]
    pub image: Digest,
    /// A patch that makes it of the image that runs; fetched instead of the artifact's payload.
    #[n(2)]
    pub patch: Option<ArtifactId>,
    /// A higher number than before tries it again, also one that was refused or reverted.
    #[n(3)]
    pub generation: u32,
    /// The fleet has seen it running: a trial that began with this connect or an earlier one is over.
    #[n(4)]
    pub confirm: Option<u32>,
}

/// One instance of a module that a device should run.
#[derive(Debug, Clone, Copy, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct DesiredModule<'a> {
    /// Its name: the module's own unless several run side by side.
    #[n(0)]
    pub name: ModuleName,
    /// Which artifact.
    #[n(1)]
    pub artifact: ArtifactId,
    /// What the module reads with `config_get`.
    #[b(2)]
    pub settings: Seq<'a, Setting<'a>>,
    /// A higher number than before starts the module afresh, also one that failed.
    #[n(3)]
    pub generation: u32,
    /// What the operator grants it, as in [`Manifest::capabilities`](crate::manifest::Manifest::capabilities).
    #[n(4)]
    #[cbor(default, skip_if = "crate::manifest::is_zero")]
    pub grants: u32,
}

/// One setting of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Setting<'a> {
    /// Its key.
    #[b(0)]
    pub key: &'a str,
    /// Its value.
    #[b(1)]
    pub value: &'a str,
}
