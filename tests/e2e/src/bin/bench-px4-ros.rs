//! `cargo xtask bench px4-ros`: what a module and its host add to a way that messages take without them.
//!
//! Each way is measured twice in the same run: with a module in it, on Linux or on a board behind a gateway, and with a
//! program of others that does what the module does, of pymavlink or of rclpy. Aims are for the difference. Times are
//! medians.

use std::{
    fs,
    net::UdpSocket,
    path::Path,
    process::{Command, Output, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use wasmbed_abi::Errno;
use wasmbed_e2e::{Fleet, Limit, Process, password, program};
use wasmbed_figures::{Aim, line, median, plain_ratio, ratio};
use wasmbed_peers::{Domain, Peer, python};

const LINUX: &str = "hub-7";
const BOARD: (&str, &str) = ("rv-1", "rv32-virt");
/// Pairs of commands.
const COMMANDS: u32 = 300;
/// Messages of ROS 2, one after the other.
const ONE_BY_ONE: u32 = 300;
/// Messages of ROS 2 of which several are under way.
const MANY: u32 = 2_000;
const WINDOW: u32 = 20;
/// What a module and its host may add, in milliseconds.
const AIM_LINUX_MS: f64 = 2.0;
const AIM_BOARD_MS: f64 = 20.0;

/// Sends what comes on `/in` back on `/out`.
const ECHO: &str = r#"(module
    (import "wasmbed" "subscribe_topic" (func $listen (param i32 i32) (result i32)))
    (import "wasmbed" "message_read" (func $read (param i32 i32) (result i32)))
    (import "wasmbed" "publish_message" (func $send (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "/in/out")
    (func (export "init") (result i32) (drop (call $listen (i32.const 0) (i32.const 3))) (i32.const 0))
    (func (export "tick"))
    (func (export "message") (param i32 i32)
        (drop (call $read (i32.const 64) (i32.const 512)))
        (drop (call $send (i32.const 3) (i32.const 4) (i32.const 64) (local.get 1)))))"#;

/// Does what the ground station of `timing.py` does, up to twenty times in a tick. A command's second parameter is how old
/// the position was when the module saw it.
fn pilot() -> String {
    let busy = Errno::Busy.code();
    format!(
        r#"(module
    (import "wasmbed" "send_vehicle_command" (func $send (param i32 i32) (result i32)))
    (import "wasmbed" "vehicle_command_result" (func $result (param i32) (result i32)))
    (import "wasmbed" "get_vehicle_local_position" (func $position (param i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 64) "\22\79\00\00\ff")
    (global $heard (mut i32) (i32.const 0))
    (func $command (param $which f32) (local $ticket i32)
        (f32.store (i32.const 72) (local.get $which))
        (local.set $ticket (call $send (i32.const 64) (i32.const 48)))
        (loop $wait (br_if $wait (i32.eq (call $result (local.get $ticket)) (i32.const {busy})))))
    (func (export "tick") (local $times i32)
        (loop $again
            (br_if 1 (i32.ne (call $position (i32.const 0) (i32.const 0) (i32.const 36)) (i32.const 36)))
            (br_if $again (i32.eq (i32.load (i32.const 8)) (global.get $heard)))
            (global.set $heard (i32.load (i32.const 8)))
            (f32.store (i32.const 76) (f32.convert_i32_u (i32.load (i32.const 0))))
            (call $command (f32.const 1))
            (call $command (f32.const 2))
            (local.set $times (i32.add (local.get $times) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $times) (i32.const 20))))))"#
    )
}

fn main() -> Result<()> {
    let python = python().context("nothing to compare with")?;
    let mut fleet = Fleet::of(&[BOARD])?;
    fleet.add_idle(LINUX, "linux")?;
    for (name, text, grants) in [
        ("echo", ECHO.to_owned(), &["ros.publish:/out", "ros.subscribe:/in", "messages"][..]),
        ("pilot", pilot(), &["px4.command", "px4.telemetry"]),
    ] {
        let file = fleet.dir().join(format!("{name}.wasm"));
        fs::write(&file, wat::parse_str(text)?)?;
        fleet.cli(&[&["module", "grant", name], grants].concat())?;
        fleet.cli(&["module", "push", &file.to_string_lossy(), "--version", "1.0.0"])?;
    }
    vehicles(&fleet, &python)?;
    nodes(&mut fleet, &python)
}

/// An agent of its own for the fleet's Linux device, with more lines in its configuration.
fn start_agent(fleet: &Fleet, more: &str) -> Result<Process> {
    let config = fleet.dir().join("agent.toml");
    let text = format!(
        "device = '{LINUX}'\nbroker = 'mqtt://{}'\npassword = '{}'\ntrusted = {:?}\ndata_dir = '{}'\n{more}",
        fleet.broker(),
        password(&format!("device/{LINUX}"))?,
        fleet.trusted_keys()?,
        fleet.dir().join("agent").display(),
    );
    fs::write(&config, text)?;
    let mut command = Command::new(program("wasmbed-agent")?);
    command.arg("--config").arg(config);
    Process::start("agent", fleet.dir(), &command)
}

fn deploy(fleet: &Fleet, module: &str, device: &str) -> Result<()> {
    fleet.cli(&["deploy", module, "--to", device, "--wait"])?;
    fleet.wait_running(device, module, Limit::seconds(30))
}

// ---- PX4 ----

fn vehicles(fleet: &Fleet, python: &Path) -> Result<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/timing.py");
    let timing = |role: &str, port: u16| {
        let mut command = Command::new(python);
        command.arg(&script).arg(role).arg(port.to_string());
        command
    };
    let fly = |port: u16| -> Result<Flight> {
        let mut vehicle = timing("vehicle", port);
        let vehicle = vehicle.arg(COMMANDS.to_string()).stdout(Stdio::piped()).spawn()?;
        Flight::read(vehicle.wait_with_output()?)
    };
    let port = free_port()?;
    let mut ground = Process::start("ground", fleet.dir(), &timing("ground", port))?;
    let alone = fly(port)?;
    ground.kill()?;

    let port = free_port()?;
    let mut agent = start_agent(fleet, &format!("[px4]\nconnection = 'udpin:127.0.0.1:{port}'\n"))?;
    deploy(fleet, "pilot", LINUX)?;
    let with_us = fly(port)?;
    fleet.cli(&["undeploy", "pilot", "--to", LINUX])?;
    agent.kill()?;

    for (what, alone, with_us) in [
        ("position to command", alone.after_position, with_us.after_position),
        ("answer to next command", alone.after_acknowledgement, with_us.after_acknowledgement),
    ] {
        compare("linux", what, alone, with_us, AIM_LINUX_MS);
    }
    line("linux", "age of a position that a module sees, at most", with_us.oldest_position, "ms");
    Ok(())
}

/// How long a vehicle waited for commands, in milliseconds.
struct Flight {
    after_position: f64,
    after_acknowledgement: f64,
    /// Of those that were new to whoever commands, in milliseconds since they had come.
    oldest_position: f64,
}

impl Flight {
    fn read(output: Output) -> Result<Self> {
        ensure!(output.status.success(), "the vehicle ended with {}", output.status);
        let said: Value =
            serde_json::from_slice(&output.stdout).context("the vehicle says something else")?;
        Ok(Flight {
            after_position: median(numbers(&said["after_position_ms"])),
            after_acknowledgement: median(numbers(&said["after_acknowledgement_ms"])),
            oldest_position: numbers(&said["position_age_ms"]).into_iter().fold(0.0, f64::max),
        })
    }
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16> {
    Ok(UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port())
}

// ---- ROS 2 ----

const TOPICS: &str = "[[ros.topic]]\nname = '/in'\ntype = 'std_msgs/msg/Float64'\ndepth = 50\n\
    [[ros.topic]]\nname = '/out'\ntype = 'std_msgs/msg/Float64'\ndepth = 50\n";

fn nodes(fleet: &mut Fleet, python: &Path) -> Result<()> {
    let domain = Domain::free();
    let mut other = Peer::start(python, "ping.py", &domain);
    other.order(&json!({"do": "echo"}));
    other.wait_for("echoing");
    let alone = Ways::measure(python, &domain)?;
    drop(other);

    let domain = Domain::free();
    let configuration = format!("[ros]\ndomain = {}\n{TOPICS}", domain.number());
    let mut agent = start_agent(fleet, &configuration)?;
    deploy(fleet, "echo", LINUX)?;
    let linux = Ways::measure(python, &domain)?;
    agent.kill()?;

    let domain = Domain::free();
    fleet.start_gateway(&format!("[ros]\ndomain = {}\n{TOPICS}", domain.number()))?;
    let (id, board) = BOARD;
    deploy(fleet, "echo", id)?;
    let gateway = Ways::measure(python, &domain)?;

    for (subject, found, aim) in [("linux", linux, AIM_LINUX_MS), (board, gateway, AIM_BOARD_MS)] {
        compare(subject, "ROS 2, there and back", alone.took_ms, found.took_ms, aim);
        line(subject, "ROS 2, echoed in a second", found.per_second, "messages");
        plain_ratio(subject, "  of what rclpy echoes", found.per_second / alone.per_second);
        line(subject, "ROS 2, lost", found.lost, &format!("of {}", ONE_BY_ONE + MANY));
    }
    Ok(())
}

/// What somebody measures who sends and hears it back.
struct Ways {
    took_ms: f64,
    per_second: f64,
    lost: f64,
}

impl Ways {
    fn measure(python: &Path, domain: &Domain) -> Result<Self> {
        let mut meter = Peer::start(python, "ping.py", domain);
        let mut measured = |count: u32, window: u32| {
            meter.order(&json!({"do": "measure", "count": count, "window": window}));
            meter.wait_for("took_ms")
        };
        let (one_by_one, many) = (measured(ONE_BY_ONE, 1), measured(MANY, WINDOW));
        let number = |said: &Value, name: &str| said[name].as_f64().with_context(|| format!("no {name}"));
        let lost = number(&many, "lost")?;
        Ok(Ways {
            took_ms: median(numbers(&one_by_one["took_ms"])),
            per_second: (f64::from(MANY) - lost) / number(&many, "seconds")?,
            lost: number(&one_by_one, "lost")? + lost,
        })
    }
}

fn numbers(list: &Value) -> Vec<f64> {
    list.as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
}

/// Prints both ways, and what the one with a module takes more.
fn compare(subject: &str, what: &str, alone: f64, with_us: f64, aim: f64) {
    line(subject, what, 1000.0 * with_us, "us");
    line(subject, "  without us", 1000.0 * alone, "us");
    ratio(subject, "  added, in milliseconds", with_us - alone, Aim::AtMost(aim));
    plain_ratio(subject, "  with us to without", with_us / alone);
}
