//! The brokers a fleet is tested with. All take the same passwords or certificates, so clients cannot tell.

mod mosquitto;
mod rabbitmq;

use std::{
    fmt::Write as _,
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use tempfile::TempDir;

use crate::{Process, program, wait_for};

/// Which broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `wasmbed-broker`.
    Embedded,
    /// Debian's Mosquitto.
    Mosquitto,
    /// Debian's RabbitMQ with its MQTT plugin.
    RabbitMq,
    /// `wasmbed-broker` that lets in nobody without a certificate.
    EmbeddedTls,
    /// Mosquitto that lets in nobody without a certificate.
    MosquittoTls,
}

impl Kind {
    /// Whether it speaks TLS.
    pub fn is_tls(self) -> bool {
        matches!(self, Kind::EmbeddedTls | Kind::MosquittoTls)
    }
}

/// The folder of the certificate authority in a fleet's.
pub(crate) const CA: &str = "ca";
/// The folder of the broker's certificate in a fleet's.
pub(crate) const IDENTITY: &str = "broker.identity";
const TLS_CONFIG: &str = "broker.toml";

/// Every device, host and person that a test may connect as: user name and role.
pub(crate) type Users<'u> = &'u [(String, String)];

/// The secret of every test broker; passwords are derived from it.
const SECRET: [u8; 32] = [0x5a; 32];
/// Name of the file with it.
const SECRET_FILE: &str = "broker.secret";
/// How long a broker may take to start on a busy machine.
const START: Duration = Duration::from_secs(120);

/// The password of a role such as `device/n2-1`, at every test broker.
///
/// # Errors
/// Never: the secret is one.
pub fn password(role: &str) -> Result<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(&SECRET)?;
    mac.update(role.as_bytes());
    Ok(mac.finalize().into_bytes().iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

/// The gateway that a fleet may have.
pub(crate) const GATEWAY: &str = "ros";

/// User names and roles of these devices, this host, the gateway, the service and an operator.
pub(crate) fn users<'d>(devices: impl IntoIterator<Item = &'d str>, host: &str) -> Vec<(String, String)> {
    let mut users: Vec<(String, String)> =
        devices.into_iter().map(|id| (id.to_owned(), format!("device/{id}"))).collect();
    users.push((format!("_host.{host}"), format!("host/{host}")));
    users.push((format!("_gateway.{GATEWAY}"), format!("gateway/{GATEWAY}")));
    users.push(("_service".to_owned(), "service/default".to_owned()));
    users.push(("_operator".to_owned(), "operator/default".to_owned()));
    users
}

/// A port that was free a moment ago; a broker that is restarted needs the same one again.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A running broker, and what it needs beside it.
pub(crate) struct Running {
    // It ends before its helper does.
    broker: Process,
    _helper: Option<Process>,
}

impl Running {
    /// Ends it as a power cut would.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.broker.kill()
    }
}

/// Writes what a broker is configured with.
pub(crate) fn write(kind: Kind, dir: &Path, port: u16, users: Users<'_>) -> Result<()> {
    let secret: String = SECRET.iter().map(|byte| format!("{byte:02x}")).collect();
    let path = dir.join(SECRET_FILE);
    fs::write(&path, secret + "\n")?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    match kind {
        Kind::Embedded => Ok(()),
        Kind::EmbeddedTls => write_tls_config(dir, port),
        Kind::Mosquitto | Kind::MosquittoTls => mosquitto::write(kind, dir, port, users),
        Kind::RabbitMq => rabbitmq::write(dir, port, users),
    }
}

/// Starts a broker with what was written and waits until it answers.
pub(crate) fn start(kind: Kind, dir: &Path, port: u16) -> Result<Running> {
    let (command, helper) = match kind {
        Kind::Embedded => {
            let mut command = Command::new(program("wasmbed-broker")?);
            command.arg("--listen").arg(format!("127.0.0.1:{port}"));
            command.arg("--secret-file").arg(dir.join(SECRET_FILE));
            (command, None)
        }
        Kind::EmbeddedTls => {
            let mut command = Command::new(program("wasmbed-broker")?);
            command.arg("--config").arg(dir.join(TLS_CONFIG));
            command.arg("--secret-file").arg(dir.join(SECRET_FILE));
            (command, None)
        }
        Kind::Mosquitto | Kind::MosquittoTls => (mosquitto::command(dir), None),
        Kind::RabbitMq => {
            let (command, mapper) = rabbitmq::command(dir, port)?;
            (command, Some(mapper))
        }
    };
    // What earlier starts have logged says nothing about this one.
    let logged = fs::metadata(dir.join("broker.log")).map_or(0, |log| log.len());
    let broker = Process::start("broker", dir, &command)?;
    wait_for("the broker to be there", START, || match kind {
        Kind::RabbitMq => rabbitmq::is_up(dir, logged),
        Kind::Embedded | Kind::EmbeddedTls | Kind::Mosquitto | Kind::MosquittoTls => {
            Ok(TcpStream::connect(("127.0.0.1", port)).is_ok())
        }
    })?;
    Ok(Running { broker, _helper: helper })
}

