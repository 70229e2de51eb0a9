//! What can be configured: [`Config`] as written, [`Settings`] as checked.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::credentials::{RoleKind, Secret, SecretError};
use crate::retained::Room;
use crate::tls::{Tls, TlsConfig, TlsError};
use crate::topic;

/// The configuration as written in TOML or in the environment (`WASMBED_BROKER__LISTEN=...`); unknown keys are refused.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address and port for MQTT without TLS; port 0 lets the system choose, an empty text turns it off.
    pub listen: String,
    /// Address and port for MQTT over TLS; needs [`Config::tls`].
    pub listen_tls: Option<String>,
    /// Address and port for `/metrics` and `/healthz`; absent, there are none.
    pub metrics_listen: Option<String>,
    /// Certificate, key and authorities.
    pub tls: Option<TlsConfig>,
    /// The roles that may log in with a password instead of a certificate; all of them unless said otherwise.
    pub password_roles: Vec<RoleKind>,
    /// File with the secret that passwords are made from; made when missing.
    pub secret_file: PathBuf,
    /// First level or levels of every topic.
    pub prefix: String,
    /// Clients connected at a time.
    pub max_connections: usize,
    /// Clients connecting at a time.
    pub max_handshakes: usize,
    /// Time from the first byte to a complete CONNECT, in milliseconds.
    pub handshake_timeout_ms: u64,
    /// Longest a client may not take what is sent to it, in milliseconds.
    pub write_timeout_ms: u64,
    /// Largest packet of the service, operators and hosts, in bytes.
    pub max_packet_bytes: usize,
    /// Largest packet of a device, and of anybody before authentication, in bytes.
    pub max_device_packet_bytes: usize,
    /// Unacknowledged messages on the way to one client.
    pub max_inflight: u16,
    /// Subscriptions of one client.
    pub max_subscriptions: usize,
    /// Retained messages of all clients.
    pub max_retained_messages: usize,
    /// Bytes of retained messages of all clients.
    pub max_retained_bytes: usize,
    /// Retained messages of one device or host.
    pub max_retained_messages_each: usize,
    /// Bytes of retained messages of one device or host.
    pub max_retained_bytes_each: usize,
    /// Sessions kept for clients that are away; 0 keeps none.
    pub max_kept_sessions: usize,
    /// Longest time a session is kept, in seconds; 0 keeps none.
    pub max_session_expiry_s: u32,
    /// Messages queued for a client that is away; one more and its session ends.
    pub max_queued_messages: usize,
    /// Bytes queued for a client that is away; more and its session ends.
    pub max_queued_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: "127.0.0.1:1883".to_owned(),
            listen_tls: None,
            metrics_listen: None,
            tls: None,
            password_roles: RoleKind::ALL.to_vec(),
            secret_file: PathBuf::from("broker.secret"),
            prefix: wasmbed_wire::topic::DEFAULT_PREFIX.to_owned(),
            max_connections: 1024,
            max_handshakes: 256,
            handshake_timeout_ms: 10_000,
            write_timeout_ms: 20_000,
            max_packet_bytes: 20 << 20,
            max_device_packet_bytes: 64 << 10,
            max_inflight: 64,
            max_subscriptions: 100,
            max_retained_messages: 100_000,
            max_retained_bytes: 64 << 20,
            max_retained_messages_each: 100,
            max_retained_bytes_each: 1 << 20,
            max_kept_sessions: 1024,
            max_session_expiry_s: 3600,
            max_queued_messages: 1000,
            max_queued_bytes: 4 << 20,
        }
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file or the environment cannot be read as a configuration.
    #[error("cannot read the broker's configuration")]
    Read(#[source] Box<config::ConfigError>),
    /// A value is out of range.
    #[error("the broker's setting {name} is {found}; it must be {expected}")]
    Value {
        /// The key.
        name: &'static str,
        /// What was written.
        found: String,
        /// What may be written.
        expected: String,
    },
    /// Certificates cannot be used.
    #[error("TLS is not configured as it must be")]
    Tls(#[from] TlsError),
    /// The secret cannot be used.
    #[error("no secret to check passwords with")]
    Secret(#[from] SecretError),
}

impl Config {
    /// Reads the defaults, then `file` if given, then the environment.
    pub fn load(file: Option<&Path>) -> Result<Self, SettingsError> {
        let mut sources = config::Config::builder();
        if let Some(file) = file {
            sources = sources.add_source(config::File::from(file).format(config::FileFormat::Toml));
        }
        let environment = config::Environment::with_prefix("WASMBED_BROKER")
            .prefix_separator("__")
            .separator("__")
            .try_parsing(true);
        let loaded = sources.add_source(environment).build().and_then(config::Config::try_deserialize);
        loaded.map_err(|error| SettingsError::Read(Box::new(error)))
    }

    /// Checks all values; loads or makes the secret.
    pub fn into_settings(self) -> Result<Settings, SettingsError> {
        let secret = Secret::load_or_create(&self.secret_file)?;
        self.with_secret(secret)
    }

    /// Checks all values; `secret_file` is not looked at.
    pub fn with_secret(self, secret: Secret) -> Result<Settings, SettingsError> {
        let listen = match self.listen.as_str() {
            "" => None,
            text => Some(address("listen", text, "an address such as 127.0.0.1:1883")?),
        };
        let listen_tls = match &self.listen_tls {
            Some(text) => Some(address("listen_tls", text, "an address such as 0.0.0.0:8883")?),
            None => None,
        };
        let metrics_listen = match &self.metrics_listen {
            Some(text) => Some(address("metrics_listen", text, "an address such as 127.0.0.1:9100")?),
            None => None,
        };
        let tls = match (&listen_tls, &self.tls) {
            (Some(_), Some(tls)) => Some(Tls::load(tls.clone())?),
            (Some(_), None) => return Err(wrong("tls", "missing", "given where listen_tls is")),
            (None, Some(_)) => return Err(wrong("listen_tls", "missing", "given where tls is")),
            (None, None) if listen.is_none() => {
                return Err(wrong("listen", "", "an address where listen_tls is none"));
            }
            (None, None) => None,
        };
        let prefix_ok =
            self.prefix.split('/').all(is_level) && topic::is_name(&self.prefix) && self.prefix.len() <= 64;
        if !prefix_ok {
            return Err(wrong(
                "prefix",
                &self.prefix,
                "1 to 64 of a-z, A-Z, 0-9, - and _ with / between levels",
            ));
        }
        let device = self.max_device_packet_bytes;
        between("max_connections", self.max_connections, 1, 100_000)?;
        between("max_handshakes", self.max_handshakes, 1, 100_000)?;
        between("handshake_timeout_ms", self.handshake_timeout_ms as usize, 10, 600_000)?;
        between("write_timeout_ms", self.write_timeout_ms as usize, 10, 600_000)?;
        between("max_device_packet_bytes", device, 1024, 256 << 20)?;
        between("max_packet_bytes", self.max_packet_bytes, device, 256 << 20)?;
        between("max_inflight", usize::from(self.max_inflight), 1, 10_000)?;
        between("max_subscriptions", self.max_subscriptions, 1, 10_000)?;
        between("max_kept_sessions", self.max_kept_sessions, 0, 100_000)?;
        let password_roles = self.password_roles.clone();
        let prefix = self.prefix.clone();
        let limits = self.limits();
        Ok(Settings { listen, listen_tls, metrics_listen, tls, password_roles, secret, prefix, limits })
    }

    fn limits(&self) -> Limits {
        Limits {
            connections: self.max_connections,
            handshakes: self.max_handshakes,
            handshake: Duration::from_millis(self.handshake_timeout_ms),
            write: Duration::from_millis(self.write_timeout_ms),
            packet_bytes: self.max_packet_bytes,
            device_packet_bytes: self.max_device_packet_bytes,
            inflight: self.max_inflight,
            subscriptions: self.max_subscriptions,
            retained: Room { messages: self.max_retained_messages, bytes: self.max_retained_bytes },
            retained_each: Room {
                messages: self.max_retained_messages_each,
                bytes: self.max_retained_bytes_each,
            },
            kept_sessions: self.max_kept_sessions,
            session_expiry_s: if self.max_kept_sessions == 0 { 0 } else { self.max_session_expiry_s },
            queue: Room { messages: self.max_queued_messages, bytes: self.max_queued_bytes },
        }
    }
}

/// A checked configuration.
#[derive(Debug)]
pub struct Settings {
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) listen_tls: Option<SocketAddr>,
    pub(crate) metrics_listen: Option<SocketAddr>,
    pub(crate) tls: Option<Tls>,
    pub(crate) password_roles: Vec<RoleKind>,
    pub(crate) secret: Secret,
    pub(crate) prefix: String,
    pub(crate) limits: Limits,
}

/// See [`Config`] for each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) connections: usize,
    pub(crate) handshakes: usize,
    pub(crate) handshake: Duration,
    pub(crate) write: Duration,
    pub(crate) packet_bytes: usize,
    pub(crate) device_packet_bytes: usize,
    pub(crate) inflight: u16,
    pub(crate) subscriptions: usize,
    pub(crate) retained: Room,
    pub(crate) retained_each: Room,
    pub(crate) kept_sessions: usize,
    pub(crate) session_expiry_s: u32,
    pub(crate) queue: Room,
}

