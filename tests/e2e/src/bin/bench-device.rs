//! `cargo xtask bench device`: what a user waits for, measured from outside on a running fleet.
//!
//! Each line is: board, what, figure, unit, and where there is one the aim with the share of it that was
//! used. Times are medians of several runs.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use wasmbed_e2e::{BrokerKind, Fleet, Limit, Subscription, module, signal};

const RUNS: usize = 5;
/// CBOR of a state message with status online, up to the boot number.
const ONLINE: &str = "a2000101";

fn main() -> Result<()> {
    let fleet = Fleet::start(BrokerKind::Embedded)?;
    fleet.cli(&["module", "push", &module("thermo")?.to_string_lossy(), "--version", "1.0.0"])?;
    fleet.cli(&["deploy", "thermo", "--to", "all", "--wait"])?;
    for (id, board) in Fleet::EVERY_KIND {
        memory(&fleet, id, board)?;
        restart(&fleet, id, board)?;
        power_on(&fleet, id, board)?;
    }
    fleet.cli(&["undeploy", "thermo", "--to", "all"])?;
    for (id, board) in Fleet::EVERY_KIND {
        deploy(&fleet, id, board)?;
    }
    drop(fleet);
    for (id, board) in Fleet::EVERY_KIND {
        instructions(id, board)?;
    }
    Ok(())
}

/// Heap and stack at their peak with one module running.
fn memory(fleet: &Fleet, id: &str, board: &str) -> Result<()> {
    fleet.wait_running(id, "thermo", Limit::seconds(20))?;
    fleet.wait_fresh_heartbeat(id, Limit::seconds(10))?;
    let heartbeat = fleet.device(id)?["heartbeat"].clone();
    let (heap, unused) = (number(&heartbeat, "heap_peak")?, number(&heartbeat, "stack_free")?);
    line(board, "peak heap", heap as f64, "B", None);
    if let Some(Fixed { bytes, budget }) = fixed_memory(board)? {
        let total = (bytes + heap).saturating_sub(unused);
        line(board, "memory in all", total as f64, "B", Some(budget as f64));
        if total > budget {
            bail!("{board} takes {total} bytes of memory with one module; its budget is {budget}");
        }
    }
    Ok(())
}

/// Static memory and stacks of a board, and what it may take in all, in bytes.
struct Fixed {
    bytes: u64,
    budget: u64,
}

/// Reads `BOARD=BYTES,BUDGET` from the command line; none for a board that is not named there.
fn fixed_memory(board: &str) -> Result<Option<Fixed>> {
    let prefix = format!("{board}=");
    let Some(figures) = std::env::args().find_map(|word| word.strip_prefix(&prefix).map(str::to_owned))
    else {
        return Ok(None);
    };
    let (bytes, budget) = figures.split_once(',').context("expected BOARD=BYTES,BUDGET")?;
    Ok(Some(Fixed { bytes: bytes.parse()?, budget: budget.parse()? }))
}

/// From the command that switches a device on to its being online.
fn power_on(fleet: &Fleet, id: &str, board: &str) -> Result<()> {
    let states = Subscription::open(fleet, &format!("wasmbed/v1/{id}/up/state"))?;
    let mut times = Vec::new();
    for _ in 0..RUNS {
        fleet.cli(&["device", "stop", id])?;
        fleet.wait(&format!("{id} without a process"), Limit::seconds(20), || Ok(fleet.pid(id).is_err()))?;
        states.drain().for_each(drop);
        let start = Instant::now();
        fleet.ask("device-start", json!({ "to": id }))?;
        states.next(|line| line.starts_with(ONLINE))?;
        times.push(start.elapsed().as_secs_f64() * 1000.0);
        fleet.wait_running(id, "thermo", Limit::seconds(20))?;
    }
    line(board, "power-on to online", median(times), "ms", None);
    Ok(())
}