/// Files of the broker's certificate and of the authority in a fleet's folder.
struct TlsPaths {
    cert: PathBuf,
    key: PathBuf,
    ca: PathBuf,
    crl: PathBuf,
}

impl TlsPaths {
    fn of(dir: &Path) -> Self {
        let (identity, ca) = (dir.join(IDENTITY), dir.join(CA));
        TlsPaths {
            cert: identity.join("identity.pem"),
            key: identity.join("identity.key"),
            ca: ca.join("ca.pem"),
            crl: ca.join("crl.pem"),
        }
    }
}

fn write_tls_config(dir: &Path, port: u16) -> Result<()> {
    let TlsPaths { cert, key, ca, crl } = TlsPaths::of(dir);
    let config = format!(
        "listen = ''\nlisten_tls = '127.0.0.1:{port}'\npassword_roles = []\n[tls]\n\
         cert_file = '{}'\nkey_file = '{}'\nclient_ca_file = '{}'\ncrl_file = '{}'\n",
        cert.display(),
        key.display(),
        ca.display(),
        crl.display()
    );
    Ok(fs::write(dir.join(TLS_CONFIG), config)?)
}

/// Has `wasmbed` write the permissions of every role for a broker into `dir`.
fn write_acl(broker: &str, dir: &Path, users: Users<'_>, with_devices: bool) -> Result<()> {
    let hosts: Vec<&str> = users.iter().filter_map(|(user, _)| user.strip_prefix("_host.")).collect();
    let mut command = Command::new(program("wasmbed")?);
    command.args(["broker", "acl", "--for", broker, "--hosts", &hosts.join(","), "--gateways", GATEWAY]);
    command.arg("--output").arg(dir);
    if with_devices {
        let is_device = |user: &&str| !user.starts_with('_');
        let devices: Vec<&str> = users.iter().map(|(user, _)| user.as_str()).filter(is_device).collect();
        command.args(["--devices", &devices.join(",")]);
    }
    let written = command.output().context("cannot start wasmbed")?;
    ensure!(written.status.success(), "wasmbed broker acl: {}", String::from_utf8_lossy(&written.stderr));
    Ok(())
}

/// A broker without a fleet. Dropping it ends it.
pub struct Broker {
    running: Running,
    port: u16,
    dir: TempDir,
}

impl Broker {
    /// Starts one that knows these devices, the service and an operator.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start(kind: Kind, devices: &[&str]) -> Result<Self> {
        Self::start_altered(kind, devices, |_| Ok(()))
    }

    /// The same after what it is configured with was changed.
    ///
    /// # Errors
    /// Those of `alter`, and if it does not start.
    pub fn start_altered(
        kind: Kind,
        devices: &[&str],
        alter: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<Self> {
        let dir = TempDir::with_prefix("wasmbed-broker-")?;
        let port = free_port()?;
        write(kind, dir.path(), port, &users(devices.iter().copied(), "none"))?;
        alter(dir.path())?;
        Ok(Broker { running: start(kind, dir.path(), port)?, port, dir })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.running.broker.id()
    }

    /// Runs `wasmbed` on it with every identity.
    ///
    /// # Errors
    /// If the program cannot be started.
    pub fn wasmbed(&self, arguments: &[&str]) -> Result<Output> {
        let url = format!("mqtt://{}", self.address());
        let mut command = Command::new(program("wasmbed")?);
        command
            .args(arguments)
            .args(["--broker", &url, "--secret-file"])
            .arg(self.dir.path().join(SECRET_FILE));
        command.output().context("cannot start wasmbed")
    }
}
