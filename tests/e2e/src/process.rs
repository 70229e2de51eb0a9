//! Child processes that do not outlive the test, and waiting for states.

use std::{
    fs::File,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// A running program whose output goes to a log file.
pub struct Process {
    child: Child,
    name: String,
}

impl Process {
    /// Starts `command`, logging to `<dir>/<name>.log`, appended to across restarts. It is told to end when the
    /// test's thread ends, also when somebody kills the test.
    pub fn start(name: &str, dir: &Path, command: &Command) -> Result<Self> {
        let log = File::options().create(true).append(true).open(dir.join(format!("{name}.log")))?;
        let program = command.get_program();
        let mut bound = Command::new("setpriv");
        bound.args(["--pdeathsig", "TERM", "--"]).arg(program).args(command.get_args());
        for (variable, value) in command.get_envs() {
            match value {
                Some(value) => bound.env(variable, value),
                None => bound.env_remove(variable),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            bound.current_dir(folder);
        }
        bound.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child =
            bound.spawn().with_context(|| format!("cannot start {name}: {}", program.to_string_lossy()))?;
        Ok(Process { child, name: name.to_owned() })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it at once, as a power cut would.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to end and waits for that.
    pub fn terminate(&mut self, limit: Duration) -> Result<ExitStatus> {
        signal(self.child.id(), Signal::SIGTERM)?;
        let child = &mut self.child;
        let mut status = None;
        wait_for(&format!("the end of {}", self.name), limit, || {
            status = child.try_wait()?;
            Ok(status.is_some())
        })?;
        status.context("no exit status")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Gracefully first: a host takes its devices down with it.
        if self.terminate(Duration::from_secs(10)).is_err() {
            // Nothing more can be done about a process that is already gone.
            let _ = self.kill();
        }
    }
}

/// Sends a signal to a process; none only asks whether it exists.
pub fn signal(pid: u32, signal: impl Into<Option<Signal>>) -> Result<()> {
    kill(Pid::from_raw(i32::try_from(pid)?), signal).with_context(|| format!("cannot signal process {pid}"))
}

/// Waits until `reached` says so, and fails after `limit`.
///
/// An error of `reached` counts as "not yet": it is told if the limit is reached.
pub fn wait_for(what: &str, limit: Duration, mut reached: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + limit;
    loop {
        let asked = Instant::now();
        let last = reached();
        if matches!(last, Ok(true)) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return match last {
                Err(error) => Err(error.context(format!("waited {limit:?} for {what}"))),
                Ok(_) => bail!("waited {limit:?} in vain for {what}"),
            };
        }
        // A command of ours is a process: most of the machine belongs to those that are waited for.
        thread::sleep((asked.elapsed() * 5).clamp(Duration::from_millis(50), Duration::from_millis(500)));
    }
}
