//! What an emulated machine has where its board leaves that open, which of its ports its host makes reachable, and what is
//! at the end of its line to an autopilot.

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr, SocketAddrV4},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

/// What is wanted of the machine that a device is; the board's own where nothing is said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Machine {
    /// Its memory, in MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u32>,
    /// How many processors it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cores: Option<u32>,
    /// Its ports that its host makes reachable.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub forwards: Vec<Forward>,
    /// Where the autopilot listens that its line leads to; nothing is at the end of it if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub px4: Option<Autopilot>,
}

impl Machine {
    /// Whether nothing is wanted that the board does not have anyway.
    pub fn is_default(&self) -> bool {
        *self == Machine::default()
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let memory = self.memory_mib.map(|mib| format!("{mib} MiB of memory"));
        let cores = self.cores.map(|cores| format!("{cores} cores"));
        let forwards = self.forwards.iter().map(Forward::to_string);
        let px4 = self.px4.iter().map(|autopilot| format!("autopilot at {autopilot}"));
        let parts: Vec<String> = memory.into_iter().chain(cores).chain(forwards).chain(px4).collect();
        f.write_str(&parts.join(", "))
    }
}

/// A port of a device that its host makes reachable; `[ADDRESS:]PORT:DEVICE_PORT[/tcp|/udp]` as text, where the
/// address is one of the host (IPv4, as QEMU's network has it), 127.0.0.1 if absent, and the protocol TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Forward {
    /// Where the host listens.
    pub listen: SocketAddrV4,
    /// The port on the device, 1 to 65,535.
    pub to: u16,
    /// What is spoken there.
    pub protocol: Protocol,
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
}

impl Protocol {
    /// Its name, as QEMU writes it too.
    pub const fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        }
    }
}

/// Text that is no [`Forward`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no forwarded port; write [ADDRESS:]PORT:DEVICE_PORT[/tcp|/udp], such as 8080:80, with ports from 1"
)]
pub struct NoForward(String);

impl FromStr for Forward {
    type Err = NoForward;

    fn from_str(text: &str) -> Result<Self, NoForward> {
        read(text).ok_or_else(|| NoForward(text.to_owned()))
    }
}

fn read(text: &str) -> Option<Forward> {
    let (ports, protocol) = match text.split_once('/') {
        None | Some((_, "tcp")) => (text.strip_suffix("/tcp").unwrap_or(text), Protocol::Tcp),
        Some((ports, "udp")) => (ports, Protocol::Udp),
        Some(_) => return None,
    };
    let (listen, to) = ports.rsplit_once(':')?;
    let listen = match listen.parse() {
        Ok(port) => SocketAddrV4::new(Ipv4Addr::LOCALHOST, port),
        Err(_) => listen.parse().ok()?,
    };
    let to = to.parse().ok()?;
    (listen.port() != 0 && to != 0).then_some(Forward { listen, to, protocol })
}

impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}/{}", self.listen, self.to, self.protocol.name())
    }
}

impl TryFrom<String> for Forward {
    type Error = NoForward;

    fn try_from(text: String) -> Result<Self, NoForward> {
        text.parse()
    }
}

impl From<Forward> for String {
    fn from(forward: Forward) -> String {
        forward.to_string()
    }
}

/// Where an autopilot, or what stands between, speaks MAVLink over TCP; `HOST:PORT` as text, seen from the device's host.
/// The line is connected to it again and again while it is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Autopilot {
    /// A name, or an address, without brackets.
    pub(crate) host: String,
    /// 1 to 65,535.
    pub(crate) port: u16,
}

/// Text that is no [`Autopilot`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no place of an autopilot; write HOST:PORT, such as 127.0.0.1:5760, where MAVLink is spoken over TCP"
)]
pub struct NoAutopilot(String);

impl FromStr for Autopilot {
    type Err = NoAutopilot;