impl Default for Limits {
    fn default() -> Self {
        Config::default().limits()
    }
}

fn address(name: &'static str, text: &str, expected: &str) -> Result<SocketAddr, SettingsError> {
    text.parse().map_err(|_| wrong(name, text, expected))
}

fn is_level(level: &str) -> bool {
    !level.is_empty() && level.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

fn between(name: &'static str, found: usize, least: usize, most: usize) -> Result<(), SettingsError> {
    if (least..=most).contains(&found) {
        return Ok(());
    }
    Err(wrong(name, &found.to_string(), &format!("between {least} and {most}")))
}

fn wrong(name: &'static str, found: &str, expected: &str) -> SettingsError {
    SettingsError::Value { name, found: format!("{found:?}"), expected: expected.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, SettingsError> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("broker.conf");
        std::fs::write(&path, text).expect("written");
        Config::load(Some(&path))
    }

    #[test]
    fn a_file_changes_what_it_names() {
        let config = load("listen = \"127.0.0.1:0\"\nmax_connections = 3").expect("a configuration");
        assert_eq!((config.listen.as_str(), config.max_connections), ("127.0.0.1:0", 3));
        assert_eq!(config.max_inflight, Config::default().max_inflight);
    }

    #[test]
    fn unknown_keys_are_refused_by_name() {
        let error = load("max_conections = 3").expect_err("misspelt");
        let SettingsError::Read(source) = error else { panic!("{error}") };
        assert!(source.to_string().contains("max_conections"), "{source}");
    }

    #[test]
    fn values_out_of_range_are_refused_with_what_is_expected() {
        let secret = Secret::new([0; 32]);
        let wrong = [
            Config { listen: "here".to_owned(), ..Config::default() },
            Config { metrics_listen: Some("9100".to_owned()), ..Config::default() },
            Config { prefix: "a/+".to_owned(), ..Config::default() },
            Config { prefix: "$share".to_owned(), ..Config::default() },
            Config { max_connections: 0, ..Config::default() },
            Config { listen: String::new(), ..Config::default() },
            Config { listen_tls: Some("127.0.0.1:0".to_owned()), ..Config::default() },
            Config { tls: Some(TlsConfig::default()), ..Config::default() },
            Config { max_packet_bytes: 10, ..Config::default() },
        ];
        for config in wrong {
            let error = config.with_secret(secret.clone()).expect_err("refused").to_string();
            assert!(error.contains("it must be"), "{error}");
        }
    }
}
