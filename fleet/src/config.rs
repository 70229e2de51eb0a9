//! Configuration of the roles: a TOML file, then the environment, then command line options.
//!
//! Environment variables are `WASMBED__` and the path of a key, `__` between levels:
//! `WASMBED__BROKER__URL`. Unknown keys are refused, so that a misspelt one is not ignored.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use serde::Deserialize;
use wasmbed_broker::credentials::{Role, Secret};
use wasmbed_broker_client::Tls;
use wasmbed_plan::Policy;
use wasmbed_wire::{DeviceId, GatewayId, HostId, PublicKey, limits::HEARTBEAT_MS, topic::DEFAULT_PREFIX};

use crate::{
    api::Grants,
    connection::{Address, Connection, Dialect, Protocol, TlsFiles},
    gateway::GatewayConfig,
    host_api::HostConfig,
    service::{CERTIFICATE_LIFE, ServiceConfig},
};

/// Name of the file passwords are derived from, in the data directory.
pub const SECRET_FILE: &str = "broker.secret";
/// Name of the certificate authority's folder in the data directory.
const CA_DIR: &str = "ca";
/// How long devices run on without a host, in milliseconds, unless configured: longer than a host takes to start again.
const GRACE_MS: u32 = 30_000;
/// The longest.
const GRACE_MOST_MS: u32 = 3_600_000;
/// Shortest and longest time between heartbeats.
const HEARTBEATS: std::ops::RangeInclusive<u32> = 100..=3_600_000;
/// Shortest and longest life of a device's certificate, in seconds.
const CERTIFICATE_LIVES_S: std::ops::RangeInclusive<u64> = 600..=157_680_000;

/// Everything that can be configured, as written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where data is kept.
    pub data_dir: Option<PathBuf>,
    /// First level or levels of every topic; `wasmbed` if absent.
    pub prefix: Option<String>,
    /// The broker and how to log in.
    pub broker: BrokerConfig,
    /// The fleet service.
    pub service: ServiceSection,
    /// How patient the service is with devices.
    pub health: Policy,
    /// The host role.
    pub host: HostSection,
    /// The gateway role.
    pub gateway: GatewaySection,
    /// What the gateway knows of ROS 2, as `docs/ros.md` has it.
    pub ros: Option<wasmbed_ros::Config>,
}

/// The broker and how to log in.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BrokerConfig {
    /// `mqtt://HOST:PORT`, or `mqtts://HOST:PORT` for TLS.
    pub url: Option<Address>,
    /// The version of MQTT: `5`, `3.1.1`, or `auto`, which finds out.
    pub protocol: Protocol,
    /// User name, if not that of the role.
    pub user: Option<String>,
    /// File with the password, if it is not derived from the secret.
    pub password_file: Option<PathBuf>,
    /// File with the secret passwords are derived from; `broker.secret` in the data directory if absent.
    pub secret_file: Option<PathBuf>,
    /// The authorities that vouch for a broker with TLS (PEM); those of the system if absent.
    pub ca_file: Option<PathBuf>,
    /// The certificate that says who this is (PEM), instead of a password.
    pub cert_file: Option<PathBuf>,
    /// The key of that certificate (PEM).
    pub key_file: Option<PathBuf>,
}

impl BrokerConfig {
    /// What TLS needs.
    pub fn tls_files(&self) -> TlsFiles {
        TlsFiles {
            ca_file: self.ca_file.clone(),
            cert_file: self.cert_file.clone(),
            key_file: self.key_file.clone(),
        }
    }
}

/// The fleet service.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServiceSection {
    /// Time between heartbeats, in milliseconds.
    pub heartbeat_ms: Option<u32>,
    /// Whether unknown devices of known boards are registered when they first speak.
    pub auto_register: bool,
    /// Folder of the certificate authority; with one, the devices that hosts run get certificates instead of passwords.
    pub ca_dir: Option<PathBuf>,
    /// How long a certificate of a device is good, in seconds, 600 to 157 680 000 (five years); 90 days if absent. It
    /// is renewed when a third of that is left.
    pub certificate_life_s: Option<u64>,
    /// A folder of further boards, `NAME/board.toml` each.
    pub boards_dir: Option<PathBuf>,
    /// What modules are granted that have no grants of their own, see [`Grants`].
    pub grants: Grants,
    /// How large the data base may become, in bytes; as large as the disk allows if absent.
    pub max_store_bytes: Option<u64>,
    /// Address and port for `/metrics` and `/healthz`; absent, there are none.
    pub metrics_listen: Option<SocketAddr>,
}

