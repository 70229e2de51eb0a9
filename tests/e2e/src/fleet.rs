//! A fleet in separate programs, as in production, so that each can be killed alone.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr},
    os::unix::net::UnixStream,
    path::Path,
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    BrokerKind, Process, boards, broker, bytes,
    features::{self, Devices},
    images, program, signal, wait_for,
};

/// How long to wait for a state before the test fails.
#[derive(Debug, Clone, Copy)]
pub struct Limit(Duration);

impl Limit {
    /// This many seconds on an idle machine; twice as many are waited for, as it may be busy.
    pub const fn seconds(seconds: u64) -> Self {
        Limit(Duration::from_secs(seconds * 2))
    }
}

/// What handlers of interrupts may need of the smallest stack, beside its guard (`boards/hifive1/memory.x`), in bytes.
const STACK_FREE_BYTES: u64 = 512;
/// The only host of a test fleet.
const HOST: &str = "bench";
/// How long devices wait for a host that was killed: long enough for one to be started on a busy machine.
const GRACE_MS: u32 = 10_000;
/// Short, so that silence is found soon.
const HEARTBEAT_MS: u32 = 1_000;

/// Broker, service, host and devices. Dropping it ends them all.
pub struct Fleet {
    // In the order in which they are to end: devices before what they report to.
    host: Option<Process>,
    gateway: Option<Process>,
    service: Option<Process>,
    broker: Option<broker::Running>,
    kind: BrokerKind,
    port: u16,
    devices: Vec<(String, String)>,
    heartbeat_ms: u32,
    dir: TempDir,
}

impl Fleet {
    /// One device of each kind that runs modules: id and board.
    pub const EVERY_KIND: Devices = features::MODULES.devices;

    /// One board of each kind whose firmware runs modules: id and board.
    pub const BOARDS: Devices = features::PANICS.devices;

    /// Starts a fleet of [`Fleet::EVERY_KIND`] and waits until it is online.
    pub fn start(kind: BrokerKind) -> Result<Self> {
        Self::start_with(kind, Self::EVERY_KIND)
    }

    /// Whether what a board is started from is here.
    pub fn can_start(board: &str) -> Result<bool> {
        let text = fs::read_to_string(boards()?.join(board).join("board.toml")).unwrap_or_default();
        let needs = [("[firmware]", "elf"), ("{kernel}", "vmlinuz"), ("{initramfs}", "initramfs")];
        let mut needed = needs.iter().filter(|(sign, _)| text.contains(sign));
        let images = images()?;
        Ok(!text.is_empty() && needed.all(|(_, ending)| images.join(format!("{board}.{ending}")).is_file()))
    }

    /// Starts a fleet of these devices at the usual pace of heartbeats and waits until they are online.
    pub fn of(devices: &[(&str, &str)]) -> Result<Self> {
        Self::without_host(devices, 5_000)?.come_up()
    }

    /// Starts a fleet of these devices and waits until they are online.
    pub fn start_with(kind: BrokerKind, devices: &[(&str, &str)]) -> Result<Self> {
        Self::begin(kind, devices, unaltered)
    }

    fn begin(
        kind: BrokerKind,
        devices: &[(&str, &str)],
        alter: impl Fn(&str) -> Result<String>,
    ) -> Result<Self> {
        Self::prepare(kind, devices, HEARTBEAT_MS, alter)?.come_up()
    }

    /// Starts the host and waits until every device is online.
    fn come_up(mut self) -> Result<Self> {
        self.start_host()?;
        for id in self.devices() {
            self.wait_online(&id)?;
        }
        Ok(self)
    }

    /// A fleet of these devices whose host is not started yet.
    pub fn without_host(devices: &[(&str, &str)], heartbeat_ms: u32) -> Result<Self> {
        Self::prepare(BrokerKind::Embedded, devices, heartbeat_ms, unaltered)
    }

    fn prepare(
        kind: BrokerKind,
        devices: &[(&str, &str)],
        heartbeat_ms: u32,
        alter: impl Fn(&str) -> Result<String>,
    ) -> Result<Self> {
        let owned = |(id, board): &(&str, &str)| ((*id).to_owned(), (*board).to_owned());
        let dir = TempDir::with_prefix("wasmbed-e2e-")?;
        let mut fleet = Fleet {
            host: None,
            gateway: None,
            service: None,
            broker: None,
            kind,
            port: broker::free_port()?,
            devices: devices.iter().map(owned).collect(),
            heartbeat_ms,
            dir,
        };
        fleet.alter_boards(alter)?;
        let users = broker::users(devices.iter().map(|(id, _)| *id), HOST);
        broker::write(kind, fleet.dir.path(), fleet.port, &users)?;
        match kind.is_tls() {
            true => fleet.certify()?,
            false => fleet.write_passwords()?,
        }
        fleet.start_broker()?;
        fleet.start_service()?;
        fleet.sign_images()?;
        for (id, board) in fleet.devices.clone() {
            fleet.cli(&["device", "add", &id, "--board", &board, "--host", HOST])?;
        }
        Ok(fleet)
    }

