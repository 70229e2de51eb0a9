//! What the service and the hosts of emulated devices say to each other: JSON below
//! `{prefix}/v1/_host/{host}/`.
//!
//! A host owns processes and serial links, the service owns what should run where. Everything is a
//! level: [`Desired`] is the whole of what the host should run, so receiving it twice, late, or after a
//! restart of either side changes nothing. A power cycle is asked for by raising a number, not by a
//! command. Only what concerns one run of an emulator is a command: an [`Order`]. Names and meanings are contract: fields are added, never renamed; readers skip what they
//! do not know.
//!
//! Not here: how a host starts a board (`host`), and when a device is cycled (`wasmbed-plan`).

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};
use wasmbed_boards::Machine;
use wasmbed_wire::{
    BoardName, CommandId, DeviceId, HostId, PublicKey, message::LinkCounters, message::Status, topic,
};

use crate::connection::Connection;

/// The level that stands between version and host id in the topics of a host.
pub const HOST_LEVEL: &str = "_host";

/// `dn/desired`, retained, QoS 1: every device this host should run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// Rises with every change; a lower one than the last accepted is ignored.
    pub revision: u64,
    /// The devices, all of them: others are stopped and forgotten.
    pub devices: Vec<DesiredDevice>,
    /// [`State::started_ms`] of the process that is meant, if there may be several that call themselves this host: one
    /// that started before it stops.
    #[serde(default)]
    pub holder_ms: u64,
}

/// One device a host should run.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredDevice {
    /// The device; also its MQTT user name.
    pub id: DeviceId,
    /// Its board, a name of `boards/`.
    pub board: BoardName,
    /// What its machine has; what its board has if absent.
    #[serde(default, skip_serializing_if = "Machine::is_default")]
    pub machine: Machine,
    /// Whether it should run.
    pub power: Power,
    /// Demands one power cycle whenever it is higher than the last cycle the host has done for this
    /// device. A host that has never run the device takes the number as done by its first start.
    pub cycle: u32,
    /// The device's MQTT password; empty for one that gets a certificate.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub password: String,
    /// Its certificate, once its host has asked for it with [`ReportedDevice::request`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Certificate>,
    /// Ed25519 public keys whose artifacts the device runs, provisioned at every start.
    pub trusted: Vec<PublicKey>,
}

/// What a device shows to its broker. The key for it never leaves the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// The certificate, PEM.
    pub certificate: String,
    /// Who issued it, and the broker's, PEM.
    pub authority: String,
}

impl fmt::Debug for DesiredDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DesiredDevice")
            .field("id", &self.id)
            .field("board", &self.board)
            .field("power", &self.power)
            .field("cycle", &self.cycle)
            .finish_non_exhaustive()
    }
}

/// Whether a device should run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Power {
    /// It should run; its process is started again when it dies.
    On,
    /// It should not run.
    Off,
}

/// `up/state`, retained, QoS 1; also the last will with [`Status::Offline`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// [`Status::Online`] or [`Status::Offline`].
    pub status: Status,
    /// Rises with every connect of this host (its start in Unix milliseconds will do); a will older
    /// than the last one is ignored.
    pub boot: u64,
    /// When the host's process started, in milliseconds of Unix time; 0 if it does not say.
    #[serde(default)]
    pub started_ms: u64,
}

/// `up/info`, retained, QoS 1: what the host is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// The connect this was sent on.
    pub boot: u64,
    /// Version of the host role.
    pub version: String,
    /// Boards this host can start (emulator and image were found).
    pub boards: Vec<BoardName>,
    /// Memory available for more devices, in bytes; 0 if not known.
    #[serde(default)]
    pub free_memory_bytes: u64,
}

/// `up/reported`, retained, QoS 1: what the host runs; sent on every change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reported {
    /// Revision of the last [`Desired`] that was accepted; 0 before the first.
    pub revision: u64,
    /// Every device of that revision.
    pub devices: Vec<ReportedDevice>,
}

/// One device as its host sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedDevice {
    /// The device.
    pub id: DeviceId,
    /// What its process does.
    pub status: ProcessStatus,
    /// Its process, while there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Since when, in milliseconds of Unix time.
    pub since_ms: u64,
    /// The last power cycle done, see [`DesiredDevice::cycle`].
    pub cycle: u32,
    /// How often the process was started again by itself since the host started.
    #[serde(default)]
    pub restarts: u32,
    /// Why it is not running, or why it was last started again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Asks for a certificate (RFC 2986, PEM): the device is to have one, and its host has none for its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// The cgroup of its own that bounds its process; absent where the host cannot have any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The host's end of the serial link; absent for devices without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkCounters>,
    /// What its process takes of the host; absent while there is none, and before it was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<ProcessUse>,
}

/// What a process takes of its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessUse {
    /// Memory in RAM, in bytes (RSS: pages that it shares with others count for each).
    pub memory_bytes: u64,
    /// Processor time since it was looked at last, in thousandths of one core.
    pub cpu_permille: u32,
}

