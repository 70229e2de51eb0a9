//! How anything in this crate reaches the broker: address, identity, topic prefix.
//!
//! One type for service, host, bridge and command line, so that what is tuned once (packet size,
//! keep-alive, clean start) is the same everywhere. MQTT 5.
//!
//! Not here: who may do what (`wasmbed-broker`), and what is said (`host_api`, `control`).

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    str::FromStr,
    time::Duration,
};

use rumqttc::v5::MqttOptions;
use serde::{Deserialize, Serialize};

/// Largest packet accepted and sent, in bytes: an artifact upload with room for its properties.
pub const MAX_PACKET_BYTES: u32 = wasmbed_wire::limits::MAX_PAYLOAD_BYTES + 64 * 1024;
/// Time without traffic after which the client pings, and after one and a half of which the broker
/// gives it up, in seconds.
const KEEP_ALIVE_S: u64 = 10;

/// Where a broker listens: `mqtt://host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Name or IP address; IPv6 without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// The text is no broker address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not a broker address; write mqtt://HOST:PORT, for example mqtt://127.0.0.1:1883")]
pub struct BadAddress {
    found: String,
}

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let bad = || BadAddress { found: text.to_owned() };
        let rest = match text.split_once("://") {
            Some(("mqtt" | "tcp", rest)) => rest,
            Some(_) => return Err(bad()),
            None => text,
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.strip_prefix('[').and_then(|v6| v6.split_once(']')) {
            Some((host, port)) => (host, port.strip_prefix(':')),
            None => match rest.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            },
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        if host.is_empty() || !host.chars().all(plain) {
            return Err(bad());
        }
        let port = port.map_or(Ok(1883), |port| port.parse().map_err(|_| bad()))?;
        Ok(Address { host: host.to_owned(), port })
    }
}

impl Address {
    /// The same broker from inside of a device whose emulated network has the host's loopback at `loopback`.
    #[must_use]
    pub fn as_seen_from_guest(&self, loopback: Ipv4Addr) -> Address {
        let is_loopback =
            self.host == "localhost" || self.host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        match is_loopback {
            true => Address { host: loopback.to_string(), port: self.port },
            false => self.clone(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "mqtt://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "mqtt://{}:{}", self.host, self.port)
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

/// One client's way to the broker.
#[derive(Clone, PartialEq, Eq)]
pub struct Connection {
    /// The broker.
    pub address: Address,
    /// MQTT user name.
    pub username: String,
    /// MQTT password.
    pub password: String,
    /// First level or levels of every topic.
    pub prefix: String,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("address", &self.address)
            .field("username", &self.username)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// The same broker and prefix under another identity.
    #[must_use]
    pub fn with_identity(&self, username: impl Into<String>, password: impl Into<String>) -> Self {
        Connection { username: username.into(), password: password.into(), ..self.clone() }
    }

    /// Options of an MQTT 5 client with this client id: clean start, because every message that
    /// matters is a retained level or is asked for again.
    pub fn options(&self, client_id: impl Into<String>) -> MqttOptions {
        let mut options = MqttOptions::new(client_id, &self.address.host, self.address.port);
        options
            .set_credentials(&self.username, &self.password)
            .set_keep_alive(Duration::from_secs(KEEP_ALIVE_S))
            .set_clean_start(true)
            .set_max_packet_size(Some(MAX_PACKET_BYTES));
        let mut network = options.network_options();
        // Messages are small and somebody waits for each.
        network.set_tcp_nodelay(true);
        options.set_network_options(network);
        options
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
        assert_eq!(from_guest("mqtt://localhost"), "mqtt://10.0.2.2:1883");
        assert_eq!(from_guest("mqtt://[::1]:99"), "mqtt://10.0.2.2:99");
        assert_eq!(from_guest("mqtt://192.0.2.1:99"), "mqtt://192.0.2.1:99");
        assert_eq!(from_guest("mqtt://broker.example:99"), "mqtt://broker.example:99");
    }

    #[test]
    fn addresses_are_read_with_and_without_scheme_and_port() {
        let read = |text: &str| text.parse::<Address>().map(|address| address.to_string());
        assert_eq!(read("mqtt://127.0.0.1:1883"), Ok("mqtt://127.0.0.1:1883".into()));
        assert_eq!(read("broker.example"), Ok("mqtt://broker.example:1883".into()));
        assert_eq!(read("mqtt://[::1]:99/"), Ok("mqtt://[::1]:99".into()));
        for bad in ["", "http://x", "mqtt://:1883", "a b:1", "x:70000"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
