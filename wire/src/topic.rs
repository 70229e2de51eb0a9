//! MQTT topics; `topics.md` describes them for people.
//!
//! A device sees only its own part, [`Up`] and [`Down`]; whoever speaks to the broker adds the front
//! `{prefix}/v1/{device}/`.

use core::fmt;

use crate::{ArtifactId, Channel, CommandId, ModuleName};

/// Default first level of every topic.
pub const DEFAULT_PREFIX: &str = "wasmbed";
/// Second level: the version of the contract.
pub const VERSION: &str = "v1";
/// Where a device asks for its first certificate; [`RENEW`] is for those that have one. JSON, see `topics.md`.
pub const ENROL: &str = "up/enrol";
/// Where a device asks for another certificate before the one it connects with ends.
pub const RENEW: &str = "up/renew";
/// Where it gets one, or is told why not.
pub const ENROLLED: &str = "dn/enrol";
/// Longest [`Up`] or [`Down`] topic, in bytes.
pub const MAX_BYTES: usize = 72;

/// How a message travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// MQTT quality of service, 0 or 1.
    pub qos: u8,
    /// Whether the broker keeps the last one.
    pub retain: bool,
}

const fn delivery(qos: u8, retain: bool) -> Delivery {
    Delivery { qos, retain }
}

/// What a device publishes, below `{prefix}/v1/{device}/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Up {
    /// `up/state`: [`crate::message::State`].
    State,
    /// `up/info`: [`crate::message::Info`].
    Info,
    /// `up/reported`: [`crate::message::Reported`].
    Reported,
    /// `up/hb`: [`crate::message::Heartbeat`].
    Heartbeat,
    /// `up/tm/{channel}`: telemetry, the module's own bytes.
    Telemetry(Channel),
    /// `up/msg/{instance}/{channel}`: a message of a module, its own bytes.
    Message(ModuleName, Channel),
    /// `up/ros/{kind}/{instance}`: what a module has to do with ROS 2, for a gateway.
    Ros(RosUp, ModuleName),
    /// `up/nodes`: [`crate::ros::RosNodes`].
    Nodes,
    /// `up/log/{level}`: one line of text.
    Log(Level),
    /// `up/crash`: [`crate::message::Crash`].
    Crash,
    /// `up/trap`: [`crate::message::Trap`].
    Trap,
    /// `up/refused`: [`crate::message::Refused`].
    Refused,
    /// `up/get`: [`crate::message::Get`].
    Get,
    /// `up/res/{id}`: [`crate::message::CommandResult`].
    Result(CommandId),
}

impl Up {
    /// How this message travels.
    pub const fn delivery(&self) -> Delivery {
        match self {
            Up::State | Up::Info | Up::Reported => delivery(1, true),
            Up::Crash | Up::Trap | Up::Refused | Up::Result(_) => delivery(1, false),
            Up::Heartbeat | Up::Telemetry(_) | Up::Message(..) | Up::Ros(..) => delivery(0, false),
            Up::Nodes | Up::Log(_) | Up::Get => delivery(0, false),
        }
    }

    /// Reads what [`fmt::Display`] writes; `None` for anything else.
    pub fn parse(topic: &str) -> Option<Self> {
        let rest = topic.strip_prefix("up/")?;
        Some(match rest.split_once('/') {
            None => match rest {
                "state" => Up::State,
                "info" => Up::Info,
                "reported" => Up::Reported,
                "hb" => Up::Heartbeat,
                "nodes" => Up::Nodes,
                "crash" => Up::Crash,
                "trap" => Up::Trap,
                "refused" => Up::Refused,
                "get" => Up::Get,
                _ => return None,
            },
            Some(("tm", channel)) => Up::Telemetry(channel.parse().ok()?),
            Some(("msg", rest)) => {
                let (instance, channel) = recipient(rest)?;
                Up::Message(instance, channel)
            }
            Some(("ros", rest)) => {
                let (kind, instance) = rest.split_once('/')?;
                Up::Ros(RosUp::parse(kind)?, instance.parse().ok()?)
            }
            Some(("log", level)) => Up::Log(Level::parse(level)?),
            Some(("res", id)) => Up::Result(id.parse().ok()?),
            Some(_) => return None,
        })
    }
}

impl fmt::Display for Up {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Up::State => f.write_str("up/state"),
            Up::Info => f.write_str("up/info"),
            Up::Reported => f.write_str("up/reported"),
            Up::Heartbeat => f.write_str("up/hb"),
            Up::Telemetry(channel) => write!(f, "up/tm/{channel}"),
            Up::Message(instance, channel) => write!(f, "up/msg/{instance}/{channel}"),
            Up::Ros(kind, instance) => write!(f, "up/ros/{}/{instance}", kind.name()),
            Up::Nodes => f.write_str("up/nodes"),
            Up::Log(level) => write!(f, "up/log/{}", level.name()),
            Up::Crash => f.write_str("up/crash"),
            Up::Trap => f.write_str("up/trap"),
            Up::Refused => f.write_str("up/refused"),
            Up::Get => f.write_str("up/get"),
            Up::Result(id) => write!(f, "up/res/{id}"),
        }
    }
}