/// What the process of a device does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProcessStatus {
    /// Being started.
    Starting,
    /// Running.
    Running,
    /// Being stopped.
    Stopping,
    /// Not running, as desired.
    Stopped,
    /// Died; will be started again after a pause.
    Backoff,
    /// Cannot run (board unknown, image missing), or died more often than its budget allows. The
    /// host tries again when `cycle` rises or `power` goes off and on.
    Error,
}

/// `dn/ctl/{id}`, QoS 1, expires: something to be done once to a running device, answered on `up/res/{id}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// The device.
    pub device: DeviceId,
    /// What to do to it.
    pub control: Control,
}

/// What can be done to a device's emulator, its lines and its flash: for people who look for a fault, and for tests
/// that make some. What goes on for a time ends by itself, and with the next start of the device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Control {
    /// Takes the power away, without a word to the device, and gives it back after `for_ms`.
    Cut {
        /// How long it is off, in milliseconds within [`CONTROL_MS`], or 0.
        #[serde(default)]
        for_ms: u32,
    },
    /// Suspends the process: the device neither moves nor answers, and its clock stands still.
    Freeze {
        /// For how long, in milliseconds within [`CONTROL_MS`].
        for_ms: u32,
    },
    /// Takes the device off its network.
    Network {
        /// For how long, in milliseconds within [`CONTROL_MS`].
        for_ms: u32,
        /// Has its packets come in batches, this many milliseconds apart, instead; only where the emulator has a
        /// network.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        delay_ms: Option<u32>,
    },
    /// Disturbs the bytes on the serial line, both ways.
    Serial {
        /// For how long, in milliseconds within [`CONTROL_MS`].
        for_ms: u32,
        /// What share of bytes have a bit inverted, 0 to 1.
        #[serde(default)]
        corrupt: f64,
        /// What share of bytes are lost, 0 to 1.
        #[serde(default)]
        lose: f64,
        /// What share of bytes come twice, 0 to 1.
        #[serde(default)]
        repeat: f64,
    },
    /// Cuts the power, inverts bits of the flash, and starts the device again.
    Flip {
        /// How many bits, 1 to [`MAX_FLIPPED_BITS`].
        bits: u32,
        /// In which part of the flash.
        #[serde(default)]
        region: FlashRegion,
        /// Which ones: the same number inverts the same bits.
        #[serde(default)]
        seed: u64,
    },
    /// Ends every disturbance.
    Calm,
    /// Stops the processor; the emulator goes on answering.
    Pause,
    /// Lets the processor go on.
    Resume,
    /// Resets the board; its memory keeps what it holds.
    Reset,
    /// Raises a non-maskable interrupt.
    Nmi,
    /// Sets a property of an emulated chip, a sensor's value for example.
    Set {
        /// The chip: the `id` it has in the board's arguments, or a path of QEMU's object model.
        chip: String,
        /// The property.
        property: String,
        /// The value, as QEMU takes it: a TMP105's `temperature` is in thousandths of a degree Celsius.
        value: serde_json::Value,
    },
    /// Has QEMU's monitor carry out a line, and answers what it says.
    Monitor {
        /// The line.
        command: String,
    },
    /// Has QEMU wait for a debugger on the socket it answers with; the processor goes on.
    Gdb,
}

/// How long a disturbance may take, in milliseconds.
pub const CONTROL_MS: std::ops::RangeInclusive<u32> = 10..=3_600_000;
/// Most bits that one [`Control::Flip`] inverts.
pub const MAX_FLIPPED_BITS: u32 = 10_000;

/// A part of a board's firmware flash.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum FlashRegion {
    /// All that is used for something.
    #[default]
    Any,
    /// What was decided about images.
    Records,
    /// The first image.
    ImageA,
    /// The second image.
    ImageB,
    /// What modules stored.
    Values,
}

/// `up/event`, QoS 1: something happened to a device's process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The device.
    pub device: DeviceId,
    /// What happened.
    pub kind: EventKind,
    /// Why, in words for people: the exit code or signal, what was missing.
    pub reason: String,
    /// When, in milliseconds of Unix time.
    pub at_ms: u64,
}

/// What happened to a device's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// Started as desired, or by a power cycle.
    Started,
    /// Ended without being asked to.
    Exited,
    /// Started again after it had ended by itself.
    Restarted,
    /// Runs on under a host that started again: nothing happened to it.
    Adopted,
    /// Stopped as desired.
    Stopped,
    /// Could not be started.
    StartFailed,
    /// Died too often; waits for a power cycle.
    BudgetExhausted,
    /// Started again because the board is to run another image; not a restart after a death.
    Remapped,
    /// The board was reset because its link was silent; its process runs on.
    Watchdog,
    /// An [`Order`] was carried out; the reason says what it did.
    Ordered,
}