    /// Starts a fleet whose emulators advance their clocks by one nanosecond for each instruction.
    pub fn start_counting(devices: &[(&str, &str)]) -> Result<Self> {
        let counting = "arguments = [\n    \"-icount\", \"shift=0,sleep=on\",";
        Self::start_altered(devices, |board| Ok(board.replace("arguments = [", counting)))
    }

    /// Starts a fleet on whose host the files of emulated boards are altered.
    pub fn start_altered(devices: &[(&str, &str)], alter: impl Fn(&str) -> Result<String>) -> Result<Self> {
        Self::begin(BrokerKind::Embedded, devices, alter)
    }

    /// Where the broker listens.
    pub fn broker(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Where the fleet keeps its files.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The ids of its devices.
    pub fn devices(&self) -> Vec<String> {
        self.devices.iter().map(|(id, _)| id.clone()).collect()
    }

    /// The boards its devices have.
    pub(crate) fn boards(&self) -> Vec<String> {
        self.devices.iter().map(|(_, board)| board.clone()).collect()
    }

    /// Registers a device that nobody runs.
    pub fn add_idle(&self, id: &str, board: &str) -> Result<()> {
        self.cli(&["device", "add", id, "--board", board]).map(drop)
    }

    // ---- programs ----

    /// Starts the broker, again on the same port.
    pub fn start_broker(&mut self) -> Result<()> {
        self.broker = Some(broker::start(self.kind, self.dir.path(), self.port)?);
        Ok(())
    }

    /// Ends the broker as a power cut would.
    pub fn kill_broker(&mut self) -> Result<()> {
        self.broker.take().context("no broker runs")?.kill()
    }

    /// Starts the service.
    pub fn start_service(&mut self) -> Result<()> {
        self.start_service_with(&[])
    }

    /// Starts the service with settings from the environment.
    pub fn start_service_with(&mut self, settings: &[(&str, &str)]) -> Result<()> {
        let mut command = Command::new(program("wasmbed")?);
        command.arg("serve").arg("--data-dir").arg(self.dir.path().join("service"));
        self.log_in(&mut command, "service");
        command.args(["--heartbeat-ms", &self.heartbeat_ms.to_string()]);
        command.envs(settings.iter().copied());
        self.service = Some(Process::start("service", self.dir.path(), &command)?);
        Ok(())
    }

    /// Ends the service as a power cut would.
    pub fn kill_service(&mut self) -> Result<()> {
        self.service.take().context("no service runs")?.kill()
    }

    /// Kills a device's process and waits for another.
    pub fn pull_the_power(&self, id: &str) -> Result<()> {
        let before = self.pid(id)?;
        signal(before, Signal::SIGKILL)?;
        self.wait(&format!("another process for {id}"), Limit::seconds(30), || {
            Ok(self.pid(id).is_ok_and(|pid| pid != before))
        })
    }

    /// Starts the host role.
    pub fn start_host(&mut self) -> Result<()> {
        let mut command = Command::new(program("wasmbed")?);
        command.args(["host", "--id", HOST, "--data-dir"]).arg(self.dir.path().join("host"));
        self.log_in(&mut command, "host");
        command.arg("--images").arg(self.factory());
        command.env("WASMBED__HOST__GRACE_MS", GRACE_MS.to_string());
        self.host = Some(Process::start("host", self.dir.path(), &command)?);
        Ok(())
    }

    /// Starts the gateway role with this section about ROS 2.
    pub fn start_gateway(&mut self, ros: &str) -> Result<()> {
        let keys = self.trusted_keys()?;
        let file = self.dir.path().join("gateway.toml");
        fs::write(&file, format!("[gateway]\ntrusted = {keys:?}\n{ros}"))?;
        let mut command = Command::new(program("wasmbed")?);
        command.args(["gateway", "--id", broker::GATEWAY, "--data-dir"]).arg(self.dir.path().join("gateway"));
        command.arg("--config").arg(file);
        self.log_in(&mut command, "gateway");
        self.gateway = Some(Process::start("gateway", self.dir.path(), &command)?);
        Ok(())
    }

    /// The public keys that devices and gateways of this fleet trust, of which there is one at least.
    pub fn trusted_keys(&self) -> Result<Vec<String>> {
        let listed = self.cli(&["keys", "list", "--json"])?;
        let keys = listed["keys"].as_array().into_iter().flatten();
        let keys: Vec<String> = keys.filter_map(|key| key["key"].as_str().map(str::to_owned)).collect();
        ensure!(!keys.is_empty(), "the service has no key");
        Ok(keys)
    }

    /// Ends the gateway role as a power cut would.
    pub fn kill_gateway(&mut self) -> Result<()> {
        self.gateway.take().context("no gateway runs")?.kill()
    }

    /// The process of the host role.
    pub fn host_process(&self) -> Option<u32> {
        self.host.as_ref().map(Process::id)
    }

    /// Ends the host role in order.
    pub fn stop_host(&mut self) -> Result<()> {
        let status = self.host.take().context("no host runs")?.terminate(Duration::from_secs(20))?;
        ensure!(status.success(), "the host ended with {status}");
        Ok(())
    }

    /// Ends the host role as a power cut would.
    pub fn kill_host(&mut self) -> Result<()> {
        self.host.take().context("no host runs")?.kill()
    }

    fn alter_boards(&self, alter: impl Fn(&str) -> Result<String>) -> Result<()> {
        for (_, board) in &self.devices {
            let file = boards()?.join(board).join("board.toml");
            let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
            let altered = alter(&text)?;
            if text.contains("kind = \"qemu\"") && altered != text {
                let dir = self.dir.path().join("host/boards").join(board);
                fs::create_dir_all(&dir)?;
                fs::write(dir.join("board.toml"), altered)?;
            }
        }
        Ok(())
    }

    /// One file for everybody who logs in.
    fn write_passwords(&self) -> Result<()> {
        let host = format!("host/{HOST}");
        let gateway = format!("gateway/{}", broker::GATEWAY);
        for (who, role) in [("operator", "operator/default"), ("host", &host), ("gateway", &gateway)] {
            fs::write(self.dir.path().join(format!("{who}.password")), broker::password(role)?)?;
        }
        Ok(())
    }

    /// Has a command log in to the broker as `service`, `host`, `gateway` or `operator`.
    fn log_in(&self, command: &mut Command, who: &str) {
        let scheme = if self.kind.is_tls() { "mqtts" } else { "mqtt" };
        command.arg("--broker").arg(format!("{scheme}://127.0.0.1:{}", self.port));
        if self.kind.is_tls() {
            let identity = self.dir.path().join(who);
            command.arg("--ca-file").arg(identity.join("ca.pem"));
            command.arg("--cert-file").arg(identity.join("identity.pem"));
            command.arg("--key-file").arg(identity.join("identity.key"));
            if who == "service" {
                command.env("WASMBED__SERVICE__CA_DIR", self.dir.path().join(broker::CA));
            }
        }
        if who == "service" {
            command.arg("--secret-file").arg(self.dir.path().join("broker.secret"));
        } else if !self.kind.is_tls() {
            command.arg("--password-file").arg(self.dir.path().join(format!("{who}.password")));
        }
    }

    /// Makes an authority, and certificates for everybody but the devices.
    fn certify(&self) -> Result<()> {
        let issue = |out: &str, who: &[&str]| {
            let out = self.dir.path().join(out);
            self.ca(&[&["issue"], who, &["--out", &out.display().to_string()]].concat())
        };
        self.ca(&["init"])?;
        // An emulated machine finds the loopback of its host under the second address.
        issue(broker::IDENTITY, &["broker", "--name", "127.0.0.1", "--name", "10.0.2.2"])?;
        issue("service", &["service"])?;
        issue("host", &["host", HOST])?;
        issue("gateway", &["gateway", broker::GATEWAY])?;
        issue("operator", &["operator"])
    }

    /// Runs `wasmbed ca`.
    pub fn ca(&self, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new(program("wasmbed")?);
        let (verb, rest) = arguments.split_first().context("no verb")?;
        command.args(["ca", verb, "--dir"]).arg(self.dir.path().join(broker::CA)).args(rest);
        let output = command.output().context("cannot start wasmbed")?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "wasmbed ca {}: {stderr}", arguments.join(" "));
        Ok(())
    }

