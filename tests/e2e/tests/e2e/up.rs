//! `wasmbed up`, the README's first command.

use std::{fs, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use wasmbed_e2e::{Fleet, Process, features, images, program, signal, wait_for};

fn up(dir: &std::path::Path) -> Result<Command> {
    let mut command = Command::new(program("wasmbed")?);
    command.arg("up").arg("--data-dir").arg(dir.join("data")).arg("--images").arg(images()?);
    Ok(command)
}

#[test]
fn up_once_prints_the_default_fleet_online_and_leaves_nothing_behind() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let output = up(dir.path())?.args(["--once", "--json"]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let devices: Vec<Value> = serde_json::from_slice(&output.stdout)?;
    let mut boards: Vec<&str> = devices.iter().filter_map(|device| device["board"].as_str()).collect();
    boards.sort_unstable();
    let mut expected = Vec::new();
    for (_, board) in features::START.devices {
        if Fleet::can_start(board)? {
            expected.push(*board);
        }
    }
    expected.sort_unstable();
    assert_eq!(boards, expected);
    for device in &devices {
        assert_eq!(device["status"], "online", "{device:#}");
        assert!(device["heartbeat"]["heap_used"].as_u64().is_some_and(|used| used > 0), "{device:#}");
        let pid = device["process"]["pid"].as_u64().context("no process")?;
        assert!(signal(u32::try_from(pid)?, None).is_err(), "process {pid} was left behind");
    }
    Ok(())
}

#[test]
fn up_once_fails_when_a_device_does_not_come_up() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let empty = dir.path().join("images");
    fs::create_dir(&empty)?;
    let mut command = Command::new(program("wasmbed")?);
    command.arg("up").arg("--data-dir").arg(dir.path().join("data")).arg("--images").arg(&empty);
    command.args(["--devices", "netduino2=1,linux-x86-64=1", "--once", "--timeout", "5"]);
    let output = command.output()?;
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    for file in ["netduino2-boot.elf", "linux-x86-64.vmlinuz"] {
        assert!(said.contains(file), "{file}: {said}");
    }
    Ok(())
}

#[test]
fn a_killed_up_leaves_no_device_running() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut command = up(dir.path())?;
    let mut fleet = Process::start("up", dir.path(), command.args(["--devices", "netduino2=1,linux=1"]))?;
    let id = fleet.id();
    let mut descendants = Vec::new();
    // The keeper's; others come and go.
    wait_for("two devices", Duration::from_secs(60), || {
        descendants = children_of(id)?;
        for child in descendants.clone() {
            descendants.extend(children_of(child)?);
        }
        Ok(descendants.len() >= 3)
    })?;
    fleet.kill()?;
    wait_for("the end of the keeper and every device", Duration::from_secs(10), || {
        Ok(descendants.iter().all(|process| signal(*process, None).is_err()))
    })
}

fn children_of(parent: u32) -> Result<Vec<u32>> {
    let mut children = Vec::new();
    for task in fs::read_dir(format!("/proc/{parent}/task"))? {
        let listed = fs::read_to_string(task?.path().join("children")).unwrap_or_default();
        children.extend(listed.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
    }
    Ok(children)
}
