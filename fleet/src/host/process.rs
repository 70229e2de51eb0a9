//! Devices' processes, as the host sees them: its keeper's children.
//!
//! Every process is told by the kernel to die when the keeper dies (`setpriv --pdeathsig`) and has limits (`prlimit`; both
//! are from the essential Debian package util-linux, so that this crate needs no `unsafe`), leads a process group of its
//! own, and is stopped by degrees: asked, SIGTERM, SIGKILL, with a deadline each.
//!
//! Not here: what is started (`launch`) and when (`device`), and who reaps it (`keeper`).

use std::{
    env, fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use nix::{
    sys::signal::Signal,
    unistd::{AccessFlags, access},
};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use wasmbed_wire::DeviceId;

use super::keeper::{Bounds, Command, Keeper, Launched, OpenError, Request};

/// How long a polite request, and then SIGTERM, may take.
const POLITE: Duration = Duration::from_millis(700);
const WRAPPER: &str = "setpriv";
const LIMITER: &str = "prlimit";
/// What no device's process needs more of: no core dumps, no file larger than a disk, no end of descriptors.
const LIMITS: [&str; 3] = ["--core=0", "--fsize=1073741824", "--nofile=512"];

/// A program to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spec {
    /// A name looked up in `PATH`, or a path.
    pub(super) program: PathBuf,
    /// What provides it where it is missing: a sentence for people.
    pub(super) remedy: String,
    /// Its arguments.
    pub(super) args: Vec<String>,
    /// Its working directory.
    pub(super) dir: PathBuf,
}

/// Why nothing was started.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error("{program} was not found; {remedy}")]
    Missing { program: String, remedy: String },
    #[error("{program} could not be started: {error}")]
    Spawn { program: String, error: String },
    #[error(transparent)]
    Keeper(#[from] OpenError),
}

/// Gets each line of a process' standard error, once there is somebody who wants them.
pub(super) type Said = Arc<OnceLock<Listener>>;

/// Somebody who wants them.
pub(super) struct Listener(Box<dyn Fn(&str) + Send + Sync>);

impl Listener {
    /// Called for each line.
    pub(super) fn new(said: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Listener(Box::new(said))
    }

    pub(super) fn hear(&self, line: &str) {
        (self.0)(line);
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}

/// A process that was started. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Process {
    device: DeviceId,
    pid: u32,
    group: Option<PathBuf>,
    requests: mpsc::UnboundedSender<Request>,
    exit: watch::Receiver<Option<Exit>>,
    said: Said,
}

/// How a process ended: the signal or exit code, and the last thing it said. Neither, if its keeper ended first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Exit {
    pub(super) code: Option<i32>,
    pub(super) signal: Option<i32>,
    pub(super) last_line: String,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.signal, self.code) {
            (Some(signal), _) => match Signal::try_from(signal) {
                Ok(signal) => write!(f, "killed by {signal}")?,
                Err(_) => write!(f, "killed by signal {signal}")?,
            },
            (None, Some(code)) => write!(f, "exit code {code}")?,
            (None, None) => f.write_str("ended with its keeper")?,
        }
        if self.is_its_own_doing() && !self.last_line.is_empty() {
            write!(f, ": {}", self.last_line)?;
        }
        Ok(())
    }
}

impl Exit {
    /// Whether what the process said last may be the reason: nothing it said explains a signal that
    /// somebody else sent.
    fn is_its_own_doing(&self) -> bool {
        let signal = self.signal.and_then(|signal| Signal::try_from(signal).ok());
        !matches!(signal, Some(Signal::SIGKILL | Signal::SIGTERM | Signal::SIGINT | Signal::SIGHUP))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.exit.borrow().is_none() {
            self.signal(Signal::SIGKILL);
        }
    }
}

