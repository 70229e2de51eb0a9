//! What goes in and out of the agent.

use core::fmt;

use wasmbed_wire::{
    ArtifactId, Backtrace, ModuleName, Seq,
    id::MAX_NAME_BYTES,
    message::{Reason, Refusal, Setting},
    topic::Up,
};

/// Something the driver must do now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Effect<'a> {
    /// Drop any connection there is, open the MQTT session with this last will, subscribe to
    /// [`Down::FILTER`](wasmbed_wire::topic::Down::FILTER), then call
    /// [`on_connected`](crate::Agent::on_connected) - or
    /// [`on_disconnected`](crate::Agent::on_disconnected) if that failed. Clean start: nothing may
    /// depend on the broker's memory.
    Connect {
        /// Payload of the will, to be published to `up/state` with its usual delivery.
        will: &'a [u8],
        /// MQTT keep-alive, in seconds.
        keep_alive_s: u16,
    },
    /// Publish with the topic's own delivery ([`Up::delivery`]); with quality of service 1, call
    /// [`on_acked`](crate::Agent::on_acked) once the broker has it.
    Publish {
        /// Below `{prefix}/v1/{device}/`.
        topic: Up,
        /// The message, CBOR.
        payload: &'a [u8],
        /// To be handed back when it was acknowledged.
        token: Token,
    },
    /// Instantiate the module in this slot and call its `init` and `health`; answer with
    /// [`ModuleEvent::Started`] or [`ModuleEvent::Stopped`]. Signature and digest have been verified.
    Start {
        /// Where it lies in the store.
        slot: Slot,
        /// What to run.
        assignment: Assignment,
        /// What it reads with `config_get`; also [`settings`](crate::Agent::settings).
        settings: Seq<'a, Setting<'a>>,
    },
    /// Call the module's periodic function; answer with [`ModuleEvent::Ran`] or
    /// [`ModuleEvent::Stopped`].
    Tick {
        /// Which module.
        slot: Slot,
    },
    /// End the module and release everything it holds, in whatever state it is; answer with
    /// [`ModuleEvent::Halted`]. Nothing may read the slot afterwards.
    Stop {
        /// Which module.
        slot: Slot,
    },
    /// A piece of longer work is done, and more is left: look after everything else, then ask again.
    Work,
    /// Reset the device; the cause of the next start is a command.
    Restart,
    /// Close the MQTT session cleanly: the end of [`shutdown`](crate::Agent::shutdown).
    Disconnect,
}

/// Names one publish that waits for its acknowledgement; the token of `wasmbed_wire::bridge`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token(pub u16);

/// A place for one module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot(pub u8);

impl Slot {
    /// Its place in an array.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A verified module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModuleInfo {
    /// Its name.
    pub name: ModuleName,
    /// Which artifact.
    pub artifact: ArtifactId,
    /// Size of its payload, in bytes.
    pub size: u32,
    /// What it asks for, bit `n` for the capability with number `n` in the guest ABI.
    pub capabilities: u32,
    /// Stack that a call into it takes at most, in bytes; 0 if that is not known.
    pub stack_bytes: u32,
}

/// An instance of a module, as it is to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assignment {
    /// The name it runs under: the module's own unless several run side by side.
    pub instance: ModuleName,
    /// What it is.
    pub module: ModuleInfo,
    /// What it asked for and was granted, as in [`ModuleInfo::capabilities`].
    pub grants: u32,
}

impl Assignment {
    /// Whose its stored values, files and keys are.
    pub const fn owner(&self) -> Owner {
        Owner { module: self.module.name, instance: self.instance }
    }
}

/// Whom something belongs to that outlives a start: an instance of a module, in all versions.
///
/// As text it is the module's name, or `module@instance` under another: no two owners have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The module, as its signed manifest names it.
    pub module: ModuleName,
    /// The name it runs under.
    pub instance: ModuleName,
}

/// Longest text of an [`Owner`], in bytes.
pub const OWNER_BYTES: usize = 2 * MAX_NAME_BYTES + 1;

impl From<ModuleName> for Owner {
    /// The instance under the module's own name.
    fn from(module: ModuleName) -> Self {
        Owner { module, instance: module }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.module.as_str())?;
        if self.instance != self.module { write!(f, "@{}", self.instance) } else { Ok(()) }
    }
}

/// What happened to a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModuleEvent {
    /// It is instantiated; `init` and `health` answered well.
    Started {
        /// When to call it next, in milliseconds from now; 0 for never.
        period_ms: u32,
        /// What the start used.
        used: Used,
    },
    /// A tick is over.
    Ran {
        /// When to call it next, in milliseconds after this tick was due; 0 for never again.
        period_ms: u32,
        /// What the call used.
        used: Used,
    },
    /// A call is over that the driver made by itself, with a message or the like.
    Handled {
        /// What the call used.
        used: Used,
    },
    /// It ended without being told to, and nothing of it is left in memory.
    Stopped {
        /// Why.
        reason: Reason,
        /// What the call used that it ended in.
        used: Used,
        /// Where it was.
        backtrace: Backtrace,
    },
    /// The answer to [`Effect::Stop`], one for each, also if nothing was running.
    Halted,
}

/// What calls into a module used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// How long they took, in microseconds; 0 where that is not measured.
    pub took_us: u32,
    /// Instructions they were charged for; 0 where a clock limits calls.
    pub fuel: u64,
    /// Memory the module has now, in bytes.
    pub memory_bytes: u64,
}

/// Why a message changed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejected {
    /// No topic of a device.
    UnknownTopic,
    /// The payload is not the message of that topic.
    Malformed,
    /// Nobody the device believes says so, or not now; it is counted and reported to the fleet.
    Refused(Refusal),
    /// A desired state that names a module twice.
    DuplicateModule,
    /// A block that is not wanted, or not any more.
    Unasked,
    /// A block whose size is not that of its place.
    WrongLength {
        /// What it should be, in bytes.
        expected: u32,
    },
    /// A keyring that the flash does not keep.
    NotKept,
    /// A keyring without the key that signed the firmware that runs.
    Orphaning,
    /// Answers to earlier commands still wait; the command may be sent again.
    Busy,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rejected::UnknownTopic => f.write_str("not a topic of a device"),
            Rejected::Malformed => f.write_str("not the message of this topic"),
            Rejected::Refused(refusal) => write!(f, "refused: {refusal}"),
            Rejected::DuplicateModule => f.write_str("the desired state names a module twice"),
            Rejected::Unasked => f.write_str("a block that was not asked for"),
            Rejected::WrongLength { expected } => write!(f, "a block of {expected} bytes was expected"),
            Rejected::NotKept => f.write_str("a keyring that the flash does not keep"),
            Rejected::Orphaning => f.write_str("a keyring without the key that signed the running firmware"),
            Rejected::Busy => f.write_str("answers to earlier commands still wait; send it again"),
        }
    }
}

impl core::error::Error for Rejected {}
