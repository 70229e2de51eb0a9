//! `wasmbed device …`.

use std::{collections::BTreeMap, io::IsTerminal};

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use wasmbed_boards::{Autopilot, Forward, Machine};
use wasmbed_wire::{
    BoardName, DeviceId, HostId,
    message::{HeardVehicle, ModuleUse},
};

use super::{
    Common,
    fault::control_device,
    live::{self, Live, REFRESH},
    output,
    table::Table,
};
use crate::{
    api::{self, Control, DeviceAdd, DeviceList, LogLine, Selector, Targets},
    client::{Client, random_name},
};

#[derive(Debug, Subcommand)]
pub(super) enum Device {
    /// List devices
    List {
        #[command(flatten)]
        to: Optional,
    },
    /// Show everything about one device
    Show {
        /// The device
        id: DeviceId,
    },
    /// List devices again and again
    Watch {
        #[command(flatten)]
        to: Optional,
    },
    /// Take devices off power and on again, or ask real ones to restart
    Restart(Required),
    /// Switch emulated devices off
    Stop(Required),
    /// Switch emulated devices on
    Start(Required),
    /// End the quarantine of devices and try again
    Clear(Required),
    /// Show what a device said on its console and log
    Logs(Logs),
    /// Show what a device says on its console, as it says it
    Console {
        /// The device
        id: DeviceId,
    },
    /// Talk to the monitor of a device's QEMU
    Monitor(Monitor),
    /// Stop the processor of an emulated device
    Pause {
        /// The device
        id: DeviceId,
    },
    /// Let the processor of an emulated device go on
    Resume {
        /// The device
        id: DeviceId,
    },
    /// Reset an emulated board; its memory keeps what it holds
    Reset {
        /// The device
        id: DeviceId,
    },
    /// Raise a non-maskable interrupt on an emulated board
    Nmi {
        /// The device
        id: DeviceId,
    },
    /// Have an emulated board's QEMU wait for a debugger
    Gdb {
        /// The device
        id: DeviceId,
    },
    /// Register a device
    Add(Add),
    /// Make a token with which a device of your own gets its certificate, once
    Token {
        /// The device
        id: DeviceId,
        /// For how long it is good, in hours
        #[arg(long, value_name = "HOURS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=720))]
        hours: u32,
    },
    /// Stop and forget a device
    Remove {
        /// The device
        id: DeviceId,
    },
}

#[derive(Debug, Args)]
pub(super) struct Optional {
    /// Which devices: all, ID, board=NAME, class=NAME, label=KEY:VALUE; + joins, , separates
    #[arg(long = "to", value_name = "SELECTOR")]
    to: Option<Selector>,
}

#[derive(Debug, Args)]
pub(super) struct Required {
    /// Which devices: all, ID, board=NAME, class=NAME, label=KEY:VALUE; + joins, , separates
    #[arg(value_name = "SELECTOR", required = true)]
    to: Vec<Selector>,
}

#[derive(Debug, Args)]
pub(super) struct Logs {
    /// The device
    id: DeviceId,
    /// How many of the last lines
    #[arg(short = 'n', long, default_value_t = 100)]
    lines: u32,
    /// Go on with new lines until interrupted
    #[arg(short, long)]
    follow: bool,
}

