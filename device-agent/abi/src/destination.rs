//! Where connections go, and where they may go.

use core::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use crate::Errno;

/// Longest destination, in bytes: the longest name (RFC 1035, section 3.1, without its last dot) with protocol and
/// port.
pub const MAX_DESTINATION_BYTES: usize = "tcp:".len() + MAX_NAME_BYTES + ":65535".len();
const MAX_NAME_BYTES: usize = 253;
const MAX_LABEL_BYTES: usize = 63;

/// What a connection is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// A stream of bytes.
    Tcp,
    /// Datagrams.
    Udp,
}

/// What a connection is made to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer<'d> {
    /// An address as it was written.
    Address(IpAddr),
    /// A name that is looked up.
    Name(&'d str),
}

/// Where a connection goes: `tcp:HOST:PORT` or `udp:HOST:PORT`. The host is a name or an address, the latter in
/// brackets if it is one of IPv6.
///
/// Each machine has one text for each of its addresses: what resolvers would also take for an address (`127.1`,
/// `0x7f000001`), the unspecified address and IPv4 addresses inside of IPv6 are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Destination<'d> {
    /// With what.
    pub protocol: Protocol,
    /// To whom.
    pub peer: Peer<'d>,
    /// The port, not 0.
    pub port: u16,
}

impl<'d> Destination<'d> {
    /// Reads a destination.
    ///
    /// # Errors
    /// [`Errno::Invalid`] if it is none.
    pub fn parse(text: &'d str) -> Result<Self, Errno> {
        let (protocol, host, port) = split(text).ok_or(Errno::Invalid)?;
        let (peer, port) = (peer(host).ok_or(Errno::Invalid)?, number(port).ok_or(Errno::Invalid)?);
        Ok(Destination { protocol, peer, port })
    }

    /// Whether one of the patterns, separated by spaces, allows it. What is no [`Pattern`] allows nothing.
    pub fn is_allowed_by(&self, patterns: &str) -> bool {
        patterns.split_ascii_whitespace().filter_map(|text| Pattern::parse(text).ok()).any(|p| p.allows(self))
    }
}

impl fmt::Display for Destination<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        match self.peer {
            Peer::Address(address) => write!(f, "{protocol}:{}", SocketAddr::new(address, self.port)),
            Peer::Name(name) => write!(f, "{protocol}:{name}:{}", self.port),
        }
    }
}

/// Destinations that an operator allows: a [`Destination`] whose port may be `*` for any, and whose name may begin
/// with `*.` for any name below another.
///
/// An address allows that address only and a name that name, whatever it resolves to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pattern<'p> {
    protocol: Protocol,
    host: Host<'p>,
    port: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Host<'p> {
    One(Peer<'p>),
    Below(&'p str),
}

impl<'p> Pattern<'p> {
    /// Reads a pattern.
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(text: &'p str) -> Result<Self, NoPattern> {
        let (protocol, host, port) = split(text).ok_or(NoPattern)?;
        let host = match host.strip_prefix("*.") {
            Some(name) if is_name(name) => Host::Below(name),
            _ => Host::One(peer(host).ok_or(NoPattern)?),
        };
        let port = if port == "*" { None } else { Some(number(port).ok_or(NoPattern)?) };
        Ok(Pattern { protocol, host, port })
    }

    /// Whether it allows a destination.
    pub fn allows(&self, destination: &Destination<'_>) -> bool {
        let host = match (self.host, destination.peer) {
            (Host::One(Peer::Address(allowed)), Peer::Address(address)) => allowed == address,
            (Host::One(Peer::Name(allowed)), Peer::Name(name)) => allowed.eq_ignore_ascii_case(name),
            (Host::Below(allowed), Peer::Name(name)) => is_below(name, allowed),
            _ => false,
        };
        host && self.protocol == destination.protocol && self.port.is_none_or(|port| port == destination.port)
    }
}

/// The text is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoPattern;

impl fmt::Display for NoPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "not a destination; write tcp:HOST:PORT or udp:HOST:PORT, where HOST is a name, *.NAME, an IPv4 address \
             or an IPv6 address in brackets, and PORT a number or *",
        )
    }
}

impl core::error::Error for NoPattern {}

fn split(text: &str) -> Option<(Protocol, &str, &str)> {
    let (protocol, rest) = text.split_once(':')?;
    let (host, port) = rest.rsplit_once(':')?;
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return None,
    };
    Some((protocol, host, port))
}

/// A port; `str::parse` would take a sign as well.
fn number(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

fn peer(host: &str) -> Option<Peer<'_>> {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let address: Ipv6Addr = address.parse().ok()?;
        // Only what is written as IPv4 means an address of IPv4.
        let is_other = address.is_unspecified() || address.to_ipv4_mapped().is_some();
        return (!is_other).then_some(Peer::Address(address.into()));
    }
    match host.parse::<Ipv4Addr>() {
        Ok(address) => (!address.is_unspecified()).then_some(Peer::Address(address.into())),
        Err(_) => is_name(host).then_some(Peer::Name(host)),
    }
}

