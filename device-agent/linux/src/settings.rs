//! The configuration, as written and as validated.

use std::{
    ffi::OsString,
    fs, io,
    net::SocketAddr,
    num::{NonZeroU8, NonZeroU32},
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use clap::Parser;
use serde::Deserialize;
use wasmbed_broker_client::{Address, Dialect, Protocol, Tls, TlsFiles};
use wasmbed_wire::{
    BoardName, DeviceId, PublicKey, limits::HEARTBEAT_MS, provision::Provision, topic::DEFAULT_PREFIX,
};

use crate::{
    buses::{Buses, I2cConfig, SpiConfig},
    files,
    pins::{GpioConfig, Wiring},
    px4::{Px4Config, Px4Settings},
};

/// Environment variables that take part begin with this, for example `WASMBED_AGENT_BROKER`.
const ENVIRONMENT: &str = "WASMBED_AGENT";
/// The board of a Linux machine that is not said to be another one.
pub(crate) const BOARD: &str = "linux";
/// How long an image may be silent before its watchdog ends it, in seconds.
const WATCHDOG_S: NonZeroU32 = NonZeroU32::new(30).expect("it is not 0");

/// The Wasmbed device agent for Linux: runs signed WebAssembly modules and keeps this device at the
/// state its fleet desires.
///
/// What is given here wins over environment variables (WASMBED_AGENT_BROKER, WASMBED_AGENT_PASSWORD, …),
/// and these over the configuration file.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Args {
    /// Configuration file, TOML
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The broker, mqtt://HOST:PORT or mqtts://HOST:PORT
    #[arg(long, value_name = "URL")]
    broker: Option<String>,
    /// Name of this device, [a-z0-9-]{1,32}
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// File with the MQTT password
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Authorities that vouch for a broker with TLS, PEM [default: those of the system]
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Certificate that says who this device is, PEM, instead of a password
    #[arg(long, value_name = "FILE")]
    cert_file: Option<PathBuf>,
    /// Key of that certificate, PEM
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Token with which this device gets its certificate, once; see `wasmbed device token`
    #[arg(long, value_name = "TOKEN")]
    enrol_token: Option<String>,
    /// File with the provisioning blob: name and trusted keys
    #[arg(long, value_name = "FILE")]
    provision: Option<PathBuf>,
    /// Folder for everything this device keeps
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// First level of every topic
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    /// Make up sensors and pins this machine does not have
    #[arg(long)]
    simulate: bool,
    /// Run this program itself, whatever the firmware slots hold, and take no other firmware
    #[arg(long)]
    no_boot: bool,
    /// Do not start again to restart, but end with this exit code: who started this program restarts the machine
    #[arg(long, value_name = "CODE")]
    restart_exit_code: Option<NonZeroU8>,
    /// Print what the firmware slots hold, as JSON, and end
    #[arg(long)]
    pub(crate) print_slots: bool,
}

/// The configuration as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    broker: Option<String>,
    /// The version of MQTT.
    #[serde(default)]
    protocol: Protocol,
    device: Option<DeviceId>,
    board: Option<BoardName>,
    username: Option<String>,
    password: Option<String>,
    password_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    provision: Option<PathBuf>,
    #[serde(default)]
    trusted: Vec<PublicKey>,
    /// Has the device get its certificate itself, with this token the first time.
    enrol_token: Option<String>,
    /// What the files of TLS hold; kept in `data_dir`.
    identity: Option<Handed>,
    data_dir: Option<PathBuf>,
    prefix: Option<String>,
    heartbeat_ms: Option<u32>,
    sensors_dir: Option<PathBuf>,
    #[serde(default)]
    gpio: Vec<GpioConfig>,
    #[serde(default)]
    i2c: Vec<I2cConfig>,
    #[serde(default)]
    spi: Vec<SpiConfig>,
    px4: Option<Px4Config>,
    ros: Option<wasmbed_ros::Config>,
    #[serde(default)]
    simulate: bool,
    #[serde(default)]
    no_boot: bool,
    restart_exit_code: Option<NonZeroU8>,
    metrics_listen: Option<SocketAddr>,
    /// For tests: nobody else has to know it.
    watchdog_s: Option<NonZeroU32>,
}