    fn from_str(text: &str) -> Result<Self, NoAutopilot> {
        let read = || {
            let (host, port) = text.rsplit_once(':')?;
            let port = port.parse().ok().filter(|port| *port != 0)?;
            let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
                Some(address) => address.parse::<Ipv6Addr>().ok()?.to_string(),
                // What is in names, and nothing that an emulator's option lists would take for more.
                None => {
                    let is_in_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
                    (!host.is_empty() && host.chars().all(is_in_name)).then(|| host.to_owned())?
                }
            };
            Some(Autopilot { host, port })
        };
        read().ok_or_else(|| NoAutopilot(text.to_owned()))
    }
}

impl fmt::Display for Autopilot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Autopilot { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl TryFrom<String> for Autopilot {
    type Error = NoAutopilot;

    fn try_from(text: String) -> Result<Self, NoAutopilot> {
        text.parse()
    }
}

impl From<Autopilot> for String {
    fn from(autopilot: Autopilot) -> String {
        autopilot.to_string()
    }
}

/// What a board leaves open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// Memory, in MiB.
    pub memory_mib: Span,
    /// Processors.
    pub cores: Span,
}

/// From where to where a number may be, and what it is if nothing is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Span {
    /// What it is if nothing is said.
    pub default: u32,
    /// The least.
    pub least: u32,
    /// The most.
    pub most: u32,
}

impl Span {
    pub(crate) fn is_sound(self) -> bool {
        (1..=self.default).contains(&self.least) && self.default <= self.most
    }

    pub(crate) fn check(self, what: &'static str, wanted: Option<u32>) -> Result<(), Unfit> {
        let Span { least, most, .. } = self;
        match wanted {
            Some(found) if !(least..=most).contains(&found) => {
                Err(Unfit::OutOfRange { what, found, least, most })
            }
            _ => Ok(()),
        }
    }
}

/// Why a board cannot be the machine that is wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The board is as it is.
    #[error("its memory and processors are those of the real board; leave memory and cores out")]
    Fixed,
    /// More or less than it can have.
    #[error("{what} is {found}; it can be {least} to {most}")]
    OutOfRange {
        /// What is too much or too little.
        what: &'static str,
        /// What is wanted.
        found: u32,
        /// The least it can have.
        least: u32,
        /// The most.
        most: u32,
    },
    /// Nothing on it listens.
    #[error("nothing on this board listens on a port; leave {0} out")]
    NoPorts(Forward),
    /// It has no line to one.
    #[error("this board has no line to an autopilot; leave {0} out")]
    NoLine(Autopilot),
    /// Two are to be reachable at one address.
    #[error("two ports are forwarded from {0}")]
    Twice(SocketAddrV4),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarded_ports_are_read_as_they_are_written() {
        for (text, written) in [
            ("8080:80", "127.0.0.1:8080:80/tcp"),
            ("0.0.0.0:8080:80/tcp", "0.0.0.0:8080:80/tcp"),
            ("14550:14551/udp", "127.0.0.1:14550:14551/udp"),
        ] {
            let forward: Forward = text.parse().expect(text);
            assert_eq!(forward.to_string(), written);
            assert_eq!(written.parse(), Ok(forward));
        }
    }

    #[test]
    fn an_autopilot_is_read_as_it_is_written_and_nothing_else_is_one() {
        for text in ["127.0.0.1:5760", "px4.lab:1", "[::1]:65535"] {
            assert_eq!(text.parse::<Autopilot>().expect(text).to_string(), text);
        }
        for text in
            ["", "5760", ":5760", "a:0", "a:70000", "a", "::1:5760", "a,server=on:1", "[::1]", "[x]:1"]
        {
            let refused = text.parse::<Autopilot>().expect_err(text).to_string();
            assert!(refused.contains("such as 127.0.0.1:5760"), "{refused}");
        }
    }

    #[test]
    fn what_is_no_forwarded_port_is_refused_with_what_would_be_one() {
        for text in [
            "",
            "80",
            "0:80",
            "80:0",
            "a:80:80",
            "80:80/sctp",
            "1.2.3.4:80",
            "70000:80",
            "80:80/tcp/udp",
            "[::1]:1:2",
        ] {
            let refused = text.parse::<Forward>().expect_err(text).to_string();
            assert!(refused.contains("such as 8080:80"), "{refused}");
        }
    }
}