impl EventKind {
    /// The name used in events.
    pub const fn name(self) -> &'static str {
        match self {
            EventKind::Started => "started",
            EventKind::Exited => "exited",
            EventKind::Restarted => "restarted",
            EventKind::Adopted => "adopted",
            EventKind::Stopped => "stopped",
            EventKind::StartFailed => "start-failed",
            EventKind::BudgetExhausted => "budget-exhausted",
            EventKind::Remapped => "remapped",
            EventKind::Watchdog => "watchdog",
            EventKind::Ordered => "ordered",
        }
    }
}

/// What a host publishes, below `{prefix}/v1/_host/{host}/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Up {
    /// [`State`].
    State,
    /// [`Info`].
    Info,
    /// [`Reported`].
    Reported,
    /// [`Event`].
    Event,
    /// `up/res/{id}`, QoS 1: the [`Answer`](crate::api::Answer) to the [`Order`] with that id.
    Result(CommandId),
    /// `up/console/{device}`, QoS 0: one line of the device's console, as it came.
    Console(DeviceId),
}

impl Up {
    /// Reads what [`fmt::Display`] writes; `None` for anything else.
    pub fn parse(rest: &str) -> Option<Self> {
        Some(match rest.strip_prefix("up/")? {
            "state" => Up::State,
            "info" => Up::Info,
            "reported" => Up::Reported,
            "event" => Up::Event,
            other => match other.split_once('/')? {
                ("res", id) => Up::Result(id.parse().ok()?),
                ("console", device) => Up::Console(device.parse().ok()?),
                _ => return None,
            },
        })
    }
}

impl fmt::Display for Up {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Up::State => f.write_str("up/state"),
            Up::Info => f.write_str("up/info"),
            Up::Reported => f.write_str("up/reported"),
            Up::Event => f.write_str("up/event"),
            Up::Result(id) => write!(f, "up/res/{id}"),
            Up::Console(device) => write!(f, "up/console/{device}"),
        }
    }
}

/// What a host receives, below `{prefix}/v1/_host/{host}/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Down {
    /// [`Desired`].
    Desired,
    /// `dn/ctl/{id}`: an [`Order`].
    Order(CommandId),
}

impl Down {
    /// Reads what [`fmt::Display`] writes; `None` for anything else.
    pub fn parse(rest: &str) -> Option<Self> {
        Some(match rest.strip_prefix("dn/")? {
            "desired" => Down::Desired,
            other => Down::Order(other.strip_prefix("ctl/")?.parse().ok()?),
        })
    }
}

impl fmt::Display for Down {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Down::Desired => f.write_str("dn/desired"),
            Down::Order(id) => write!(f, "dn/ctl/{id}"),
        }
    }
}

/// The whole topic `{prefix}/v1/_host/{host}/{rest}`.
pub fn topic(prefix: &str, host: &HostId, rest: impl fmt::Display) -> String {
    format!("{prefix}/{}/{HOST_LEVEL}/{host}/{rest}", topic::VERSION)
}

/// Everything the host role needs to run; its entry is
/// `host::run(config: HostConfig, shutdown: Shutdown) -> anyhow::Result<()>`, which returns once every
/// process it started is gone.
#[derive(Debug, Clone)]
pub struct HostConfig {
    /// This host.
    pub id: HostId,
    /// The host's own connection. Devices' serial bridges and Linux agents connect to the same
    /// address under their own names and the passwords in [`DesiredDevice`].
    pub connection: Connection,
    /// Where the host keeps its devices' files (one folder each); created if missing.
    pub data_dir: PathBuf,
    /// Folder of firmware: `{board}.wbfw`, signed, and the bootloader `{board}-boot.elf` of each board.
    pub firmware_dir: PathBuf,
    /// The program `wasmbed-agent`, for boards that are Linux processes.
    pub agent: PathBuf,
    /// Where to answer `/metrics` and `/healthz`; nowhere if absent.
    pub metrics_listen: Option<SocketAddr>,
    /// The program `wasmbed`, for the keeper of devices' processes.
    pub program: PathBuf,
    /// How long devices run on for another host after the sudden death of this one.
    pub grace: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_read_back_as_written() {
        let device = "pump-7".parse().expect("a name");
        let id = "fault-1".parse().expect("a name");
        for up in [Up::State, Up::Info, Up::Reported, Up::Event, Up::Result(id), Up::Console(device)] {
            assert_eq!(Up::parse(&up.to_string()), Some(up));
        }
        assert_eq!(Up::parse("up/console/Not A Name"), None);
        assert_eq!(Up::parse("dn/desired"), None);
        for down in [Down::Desired, Down::Order(id)] {
            assert_eq!(Down::parse(&down.to_string()), Some(down));
        }
        assert_eq!(Down::parse("dn/ctl/Not A Name"), None);
    }

    #[test]
    fn unknown_fields_are_skipped_and_passwords_are_not_printed() {
        let text = r#"{"revision":3,"later":1,"devices":[{"id":"a","board":"netduino2","power":"on",
            "cycle":2,"password":"s3cret","trusted":[],"more":true}]}"#;
        let desired: Desired = serde_json::from_str(text).expect("readable");
        assert_eq!(desired.devices[0].power, Power::On);
        assert!(!format!("{desired:?}").contains("s3cret"));
    }
}
