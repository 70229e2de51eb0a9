//! Where a broker listens.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where a broker listens: `mqtt://host:port`, or `mqtts://host:port` for TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Name or IP address; IPv6 without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Whether it speaks TLS there.
    pub is_tls: bool,
}

/// The text is no broker address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{found:?} is not a broker address; write mqtt://HOST:PORT, for example mqtt://127.0.0.1:1883, or mqtts:// for TLS"
)]
pub struct BadAddress {
    found: String,
}

/// Ports of the two schemes (IANA: `mqtt`, `secure-mqtt`).
const PORT: u16 = 1883;
const TLS_PORT: u16 = 8883;

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let bad = || BadAddress { found: text.to_owned() };
        let (is_tls, rest) = match text.split_once("://") {
            Some(("mqtt" | "tcp", rest)) => (false, rest),
            Some(("mqtts" | "ssl", rest)) => (true, rest),
            Some(_) => return Err(bad()),
            None => (false, text),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.strip_prefix('[').and_then(|v6| v6.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':').ok_or_else(bad)?)),
            None => match rest.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            },
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        if host.is_empty() || !host.chars().all(plain) {
            return Err(bad());
        }
        let usual = if is_tls { TLS_PORT } else { PORT };
        let port = port.map_or(Ok(usual), |port| port.parse().map_err(|_| bad()))?;
        Ok(Address { host: host.to_owned(), port, is_tls })
    }
}

impl Address {
    /// The same broker from inside of a device whose emulated network has the host's loopback at `loopback`.
    #[must_use]
    pub fn as_seen_from_guest(&self, loopback: Ipv4Addr) -> Address {
        let is_loopback =
            self.host == "localhost" || self.host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        let host = if is_loopback { loopback.to_string() } else { self.host.clone() };
        Address { host, ..*self }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "mqtts" } else { "mqtt" };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

impl Serialize for Address {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_finds_the_hosts_loopback_elsewhere_and_everything_else_where_it_is() {
        let from_guest = |text: &str| {
            let address = text.parse::<Address>().expect("an address");
            address.as_seen_from_guest(Ipv4Addr::new(10, 0, 2, 2)).to_string()
        };
        assert_eq!(from_guest("mqtt://127.0.0.1:99"), "mqtt://10.0.2.2:99");
        assert_eq!(from_guest("mqtts://localhost"), "mqtts://10.0.2.2:8883");
        assert_eq!(from_guest("mqtt://[::1]:99"), "mqtt://10.0.2.2:99");
        assert_eq!(from_guest("mqtt://192.0.2.1:99"), "mqtt://192.0.2.1:99");
        assert_eq!(from_guest("mqtt://broker.example:99"), "mqtt://broker.example:99");
    }

    #[test]
    fn addresses_are_read_with_and_without_scheme_and_port() {
        let read = |text: &str| text.parse::<Address>().map(|address| address.to_string());
        assert_eq!(read("mqtt://127.0.0.1:1883"), Ok("mqtt://127.0.0.1:1883".into()));
        assert_eq!(read("broker.example"), Ok("mqtt://broker.example:1883".into()));
        assert_eq!(read("mqtts://broker.example"), Ok("mqtts://broker.example:8883".into()));
        assert_eq!(read("mqtt://[::1]:99/"), Ok("mqtt://[::1]:99".into()));
        assert_eq!(read("[::1]"), Ok("mqtt://[::1]:1883".into()));
        for bad in ["", "http://x", "mqtt://:1883", "a b:1", "x:70000", "[::1]99"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