/// The host role.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HostSection {
    /// Its id.
    pub id: Option<HostId>,
    /// Folder of firmware images.
    pub images: Option<PathBuf>,
    /// The program `wasmbed-agent`; the one beside this program if absent.
    pub agent: Option<PathBuf>,
    /// Address and port for `/metrics` and `/healthz`; absent, there are none.
    pub metrics_listen: Option<SocketAddr>,
    /// How long devices run on for another host after the sudden death of this one, in milliseconds; 0 ends them at
    /// once.
    pub grace_ms: Option<u32>,
}

/// The gateway role.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewaySection {
    /// Its id.
    pub id: Option<GatewayId>,
    /// Keys that say what modules are granted, until a keyring takes their place: the service's, and those that sign
    /// keyrings.
    pub trusted: Vec<PublicKey>,
    /// Devices that it speaks for; all if absent.
    pub devices: Option<BTreeSet<DeviceId>>,
    /// Address and port for `/metrics` and `/healthz`; absent, there are none.
    pub metrics_listen: Option<SocketAddr>,
}

impl Config {
    /// Reads the file, if one is given, and the environment.
    ///
    /// # Errors
    /// If the file cannot be read, a key is unknown, or a value cannot be understood.
    pub fn load(file: Option<&Path>) -> anyhow::Result<Self> {
        let mut builder = config::Config::builder();
        if let Some(file) = file {
            builder = builder.add_source(config::File::from(file).format(config::FileFormat::Toml));
        }
        let environment = config::Environment::with_prefix("WASMBED")
            .prefix_separator("__")
            .separator("__")
            .try_parsing(true);
        let loaded: Config = builder
            .add_source(environment)
            .build()
            .and_then(config::Config::try_deserialize)
            .with_context(|| match file {
                Some(file) => format!("cannot use the configuration in {} and WASMBED__…", file.display()),
                None => "cannot use the configuration in WASMBED__… variables".to_owned(),
            })?;
        loaded.check()?;
        Ok(loaded)
    }

    /// Refuses values that cannot work.
    ///
    /// # Errors
    /// The first one, with what may be written instead.
    pub fn check(&self) -> anyhow::Result<()> {
        if let Some(found) = self.service.heartbeat_ms.filter(|ms| !HEARTBEATS.contains(ms)) {
            bail!(
                "service.heartbeat_ms is {found}; it must be between {} and {}",
                HEARTBEATS.start(),
                HEARTBEATS.end()
            );
        }
        if let Some(found) = self.service.certificate_life_s.filter(|s| !CERTIFICATE_LIVES_S.contains(s)) {
            bail!(
                "service.certificate_life_s is {found}; it must be between {} and {}",
                CERTIFICATE_LIVES_S.start(),
                CERTIFICATE_LIVES_S.end()
            );
        }
        if let Some(found) = self.host.grace_ms.filter(|ms| *ms > GRACE_MOST_MS) {
            bail!("host.grace_ms is {found}; it can be at most {GRACE_MOST_MS}");
        }
        if self.health.overdue_tenths < 10 {
            bail!(
                "health.overdue_tenths is {}; below 10 every device would be overdue between two heartbeats",
                self.health.overdue_tenths
            );
        }
        let prefix = self.prefix();
        let is_level = |level: &str| {
            !level.is_empty() && level.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        };
        if prefix.len() > 64 || !prefix.split('/').all(is_level) {
            bail!("prefix is {prefix:?}; use 1 to 64 of a-z, A-Z, 0-9, - and _ with / between levels");
        }
        Ok(())
    }

    /// First level or levels of every topic.
    pub fn prefix(&self) -> &str {
        self.prefix.as_deref().unwrap_or(DEFAULT_PREFIX)
    }

