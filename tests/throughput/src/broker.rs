//! The brokers that are compared, each as a process of its own on the loopback.

use std::{
    collections::HashMap,
    fmt, fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, SysconfVar, sysconf},
};
use rumqttd::{ConnectionSettings, RouterConfig, ServerSettings};
use tempfile::TempDir;
use wasmbed_broker::credentials::{Role, Secret};

use crate::certificates::Certificates;

/// How long a broker may take to start.
const START: Duration = Duration::from_secs(20);
const SECRET: [u8; 32] = [0x5a; 32];
/// Of each broker.
const MAX_CONNECTIONS: usize = 20_000;

/// Which broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Ours,
    Mosquitto,
    Rumqttd,
}

impl Kind {
    pub(crate) const ALL: [Kind; 3] = [Kind::Ours, Kind::Mosquitto, Kind::Rumqttd];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Ours => "ours",
            Kind::Mosquitto => "mosquitto",
            Kind::Rumqttd => "rumqttd",
        }
    }
}

/// How clients connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Link {
    Plain,
    Tls,
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Link::Plain => "plain",
            Link::Tls => "tls",
        })
    }
}

/// Who a client is.
pub(crate) struct Login {
    pub(crate) client_id: String,
    pub(crate) user: String,
    pub(crate) password: String,
}

impl Login {
    /// A client with the name of a role and an id of its own.
    pub(crate) fn new(user: &str, client_id: String) -> Result<Self> {
        let role = Role::parse(user).with_context(|| format!("{user:?} is no role"))?;
        Ok(Login { client_id, user: user.to_owned(), password: Secret::new(SECRET).password(&role) })
    }
}

/// A running broker that ends when it is dropped.
pub(crate) struct Broker {
    child: Child,
    plain: u16,
    tls: u16,
    certificates: Certificates,
    _dir: TempDir,
}

impl Drop for Broker {
    fn drop(&mut self) {
        // One that has ended already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Broker {
    /// Starts one and waits until it answers.
    pub(crate) fn start(kind: Kind, ours: &Path) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let certificates = Certificates::write(dir.path())?;
        let (plain, tls) = (free_port()?, free_port()?);
        let mut command = match kind {
            Kind::Ours => {
                let mut command = Command::new(ours);
                command.arg("--config").arg(write_ours(dir.path(), plain, tls)?).env("RUST_LOG", "warn");
                command
            }
            Kind::Mosquitto => {
                let mut command = Command::new("mosquitto");
                command.arg("-c").arg(write_mosquitto(dir.path(), plain, tls)?);
                command
            }
            Kind::Rumqttd => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg("rumqttd").arg(plain.to_string());
                command
            }
        };
        let log = fs::File::create(dir.path().join("log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("cannot start {}", kind.name()))?;
        let broker = Broker { child, plain, tls, certificates, _dir: dir };
        let until = Instant::now() + START;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, plain)).is_err() {
            if Instant::now() > until {
                let said = fs::read_to_string(broker._dir.path().join("log")).unwrap_or_default();
                bail!("{} does not listen: {said}", kind.name());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(broker)
    }

    pub(crate) fn address(&self, link: Link) -> SocketAddr {
        let port = match link {
            Link::Plain => self.plain,
            Link::Tls => self.tls,
        };
        (Ipv4Addr::LOCALHOST, port).into()
    }

    pub(crate) fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// The processor time it has used.
    pub(crate) fn processor_time(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields: Vec<&str> =
            stat.rsplit_once(')').context("no name in stat")?.1.split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        // User and system time are the 14th and 15th field of all, and these begin with the third.
        let per_second = sysconf(SysconfVar::CLK_TCK)?.context("no clock tick")?;
        Ok(Duration::from_secs_f64((ticks(11) + ticks(12)) as f64 / per_second as f64))
    }

    /// Its resident memory, in bytes.
    pub(crate) fn resident(&self) -> Result<f64> {
        kill(Pid::from_raw(i32::try_from(self.child.id())?), None::<Signal>)
            .context("the broker has ended")?;
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib * 1024.0)
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn write_ours(dir: &Path, plain: u16, tls: u16) -> Result<std::path::PathBuf> {
    let secret: String = SECRET.iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(dir.join("secret"), secret)?;
    let at = |name: &str| dir.join(name).display().to_string();
    let text = format!(
        "listen = \"127.0.0.1:{plain}\"\nlisten_tls = \"127.0.0.1:{tls}\"\nsecret_file = \"{}\"\n\
         max_connections = {MAX_CONNECTIONS}\nmax_handshakes = 1024\n\
         [tls]\ncert_file = \"{}\"\nkey_file = \"{}\"\nclient_ca_file = \"{}\"\n",
        at("secret"),
        at("broker.pem"),
        at("broker.key"),
        at("ca.pem")
    );
    let path = dir.join("ours.toml");
    fs::write(&path, text)?;
    Ok(path)
}

fn write_mosquitto(dir: &Path, plain: u16, tls: u16) -> Result<std::path::PathBuf> {
    let at = |name: &str| dir.join(name).display().to_string();
    let text = format!(
        "per_listener_settings false\nallow_anonymous true\npersistence false\nuser root\nlog_type error\n\
         max_inflight_messages 1000\nmax_queued_messages 100000\nset_tcp_nodelay true\n\
         listener {plain} 127.0.0.1\n\
         listener {tls} 127.0.0.1\ncafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate true\n\
         use_identity_as_username true\n",
        at("ca.pem"),
        at("broker.pem"),
        at("broker.key")
    );
    let path = dir.join("mosquitto.conf");
    fs::write(&path, text)?;
    Ok(path)
}

/// Runs rumqttd in this process until it is killed.
pub(crate) fn be_rumqttd(port: u16) -> Result<()> {
    let connections = ConnectionSettings {
        connection_timeout_ms: 60_000,
        max_payload_size: 20 << 20,
        max_inflight_count: 1000,
        auth: None,
        external_auth: None,
        dynamic_filters: true,
    };
    let server = ServerSettings {
        name: "v4".to_owned(),
        listen: (Ipv4Addr::LOCALHOST, port).into(),
        tls: None,
        next_connection_delay_ms: 0,
        connections,
    };
    let config = rumqttd::Config {
        router: RouterConfig {
            max_connections: MAX_CONNECTIONS,
            max_outgoing_packet_count: 200,
            max_segment_size: 100 << 20,
            max_segment_count: 10,
            ..RouterConfig::default()
        },
        v4: Some(HashMap::from([("v4".to_owned(), server)])),
        ..rumqttd::Config::default()
    };
    rumqttd::Broker::new(config).start()?;
    Ok(())
}