#[derive(Debug, Args)]
pub(super) struct Monitor {
    /// The device
    id: DeviceId,
    /// A line for the monitor, for example `info registers`; without one, lines are read from the input
    line: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct Add {
    /// Its id
    id: DeviceId,
    /// Its board
    #[arg(long)]
    board: BoardName,
    /// Who runs it, if it is emulated
    #[arg(long)]
    host: Option<HostId>,
    /// Emulate it on the host with the most memory left
    #[arg(long, conflicts_with = "host")]
    emulate: bool,
    /// A word to select it by; may be repeated
    #[arg(long = "label", value_name = "KEY:VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Memory of an emulated machine, in MiB, where its board leaves that open
    #[arg(long, value_name = "MIB")]
    memory: Option<u32>,
    /// Processors of an emulated machine, where its board leaves that open
    #[arg(long)]
    cores: Option<u32>,
    /// A port of an emulated machine that its host makes reachable, at 127.0.0.1 unless an address is given; may be
    /// repeated
    #[arg(long = "forward", value_name = "[ADDRESS:]PORT:DEVICE_PORT[/udp]")]
    forwards: Vec<Forward>,
    /// Where an autopilot speaks MAVLink over TCP, for an emulated board with a line to one; its host connects, again and
    /// again while nobody is there
    #[arg(long, value_name = "HOST:PORT")]
    px4: Option<Autopilot>,
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once(':').ok_or("a label is KEY:VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

async fn token(client: &mut Client, common: &Common, device: DeviceId, hours: u32) -> Result<()> {
    let asked = api::DeviceToken { device, valid_s: Some(hours * 3600) };
    let made: api::TokenMade = client.request("device-token", &asked).await?;
    if common.json { output::json(&made) } else { output::line(made.token) }
}

impl Device {
    pub(super) async fn run(self, common: &Common) -> Result<()> {
        let mut client = common.client().await?;
        match self {
            Device::List { to } => list(&mut client, common, to.to).await,
            Device::Show { id } => show(&mut client, common, id).await,
            Device::Watch { to } => watch(&mut client, common, to.to).await,
            Device::Restart(to) => act(&mut client, common, "restart", to).await,
            Device::Stop(to) => act(&mut client, common, "stop", to).await,
            Device::Start(to) => act(&mut client, common, "start", to).await,
            Device::Clear(to) => act(&mut client, common, "clear", to).await,
            Device::Logs(logs) => logs.run(&mut client, common).await,
            Device::Console { id } => console(&mut client, id).await,
            Device::Monitor(monitor) => monitor.run(&mut client, common).await,
            Device::Pause { id } => control(&mut client, common, id, Control::Pause).await,
            Device::Resume { id } => control(&mut client, common, id, Control::Resume).await,
            Device::Reset { id } => control(&mut client, common, id, Control::Reset).await,
            Device::Nmi { id } => control(&mut client, common, id, Control::Nmi).await,
            Device::Gdb { id } => control(&mut client, common, id, Control::Gdb).await,
            Device::Add(add) => add.run(&mut client, common).await,
            Device::Token { id, hours } => token(&mut client, common, id, hours).await,
            Device::Remove { id } => {
                let removed: Value = client.request("device-remove", &once(json!({ "device": id }))).await?;
                if common.json { output::json(&removed) } else { output::line(format_args!("{id} removed")) }
            }
        }
    }
}

/// A request that is carried out once, whatever happens on the way.
pub(super) fn once(fields: impl serde::Serialize) -> Value {
    let mut fields = serde_json::to_value(fields).unwrap_or_default();
    if let Value::Object(map) = &mut fields {
        map.insert("id".into(), random_name().into());
    }
    fields
}

async fn list(client: &mut Client, common: &Common, to: Option<Selector>) -> Result<()> {
    let devices: Vec<api::Device> = client.request("device-list", &DeviceList { to }).await?;
    if common.json {
        return output::json(&devices);
    }
    if devices.is_empty() {
        return output::line("no devices; register one with `wasmbed device add ID --board BOARD`");
    }
    output::text(live::table(&devices))
}

async fn watch(client: &mut Client, common: &Common, to: Option<Selector>) -> Result<()> {
    let list = DeviceList { to };
    let mut live = Live::new();
    loop {
        let devices: Vec<api::Device> = client.request("device-list", &list).await?;
        if common.json {
            output::line(serde_json::to_string(&devices)?)?;
        } else {
            live.show(live::text(&devices), live::gist(&devices))?;
        }
        tokio::time::sleep(REFRESH).await;
    }
}

async fn show(client: &mut Client, common: &Common, id: DeviceId) -> Result<()> {
    let device: api::Device = client.request("device-show", &json!({ "device": id })).await?;
    if common.json {
        return output::json(&device);
    }
    let mut table = Table::new(["DEVICE", device.id.as_str()]);
    let mut row = |name: &str, value: String| table.row([name.to_owned(), value]);
    row("status", output::status(&device).to_owned());
    let restarts = match device.health.attempts {
        0 => String::new(),
        n => format!(", {n} restarts"),
    };
    let since = output::ago(device.health.since_ms);
    row("health", format!("{} since {since}{restarts}", device.health.stage.name()));
    row("board", format!("{} (class {})", device.board, device.class));
    row("host", device.host.map_or("none: real hardware".into(), |host| host.to_string()));
    if !device.machine.is_default() {
        row("machine", device.machine.to_string());
    }
    let labels: Vec<String> = device.labels.iter().map(|(key, value)| format!("{key}:{value}")).collect();
    row("labels", if labels.is_empty() { "-".into() } else { labels.join(" ") });
    row("seen", device.seen_ms.map_or("never".into(), output::ago));
    if let Some(info) = &device.info {
        row("firmware", info.firmware.clone());
        let slots = match info.slots {
            0 => "none: no memory for modules".to_owned(),
            slots => format!("{slots} of {}", output::bytes(info.slot_bytes.into())),
        };
        row("slots", slots);
    }
    if let Some(beat) = &device.heartbeat {
        row("uptime", format!("{} ms, connect {}", beat.uptime_ms, beat.boot));
        row("heap", format!("{} B in use, {} B at most", beat.heap_used, beat.heap_peak));
        row("stack", format!("{} B never used", beat.stack_free));
        row("slowest call", format!("{} us", beat.slowest_call_us));
        for vehicle in &beat.vehicles {
            row("vehicle", vehicle_text(vehicle));
        }
        if let Some(link) = beat.link {
            row(
                "link",
                format!(
                    "{} in, {} out, {} again, {} broken",
                    link.received, link.sent, link.resent, link.corrupt
                ),
            );
        }
    }
    if let Some(ros) = &device.ros {
        let gateway = ros.gateway.map_or(String::new(), |gateway| format!(", through the gateway {gateway}"));
        for node in &ros.nodes {
            row("node", format!("{}{gateway}, as of {}", node.name, output::ago(ros.at_ms)));
            node_lines(node).into_iter().for_each(|line| row("", line));
        }
        if ros.omitted > 0 {
            row("", format!("{} topics and services more", ros.omitted));
        }
    }
    if let Some(process) = &device.process {
        let pid = process.pid.map_or("-".into(), |pid| pid.to_string());
        let reason = process.reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
        row("process", format!("{:?} (pid {pid}){reason}", process.status).to_lowercase());
        if process.pid.is_some() {
            row(
                "",
                process
                    .group
                    .as_ref()
                    .map_or("bounded by no cgroup".into(), |group| format!("bounded by {group}")),
            );
        }
        if let Some(used) = process.used {
            let (whole, tenth) = (used.cpu_permille / 10, used.cpu_permille % 10);
            row("", format!("{} of memory, {whole}.{tenth} % of a core", output::bytes(used.memory_bytes)));
        }
    }
    let reported = device.revision.reported.map_or("-".into(), |revision| revision.to_string());
    row("revision", format!("{} wanted, {reported} reached", device.revision.desired));
    for module in &device.modules {
        let reason = module
            .reason
            .map_or(String::new(), |reason| format!(": {}", crate::service::reason_text(reason)));
        let of = module.module.map_or(String::new(), |module| format!(" (an instance of {module})"));
        row("module", format!("{}{of}{reason}", output::module(module, device.is_online())));
        if let Some(used) = &module.used {
            row("", used_text(used));
        }
        if !module.backtrace.is_empty() {
            row("", format!("last stopped in {}", module.backtrace.join(", called by ")));
        }
    }
    output::text(table)
}

/// How a vehicle is; the words are those of MAVLink's `MAV_LANDED_STATE`.
fn vehicle_text(vehicle: &HeardVehicle) -> String {
    let HeardVehicle { system, kind, base_mode, landed, battery, age_ms } = vehicle;
    // MAV_MODE_FLAG_SAFETY_ARMED.
    let armed = if base_mode & 128 != 0 { "armed" } else { "disarmed" };
    let landed = match landed {
        1 => "on the ground",
        2 => "in the air",
        3 => "taking off",
        4 => "landing",
        _ => "wherever it is",
    };
    let battery = battery.map_or(String::new(), |percent| format!(", {percent} % of its battery"));
    format!("{system} (MAV_TYPE {kind}): {armed}, {landed}{battery}; heard {age_ms} ms before the heartbeat")
}

/// What a node of ROS 2 has, a line each.
fn node_lines(node: &api::RosNode) -> Vec<String> {
    let api::RosNode { publishers, subscribers, clients, services, .. } = node;
    let roles =
        [("publishes", publishers), ("listens to", subscribers), ("calls", clients), ("offers", services)];
    let lines = roles.into_iter().flat_map(|(does, list)| {
        list.iter().map(move |typed| format!("{does} {} ({})", typed.name, typed.ty))
    });
    lines.collect()
}

fn used_text(used: &ModuleUse) -> String {
    let ModuleUse { calls, busy_ms, slowest_us, kilo_fuel, memory_bytes, stops, .. } = used;
    let fuel = if *kilo_fuel > 0 { format!(", {kilo_fuel} thousand instructions") } else { String::new() };
    format!(
        "{calls} calls in {busy_ms} ms, {slowest_us} us the slowest{fuel}; {} of memory; stopped {stops} times",
        output::bytes(*memory_bytes)
    )
}

async fn act(client: &mut Client, common: &Common, verb: &str, to: Required) -> Result<()> {
    let targets = Targets { to: Selector::any(to.to) };
    let done: Value = client.request(&format!("device-{verb}"), &once(targets)).await?;
    if common.json {
        return output::json(&done);
    }
    let ids = done["devices"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ids: Vec<&str> = ids.iter().filter_map(Value::as_str).collect();
    output::line(format_args!("{verb}: {}", ids.join(", ")))
}

async fn control(client: &mut Client, common: &Common, id: DeviceId, control: Control) -> Result<()> {
    let given = control_device(client, id, control).await?;
    match given.as_str() {
        _ if common.json => output::json(&given),
        // What a monitor prints.
        Some(text) => output::line(text.trim_end().replace('\r', "")),
        None => output::line(format_args!("{id}: done")),
    }
}

impl Monitor {
    async fn run(self, client: &mut Client, common: &Common) -> Result<()> {
        let Monitor { id, line } = self;
        if !line.is_empty() {
            return control(client, common, id, Control::Monitor { command: line.join(" ") }).await;
        }
        loop {
            if std::io::stdin().is_terminal() {
                output::text("(qemu) ")?;
            }
            // In a thread of its own, so that the connection lives on meanwhile.
            let line = tokio::task::spawn_blocking(|| std::io::stdin().lines().next()).await?;
            let Some(command) = line.transpose()? else { return Ok(()) };
            if command.trim().is_empty() {
                continue;
            }
            if let Err(error) = control(client, common, id, Control::Monitor { command }).await {
                eprintln!("wasmbed: {error:#}");
            }
        }
    }
}

/// Prints lines of the device's console until interrupted.
async fn console(client: &mut Client, id: DeviceId) -> Result<()> {
    client.subscribe(&[format!("_host/+/up/console/{id}")]).await?;
    // Whether there is such a device at all.
    client.request::<Value>("device-show", &json!({ "device": id })).await?;
    loop {
        let message = client.next().await?;
        if source(&message.topic) == Some("console") {
            output::line(String::from_utf8_lossy(&message.payload).trim_end())?;
        }
    }
}

impl Add {
    async fn run(self, client: &mut Client, common: &Common) -> Result<()> {
        let Add { id, board, host, emulate, labels, memory, cores, forwards, px4 } = self;
        let labels: BTreeMap<String, String> = labels.into_iter().collect();
        let machine = Machine { memory_mib: memory, cores, forwards, px4 };
        let add = DeviceAdd { device: id, board, host, emulate, labels, machine };
        let device: api::Device = client.request("device-add", &once(add)).await?;
        if common.json {
            return output::json(&device);
        }
        output::line(format_args!("{} registered: board {}, class {}", device.id, device.board, device.class))
    }
}

impl Logs {
    async fn run(self, client: &mut Client, common: &Common) -> Result<()> {
        let Logs { id, lines, follow } = self;
        if follow {
            // Before the old lines are read, so that none is missed in between.
            client.subscribe(&[format!("{id}/up/log/+"), format!("_host/+/up/console/{id}")]).await?;
        }
        let fields = api::DeviceLogs { device: id, limit: Some(lines) };
        let known: Vec<LogLine> = client.request("device-logs", &fields).await?;
        if common.json && !follow {
            return output::json(&known);
        }
        for line in &known {
            print(common, line)?;
        }
        if !follow {
            return Ok(());
        }
        loop {
            let message = client.next().await?;
            let Some(source) = source(&message.topic) else { continue };
            let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
            let at_ms = u64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(u64::MAX);
            let text = String::from_utf8_lossy(&message.payload).trim_end().to_owned();
            print(common, &LogLine { at_ms, source: source.to_owned(), text })?;
        }
    }
}

/// Which kind of line a topic carries.
fn source(topic: &str) -> Option<&str> {
    if topic.contains("/up/console/") {
        return Some("console");
    }
    topic.rsplit_once("/up/log/").map(|(_, level)| level)
}

fn print(common: &Common, line: &LogLine) -> Result<()> {
    if common.json {
        return output::line(serde_json::to_string(line)?);
    }
    output::line(format_args!("{} {:<7} {}", output::utc(line.at_ms), line.source, line.text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_has_is_told_line_by_line() {
        let typed = |name: &str, ty: &str| vec![api::RosTyped { name: name.into(), ty: ty.into() }];
        let node = api::RosNode {
            name: "/a/m".into(),
            publishers: typed("/t", "p/msg/T"),
            subscribers: Vec::new(),
            clients: Vec::new(),
            services: typed("/s", "p/srv/S"),
        };
        assert_eq!(node_lines(&node), ["publishes /t (p/msg/T)", "offers /s (p/srv/S)"]);
    }

    #[test]
    fn a_vehicle_is_told_in_words() {
        let vehicle =
            HeardVehicle { system: 1, kind: 2, base_mode: 209, landed: 2, battery: Some(73), age_ms: 300 };
        assert_eq!(
            vehicle_text(&vehicle),
            "1 (MAV_TYPE 2): armed, in the air, 73 % of its battery; heard 300 ms before the heartbeat"
        );
        let silent = HeardVehicle { base_mode: 0, landed: 0, battery: None, age_ms: 9_000, ..vehicle };
        assert_eq!(
            vehicle_text(&silent),
            "1 (MAV_TYPE 2): disarmed, wherever it is; heard 9000 ms before the heartbeat"
        );
    }
}
