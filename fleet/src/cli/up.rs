//! `wasmbed up`: a whole fleet in one process tree.

use std::{
    fs::File,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Mutex,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Args;
use serde_json::json;
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout_at},
};
use wasmbed_broker::{Broker, credentials::Role};
use wasmbed_wire::{BoardName, DeviceId, GatewayId, HostId};

use super::{
    Common, Context,
    firmware::factory,
    live::{self, Live, REFRESH},
    output,
    roles::{log_to, on_signal},
};
use crate::{
    api::{Device, DeviceAdd, DeviceList, Host},
    artifacts::Signer,
    client::{Client, ClientError},
    config::Config,
    connection::{Address, Connection},
    gateway, host,
    lock::lock,
    service::{self, KEY_FILE},
    shutdown::{self, Shutdown, Trigger},
};

/// The id of the only host, and of the gateway if there is one.
const HOST: &str = "local";
/// How long the service may take to answer for the first time.
const START: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
pub(super) struct Up {
    /// Devices to have: BOARD=COUNT, separated by commas [default: one of each board that can be started here]
    #[arg(long)]
    devices: Option<Devices>,
    /// Where the embedded broker listens; port 0 lets the system choose
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    listen: String,
    /// Folder of firmware images, as `cargo xtask fw` builds them
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// The program wasmbed-agent [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
    /// Time between heartbeats of devices, in milliseconds [default: 10000]
    #[arg(long, value_name = "MS")]
    heartbeat_ms: Option<u32>,
    /// Print the devices once all are online, stop everything and exit; fails if one does not come up
    #[arg(long)]
    once: bool,
    /// How long --once waits, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,
}

/// How many devices of which boards.
#[derive(Debug, Clone)]
struct Devices(Vec<(BoardName, u32)>);

impl FromStr for Devices {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = |part: &str| {
            let (board, count) = part.split_once('=').unwrap_or((part, "1"));
            let board = board.parse().map_err(|error| format!("{board:?}: {error}"))?;
            let count = count.parse().map_err(|error| format!("{count:?} is no number: {error}"))?;
            Ok((board, count))
        };
        text.split(',').filter(|part| !part.is_empty()).map(parse).collect::<Result<_, String>>().map(Devices)
    }
}

impl Devices {
    fn one_of_each(boards: Vec<BoardName>) -> Self {
        Devices(boards.into_iter().map(|board| (board, 1)).collect())
    }

    fn ids(&self) -> Result<Vec<(DeviceId, BoardName)>> {
        let mut ids = Vec::new();
        for (board, count) in &self.0 {
            for number in 1..=*count {
                let id = format!("{board}-{number}");
                ids.push((id.parse().with_context(|| format!("{id:?} cannot be a device's id"))?, *board));
            }
        }
        Ok(ids)
    }
}

impl Up {
    pub(super) async fn run(self, common: &Common) -> Result<()> {
        let mut config = common.load()?;
        config.host.images = self.images.clone().or(config.host.images);
        config.host.agent = self.agent.clone().or(config.host.agent);
        config.service.heartbeat_ms = self.heartbeat_ms.or(config.service.heartbeat_ms);
        config.check()?;
        let data_dir = config.data_dir();
        make_private(&data_dir)?;
        // Before anything is written there that a fleet which runs already needs.
        let _lock = lock(&data_dir, "up")?;
        log_to_file(&data_dir.join("wasmbed.log"))?;
        let mut stop = on_signal()?;
        let mut roles = Roles::default();
        let done = tokio::select! {
            done = self.drive(common, &config, &mut roles) => done,
            () = stop.wait() => Ok(()),
        };
        let ended = roles.stop().await;
        done.and(ended)
    }