/// What a device receives, below `{prefix}/v1/{device}/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Down {
    /// `dn/desired`: a signed [`crate::message::Desired`].
    Desired,
    /// `dn/blk/{artifact}`: [`crate::message::Block`].
    Block(ArtifactId),
    /// `dn/cmd/{id}`: a signed [`crate::message::Command`].
    Command(CommandId),
    /// `dn/msg/{instance}/{channel}`: a message for a module, whatever bytes it understands.
    Message(ModuleName, Channel),
    /// `dn/ros/{kind}/{instance}`: what a gateway of ROS 2 has for a module.
    Ros(RosDown, ModuleName),
    /// `dn/keys`: a signed [`crate::keyring::Keyring`].
    Keys,
}

impl Down {
    /// What a device subscribes to, at quality of service 1.
    pub const FILTER: &'static str = "dn/#";

    /// How this message travels.
    pub const fn delivery(&self) -> Delivery {
        match self {
            Down::Desired | Down::Keys => delivery(1, true),
            Down::Block(_) | Down::Message(..) | Down::Ros(..) => delivery(0, false),
            Down::Command(_) => delivery(1, false),
        }
    }

    /// Reads what [`fmt::Display`] writes; `None` for anything else.
    pub fn parse(topic: &str) -> Option<Self> {
        let rest = topic.strip_prefix("dn/")?;
        Some(match rest.split_once('/') {
            None if rest == "desired" => Down::Desired,
            None if rest == "keys" => Down::Keys,
            Some(("blk", artifact)) => Down::Block(artifact.parse().ok()?),
            Some(("cmd", id)) => Down::Command(id.parse().ok()?),
            Some(("msg", rest)) => {
                let (instance, channel) = recipient(rest)?;
                Down::Message(instance, channel)
            }
            Some(("ros", rest)) => {
                let (kind, instance) = rest.split_once('/')?;
                Down::Ros(RosDown::parse(kind)?, instance.parse().ok()?)
            }
            _ => return None,
        })
    }
}

impl fmt::Display for Down {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Down::Desired => f.write_str("dn/desired"),
            Down::Block(artifact) => write!(f, "dn/blk/{artifact}"),
            Down::Command(id) => write!(f, "dn/cmd/{id}"),
            Down::Message(instance, channel) => write!(f, "dn/msg/{instance}/{channel}"),
            Down::Ros(kind, instance) => write!(f, "dn/ros/{}/{instance}", kind.name()),
            Down::Keys => f.write_str("dn/keys"),
        }
    }
}

/// `{instance}/{channel}`.
fn recipient(rest: &str) -> Option<(ModuleName, Channel)> {
    let (instance, channel) = rest.split_once('/')?;
    Some((instance.parse().ok()?, channel.parse().ok()?))
}

/// What an instance says to a gateway of ROS 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RosUp {
    /// [`crate::ros::RosWant`].
    Want,
    /// [`crate::ros::RosPublication`].
    Publish,
    /// [`crate::ros::RosCall`].
    Call,
    /// [`crate::ros::RosReply`].
    Reply,
    /// [`crate::ros::RosQuestion`].
    Ask,
    /// [`crate::ros::RosTaken`].
    Taken,
}

impl RosUp {
    /// Every kind.
    pub const ALL: [RosUp; 6] =
        [RosUp::Want, RosUp::Publish, RosUp::Call, RosUp::Reply, RosUp::Ask, RosUp::Taken];

    /// Its part of the topic.
    pub const fn name(self) -> &'static str {
        match self {
            RosUp::Want => "want",
            RosUp::Publish => "publish",
            RosUp::Call => "call",
            RosUp::Reply => "reply",
            RosUp::Ask => "ask",
            RosUp::Taken => "taken",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        RosUp::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// What a gateway of ROS 2 says to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RosDown {
    /// [`crate::ros::RosHave`].
    Have,
    /// [`crate::ros::RosTell`].
    Tell,
}

impl RosDown {
    /// Every kind.
    pub const ALL: [RosDown; 2] = [RosDown::Have, RosDown::Tell];

    /// Its part of the topic.
    pub const fn name(self) -> &'static str {
        match self {
            RosDown::Have => "have",
            RosDown::Tell => "tell",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        RosDown::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// How much a log line matters; the numbers are those of the guest ABI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something failed.
    Error = 0,
    /// Something is not as it should be.
    Warn = 1,
    /// Something worth knowing.
    Info = 2,
    /// For finding mistakes.
    Debug = 3,
}

impl Level {
    /// Every level, by number.
    pub const ALL: [Level; 4] = [Level::Error, Level::Warn, Level::Info, Level::Debug];

    /// The level's name, the last part of its topic.
    pub const fn name(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        Level::ALL.into_iter().find(|level| level.name() == name)
    }
}

/// A whole topic of one device: `{prefix}/v1/{device}/{rest}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full<'a, D, R> {
    /// First level or levels.
    pub prefix: &'a str,
    /// The device.
    pub device: D,
    /// An [`Up`], a [`Down`] or a filter.
    pub rest: R,
}

impl<D: fmt::Display, R: fmt::Display> fmt::Display for Full<'_, D, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{VERSION}/{}/{}", self.prefix, self.device, self.rest)
    }
}

/// Splits `{prefix}/v1/{owner}/{rest}` into owner and rest; `None` for a topic of another prefix.
pub fn split<'t>(prefix: &str, topic: &'t str) -> Option<(&'t str, &'t str)> {
    topic.strip_prefix(prefix)?.strip_prefix('/')?.strip_prefix(VERSION)?.strip_prefix('/')?.split_once('/')
}