/// How a device gets its certificate.
#[derive(Clone)]
pub(crate) struct Enrolment {
    /// Where its key and certificate are.
    pub(crate) dir: PathBuf,
    /// What it asks with the first time.
    pub(crate) token: Option<String>,
}

/// A certificate that is handed over with its key, PEM each.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Handed {
    ca: String,
    certificate: Option<String>,
    key: Option<String>,
}

/// The configuration as validated.
pub(crate) struct Settings {
    pub(crate) broker: Address,
    /// The version of MQTT that is spoken there.
    pub(crate) dialect: Dialect,
    /// What TLS needs; present where the address says so.
    pub(crate) tls: Option<Tls>,
    /// How it gets its certificate, if it does so itself.
    pub(crate) enrolment: Option<Enrolment>,
    pub(crate) device: DeviceId,
    /// What it is in manifests of firmware.
    pub(crate) board: BoardName,
    pub(crate) username: String,
    pub(crate) password: Option<String>,
    pub(crate) trusted: Vec<PublicKey>,
    /// Connects are numbered above this.
    pub(crate) boot_floor: u32,
    pub(crate) data_dir: PathBuf,
    pub(crate) prefix: String,
    pub(crate) heartbeat_ms: u32,
    pub(crate) sensors_dir: Option<PathBuf>,
    pub(crate) wiring: Wiring,
    pub(crate) buses: Buses,
    pub(crate) px4: Option<Px4Settings>,
    pub(crate) ros: Option<wasmbed_ros::Settings>,
    pub(crate) simulate: bool,
    /// Images are not started.
    pub(crate) no_boot: bool,
    /// What to end with to have the machine restarted; `None` if only this program restarts.
    pub(crate) restart_exit_code: Option<NonZeroU8>,
    /// Where to answer `/metrics` and `/healthz`.
    pub(crate) metrics_listen: Option<SocketAddr>,
    pub(crate) watchdog_s: NonZeroU32,
}

impl Settings {
    /// Reads file, environment and arguments.
    pub(crate) fn load(args: Args) -> anyhow::Result<Self> {
        let environment = config::Environment::with_prefix(ENVIRONMENT);
        let mut sources = config::Config::builder();
        if let Some(path) = &args.config {
            // Read here, because the library says "not found" for every reason.
            let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            sources = sources.add_source(config::File::from_str(&text, config::FileFormat::Toml));
        }
        let written = sources.add_source(environment).build()?.try_deserialize::<Config>();
        let place = args.config.as_deref().unwrap_or(Path::new("the environment")).display().to_string();
        let written = written.with_context(|| format!("in {place}"))?;
        Self::validate(written.overridden_by(args)?)
    }