    /// Where data is kept.
    pub fn data_dir(&self) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(default_data_dir)
    }

    /// Folder of the certificate authority.
    pub fn ca_dir(&self) -> PathBuf {
        self.service.ca_dir.clone().unwrap_or_else(|| self.data_dir().join(CA_DIR))
    }

    /// The secret passwords are derived from; made if there is none.
    ///
    /// # Errors
    /// If its file cannot be used.
    pub fn secret(&self) -> anyhow::Result<Secret> {
        let path = match &self.broker.secret_file {
            Some(path) => path.clone(),
            None => {
                let dir = self.data_dir();
                std::fs::create_dir_all(&dir)
                    .with_context(|| format!("cannot create the data directory {}", dir.display()))?;
                dir.join(SECRET_FILE)
            }
        };
        Ok(Secret::load_or_create(&path)?)
    }

    /// The connection of a role to the configured broker.
    ///
    /// # Errors
    /// If no broker is configured, or the password cannot be read.
    pub fn connection(&self, role: &Role) -> anyhow::Result<Connection> {
        let Some(address) = self.broker.url.clone() else {
            bail!(
                "no broker is configured; use --broker mqtt://HOST:PORT, broker.url in the configuration, \
                 or WASMBED__BROKER__URL"
            );
        };
        self.connection_to(address, role)
    }

    /// The connection of a role to this broker.
    ///
    /// # Errors
    /// If the password or the files of TLS cannot be used.
    pub fn connection_to(&self, address: Address, role: &Role) -> anyhow::Result<Connection> {
        let files = self.broker.tls_files();
        if !address.is_tls && files != TlsFiles::default() {
            bail!("{address} is without TLS, but there are files for it; write mqtts://, or leave them out");
        }
        let password = match &self.broker.password_file {
            Some(path) => read_password(path)?,
            None if files.has_certificate() => String::new(),
            None => self.secret()?.password(role),
        };
        let tls = address.is_tls.then(|| Tls::load(files)).transpose()?;
        let username = self.broker.user.clone().unwrap_or_else(|| role.username());
        let dialect = Dialect::new(self.broker.protocol);
        Ok(Connection { address, tls, username, password, prefix: self.prefix().to_owned(), dialect })
    }

    /// What the service runs with.
    ///
    /// # Errors
    /// If the secret cannot be used.
    pub fn service(&self, connection: Connection) -> anyhow::Result<ServiceConfig> {
        Ok(ServiceConfig {
            connection,
            data_dir: self.data_dir(),
            boards_dir: self.service.boards_dir.clone(),
            secret: self.secret()?,
            ca_dir: self.service.ca_dir.clone(),
            certificate_life: self.service.certificate_life_s.map_or(CERTIFICATE_LIFE, Duration::from_secs),
            policy: self.health,
            heartbeat_ms: self.service.heartbeat_ms.unwrap_or(HEARTBEAT_MS),
            auto_register: self.service.auto_register,
            grants: self.service.grants.clone(),
            max_store_bytes: self.service.max_store_bytes,
            metrics_listen: self.service.metrics_listen,
        })
    }

    /// What the host role runs with, its data in `data_dir`.
    ///
    /// # Errors
    /// If no images are configured, or this program cannot be found beside its agent.
    pub fn host(&self, id: HostId, connection: Connection, data_dir: PathBuf) -> anyhow::Result<HostConfig> {
        let Some(firmware_dir) = self.host.images.clone() else {
            bail!(
                "no firmware images are configured; use --images DIR (`cargo xtask fw` builds them), \
                 host.images in the configuration, or WASMBED__HOST__IMAGES"
            );
        };
        let program = std::env::current_exe().context("cannot find this program")?;
        let agent = self.host.agent.clone().unwrap_or_else(|| program.with_file_name("wasmbed-agent"));
        let metrics_listen = self.host.metrics_listen;
        let grace = Duration::from_millis(self.host.grace_ms.unwrap_or(GRACE_MS).into());
        Ok(HostConfig { id, connection, data_dir, firmware_dir, agent, metrics_listen, program, grace })
    }

    /// What the gateway role runs with, its data in `data_dir`.
    ///
    /// # Errors
    /// If nothing is said about ROS 2, or something that cannot be, or no key is trusted.
    pub fn gateway(
        &self,
        id: GatewayId,
        connection: Connection,
        data_dir: PathBuf,
    ) -> anyhow::Result<GatewayConfig> {
        let GatewaySection { trusted, devices, metrics_listen, .. } = self.gateway.clone();
        let Some(ros) = self.ros.clone() else {
            bail!("nothing is configured about ROS 2; write a section [ros] with its topics and services");
        };
        if trusted.is_empty() {
            bail!(
                "no key is trusted, so no module could be granted anything; write gateway.trusted = [\"KEY\"] with \
                 the keys that `wasmbed keys list` shows with the roles root and control"
            );
        }
        // A gateway has no name of its own in ROS 2: its devices are where they would be by themselves.
        let ros = ros.validate("").context("cannot use the section [ros] of the configuration")?;
        Ok(GatewayConfig { id, connection, data_dir, trusted, devices, ros, metrics_listen })
    }
}