fn is_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=MAX_LABEL_BYTES).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            && !label.starts_with('-')
    };
    // Resolvers take a name whose last part is a number, in any notation, for an address of IPv4.
    let last = name.rsplit('.').next().unwrap_or(name);
    let is_number = last.starts_with(|c: char| c.is_ascii_digit());
    name.len() <= MAX_NAME_BYTES && name.split('.').all(is_label) && !is_number
}

fn is_below(name: &str, parent: &str) -> bool {
    let Some(at) = name.len().checked_sub(parent.len() + 1) else { return false };
    let (head, tail) = name.split_at_checked(at).unwrap_or_default();
    !head.is_empty() && tail.strip_prefix('.').is_some_and(|tail| tail.eq_ignore_ascii_case(parent))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{format, string::ToString};

    fn allowed(patterns: &str, destination: &str) -> bool {
        Destination::parse(destination).expect(destination).is_allowed_by(patterns)
    }

    #[test]
    fn a_destination_is_protocol_host_and_port() {
        let parsed = Destination::parse("tcp:127.0.0.1:1883");
        let peer = Peer::Address(Ipv4Addr::LOCALHOST.into());
        assert_eq!(parsed, Ok(Destination { protocol: Protocol::Tcp, peer, port: 1883 }));
        let peer = Peer::Address(Ipv6Addr::LOCALHOST.into());
        assert_eq!(Destination::parse("udp:[::1]:1").map(|parsed| parsed.peer), Ok(peer));
        assert_eq!(Destination::parse("tcp:b_1.x-y:1").map(|parsed| parsed.peer), Ok(Peer::Name("b_1.x-y")));
        for text in ["tcp:127.0.0.1:1883", "udp:[::1]:1", "udp:a.b:65535"] {
            assert_eq!(Destination::parse(text).map(|parsed| parsed.to_string()).as_deref(), Ok(text));
        }
        let longest = format!("tcp:{}{}:65535", "a.".repeat(126), "a");
        assert_eq!(longest.len(), MAX_DESTINATION_BYTES);
        assert!(Destination::parse(&longest).is_ok());
    }

    #[test]
    fn what_has_another_meaning_elsewhere_is_refused() {
        for host in [
            "0.0.0.0",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0177.0.0.1",
            "127.0.0.01",
            "127.0.0.0x1",
            "1.2.3",
            "[fe80::1%eth0]",
            "::1",
            "[127.0.0.1]",
            "a..b",
            ".a",
            "a.",
            "-a",
            "a b",
            "*",
            "*.a",
            "",
            "a@b",
            "a/b",
            "\u{e9}",
            "localhost%00",
            "tcp:a",
        ] {
            assert_eq!(Destination::parse(&format!("tcp:{host}:80")), Err(Errno::Invalid), "{host}");
        }
        for text in [
            "",
            "tcp",
            "tcp:a",
            "a:80",
            "sctp:a:80",
            "TCP:a:80",
            "tcp:a:",
            "tcp:a:0",
            "tcp:a:+80",
            "tcp:a:65536",
            "tcp:a:*",
            "tcp:a:80 ",
        ] {
            assert_eq!(Destination::parse(text), Err(Errno::Invalid), "{text:?}");
        }
    }

    #[test]
    fn nothing_is_allowed_but_what_is_listed() {
        let list = "tcp:127.0.0.1:1883 udp:[::1]:* tcp:*.example.org:443  tcp:broker:1883";
        for destination in [
            "tcp:127.0.0.1:1883",
            "udp:[::1]:9",
            "udp:[0:0::1]:9",
            "tcp:a.example.org:443",
            "tcp:a.b.EXAMPLE.org:443",
            "tcp:Broker:1883",
        ] {
            assert!(allowed(list, destination), "{destination}");
        }
        for destination in [
            "tcp:127.0.0.1:1884",
            "udp:127.0.0.1:1883",
            "tcp:127.0.0.2:1883",
            "tcp:[::1]:9",
            "udp:[::2]:9",
            "tcp:example.org:443",
            "tcp:badexample.org:443",
            "tcp:a.example.org:80",
            "tcp:a.example.org.evil:443",
            "tcp:localhost:1883",
            "tcp:broker.example:1883",
            "tcp:[::7f00:1]:1883",
        ] {
            assert!(!allowed(list, destination), "{destination}");
            assert!(!allowed("", destination), "{destination}");
        }
    }

    #[test]
    fn what_is_no_pattern_allows_nothing_and_says_what_would_be_one() {
        for pattern in [
            "*",
            "tcp:*:80",
            "tcp:*.*:80",
            "tcp:*.1:80",
            "*:a:80",
            "tcp:a:**",
            "tcp:0.0.0.0:80",
            "tcp:[::]:*",
            "tcp:[::ffff:10.0.0.1]:80",
            "tcp:10.0.0.0/8:80",
            "tcp:a*.org:80",
        ] {
            assert_eq!(Pattern::parse(pattern), Err(NoPattern), "{pattern}");
            assert!(!allowed(pattern, "tcp:10.0.0.1:80") && !allowed(pattern, "tcp:a.org:80"), "{pattern}");
        }
        assert!(NoPattern.to_string().contains("*.NAME"));
    }
}