    fn validate(config: Config) -> anyhow::Result<Self> {
        let blob = config.provision.as_deref().map(read).transpose()?.unwrap_or_default();
        let provision = match &config.provision {
            Some(path) => Some(Provision::read(&blob).map_err(|error| {
                anyhow::anyhow!(
                    "{} is no provisioning blob ({error:?}); make one with `wasmbed`",
                    path.display()
                )
            })?),
            None => None,
        };
        let device = config.device.or(provision.map(|provision| provision.device));
        let device = device.context("no device name; set `device`, or `provision`")?;
        let mut trusted = config.trusted;
        trusted.extend(provision.iter().flat_map(|provision| provision.trusted.iter()));
        ensure!(!trusted.is_empty(), "no trusted key: nothing could ever run; set `trusted` or `provision`");
        let password = match (config.password, &config.password_file) {
            (None, Some(path)) => Some(String::from_utf8(read(path)?)?.trim_end().to_owned()),
            (password, _) => password,
        };
        let prefix = config.prefix.unwrap_or_else(|| DEFAULT_PREFIX.to_owned());
        ensure!(
            !prefix.is_empty() && !prefix.contains(['+', '#', '\0']) && !prefix.starts_with('$'),
            "{prefix:?} cannot begin a topic; leave out +, # and a leading $"
        );
        let broker: Address =
            config.broker.context("no broker; set `broker` to mqtt://HOST:PORT")?.parse()?;
        let data_dir = config.data_dir.context("no folder to keep things in; set `data_dir`")?;
        let files =
            TlsFiles { ca_file: config.ca_file, cert_file: config.cert_file, key_file: config.key_file };
        let files = match config.identity {
            Some(handed) => {
                ensure!(files == TlsFiles::default(), "`identity` and files for TLS exclude each other");
                handed.keep(&data_dir.join("identity"))?
            }
            None => files,
        };
        ensure!(
            broker.is_tls || files == TlsFiles::default(),
            "{broker} is without TLS, but there are files for it; write mqtts://, or leave them out"
        );
        let identity = data_dir.join("identity");
        let is_enrolled = identity.join("identity.key").exists() && !files.has_certificate();
        let enrolment = (config.enrol_token.is_some() || is_enrolled).then_some(Enrolment {
            dir: identity,
            token: config.enrol_token.map(|token| token.trim().to_owned()),
        });
        ensure!(
            enrolment.is_none() || (broker.is_tls && !files.has_certificate()),
            "`enrol_token` is for a broker with TLS, and a device without cert_file"
        );
        Ok(Settings {
            enrolment,
            tls: broker.is_tls.then(|| Tls::load(files)).transpose()?,
            broker,
            dialect: Dialect::new(config.protocol),
            device,
            board: config.board.map_or_else(|| BOARD.parse(), Ok)?,
            username: config.username.unwrap_or_else(|| device.to_string()),
            password,
            trusted,
            boot_floor: provision.map_or(0, |provision| provision.boot_floor),
            data_dir,
            prefix,
            heartbeat_ms: config.heartbeat_ms.unwrap_or(HEARTBEAT_MS),
            sensors_dir: config.sensors_dir,
            wiring: Wiring::new(config.gpio)?,
            buses: Buses::new(config.i2c, config.spi)?,
            px4: config.px4.map(Px4Config::validate).transpose()?,
            ros: config.ros.map(|ros| ros.validate(device.as_str())).transpose().context("in `[ros]`")?,
            simulate: config.simulate,
            no_boot: config.no_boot,
            restart_exit_code: config.restart_exit_code,
            metrics_listen: config.metrics_listen,
            watchdog_s: config.watchdog_s.unwrap_or(WATCHDOG_S),
        })
    }
}

impl Handed {
    /// Writes it to a folder, for this user only.
    fn keep(&self, dir: &Path) -> anyhow::Result<TlsFiles> {
        let write = |name: &str, text: &str| {
            let path = dir.join(name);
            let written = files::replace(&path, text.as_bytes());
            written.with_context(|| format!("cannot write {}", path.display()))?;
            anyhow::Ok(path)
        };
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        Ok(TlsFiles {
            ca_file: Some(write("ca.pem", &self.ca)?),
            cert_file: self.certificate.as_deref().map(|text| write("identity.pem", text)).transpose()?,
            key_file: self.key.as_deref().map(|text| write("identity.key", text)).transpose()?,
        })
    }
}

impl Settings {
    /// Has this device show a certificate from now on. The broker is trusted as before.
    pub(crate) fn show(&mut self, own: TlsFiles) -> anyhow::Result<()> {
        let ca_file = self.tls.as_ref().and_then(|tls| tls.files().ca_file.clone());
        self.tls = Some(Tls::load(TlsFiles { ca_file, ..own })?);
        self.password = None;
        Ok(())
    }
}

