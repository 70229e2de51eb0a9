//! Things that die, and come back.

use std::{fs, thread, time::Duration};

use anyhow::{Context, Result};
use nix::{
    sys::signal::Signal,
    unistd::{SysconfVar, sysconf},
};
use wasmbed_e2e::{BrokerKind, Fleet, Limit, features, module, signal};

/// Kills a board's QEMU under a running `thermo` and waits for all to be as before.
pub(crate) fn a_killed_board_comes_back(fleet: &Fleet, device: &str) -> Result<()> {
    let before = fleet.pid(device)?;
    signal(before, Signal::SIGKILL)?;
    fleet.wait(&format!("another process for {device}"), Limit::seconds(20), || {
        Ok(fleet.pid(device).is_ok_and(|pid| pid != before))
    })?;
    fleet.wait_running(device, "thermo", Limit::seconds(20))?;
    fleet.wait("an event that says why", Limit::seconds(10), || {
        Ok(fleet.events(device)?.iter().any(|event| event.to_string().contains("SIGKILL")))
    })
}

fn with_thermo(devices: &[(&str, &str)]) -> Result<Fleet> {
    let fleet = Fleet::start_with(BrokerKind::Embedded, devices)?;
    fleet.cli(&["module", "push", &module("thermo")?.to_string_lossy(), "--version", "1.0.0"])?;
    fleet.cli(&["deploy", "thermo", "--to", "all", "--wait"])?;
    Ok(fleet)
}

#[test]
fn a_killed_device_of_any_kind_comes_back_with_its_module() -> Result<()> {
    let fleet = with_thermo(Fleet::EVERY_KIND)?;
    for device in fleet.devices() {
        a_killed_board_comes_back(&fleet, &device)?;
    }
    Ok(())
}

#[test]
fn a_killed_board_without_modules_comes_back() -> Result<()> {
    let fleet = Fleet::start_with(BrokerKind::Embedded, &[("hf-1", "hifive1")])?;
    let before = fleet.pid("hf-1")?;
    signal(before, Signal::SIGKILL)?;
    fleet.wait("another process for hf-1", Limit::seconds(20), || {
        Ok(fleet.pid("hf-1").is_ok_and(|pid| pid != before))
    })?;
    fleet.wait_fresh_heartbeat("hf-1", Limit::seconds(20))
}

#[test]
fn a_device_that_has_nothing_to_do_sleeps() -> Result<()> {
    /// How long each is watched.
    const WATCHED: Duration = Duration::from_secs(5);
    let fleet = Fleet::of(features::SLEEP.devices)?;
    for device in fleet.devices() {
        let pid = fleet.pid(&device)?;
        // A machine with an operating system has things to do for some time after it has come online.
        let mut share = 0.0;
        fleet
            .wait(&format!("{device} to sleep"), Limit::seconds(30), || {
                let before = processor_time(pid)?;
                thread::sleep(WATCHED);
                share = (processor_time(pid)? - before).as_secs_f64() / WATCHED.as_secs_f64();
                Ok(share < 0.2)
            })
            .with_context(|| format!("it took {share:.2} of a processor"))?;
    }
    Ok(())
}

/// Processor time that a process has taken (proc(5), fields 14 and 15 of `stat`).
fn processor_time(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(") ").context("no line of proc(5)")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    let per_second = sysconf(SysconfVar::CLK_TCK)?.and_then(|ticks| u64::try_from(ticks).ok());
    Ok(Duration::from_millis(ticks * 1000 / per_second.context("no clock")?))
}

#[test]
fn a_frozen_board_is_found_by_its_silence() -> Result<()> {
    let fleet = with_thermo(&[("n2-1", "netduino2"), ("vm-1", "linux-x86-64")])?;
    for device in fleet.devices() {
        let before = fleet.pid(&device)?;
        signal(before, Signal::SIGSTOP)?;
        fleet.wait(&format!("another process for {device}"), Limit::seconds(60), || {
            Ok(fleet.pid(&device).is_ok_and(|pid| pid != before))
        })?;
        fleet.wait_running(&device, "thermo", Limit::seconds(20))?;
        let events = fleet.events(&device)?;
        assert!(events.iter().any(|event| event.to_string().contains("heartbeat")), "{events:#?}");
    }
    Ok(())
}

#[test]
fn a_broker_that_dies_and_forgets_everything_is_repaired_by_its_clients() -> Result<()> {
    let mut fleet = with_thermo(Fleet::EVERY_KIND)?;
    fleet.kill_broker()?;
    fleet.start_broker()?;
    for device in fleet.devices() {
        fleet.wait_fresh_heartbeat(&device, Limit::seconds(40))?;
        fleet.wait_running(&device, "thermo", Limit::seconds(20))?;
        fleet.subscribe_once(&format!("wasmbed/v1/{device}/up/tm/temperature"))?;
    }
    Ok(())
}

#[test]
fn a_killed_service_forgets_nothing_and_repeats_nothing() -> Result<()> {
    let mut fleet = with_thermo(Fleet::EVERY_KIND)?;
    let pids: Vec<u32> = fleet.devices().iter().map(|device| fleet.pid(device)).collect::<Result<_>>()?;
    // Killed right after it answered, and once more while it starts up again.
    fleet.cli(&["module", "push", &module("blink")?.to_string_lossy(), "--version", "1.0.0"])?;
    fleet.cli(&["deploy", "blink", "--to", "n2-1"])?;
    fleet.kill_service()?;
    fleet.start_service()?;
    fleet.kill_service()?;
    fleet.start_service()?;
    fleet.wait_running("n2-1", "blink", Limit::seconds(40))?;
    for (device, pid) in fleet.devices().iter().zip(pids) {
        fleet.wait_running(device, "thermo", Limit::seconds(20))?;
        assert_eq!(fleet.pid(device)?, pid, "{device} was restarted for nothing");
        let shown = fleet.device(device)?;
        let restarts = shown["modules"][0]["restarts"].as_u64().context("no restarts")?;
        assert_eq!(restarts, 0, "{shown:#}");
    }
    Ok(())
}