    /// Starts everything and shows it; returns by itself with `--once`, or when a role fails.
    async fn drive(&self, common: &Common, config: &Config, roles: &mut Roles) -> Result<()> {
        let address = match &config.broker.url {
            Some(address) => address.clone(),
            None => roles.start_broker(config, &self.listen).await?,
        };
        let id: HostId = HOST.parse().context("the host's own id")?;
        let connect = |role: &Role| config.connection_to(address.clone(), role);
        roles.start("the service", |stop| {
            Ok(tokio::spawn(service::run(config.service(connect(&Role::Service)?)?, stop)))
        })?;
        let operator = connect(&Role::Operator)?;
        Context::write(&config.data_dir(), &operator)?;
        let config = &tokio::select! {
            prepared = prepare(common, config, &operator) => prepared?,
            failed = roles.failed() => return Err(failed),
        };
        roles.start("the host", |stop| {
            let mut host = config.host(id, connect(&Role::Host(id))?, config.data_dir().join("host"))?;
            // Nobody comes back.
            host.grace = Duration::ZERO;
            Ok(tokio::spawn(host::run(host, stop)))
        })?;
        if config.ros.is_some() {
            let id: GatewayId = HOST.parse().context("the gateway's own id")?;
            let mut config = config.clone();
            // The service has made its key by now.
            config.gateway.trusted.push(Signer::load(&config.data_dir().join(KEY_FILE))?.public());
            let dir = config.data_dir().join("gateway");
            roles.start("the gateway", |stop| {
                let gateway = config.gateway(id, connect(&Role::Gateway(id))?, dir)?;
                Ok(tokio::spawn(gateway::run(gateway, stop)))
            })?;
        }
        let show = async {
            let mut client = reach(&operator).await?;
            let devices = match &self.devices {
                Some(devices) => devices.clone(),
                None => Devices::one_of_each(startable(&mut client, id).await?),
            };
            let wanted = devices.ids()?;
            register(&mut client, id, &wanted).await?;
            if self.once {
                self.show_once(common, &mut client, &wanted).await
            } else {
                self.show_live(common, config, &mut client, &operator).await
            }
        };
        tokio::select! {
            shown = show => shown,
            failed = roles.failed() => Err(failed),
        }
    }

    async fn show_once(
        &self,
        common: &Common,
        client: &mut Client,
        wanted: &[(DeviceId, BoardName)],
    ) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(self.timeout);
        loop {
            let devices: Vec<Device> = client.request("device-list", &DeviceList::default()).await?;
            let is_wanted = |device: &&Device| wanted.iter().any(|(id, _)| *id == device.id);
            let missing: Vec<&Device> =
                devices.iter().filter(is_wanted).filter(|device| !is_up(device)).collect();
            if !missing.is_empty() && Instant::now() < deadline {
                tokio::time::sleep(REFRESH).await;
                continue;
            }
            if common.json {
                output::json(&devices)?
            } else {
                output::text(live::table(&devices))?
            }
            if missing.is_empty() {
                return Ok(());
            }
            let why: Vec<String> = missing.into_iter().map(why_not).collect();
            bail!("not online after {} s\n  {}", self.timeout, why.join("\n  "));
        }
    }

    async fn show_live(
        &self,
        common: &Common,
        config: &Config,
        client: &mut Client,
        operator: &Connection,
    ) -> Result<()> {
        let mut live = Live::new();
        if !common.json {
            output::text(how_to(config, operator, live.is_terminal()))?;
        }
        loop {
            match client.request::<Vec<Device>>("device-list", &DeviceList::default()).await {
                Ok(devices) if common.json => output::line(serde_json::to_string(&devices)?)?,
                Ok(devices) => live.show(live::text(&devices), live::gist(&devices))?,
                // An external broker may come and go; the fleet does not end with it.
                Err(ClientError::Broker { .. } | ClientError::ServiceOffline | ClientError::NoAnswer(_)) => {
                    *client = reach(operator).await?;
                }
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(REFRESH).await;
        }
    }
}

/// Whether a device is online and has told how it is.
fn is_up(device: &Device) -> bool {
    device.is_online() && device.heartbeat.is_some()
}

fn why_not(device: &Device) -> String {
    let process = device.process.as_ref().and_then(|process| process.reason.as_deref());
    let process = process.map_or(String::new(), |reason| format!(": {reason}"));
    format!("{} is {}{process}", device.id, output::status(device))
}

fn how_to(config: &Config, operator: &Connection, is_terminal: bool) -> String {
    let Address { host, port, .. } = &operator.address;
    let dir = config.data_dir();
    let (dir, stop) = (dir.display(), if is_terminal { "Ctrl-C" } else { "SIGTERM" });
    format!(
        "The fleet runs on {}; {stop} stops it. Its log is {dir}/wasmbed.log. In another terminal:\n  \
         wasmbed --data-dir {dir} device list\n  \
         mosquitto_sub -V 5 -h {host} -p {port} -u {} -P {} -v -t '{}/v1/+/up/tm/#'\n\n",
        operator.address, operator.username, operator.password, operator.prefix
    )
}

/// Connects, again and again if need be, and waits for the service.
async fn reach(operator: &Connection) -> Result<Client> {
    let deadline = Instant::now() + START;
    let connected = async {
        loop {
            match Client::connect(operator.clone()).await {
                Ok(client) => break client,
                Err(error) => tracing::info!(%error, "cannot connect to the broker yet"),
            }
            tokio::time::sleep(REFRESH).await;
        }
    };
    let reached = async {
        let mut client = connected.await;
        client.wait_for_service().await.map(|()| client)
    };
    match timeout_at(deadline, reached).await {
        Ok(client) => Ok(client?),
        Err(_) => bail!("the service did not connect to {} within {} s", operator.address, START.as_secs()),
    }
}