/// From `kill -9` of the device's process to its being online.
fn restart(fleet: &Fleet, id: &str, board: &str) -> Result<()> {
    let states = Subscription::open(fleet, &format!("wasmbed/v1/{id}/up/state"))?;
    let mut times = Vec::new();
    for _ in 0..RUNS {
        let pid = fleet.pid(id)?;
        states.drain().for_each(drop);
        let start = Instant::now();
        signal(pid, Signal::SIGKILL)?;
        states.next(|line| line.starts_with(ONLINE))?;
        times.push(start.elapsed().as_secs_f64() * 1000.0);
        fleet.wait_running(id, "thermo", Limit::seconds(20))?;
        // The budget is for accidents; let none of its window be left over.
        fleet.cli(&["device", "restart", id])?;
        fleet.wait(&format!("{id} in another process"), Limit::seconds(20), || {
            Ok(fleet.pid(id).is_ok_and(|now| now != pid))
        })?;
        fleet.wait_running(id, "thermo", Limit::seconds(20))?;
    }
    line(board, "kill to online", median(times), "ms", Some(2000.0));
    Ok(())
}

/// From the request to the first telemetry of a module of 4 KB.
fn deploy(fleet: &Fleet, id: &str, board: &str) -> Result<()> {
    let path = fleet.dir().join("four.wasm");
    // `init` publishes, so what is measured does not depend on the tick interval.
    let filler = "x".repeat(3500);
    let text = format!(
        r#"(module (import "wasmbed" "telemetry" (func $telemetry (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 4096 4096 (pagesize 1))
            (data (i32.const 0) "up") (data (i32.const 16) "{filler}")
            (func (export "init") (result i32)
                (call $telemetry (i32.const 0) (i32.const 2) (i32.const 0) (i32.const 2)))
            (func (export "tick")))"#
    );
    std::fs::write(&path, wat::parse_str(text)?)?;
    let version = format!("1.0.0-{id}");
    fleet.cli(&["module", "push", &path.to_string_lossy(), "--name", "four", "--version", &version])?;
    let telemetry = Subscription::open(fleet, &format!("wasmbed/v1/{id}/up/tm/up"))?;
    let mut times = Vec::new();
    for _ in 0..RUNS {
        telemetry.drain().for_each(drop);
        let start = Instant::now();
        fleet.ask("deploy", json!({ "module": "four", "version": version, "to": id }))?;
        telemetry.next(|_| true)?;
        times.push(start.elapsed().as_secs_f64() * 1000.0);
        fleet.ask("undeploy", json!({ "module": "four", "to": id }))?;
        fleet.wait(&format!("no module on {id}"), Limit::seconds(20), || {
            Ok(fleet.device(id)?["modules"].as_array().is_some_and(Vec::is_empty))
        })?;
    }
    line(board, "deploy of 4 KB", median(times), "ms", Some(500.0));
    Ok(())
}

/// Instructions of one loop of the `bench` module: on a clock that advances one nanosecond for each
/// instruction, the time a call takes is their number.
fn instructions(id: &str, board: &str) -> Result<()> {
    let fleet = Fleet::start_counting(&[(id, board)])?;
    fleet.cli(&["module", "push", &module("bench")?.to_string_lossy(), "--version", "1.0.0"])?;
    fleet.cli(&["deploy", "bench", "--to", "all", "--wait"])?;
    let mut calls = Vec::new();
    while calls.len() < RUNS {
        fleet.wait_fresh_heartbeat(id, Limit::seconds(30))?;
        let microseconds = number(&fleet.device(id)?["heartbeat"], "slowest_call_us")?;
        if microseconds > 0 {
            calls.push(microseconds as f64);
        }
    }
    match board {
        // On the host's own processor there is only time.
        "linux" => line(board, "loop", median(calls), "us", None),
        _ => line(board, "loop", median(calls) * 1000.0, "instructions", None),
    }
    Ok(())
}

fn line(board: &str, what: &str, figure: f64, unit: &str, aim: Option<f64>) {
    let aim = aim.map(|aim| format!("   aim {aim:.0} {unit}: {:.2} of it", figure / aim)).unwrap_or_default();
    println!("{board:<10} {what:<18} {figure:>9.0} {unit}{aim}");
}

fn number(object: &Value, field: &str) -> Result<u64> {
    object[field].as_u64().with_context(|| format!("no {field} in {object}"))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
