//! What people do to emulated boards with `wasmbed fault` and `wasmbed device`, and what comes of it.

use std::{
    io::{Read, Write},
    net::TcpListener,
    os::unix::net::UnixStream,
    time::Duration,
};

use anyhow::{Context, Result};
use serde_json::Value;
use wasmbed_e2e::{BrokerKind, Fleet, Limit, module};

const BOARDS: &[(&str, &str)] = &[("n2-1", "netduino2"), ("rv-1", "rv32-virt")];

/// Boards whose flash is the host's, with much memory and with little, and one with its own.
const FLIPPED: &[(&str, &str)] = &[("n2-1", "netduino2"), ("hf-1", "hifive1"), ("rv-1", "rv32-virt")];

/// A board whose messages take the serial line.
const SERIAL: &[(&str, &str)] = &[("n2-1", "netduino2")];

/// What QEMU's monitor says to a line.
fn monitor(fleet: &Fleet, device: &str, line: &str) -> Result<String> {
    let said = fleet.cli(&["device", "monitor", device, line, "--json"])?;
    Ok(said.as_str().with_context(|| format!("no text: {said}"))?.to_owned())
}

fn heartbeats(fleet: &Fleet, device: &str) -> Result<Value> {
    Ok(fleet.device(device)?["heartbeat"]["seq"].clone())
}

#[test]
fn a_monitor_shows_the_processor_and_stops_it() -> Result<()> {
    let fleet = Fleet::start_with(BrokerKind::Embedded, BOARDS)?;
    for (device, register) in [("n2-1", "R15="), ("rv-1", "mstatus")] {
        let registers = monitor(&fleet, device, "info registers")?;
        assert!(registers.contains(register), "{registers}");
        fleet.cli(&["device", "pause", device, "--json"])?;
        assert!(monitor(&fleet, device, "info status")?.contains("paused"));
        let before = heartbeats(&fleet, device)?;
        fleet.cli(&["device", "resume", device, "--json"])?;
        fleet.wait("the next heartbeat", Limit::seconds(20), || Ok(heartbeats(&fleet, device)? != before))?;
    }
    let refused = fleet.cli_fails(&["fault", "set", "n2-1", "nothing", "temperature", "1"])?;
    assert!(refused.contains("nothing"), "{refused}");
    Ok(())
}

#[test]
fn a_machine_has_the_memory_the_cores_and_the_ports_that_were_asked_for() -> Result<()> {
    let fleet = Fleet::start_with(BrokerKind::Embedded, &[("vm-1", "linux-x86-64")])?;
    let add = |id: &'static str, board: &'static str, options: &[&'static str]| {
        [&["device", "add", id, "--board", board, "--host", "bench"], options].concat()
    };
    let refused = fleet.cli_fails(&add("vm-1", "linux-x86-64", &["--memory", "64"]))?;
    assert!(refused.contains("it can be 256 to 16384"), "{refused}");
    let refused = fleet.cli_fails(&add("n2-1", "netduino2", &["--cores", "2"]))?;
    assert!(refused.contains("those of the real board"), "{refused}");

    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let forward = format!("{port}:9000");
    let machine = ["--memory", "384", "--cores", "2", "--forward", &forward];
    let wanted = [&add("vm-1", "linux-x86-64", &[])[..], &machine].concat();
    fleet.cli(&wanted)?;
    fleet.wait("the refusal of a port that is taken", Limit::seconds(20), || {
        let why = fleet.device("vm-1")?["process"]["reason"].clone();
        Ok(why.as_str().is_some_and(|why| why.contains(&port.to_string()) && why.contains("cannot be taken")))
    })?;
    drop(listener);
    fleet.cli(&["device", "restart", "vm-1"])?;
    fleet.wait_online("vm-1")?;
    assert!(monitor(&fleet, "vm-1", "info cpus")?.contains("CPU #1"));
    let memory = monitor(&fleet, "vm-1", "info memory_size_summary")?;
    assert!(memory.contains(&(384u64 << 20).to_string()), "{memory}");
    let network = monitor(&fleet, "vm-1", "info usernet")?;
    let is_forward = |line: &str| line.contains("HOST_FORWARD") && line.contains(&port.to_string());
    assert!(network.lines().any(|line| is_forward(line) && line.contains("9000")), "{network}");
    Ok(())
}

