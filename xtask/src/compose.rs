//! `cargo xtask test --compose`: the fleet of docker-compose.yml, for real: built, started, used, hurt and taken down.
//!
//! Nothing of it stays: containers, networks, volumes, images, and the Docker daemon if it was started for this.

mod docker;
mod project;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use wasmbed_boards::Boards;

use self::{docker::Docker, project::Project};
use crate::run::step;

/// How long everything may take to come up: a machine with Linux starts in an emulator.
const START: Duration = Duration::from_secs(300);
/// How long a fleet may take to be whole again.
const RECOVERY: Duration = Duration::from_secs(180);
const PAUSE: Duration = Duration::from_secs(1);
/// The device that is a container, and not emulated.
const AGENT: &str = "agent-1";
/// A board without memory for modules.
const WITHOUT_MODULES: &str = "hifive1";
const MODULE: &str = "thermo";

/// Runs the fleet on each broker.
pub(crate) fn test() -> Result<()> {
    let docker = Docker::ready()?;
    let built = docker.prepare()?;
    let devices = devices()?;
    for (broker, profiles) in [("broker", &["metrics"][..]), ("mosquitto", &["metrics", "mosquitto"])] {
        step(&format!("docker compose up, with {broker} as the broker"));
        let project = Project::new(&docker, &built, broker, profiles)?;
        let done = scenario(&project, &devices, broker);
        if done.is_err() {
            project.show_logs();
        }
        let gone = project.down();
        done.and(gone)?;
    }
    Ok(())
}

/// Every device of the compose file.
fn devices() -> Result<BTreeSet<String>> {
    let boards = Boards::embedded()?;
    let emulated = boards.iter().map(|board| format!("{}-1", board.name));
    Ok(emulated.chain([AGENT.to_owned()]).collect())
}

fn scenario(project: &Project<'_>, devices: &BTreeSet<String>, broker: &str) -> Result<()> {
    project.compose(&["build"])?;
    project.compose(&["up", "--detach", "--no-build"])?;
    let start = Instant::now();
    wait_for("every device online", START, || online(project, devices))?;
    step(&format!("every device is online after {} s", start.elapsed().as_secs()));

    step("a module on every device that takes one");
    let module = format!("/usr/local/share/wasmbed/modules/{MODULE}.wasm");
    project.cli(&["module", "push", &module, "--version", "1.0.0"])?;
    let takers: Vec<&str> =
        devices.iter().map(String::as_str).filter(|id| !id.starts_with(WITHOUT_MODULES)).collect();
    project.cli(&["deploy", MODULE, "--to", &takers.join(","), "--wait"])?;
    let runs = || runs_module(project, &takers);
    wait_for("the module running", START, runs)?;

    for role in [broker, "service", "host", "agent"] {
        step(&format!("{role} dies, and everything comes back"));
        let before = project.container(role)?;
        project.kill(&before)?;
        wait_for("the container running again", RECOVERY, || {
            let now = project.container(role)?;
            Ok(now.is_running && now.started != before.started)
        })?;
        wait_for("every device online", RECOVERY, || online(project, devices))?;
        wait_for("the module running", RECOVERY, runs)?;
    }

    step("a third host joins");
    project.compose(&["up", "--detach", "--no-build", "--no-recreate", "--scale", "host=3"])?;
    wait_for("the third host", RECOVERY, || {
        let hosts = project.json(&["hosts"])?;
        let hosts = hosts.as_array().context("no list of hosts")?;
        Ok(hosts.iter().any(|host| host["id"] == "host-3" && host["online"] == true))
    })?;

    measured(project, broker)
}

/// Every role is healthy, is scraped, and writes what Prometheus reads.
fn measured(project: &Project<'_>, broker: &str) -> Result<()> {
    step("metrics of every role, read by Prometheus");
    let roles = ["broker", "service", "host", "agent"]
        .into_iter()
        .filter(|role| *role != "broker" || broker == *role);
    for role in roles {
        let page = project.metrics(role)?;
        project.promtool(&["check", "metrics"], &page).with_context(|| format!("the metrics of {role}"))?;
        wait_for(&format!("{role} in Prometheus"), RECOVERY, || {
            let query = format!("up{{job=\"{role}\"}} == 1");
            Ok(project.promtool(&["query", "instant", "http://127.0.0.1:9090", &query], "")?.contains("up{"))
        })?;
    }
    project.promtool(&["check", "rules", "/usr/local/lib/wasmbed/alerts.yml"], "")?;
    Ok(())
}

fn online(project: &Project<'_>, devices: &BTreeSet<String>) -> Result<bool> {
    let found = project.json(&["device", "list"])?;
    let found = found.as_array().context("no list of devices")?;
    let online: BTreeSet<&str> = found
        .iter()
        .filter(|device| device["status"] == "online" && device["health"]["stage"] == "healthy")
        .filter_map(|device| device["id"].as_str())
        .collect();
    let missing: Vec<&str> =
        devices.iter().map(String::as_str).filter(|device| !online.contains(device)).collect();
    ensure!(missing.is_empty(), "not online: {}", missing.join(", "));
    Ok(true)
}

fn runs_module(project: &Project<'_>, devices: &[&str]) -> Result<bool> {
    for device in devices {
        let shown = project.json(&["device", "show", device])?;
        let modules = shown["modules"].as_array().context("no list of modules")?;
        let runs = modules.iter().any(|module| module["name"] == MODULE && module["state"] == "running");
        ensure!(runs, "{device} does not run it: {}", shown["modules"]);
    }
    Ok(true)
}

/// Waits until `reached` says so; an error counts as "not yet", and is told if that is all there is in the end.
fn wait_for(what: &str, limit: Duration, mut reached: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + limit;
    loop {
        let last = reached();
        if matches!(last, Ok(true)) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let waited = format!("waited {} s in vain for {what}", limit.as_secs());
            return match last {
                Err(error) => Err(error.context(waited)),
                Ok(_) => bail!(waited),
            };
        }
        std::thread::sleep(PAUSE);
    }
}
