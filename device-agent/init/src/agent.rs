//! Runs the agent, again and again.

use std::{
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::Context;
use nix::{
    sys::wait::{WaitStatus, wait},
    unistd::Pid,
};

use crate::machine::DATA;

const AGENT: &str = "/bin/wasmbed-agent";
/// The agent's user and group: nothing else runs under them, and nothing else is theirs than its data.
pub(crate) const USER: u32 = 1000;
/// The agent ends with this to have the machine restarted, as a machine does under systemd-nspawn.
const RESTART: u8 = 133;

const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_LAST: Duration = Duration::from_secs(30);
/// An agent that ran for this long was in order: the next pause is the first again.
const STEADY: Duration = Duration::from_secs(60);

/// How the agent ended for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The machine is to start again.
    Restart,
    /// It was told to stop.
    Stop,
}

/// Runs the agent with this configuration until it ends for good; one that dies is started again.
pub(crate) fn keep_running(config: &Path) -> anyhow::Result<End> {
    let mut pause = PAUSE_FIRST;
    loop {
        let started = Instant::now();
        let agent = start(config).with_context(|| format!("cannot start {AGENT}"))?;
        let status = reap(&agent)?;
        match status {
            WaitStatus::Exited(_, 0) => return Ok(End::Stop),
            WaitStatus::Exited(_, code) if code == i32::from(RESTART) => return Ok(End::Restart),
            _ => {}
        }
        if started.elapsed() >= STEADY {
            pause = PAUSE_FIRST;
        }
        eprintln!(
            "wasmbed-init: the agent ended with {status:?}; starting it again in {} s",
            pause.as_secs()
        );
        sleep(pause);
        pause = (pause * 2).min(PAUSE_LAST);
    }
}

fn start(config: &Path) -> std::io::Result<Child> {
    Command::new(AGENT)
        .arg("--config")
        .arg(config)
        .args(["--data-dir", &format!("{DATA}/agent"), "--simulate"])
        .args(["--restart-exit-code", &RESTART.to_string()])
        // The console is a terminal, but what it shows becomes a log.
        .env_clear()
        .env("NO_COLOR", "1")
        .env("TMPDIR", "/tmp")
        .current_dir(DATA)
        .stdin(Stdio::null())
        .uid(USER)
        .gid(USER)
        .spawn()
}

/// Waits for the agent, and for every process that lost its parent meanwhile, as the first process must.
fn reap(agent: &Child) -> anyhow::Result<WaitStatus> {
    let agent = Pid::from_raw(i32::try_from(agent.id())?);
    loop {
        let status = wait()?;
        if status.pid() == Some(agent) {
            return Ok(status);
        }
    }
}