#[test]
fn a_reset_board_comes_back_in_the_same_process() -> Result<()> {
    let fleet = Fleet::start_with(BrokerKind::Embedded, BOARDS)?;
    for (device, _) in BOARDS {
        let (pid, boot) = (fleet.pid(device)?, fleet.device(device)?["heartbeat"]["boot"].clone());
        fleet.cli(&["device", "reset", device, "--json"])?;
        fleet.wait(&format!("another start of {device}"), Limit::seconds(20), || {
            let now = fleet.device(device)?["heartbeat"]["boot"].clone();
            Ok(now.as_u64() > boot.as_u64())
        })?;
        assert_eq!(fleet.pid(device)?, pid);
        let cause = fleet.device(device)?["info"]["reset"].clone();
        assert_eq!(cause, "watchdog", "a reset from outside");
    }
    Ok(())
}

#[test]
fn a_debugger_finds_the_board_where_it_is_told() -> Result<()> {
    let fleet = Fleet::start_with(BrokerKind::Embedded, &[("n2-1", "netduino2")])?;
    let said = fleet.cli(&["device", "gdb", "n2-1", "--json"])?;
    let said = said.as_str().with_context(|| format!("no text: {said}"))?;
    let path = said.split_once("unix:").and_then(|(_, rest)| rest.split([',', '\'', '"']).next());
    let mut gdb = UnixStream::connect(path.with_context(|| said.to_owned())?)?;
    gdb.set_read_timeout(Some(Duration::from_secs(20)))?;
    // Why the processor stopped: GDB's remote protocol, packet `?`.
    gdb.write_all(b"$?#3f")?;
    let mut answer = [0; 4];
    gdb.read_exact(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.contains("$T") || answer.contains("$S"), "{answer}");
    Ok(())
}

#[test]
fn a_disturbed_line_and_a_lost_network_cost_time_and_nothing_else() -> Result<()> {
    let fleet = Fleet::start_with(BrokerKind::Embedded, SERIAL)?;
    fleet.cli(&["module", "push", &module("thermo")?.to_string_lossy(), "--version", "1.0.0"])?;
    for (device, _) in SERIAL {
        let noise = ["--corrupt", "0.0005", "--lose", "0.0002", "--repeat", "0.0002"];
        fleet.cli(&[&["fault", "serial", device, "--for", "10m", "--json"], &noise[..]].concat())?;
    }
    fleet.cli(&["deploy", "thermo", "--to", "all"])?;
    for (device, _) in SERIAL {
        fleet.wait_running(device, "thermo", Limit::seconds(60))?;
        fleet.wait("a frame that was damaged and sent again", Limit::seconds(40), || {
            let link = &fleet.device(device)?["heartbeat"]["link"];
            Ok(link["corrupt"].as_u64() > Some(0))
        })?;
        fleet.cli(&["fault", "calm", device, "--json"])?;
        fleet.cli(&["fault", "network", device, "--for", "2s", "--json"])?;
        fleet.wait(&format!("{device} offline"), Limit::seconds(20), || {
            Ok(fleet.device(device)?["status"] == "offline")
        })?;
        fleet.wait_running(device, "thermo", Limit::seconds(30))?;
        let restarts = fleet.device(device)?["process"]["restarts"].clone();
        assert_eq!(restarts, 0, "{device} was restarted");
    }
    Ok(())
}

#[test]
fn an_image_with_flipped_bits_is_not_started_and_the_board_can_still_be_reached() -> Result<()> {
    let fleet = Fleet::start_with(BrokerKind::Embedded, FLIPPED)?;
    for (device, _) in FLIPPED {
        let before = fleet.device(device)?["info"]["firmware"].clone();
        // Behind the header, within the image that runs.
        let flip = ["fault", "flip", device, "--bits", "200", "--in", "image-a", "--seed", "7", "--json"];
        let flipped = fleet.cli(&flip)?;
        assert_eq!(flipped["bits"], 200);
        fleet.wait(&format!("the recovery of {device}"), Limit::seconds(40), || {
            let logs = fleet.cli(&["device", "logs", device, "--json"])?.to_string();
            Ok(logs.contains("wasmbed recovery") && fleet.device(device)?["status"] == "online")
        })?;
        // The bootloader has room for what an agent does.
        fleet.has_stack_left(device)?;
        // The same bits once more are as before.
        fleet.cli(&flip)?;
        fleet.wait(&format!("the image of {device}"), Limit::seconds(40), || {
            let shown = fleet.device(device)?;
            Ok(shown["status"] == "online" && shown["info"]["firmware"] == before)
        })?;
    }
    Ok(())
}
