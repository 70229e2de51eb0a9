//! A host that dies suddenly, and what becomes of its devices.

use std::fs;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use wasmbed_e2e::{BrokerKind, Fleet, Limit, module, signal};

/// A board that has no room for modules.
const WITHOUT_MODULES: (&str, &str) = ("hf-1", "hifive1");

#[test]
fn a_killed_host_is_followed_by_one_that_adopts_its_devices() -> Result<()> {
    let devices = [Fleet::EVERY_KIND, &[WITHOUT_MODULES]].concat();
    let mut fleet = Fleet::start_with(BrokerKind::Embedded, &devices)?;
    push(&fleet, "thermo")?;
    let before = fleet.devices().into_iter().map(|id| Running::of(&fleet, id)).collect::<Result<Vec<_>>>()?;

    fleet.kill_host()?;
    fleet.start_host()?;
    for device in &before {
        device.runs_on(&fleet)?;
    }
    // Through the links of the host that started last.
    push(&fleet, "blink")?;
    for device in &before {
        device.runs_on(&fleet)?;
    }

    let keeper = parent(before[0].pid)?;
    signal(keeper, Signal::SIGKILL)?;
    for Running { id, pid, .. } in &before {
        fleet.wait(&format!("{id} in another process"), Limit::seconds(30), || {
            Ok(fleet.pid(id).is_ok_and(|now| now != *pid) && signal(*pid, None).is_err())
        })?;
        wait_well(&fleet, id)?;
    }

    let pids = fleet.devices().iter().map(|id| fleet.pid(id)).collect::<Result<Vec<_>>>()?;
    let keeper = parent(pids[0])?;
    fleet.kill_host()?;
    ensure!(pids.iter().all(|pid| signal(*pid, None).is_ok()), "a device did not outlive its host");
    fleet.wait("no orphan after the grace", Limit::seconds(30), || {
        Ok(pids.iter().chain([&keeper]).all(|pid| signal(*pid, None).is_err()))
    })
}

/// A device before its host dies.
struct Running {
    id: String,
    pid: u32,
    uptime_ms: u64,
    starts: usize,
}

impl Running {
    fn of(fleet: &Fleet, id: String) -> Result<Self> {
        fleet.wait_fresh_heartbeat(&id, Limit::seconds(20))?;
        let uptime_ms = uptime_ms(fleet, &id)?;
        Ok(Running { pid: fleet.pid(&id)?, uptime_ms, starts: starts(fleet, &id)?, id })
    }

    /// Waits until it is online with its module, and checks that it was not started again.
    fn runs_on(&self, fleet: &Fleet) -> Result<()> {
        let Running { id, pid, .. } = self;
        fleet.wait(&format!("the adoption of {id}"), Limit::seconds(20), || {
            Ok(fleet.events(id)?.iter().any(|event| event["kind"] == "process-adopted"))
        })?;
        fleet.wait_fresh_heartbeat(id, Limit::seconds(20))?;
        wait_well(fleet, id)?;
        ensure!(fleet.pid(id)? == *pid, "{id} is in another process");
        let uptime_ms = uptime_ms(fleet, id)?;
        ensure!(uptime_ms > self.uptime_ms, "{id} was up {} ms, and now {uptime_ms} ms", self.uptime_ms);
        ensure!(starts(fleet, id)? == self.starts, "{id} started again: {:#?}", fleet.events(id)?);
        Ok(())
    }
}

fn push(fleet: &Fleet, name: &str) -> Result<()> {
    fleet.cli(&["module", "push", &module(name)?.to_string_lossy(), "--version", "1.0.0"])?;
    let with_modules: Vec<&str> = Fleet::EVERY_KIND.iter().map(|(id, _)| *id).collect();
    fleet.cli(&["deploy", name, "--to", &with_modules.join(","), "--wait"]).map(drop)
}

/// Waits until a device is online, with its module if it runs any.
fn wait_well(fleet: &Fleet, id: &str) -> Result<()> {
    match id == WITHOUT_MODULES.0 {
        true => fleet.wait_online(id),
        false => fleet.wait_running(id, "thermo", Limit::seconds(60)),
    }
}

fn uptime_ms(fleet: &Fleet, id: &str) -> Result<u64> {
    fleet.device(id)?["heartbeat"]["uptime_ms"].as_u64().with_context(|| format!("{id} has no uptime"))
}

/// How often its process was started, or the board within it reset.
fn starts(fleet: &Fleet, id: &str) -> Result<usize> {
    const STARTS: [&str; 4] =
        ["process-started", "process-restarted", "process-remapped", "process-watchdog"];
    let events = fleet.events(id)?;
    Ok(events.iter().filter(|event| STARTS.iter().any(|kind| event["kind"] == *kind)).count())
}

fn parent(pid: u32) -> Result<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(") ").context("no line of proc(5)")?;
    Ok(fields.split(' ').nth(1).context("no parent")?.parse()?)
}
