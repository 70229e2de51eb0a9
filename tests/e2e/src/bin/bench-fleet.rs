//! `cargo xtask bench fleet`: how many netduino2 boards this machine runs, what each takes, and how soon it is back.
//!
//! Everything is the real thing: broker, service, one host, and a QEMU for each board. Boards are started in two steps,
//! so that the time of the first hundred is measured on the way to all of them.

use std::{
    collections::BTreeMap,
    env, fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use wasmbed_e2e::{Fleet, signal};
use wasmbed_figures::{Aim, line, ratio};

const BOARD: &str = "netduino2";
/// Boards that are to run with all heartbeats on time.
const BOARDS: usize = 200;
/// Boards of the first step, and the time they may take, in seconds.
const FIRST: (usize, f64) = (100, 60.0);
/// Time between heartbeats, in milliseconds.
const HEARTBEAT_MS: u32 = 10_000;
/// How long heartbeats and processor time are watched.
const WINDOW: Duration = Duration::from_secs(60);
/// How long all boards may take to come up at most.
const LIMIT: Duration = Duration::from_secs(600);
/// Boards that are killed, and that are frozen, one after the other.
const KILLED: usize = 20;
const FROZEN: usize = 3;
/// How long a killed board may take to be back, in milliseconds.
const BACK_MS: f64 = 2_000.0;

fn main() -> Result<()> {
    let boards = env::args().nth(1).map_or(Ok(BOARDS), |text| text.parse())?;
    let names: Vec<String> = (1..=boards).map(|n| format!("n-{n:03}")).collect();
    let devices: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), BOARD)).collect();
    let mut fleet = Fleet::without_host(&devices, HEARTBEAT_MS)?;
    let (first, later) = names.split_at(FIRST.0.min(boards));
    if !later.is_empty() {
        fleet.ask("device-stop", json!({ "to": later }))?;
    }

    let start = Instant::now();
    fleet.start_host()?;
    all_online(&fleet, first)?;
    let seconds = start.elapsed().as_secs_f64();
    line(BOARD, &format!("{} boards up", first.len()), seconds, "s");
    ratio(BOARD, "  of what it may take", seconds / FIRST.1, Aim::AtMost(1.0));
    if !later.is_empty() {
        fleet.ask("device-start", json!({ "to": later }))?;
        all_online(&fleet, &names)?;
        line(BOARD, &format!("{boards} boards up"), start.elapsed().as_secs_f64(), "s");
    }

    heartbeats(&fleet, &names)?;
    restarts(&fleet, &names)
}

/// Waits until all of these are online.
fn all_online(fleet: &Fleet, names: &[String]) -> Result<()> {
    let start = Instant::now();
    loop {
        // While all boards start, the service may not come to answer in time.
        let devices = list(fleet).unwrap_or_default();
        let online = |name: &&String| devices.get(*name).is_some_and(|device| device["status"] == "online");
        let count = names.iter().filter(online).count();
        if count == names.len() {
            return Ok(());
        }
        if start.elapsed() > LIMIT {
            bail!("{count} of {} boards are online after {} s", names.len(), LIMIT.as_secs());
        }
        thread::sleep(Duration::from_millis(200));
    }
}