    // ---- commands ----

    /// Runs `wasmbed` and returns what it printed: JSON, or null where it printed none.
    pub fn cli(&self, arguments: &[&str]) -> Result<Value> {
        let output = self.run_cli(arguments)?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "wasmbed {}: {stderr}", arguments.join(" "));
        Ok(serde_json::from_slice(&output.stdout).unwrap_or(Value::Null))
    }

    /// Runs `wasmbed`, which must fail, and returns what it said.
    pub fn cli_fails(&self, arguments: &[&str]) -> Result<String> {
        let output = self.run_cli(arguments)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(!output.status.success(), "wasmbed {} succeeded", arguments.join(" "));
        Ok(said)
    }

    fn run_cli(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(program("wasmbed")?);
        command.args(arguments);
        self.log_in(&mut command, "operator");
        command.output().context("cannot start wasmbed")
    }

    /// Sends a request with `mosquitto_rr` and returns the answer.
    pub fn request(&self, verb: &str, fields: Value) -> Result<Value> {
        /// Whoever else asks at the same time is answered elsewhere.
        static ASKED: AtomicU32 = AtomicU32::new(0);
        let nth = ASKED.fetch_add(1, Ordering::Relaxed);
        let output = self
            .mosquitto("mosquitto_rr")?
            .args(["-V", "5", "-W", "20", "-t", &format!("wasmbed/v1/_fleet/cmd/{verb}")])
            .args(["-e", &format!("wasmbed/v1/_fleet/res/e2e-{}-{nth}", std::process::id())])
            .args(["-m", &fields.to_string()])
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(text.trim())
            .with_context(|| format!("{verb} answered {text:?}: {}", String::from_utf8_lossy(&output.stderr)))
    }

    /// What the service answers to a request that it carries out.
    pub fn ask(&self, verb: &str, fields: Value) -> Result<Value> {
        let mut answer = self.request(verb, fields)?;
        ensure!(answer["ok"] == true, "{verb} is refused: {answer}");
        Ok(answer["result"].take())
    }

    /// Publishes a file with `mosquitto_pub`.
    pub fn publish_file(&self, topic: &str, file: &Path) -> Result<()> {
        let status =
            self.mosquitto("mosquitto_pub")?.args(["-q", "1", "-t", topic, "-f"]).arg(file).status()?;
        ensure!(status.success(), "mosquitto_pub ended with {status}");
        Ok(())
    }

    /// The next message on a topic, read with `mosquitto_sub`.
    pub fn subscribe_once(&self, topic: &str) -> Result<String> {
        let output = self.mosquitto("mosquitto_sub")?.args(["-C", "1", "-W", "60", "-t", topic]).output()?;
        ensure!(output.status.success(), "nothing on {topic}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The next message on a topic, as its bytes.
    pub fn subscribe_bytes(&self, topic: &str) -> Result<Vec<u8>> {
        let output = self
            .mosquitto("mosquitto_sub")?
            .args(["-C", "1", "-W", "60", "-F", "%x", "-t", topic])
            .output()?;
        ensure!(output.status.success(), "nothing on {topic}: {}", String::from_utf8_lossy(&output.stderr));
        bytes(str::from_utf8(output.stdout.trim_ascii_end())?)
    }

    /// One of Mosquitto's clients, connected as an operator.
    pub fn mosquitto(&self, name: &str) -> Result<Command> {
        self.mosquitto_as("operator", name)
    }

    /// The same with the rights of the service, which are those of the broker: it may publish anything.
    pub fn mosquitto_as_broker(&self, name: &str) -> Result<Command> {
        self.mosquitto_as("service", name)
    }

    fn mosquitto_as(&self, role: &str, name: &str) -> Result<Command> {
        let mut command = Command::new(name);
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        if self.kind.is_tls() {
            let identity = self.dir.path().join(role);
            command.arg("--cafile").arg(identity.join("ca.pem"));
            command.arg("--cert").arg(identity.join("identity.pem"));
            command.arg("--key").arg(identity.join("identity.key"));
        } else {
            let password = broker::password(&format!("{role}/default"))?;
            command.args(["-u", &format!("_{role}"), "-P", &password]);
        }
        Ok(command)
    }

    // ---- states ----

    /// What the service knows of a device.
    pub fn device(&self, id: &str) -> Result<Value> {
        self.cli(&["device", "show", id, "--json"])
    }

    /// The process of an emulated device.
    pub fn pid(&self, id: &str) -> Result<u32> {
        let device = self.device(id)?;
        let pid = device["process"]["pid"].as_u64().with_context(|| format!("{id} has no process"))?;
        Ok(u32::try_from(pid)?)
    }

    /// Sets a property of a part of an emulated device, through its emulator's monitor (QMP).
    pub fn set_property(&self, id: &str, part: &str, property: &str, value: i64) -> Result<()> {
        let socket = self.dir.path().join("host/devices").join(id).join("qmp.sock");
        let mut monitor = UnixStream::connect(&socket).with_context(|| socket.display().to_string())?;
        let arguments = json!({ "path": part, "property": property, "value": value });
        let set = json!({ "execute": "qom-set", "arguments": arguments, "id": "set" });
        monitor.write_all(format!("{{\"execute\":\"qmp_capabilities\"}}\n{set}\n").as_bytes())?;
        for line in BufReader::new(monitor).lines() {
            let answer: Value = serde_json::from_str(&line?)?;
            if answer["id"] == "set" {
                ensure!(answer.get("error").is_none(), "{answer}");
                return Ok(());
            }
        }
        bail!("the monitor of {id} ended")
    }

    /// Everything that happened to a device.
    pub fn events(&self, id: &str) -> Result<Vec<Value>> {
        match self.cli(&["events", "--device", id, "--json"])? {
            Value::Array(events) => Ok(events),
            other => bail!("not a list of events: {other}"),
        }
    }

    /// Waits for a state.
    pub fn wait(&self, what: &str, limit: Limit, reached: impl FnMut() -> Result<bool>) -> Result<()> {
        // Shown before the reason, which is what the test ends with.
        wait_for(what, limit.0, reached).inspect_err(|_| eprintln!("{}", self.logs()))
    }

    /// Waits until a device is online.
    pub fn wait_online(&self, id: &str) -> Result<()> {
        self.wait(&format!("{id} online"), Limit::seconds(60), || {
            let device = self.device(id)?;
            Ok(device["status"] == "online" && device["health"]["stage"] == "healthy")
        })
    }

    /// Waits until a device says that it runs the wanted artifact of a module.
    pub fn wait_running(&self, id: &str, module: &str, limit: Limit) -> Result<()> {
        self.wait_online(id)?;
        self.wait_state(id, module, "running", limit)
    }

    /// Waits until a module has this state.
    pub fn wait_state(&self, id: &str, module: &str, state: &str, limit: Limit) -> Result<()> {
        self.wait_field(id, module, "state", state, limit)
    }

    /// Waits until a module gives this reason for not running.
    pub fn wait_module(&self, id: &str, module: &str, reason: &str, limit: Limit) -> Result<()> {
        self.wait_field(id, module, "reason", reason, limit)
    }

    /// Waits for a heartbeat that came after this call.
    pub fn wait_fresh_heartbeat(&self, id: &str, limit: Limit) -> Result<()> {
        let beat =
            |device: Value| (device["heartbeat"]["boot"].as_u64(), device["heartbeat"]["seq"].as_u64());
        let before = beat(self.device(id)?);
        self.wait(&format!("a heartbeat of {id}"), limit, || {
            let now = beat(self.device(id)?);
            Ok(now.0.is_some() && now > before)
        })
    }

    /// Fails if a device's stack came near its end, where an interrupt is taken for an overflow.
    pub fn has_stack_left(&self, id: &str) -> Result<()> {
        self.wait_fresh_heartbeat(id, Limit::seconds(20))?;
        let stack_free = self.device(id)?["heartbeat"]["stack_free"].as_u64();
        ensure!(stack_free.is_some_and(|bytes| bytes >= STACK_FREE_BYTES), "{id}: {stack_free:?}");
        Ok(())
    }

    fn wait_field(&self, id: &str, module: &str, field: &str, wanted: &str, limit: Limit) -> Result<()> {
        let mut last = Value::Null;
        self.wait(&format!("{module} on {id} with {field} {wanted}"), limit, || {
            last = self.device(id)?["modules"].clone();
            let modules = last.as_array().into_iter().flatten();
            Ok(modules.into_iter().any(|found| found["name"] == module && found[field] == wanted))
        })
        .with_context(|| format!("last seen: {last}"))
    }

    /// The ends of all logs, for a test that failed.
    fn logs(&self) -> String {
        let mut text = String::new();
        for name in ["broker", "service", "host", "gateway"] {
            let log = fs::read_to_string(self.dir.path().join(format!("{name}.log"))).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(15)..].join("\n");
            text.push_str(&format!("--- {name}.log\n{last}\n"));
        }
        text
    }
}

fn unaltered(board: &str) -> Result<String> {
    Ok(board.to_owned())
}
