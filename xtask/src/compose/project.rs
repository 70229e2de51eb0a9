//! One fleet of docker-compose.yml, under a name of its own.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::docker::{Built, Docker, VERSION};
use crate::run::{output, run, step};

/// How long a role may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Where roles answer; the Dockerfile's health checks ask there too.
const METRICS_PORT: u16 = 9100;

/// A fleet that is up, or about to be.
pub(super) struct Project<'d> {
    docker: &'d Docker,
    name: String,
    variables: Vec<(&'static str, String)>,
}

/// A container, as Docker sees it.
pub(super) struct Container {
    pid: u32,
    pub(super) is_running: bool,
    pub(super) started: String,
    address: String,
}

impl<'d> Project<'d> {
    pub(super) fn new(docker: &'d Docker, built: &Built, broker: &str, profiles: &[&str]) -> Result<Self> {
        let embedded = if broker == "broker" { "1" } else { "0" };
        let mut variables = vec![
            ("COMPOSE_PROFILES", profiles.join(",")),
            ("DEBIAN_IMAGE", built.debian.clone()),
            ("WASMBED_VERSION", VERSION.to_owned()),
            ("WASMBED_BROKER", broker.to_owned()),
            ("WASMBED_EMBEDDED", embedded.to_owned()),
            ("WASMBED_PORT", free_port()?.to_string()),
            ("WASMBED_PROMETHEUS_PORT", free_port()?.to_string()),
        ];
        variables.extend(built.out.clone().map(|out| ("WASMBED_BUILT", out)));
        Ok(Project { docker, name: format!("wasmbed-test-{}", std::process::id()), variables })
    }

    fn command(&self) -> Command {
        let mut command = self.docker.compose();
        command.args(["--project-name", &self.name]).envs(self.variables.iter().cloned());
        command
    }

    /// Runs a command of Compose; what it says is for the user to see.
    pub(super) fn compose(&self, arguments: &[&str]) -> Result<()> {
        // Standard output is the task's own.
        run(self.command().args(arguments).stdout(std::io::stderr()))
    }

    /// Runs `wasmbed` as the operator.
    pub(super) fn cli(&self, arguments: &[&str]) -> Result<String> {
        output(
            self.command()
                .args(["run", "--rm", "--no-deps", "-T", "cli"])
                .args(arguments)
                .stdin(Stdio::null()),
        )
    }

    /// What `wasmbed --json` prints.
    pub(super) fn json(&self, arguments: &[&str]) -> Result<Value> {
        let mut all = vec!["--json"];
        all.extend(arguments);
        Ok(serde_json::from_str(&self.cli(&all)?)?)
    }

    /// The first container of a role.
    pub(super) fn container(&self, role: &str) -> Result<Container> {
        let ids = output(self.command().args(["ps", "--quiet", role]))?;
        let id = ids.lines().next().with_context(|| format!("there is no container of {role}"))?;
        let found = output(self.docker.command().args(["inspect", id]))?;
        let found: Value = serde_json::from_str(&found)?;
        let state = &found[0]["State"];
        let networks = found[0]["NetworkSettings"]["Networks"].as_object().context("no networks")?;
        let address = networks.values().find_map(|network| network["IPAddress"].as_str()).unwrap_or_default();
        Ok(Container {
            pid: u32::try_from(state["Pid"].as_u64().unwrap_or(0))?,
            is_running: state["Running"] == true,
            started: state["StartedAt"].as_str().unwrap_or_default().to_owned(),
            address: address.to_owned(),
        })
    }

    /// Kills the process of a container, as a fault would: what `docker kill` kills, Docker does not start again.
    pub(super) fn kill(&self, container: &Container) -> Result<()> {
        ensure!(container.pid > 1, "the container does not run");
        run(Command::new("kill").args(["-KILL", &container.pid.to_string()]))
    }

    /// What a role measures.
    pub(super) fn metrics(&self, role: &str) -> Result<String> {
        let address = self.container(role)?.address;
        let mut stream = TcpStream::connect((address.as_str(), METRICS_PORT))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, page) = answer.split_once("\r\n\r\n").context("no answer in HTTP")?;
        ensure!(head.starts_with("HTTP/1.1 200"), "{role} answers {head}");
        Ok(page.to_owned())
    }

    /// Runs Prometheus' own tool beside it, with this as its input, and returns what it printed.
    pub(super) fn promtool(&self, arguments: &[&str], input: &str) -> Result<String> {
        let mut promtool = self.command();
        promtool.args(["exec", "-T", "prometheus", "promtool"]).args(arguments);
        let mut promtool =
            promtool.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        promtool.stdin.take().context("no input")?.write_all(input.as_bytes())?;
        let said = promtool.wait_with_output()?;
        if !said.status.success() {
            bail!(
                "promtool: {}{}",
                String::from_utf8_lossy(&said.stdout),
                String::from_utf8_lossy(&said.stderr)
            );
        }
        Ok(String::from_utf8_lossy(&said.stdout).into_owned())
    }

    /// Shows what the containers said last.
    pub(super) fn show_logs(&self) {
        // The test has failed already; there may be nothing to show.
        let _ = self.compose(&["ps", "--all"]);
        let _ = self.compose(&["logs", "--tail", "40"]);
    }

    /// Takes everything down and sees that nothing is left.
    pub(super) fn down(&self) -> Result<()> {
        step("taking everything down");
        self.compose(&["down", "--volumes", "--remove-orphans", "--timeout", "20"])?;
        let label = format!("label=com.docker.compose.project={}", self.name);
        for (what, list) in [
            ("containers", &["ps", "--all"][..]),
            ("networks", &["network", "ls"]),
            ("volumes", &["volume", "ls"]),
        ] {
            let left = output(self.docker.command().args(list).args(["--quiet", "--filter", &label]))?;
            ensure!(left.trim().is_empty(), "these {what} are left: {left}");
        }
        Ok(())
    }
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