impl Config {
    fn overridden_by(self, args: Args) -> anyhow::Result<Self> {
        let device = args.device.map(|name| name.parse().with_context(|| format!("{name:?}"))).transpose()?;
        // A password given closer to the person wins, in whichever form.
        let password = if args.password_file.is_some() { None } else { self.password };
        Ok(Config {
            broker: args.broker.or(self.broker),
            device: device.or(self.device),
            password,
            password_file: args.password_file.or(self.password_file),
            ca_file: args.ca_file.or(self.ca_file),
            cert_file: args.cert_file.or(self.cert_file),
            key_file: args.key_file.or(self.key_file),
            enrol_token: args.enrol_token.or(self.enrol_token),
            provision: args.provision.or(self.provision),
            data_dir: args.data_dir.or(self.data_dir),
            prefix: args.prefix.or(self.prefix),
            simulate: args.simulate || self.simulate,
            no_boot: args.no_boot || self.no_boot,
            restart_exit_code: args.restart_exit_code.or(self.restart_exit_code),
            ..self
        })
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let contents: io::Result<Vec<u8>> = fs::read(path);
    contents.with_context(|| format!("cannot read {}", path.display()))
}

/// Arguments that start this program again as it was started.
pub(crate) fn own_arguments() -> impl Iterator<Item = OsString> {
    std::env::args_os().skip(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(arguments: &[&str]) -> Args {
        Args::parse_from(["wasmbed-agent"].iter().chain(arguments))
    }

    const KEY: &str = "00000000000000000000000000000000000000000000000000000000000000ff";

    fn written(text: &str) -> anyhow::Result<Settings> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("agent.toml");
        fs::write(&path, text)?;
        Settings::load(args(&["--config", &path.display().to_string(), "--broker", "mqtt://[::1]:99"]))
    }

    #[test]
    fn arguments_win_over_the_file() -> anyhow::Result<()> {
        let text = format!("device = 'a'\nbroker = 'mqtt://b'\ntrusted = ['{KEY}']\ndata_dir = 'd'\n");
        let settings = written(&text)?;
        assert_eq!(settings.broker.to_string(), "mqtt://[::1]:99");
        assert_eq!((settings.device.as_str(), settings.username.as_str()), ("a", "a"));
        assert_eq!(settings.prefix, DEFAULT_PREFIX);
        Ok(())
    }

    #[test]
    fn what_is_wrong_is_said() {
        let complete = format!("device = 'a'\ntrusted = ['{KEY}']\ndata_dir = 'd'\n");
        let cases = [
            (format!("{complete}ca_file = 'ca.pem'"), "write mqtts://"),
            (format!("{complete}pasword = 'x'"), "pasword"),
            (format!("{complete}prefix = 'a/#'"), "cannot begin a topic"),
            ("device = 'a'\ndata_dir = 'd'\n".to_owned(), "trusted"),
            (format!("{complete}[[i2c]]\nbus = -1\ndevice = '/dev/i2c-1'\n"), "bus"),
            (format!("{complete}[[spi]]\nbus = 1\nchip_select = 0\ndevice = 'd'\nmode = 5\n"), "use 0 to 3"),
            (format!("{complete}[[gpio]]\npin = 1\nline = 4\n"), "without its chip"),
            (format!("{complete}[[gpio]]\npin = 1\nline = 4.5\n"), "its number on the chip, or its name"),
            (format!("{complete}[[gpio]]\npin = 1\nline = 'A'\nbias = 'up'\n"), "no bias \"up\"; use"),
            (
                format!("{complete}[[gpio]]\npin = 1\nline = 'A'\ndirection = 'both'\n"),
                "no direction \"both\"",
            ),
            (format!("{complete}[px4]\nconnection = 'udp'\n"), "udpin:HOST:PORT"),
            (format!("{complete}[ros]\ndomain = 300\n"), "in `[ros]`: there is no domain 300"),
            (format!("device = 'A'\ntrusted = ['{KEY}']\n"), "a-z"),
        ];
        for (text, expected) in cases {
            let error = written(&text).err().map(|error| format!("{error:#}")).unwrap_or_default();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