/// Reads a password from a file; the line end does not belong to it.
///
/// # Errors
/// If the file cannot be read, or holds nothing.
pub fn read_password(path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the password file {}", path.display()))?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        bail!("the password file {} is empty; write the password into it", path.display());
    }
    Ok(password.to_owned())
}

/// `$XDG_STATE_HOME/wasmbed`, which is most often `~/.local/state/wasmbed`.
fn default_data_dir() -> PathBuf {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .unwrap_or_else(|| PathBuf::from("."))
        .join("wasmbed")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> anyhow::Result<Config> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("wasmbed.toml");
        std::fs::write(&path, text)?;
        Config::load(Some(&path))
    }

    #[test]
    fn a_file_sets_what_it_names() {
        let config = load(
            "prefix = \"lab\"\n[broker]\nurl = \"mqtt://10.0.0.1:1884\"\n[health]\nping_ms = 50\n\
             [service]\nheartbeat_ms = 500\n",
        )
        .expect("a configuration");
        assert_eq!(config.prefix(), "lab");
        assert_eq!(config.broker.url.map(|url| url.port), Some(1884));
        assert_eq!(config.health, Policy { ping_ms: 50, ..Policy::default() });
    }

    #[test]
    fn a_gateway_needs_topics_and_somebody_to_believe() {
        let address: Address = "mqtt://h:1".parse().expect("an address");
        let password = tempfile::NamedTempFile::new().expect("a file");
        let refusal = read_password(password.path()).expect_err("an empty file").to_string();
        assert!(refusal.contains("is empty"), "{refusal}");
        std::fs::write(password.path(), "secret\n").expect("written");
        let gateway = |text: &str| {
            let (id, role) = ("ros".parse().expect("an id"), Role::Operator);
            let mut config = load(text).expect(text);
            config.broker.password_file = Some(password.path().to_owned());
            let connection = config.connection_to(address.clone(), &role).expect("a connection");
            config.gateway(id, connection, PathBuf::new()).map(drop).map_err(|error| format!("{error:#}"))
        };
        let key = "ab".repeat(32);
        let trusted = format!("[gateway]\ntrusted = [\"{key}\"]\ndevices = [\"pump-7\"]\n");
        for (text, expected) in [
            (String::new(), Some("write a section [ros]")),
            ("[ros]\ndomain = 7\n".to_owned(), Some("gateway.trusted")),
            (format!("{trusted}[ros]\ndomain = 233\n"), Some("there is no domain 233")),
            (
                format!(
                    "{trusted}[ros]\ndomain = 7\n[[ros.topic]]\nname = \"/a\"\ntype = \"std_msgs/msg/Empty\"\ndepth = 3\n"
                ),
                None,
            ),
        ] {
            let error = gateway(&text).err();
            match expected {
                Some(expected) => {
                    assert!(error.as_ref().is_some_and(|error| error.contains(expected)), "{error:?}")
                }
                None => assert_eq!(error, None),
            }
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (text, named) in [
            ("prefx = \"lab\"", "prefx"),
            ("[health]\nping = 50", "ping"),
            ("[broker]\nurl = \"http://x\"", "http://x"),
            ("prefix = \"a//b\"", "a//b"),
            ("[service]\nheartbeat_ms = 1", "heartbeat_ms"),
            ("[service]\ncertificate_life_s = 30", "certificate_life_s"),
            ("[service]\ngrants = [\"gpoi\"]", "gpoi"),
            ("[host]\ngrace_ms = 3600001", "grace_ms"),
            ("[gateway]\ntrusted = [\"12\"]", "trusted"),
            ("[ros]\ndomains = 7", "domains"),
            ("[host]\nmetrics_listen = \"9100\"", "metrics_listen"),
        ] {
            let error = format!("{:#}", load(text).expect_err(text));
            assert!(error.contains(named), "{error}");
        }
    }
}