/// The configuration with images that are signed.
async fn prepare(common: &Common, config: &Config, operator: &Connection) -> Result<Config> {
    let mut config = config.clone();
    let mut client = reach(operator).await?;
    if let Some(images) = &config.host.images {
        let signed = config.data_dir().join("firmware");
        // The service has made its key by now.
        let signer = Signer::load(&config.data_dir().join(KEY_FILE))?;
        factory::prepare(&mut client, &signer, &common.boards()?, images, &signed).await?;
        config.host.images = Some(signed);
    }
    Ok(config)
}

/// The boards that the host can start, once it has said so.
async fn startable(client: &mut Client, host: HostId) -> Result<Vec<BoardName>> {
    let deadline = Instant::now() + START;
    loop {
        let hosts: Vec<Host> = client.request("host-list", &json!({})).await?;
        let info =
            hosts.into_iter().find(|known| known.id == host && known.online).and_then(|known| known.info);
        if let Some(info) = info {
            return Ok(info.boards);
        }
        if Instant::now() > deadline {
            bail!("the host did not connect within {} s", START.as_secs());
        }
        tokio::time::sleep(REFRESH).await;
    }
}

async fn register(client: &mut Client, host: HostId, wanted: &[(DeviceId, BoardName)]) -> Result<()> {
    let known: Vec<Device> = client.request("device-list", &DeviceList::default()).await?;
    for (device, board) in wanted.iter().filter(|(id, _)| known.iter().all(|known| known.id != *id)) {
        let add = DeviceAdd {
            device: *device,
            board: *board,
            host: Some(host),
            emulate: false,
            labels: Default::default(),
            machine: Default::default(),
        };
        client.request::<Device>("device-add", &add).await?;
    }
    Ok(())
}

fn make_private(dir: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.with_context(|| format!("cannot create the data directory {}", dir.display()))
}

fn log_to_file(path: &Path) -> Result<()> {
    let file = File::options().create(true).append(true).open(path);
    let file = file.with_context(|| format!("cannot write the log {}", path.display()))?;
    log_to(Mutex::new(file), false);
    Ok(())
}

/// What runs beside the display, in the order in which it was started.
#[derive(Default)]
struct Roles(Vec<Running>);

struct Running {
    name: &'static str,
    trigger: Trigger,
    task: JoinHandle<Result<()>>,
}

impl Roles {
    async fn start_broker(&mut self, config: &Config, listen: &str) -> Result<Address> {
        let settings = wasmbed_broker::Config {
            listen: listen.to_owned(),
            prefix: config.prefix().to_owned(),
            ..wasmbed_broker::Config::default()
        };
        let broker = Broker::bind(settings.with_secret(config.secret()?)?).await?;
        let bound = broker.local_addr().context("the broker does not listen")?;
        self.start("the broker", |mut stop| {
            Ok(tokio::spawn(async move { Ok(broker.run(async move { stop.wait().await }).await?) }))
        })?;
        let host = if bound.ip().is_unspecified() { "127.0.0.1".to_owned() } else { bound.ip().to_string() };
        Ok(Address { host, port: bound.port(), is_tls: false })
    }

    fn start(
        &mut self,
        name: &'static str,
        spawn: impl FnOnce(Shutdown) -> Result<JoinHandle<Result<()>>>,
    ) -> Result<()> {
        let (trigger, stop) = shutdown::channel();
        let task = spawn(stop).with_context(|| format!("cannot start {name}"))?;
        self.0.push(Running { name, trigger, task });
        Ok(())
    }

    /// Returns when a role ended that should not have.
    async fn failed(&mut self) -> anyhow::Error {
        loop {
            if let Some(at) = self.0.iter().position(|role| role.task.is_finished()) {
                let role = self.0.remove(at);
                return match role.task.await {
                    Ok(Ok(())) => anyhow!("{} ended", role.name),
                    Ok(Err(error)) => error.context(format!("{} failed", role.name)),
                    Err(error) => anyhow!("{} failed: {error}", role.name),
                };
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Stops everything, what was started last first: devices end before what they report to.
    async fn stop(mut self) -> Result<()> {
        let mut first = Ok(());
        while let Some(role) = self.0.pop() {
            role.trigger.fire();
            let ended = match role.task.await {
                Ok(ended) => ended.with_context(|| format!("{} failed", role.name)),
                Err(error) => Err(anyhow!("{} failed: {error}", role.name)),
            };
            first = first.and(ended);
        }
        first
    }
}