impl Process {
    pub(super) fn new(
        device: DeviceId,
        pid: u32,
        group: Option<PathBuf>,
        requests: mpsc::UnboundedSender<Request>,
        exit: watch::Receiver<Option<Exit>>,
        said: Said,
    ) -> Self {
        Process { device, pid, group, requests, exit, said }
    }

    /// Starts a process for a device that has none.
    pub(super) async fn start(
        keeper: &Keeper,
        device: DeviceId,
        spec: &Spec,
        bounds: Bounds,
        launched: Launched,
        listener: Listener,
    ) -> Result<Self, StartError> {
        let program = find(&spec.program).ok_or_else(|| StartError::Missing {
            program: name(&spec.program),
            remedy: spec.remedy.clone(),
        })?;
        let wrapped = [tool(LIMITER)?, program].map(|path| path.to_string_lossy().into_owned());
        let [limiter, program] = wrapped;
        let own = |text: &str| text.to_owned();
        let mut args: Vec<String> = ["--pdeathsig", "KILL", "--"].map(own).into();
        args.push(limiter);
        args.extend(LIMITS.map(own));
        args.extend([own("--"), program]);
        args.extend_from_slice(&spec.args);
        let command = Command { program: tool(WRAPPER)?, args, dir: spec.dir.clone() };
        let said = Said::from(OnceLock::from(listener));
        let started = keeper.start(device, command, bounds, launched, said).await?;
        started.map_err(|error| StartError::Spawn { program: name(&spec.program), error })
    }

    /// Has somebody hear what it says from now on; once.
    pub(super) fn hear(&self, listener: Listener) {
        let _ = self.said.set(listener);
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// The cgroup of its own that bounds it, if any does.
    pub(super) fn group(&self) -> Option<&Path> {
        self.group.as_deref()
    }

    /// Returns when the process has ended. Safe to drop and call again.
    pub(super) async fn wait(&mut self) -> Exit {
        // An error means that nobody will tell any more: the keeper is gone.
        self.exit.wait_for(Option::is_some).await.ok().and_then(|exit| exit.clone()).unwrap_or_default()
    }

    /// Stops the process and all of its group: `ask` first, then SIGTERM, then SIGKILL.
    pub(super) async fn stop(mut self, ask: impl Future<Output = io::Result<()>>) -> Exit {
        let asked = async {
            // Nobody to ask is no reason to wait.
            if ask.await.is_err() {
                return;
            }
            std::future::pending::<()>().await;
        };
        let exit = tokio::select! {
            exit = self.wait() => Some(exit),
            () = asked => None,
            () = tokio::time::sleep(POLITE) => None,
        };
        if let Some(exit) = exit {
            return exit;
        }
        self.signal(Signal::SIGTERM);
        match timeout(POLITE, self.wait()).await {
            Ok(exit) => exit,
            Err(_) => self.kill().await,
        }
    }

    /// Kills the process and all of its group, also when it is suspended.
    pub(super) async fn kill(mut self) -> Exit {
        self.signal(Signal::SIGKILL);
        self.wait().await
    }

    /// Sends a signal to the process and all of its group.
    pub(super) fn signal(&self, signal: Signal) {
        // Without a keeper there is no process either.
        let _ = self.requests.send(Request::Signal { device: self.device, signal: signal as i32 });
    }
}

fn tool(name: &str) -> Result<PathBuf, StartError> {
    find(Path::new(name)).ok_or_else(|| StartError::Missing {
        program: name.to_owned(),
        remedy: "install the package util-linux".to_owned(),
    })
}

/// The executable file a name or path stands for.
pub(super) fn find(program: &Path) -> Option<PathBuf> {
    let candidates: Vec<PathBuf> = if program.components().count() > 1 {
        vec![program.to_owned()]
    } else {
        env::split_paths(&env::var_os("PATH")?).map(|dir| dir.join(program)).collect()
    };
    candidates.into_iter().find(|path| path.is_file() && access(path, AccessFlags::X_OK).is_ok())
}

fn name(program: &Path) -> String {
    program.display().to_string()
}