/// Watches heartbeats for a while, and what all of it takes meanwhile.
fn heartbeats(fleet: &Fleet, names: &[String]) -> Result<()> {
    let before = list(fleet)?;
    let cpu_before = cpu_ms(&pids(&before))?;
    let start = Instant::now();
    thread::sleep(WINDOW);
    let (after, passed_ms) = (list(fleet)?, start.elapsed().as_secs_f64() * 1000.0);
    let pids = pids(&after);
    let cpu = (cpu_ms(&pids)? - cpu_before) / passed_ms;

    // One that is a whole interval late is missing from the count.
    let expected = (passed_ms / f64::from(HEARTBEAT_MS)).floor() as u64 - 1;
    let on_time = names.iter().filter(|name| {
        let seq =
            |devices: &Devices| devices.get(*name).and_then(|device| device["heartbeat"]["seq"].as_u64());
        seq(&after).zip(seq(&before)).is_some_and(|(after, before)| after >= before + expected)
    });
    let on_time = on_time.count();
    line(BOARD, "with heartbeats on time", on_time as f64, "boards");
    ratio(BOARD, "  of the boards", on_time as f64 / names.len() as f64, Aim::AtLeast(1.0));
    ratio(BOARD, "  of the boards aimed for", on_time as f64 / BOARDS as f64, Aim::AtLeast(1.0));
    let each = |what: &str, bytes: u64| line(BOARD, what, bytes as f64 / names.len() as f64, "B each");
    each("memory (RSS)", memory(&pids, "Rss:")?);
    each("memory (PSS)", memory(&pids, "Pss:")?);
    line(BOARD, "processor", cpu * 1000.0 / names.len() as f64, "thousandths of a core each");
    Ok(())
}

/// Kills boards, then freezes some, one after the other.
fn restarts(fleet: &Fleet, names: &[String]) -> Result<()> {
    let back = |name: &String, with: Signal| -> Result<f64> {
        let (pid, boot) = of(fleet, name)?;
        let start = Instant::now();
        signal(pid, with)?;
        loop {
            let (now_pid, now_boot) = of(fleet, name).unwrap_or((pid, boot));
            if now_pid != pid && now_boot > boot {
                return Ok(start.elapsed().as_secs_f64() * 1000.0);
            }
            if start.elapsed() > LIMIT {
                bail!("{name} did not come back");
            }
            thread::sleep(Duration::from_millis(10));
        }
    };
    for (what, with, count) in [("kill", Signal::SIGKILL, KILLED), ("freeze", Signal::SIGSTOP, FROZEN)] {
        let mut times = Vec::new();
        for name in names.iter().take(count) {
            times.push(back(name, with)?);
        }
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize];
        line(BOARD, &format!("{what} to back, p50"), at(0.5), "ms");
        line(BOARD, &format!("{what} to back, p99"), at(0.99), "ms");
        if with == Signal::SIGKILL {
            ratio(BOARD, "  of what it may take", at(0.5) / BACK_MS, Aim::AtMost(1.0));
        }
    }
    Ok(())
}

/// Process and connect number of a board.
fn of(fleet: &Fleet, name: &str) -> Result<(u32, u64)> {
    let device = fleet.ask("device-show", json!({ "device": name }))?;
    let boot = device["heartbeat"]["boot"].as_u64().context("no heartbeat")?;
    let pid = device["process"]["pid"].as_u64().context("no process")?;
    Ok((u32::try_from(pid)?, boot))
}

type Devices = BTreeMap<String, Value>;

fn list(fleet: &Fleet) -> Result<Devices> {
    let devices = fleet.ask("device-list", json!({}))?;
    let devices = devices.as_array().context("no list")?;
    Ok(devices
        .iter()
        .filter_map(|device| Some((device["id"].as_str()?.to_owned(), device.clone())))
        .collect())
}

fn pids(devices: &Devices) -> Vec<u64> {
    devices.values().filter_map(|device| device["process"]["pid"].as_u64()).collect()
}

/// Processor time of processes so far, in milliseconds.
fn cpu_ms(pids: &[u64]) -> Result<f64> {
    let mut sum = 0.0;
    for pid in pids {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let (_, rest) = stat.rsplit_once(") ").context("no fields")?;
        let ticks = rest.split(' ').skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
        // USER_HZ is 100 on Linux.
        sum += ticks.sum::<f64>() * 10.0;
    }
    Ok(sum)
}

/// What a line of `smaps_rollup` adds up to, in bytes.
fn memory(pids: &[u64], name: &str) -> Result<u64> {
    let mut sum = 0;
    for pid in pids {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)).context("no such line")?;
        sum += line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024;
    }
    Ok(sum)
}
