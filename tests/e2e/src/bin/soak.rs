//! `cargo xtask soak`: everything that can be done to emulated devices, for minutes, on a mixed fleet.
//!
//! First one device of each kind has its power cut a hundred times, two of them at a time; then devices drawn at
//! random are killed, frozen, reset, cut off and disturbed, one thing after the other. In the end every device has to be
//! online with its desired state, and nothing may be left over: no process, no open file, no folder.

use std::{
    env, fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use wasmbed_e2e::{
    Fleet, Limit,
    features::{MODULES, each},
    module, signal,
};

/// Devices by board; a board whose emulator or firmware is not here is left out.
const FLEET: &[(&str, usize)] = &[
    ("netduino2", 5),
    ("mps2-an385", 3),
    ("rv32-virt", 4),
    ("hifive1", 2),
    ("lx60", 2),
    ("linux", 3),
    ("linux-x86-64", 1),
];
/// Power cuts of each kind of device.
const CUTS: usize = 100;
/// Devices may take this long to be well again.
const WELL: Limit = Limit::seconds(120);
/// Open files of a host that may come and go.
const SPARE_FILES: usize = 16;

fn main() -> Result<()> {
    let minutes: u64 = env::args().nth(1).map_or(Ok(10), |text| text.parse())?;
    let seed: u64 = env::args().nth(2).map_or(Ok(1), |text| text.parse())?;
    let devices = devices()?;
    let names: Vec<(&str, &str)> = devices.iter().map(|(id, board)| (id.as_str(), *board)).collect();
    println!("{} devices, {CUTS} power cuts each kind, then {minutes} minutes with seed {seed}", names.len());
    let mut fleet = Fleet::of(&names)?;
    fleet.cli(&["module", "push", &module("thermo")?.to_string_lossy(), "--version", "1.0.0"])?;
    let with_modules: Vec<&str> =
        names.iter().filter(|(_, board)| runs_modules(board)).map(|(id, _)| *id).collect();
    fleet.cli(&["deploy", "thermo", "--to", &with_modules.join(",")])?;
    all_well(&fleet, &names)?;
    let files = open_files(&fleet)?;

    let first = |(board, _): &(&str, usize)| names.iter().find(|(_, of)| of == board).copied();
    let one_of_each: Vec<(&str, &str)> = FLEET.iter().filter_map(first).collect();
    each(&one_of_each, |id, board| {
        let start = Instant::now();
        // Each kind at times of its own.
        let own = board.bytes().map(u64::from).sum::<u64>();
        let mut random = fastrand::Rng::with_seed(seed.wrapping_add(own));
        for _ in 0..CUTS {
            // In the bootloader, on the way to the broker, or in the middle of its work.
            thread::sleep(Duration::from_millis(random.u64(0..4_000)));
            // One that is just being started has no power to be cut.
            fleet.wait("a power cut", WELL, || order(&fleet, id, json!({ "do": "cut" })).map(|_| true))?;
        }
        is_well(&fleet, id, board)?;
        println!("{board:<14} {CUTS} power cuts in {:.0} s, online", start.elapsed().as_secs_f64());
        Ok(())
    })?;

    let mut random = fastrand::Rng::with_seed(seed);
    let (start, mut done) = (Instant::now(), [0u32; KINDS]);
    while start.elapsed() < Duration::from_secs(minutes * 60) {
        let (id, _) = names[random.usize(..names.len())];
        let kind = random.usize(..KINDS);
        // A device that just is not running refuses, and so does one that lacks what is to be disturbed.
        if disturb(&fleet, id, kind, &mut random).is_ok() {
            done[kind] += 1;
        }
    }
    println!("kills, freezes, resets, network losses, bad lines, power cuts: {done:?}");
    for (id, _) in &names {
        let _ = order(&fleet, id, json!({ "do": "calm" }));
        // What a device was quarantined for in this was not its fault.
        fleet.request("device-clear", json!({ "to": id }))?;
    }
    all_well(&fleet, &names)?;
    println!("{} devices online, with what they should run", names.len());
    nothing_left(&mut fleet, files)
}

const KINDS: usize = 6;

fn disturb(fleet: &Fleet, id: &str, kind: usize, random: &mut fastrand::Rng) -> Result<()> {
    let for_ms = random.u32(100..4_000);
    match kind {
        0 => return signal(fleet.pid(id)?, Signal::SIGKILL),
        1 => order(fleet, id, json!({ "do": "freeze", "for_ms": for_ms })),
        2 => order(fleet, id, json!({ "do": "reset" })),
        3 => order(fleet, id, json!({ "do": "network", "for_ms": for_ms })),
        4 => order(fleet, id, json!({ "do": "serial", "for_ms": for_ms, "corrupt": 0.002, "lose": 0.001 })),
        _ => order(fleet, id, json!({ "do": "cut", "for_ms": for_ms })),
    }
    .map(drop)
}

fn order(fleet: &Fleet, id: &str, control: Value) -> Result<Value> {
    fleet.ask("device-control", json!({ "device": id, "control": control }))
}

/// The devices of the fleet.
fn devices() -> Result<Vec<(String, &'static str)>> {
    let mut devices = Vec::new();
    for (board, count) in FLEET {
        if Fleet::can_start(board)? {
            devices.extend((1..=*count).map(|n| (format!("{board}-{n}"), *board)));
        } else {
            println!("{board}: left out, it is not built here");
        }
    }
    Ok(devices)
}

fn runs_modules(board: &str) -> bool {
    MODULES.devices.iter().any(|(_, of)| *of == board)
}

/// Waits until every device is online and runs its module, if it runs any.
fn all_well(fleet: &Fleet, devices: &[(&str, &str)]) -> Result<()> {
    devices.iter().try_for_each(|(id, board)| is_well(fleet, id, board))
}

fn is_well(fleet: &Fleet, id: &str, board: &str) -> Result<()> {
    match runs_modules(board) {
        true => fleet.wait_running(id, "thermo", WELL),
        false => fleet.wait_online(id),
    }
}

/// Open files of the host.
fn open_files(fleet: &Fleet) -> Result<usize> {
    let host = fleet.host_process().context("no host runs")?;
    Ok(fs::read_dir(format!("/proc/{host}/fd"))?.count())
}

fn nothing_left(fleet: &mut Fleet, files: usize) -> Result<()> {
    let now = open_files(fleet)?;
    ensure!(now <= files + SPARE_FILES, "the host had {files} open files and has {now}");
    println!("the host has {now} open files; it had {files} before");
    let ids = fleet.devices();
    let pids: Vec<u32> = ids.iter().map(|id| fleet.pid(id)).collect::<Result<_>>()?;
    let folders = fs::read_dir(fleet.dir().join("host/devices"))?.count();
    ensure!(folders == ids.len(), "{folders} folders for {} devices", ids.len());
    fleet.stop_host()?;
    for (id, pid) in ids.iter().zip(&pids) {
        if signal(*pid, None).is_ok() {
            bail!("process {pid} of {id} outlived its host");
        }
    }
    println!("no process, open file or folder is left over");
    Ok(())
}
