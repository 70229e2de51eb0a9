//! Child processes that never outlive the host.
//!
//! Every child is told by the kernel to die when the host dies (`setpriv --pdeathsig`) and has limits (`prlimit`; both
//! are from the essential Debian package util-linux, so that this crate needs no `unsafe`), leads a process group of its
//! own, and is stopped by degrees: asked, SIGTERM, SIGKILL, with a deadline each.
//!
//! Not here: what is started (`launch`) and when (`device`).

use std::{
    env, fmt, io,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, OnceLock, PoisonError, mpsc},
    thread,
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::signal::{Signal, killpg},
    unistd::{AccessFlags, Pid, access},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    runtime::Handle,
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};

/// How long a polite request, and then SIGTERM, may take.
const POLITE: Duration = Duration::from_millis(700);
/// How long the last words of an ended process are waited for.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// Longest line kept of what a process says, in bytes.
const LINE_BYTES: usize = 1024;
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
    #[error("{program} could not be started: {source}")]
    Spawn { program: String, source: io::Error },
}

/// A running process.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    pid: u32,
    said: JoinHandle<()>,
    last_line: Arc<Mutex<String>>,
}

/// How a process ended: the signal or exit code, and the last thing it said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Exit {
    status: Option<ExitStatus>,
    last_line: String,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status.map(|status| (status.signal(), status.code())) {
            Some((Some(signal), _)) => match Signal::try_from(signal) {
                Ok(signal) => write!(f, "killed by {signal}")?,
                Err(_) => write!(f, "killed by signal {signal}")?,
            },
            Some((None, Some(code))) => write!(f, "exit code {code}")?,
            _ => f.write_str("ended in an unknown way")?,
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
        let signal =
            self.status.and_then(|status| status.signal()).and_then(|signal| Signal::try_from(signal).ok());
        !matches!(signal, Some(Signal::SIGKILL | Signal::SIGTERM | Signal::SIGINT | Signal::SIGHUP))
    }
}

impl Process {
    /// Starts a process; `said` gets each line of its standard error.
    pub(super) async fn start(
        spec: &Spec,
        said: impl FnMut(&str) + Send + 'static,
    ) -> Result<Self, StartError> {
        let program = find(&spec.program).ok_or_else(|| StartError::Missing {
            program: name(&spec.program),
            remedy: spec.remedy.clone(),
        })?;
        let wrapper = tool(WRAPPER)?;
        let limiter = tool(LIMITER)?;
        let mut command = Command::new(wrapper);
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(limiter)
            .args(LIMITS)
            .arg("--")
            .arg(program)
            .args(&spec.args)
            .current_dir(&spec.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let failed = |source| StartError::Spawn { program: name(&spec.program), source };
        let mut child = spawn_for_good(command).await.map_err(failed)?;
        let pid = child.id().unwrap_or_default();
        let last_line = Arc::new(Mutex::new(String::new()));
        let said = tokio::spawn(listen(child.stderr.take(), Arc::clone(&last_line), said));
        Ok(Process { child, pid, said, last_line })
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Returns when the process has ended. Safe to drop and call again.
    pub(super) async fn wait(&mut self) -> Exit {
        let status = self.child.wait().await.ok();
        // A grandchild may hold the pipe open: its words are not worth waiting for.
        let _ = timeout(LAST_WORDS, &mut self.said).await;
        self.said.abort();
        let last_line = self.last_line.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Exit { status, last_line }
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
            self.signal(Signal::SIGKILL);
            return exit;
        }
        self.signal(Signal::SIGTERM);
        if let Ok(exit) = timeout(POLITE, self.wait()).await {
            self.signal(Signal::SIGKILL);
            return exit;
        }
        self.kill().await
    }

    /// Kills the process and all of its group, also when it is suspended.
    pub(super) async fn kill(mut self) -> Exit {
        self.signal(Signal::SIGKILL);
        self.wait().await
    }

    /// Sends a signal to the process and all of its group.
    pub(super) fn signal(&self, signal: Signal) {
        // 0 would be the host's own group.
        let Some(group) = i32::try_from(self.pid).ok().filter(|pid| *pid > 0) else {
            return;
        };
        match killpg(Pid::from_raw(group), signal) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => tracing::warn!(pid = self.pid, %signal, %error, "could not signal a process group"),
        }
    }
}

/// Keeps the last line of what a process says.
async fn listen(
    from: Option<impl AsyncRead + Unpin>,
    last_line: Arc<Mutex<String>>,
    mut said: impl FnMut(&str),
) {
    let Some(from) = from else {
        return;
    };
    let mut reader = BufReader::new(from);
    let mut line = Vec::new();
    loop {
        let (used, ended) = match reader.fill_buf().await {
            Ok([]) | Err(_) => break,
            Ok(bytes) => {
                let end = bytes.iter().position(|byte| *byte == b'\n');
                let text = &bytes[..end.unwrap_or(bytes.len())];
                let room = LINE_BYTES - line.len();
                line.extend_from_slice(&text[..text.len().min(room)]);
                (end.map_or(bytes.len(), |end| end + 1), end.is_some())
            }
        };
        reader.consume(used);
        if ended {
            keep(&mut line, &last_line, &mut said);
        }
    }
    keep(&mut line, &last_line, &mut said);
}

fn keep(line: &mut Vec<u8>, last_line: &Mutex<String>, said: &mut impl FnMut(&str)) {
    let text = String::from_utf8_lossy(line).trim().to_owned();
    line.clear();
    if !text.is_empty() {
        said(&text);
        *last_line.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }
}

/// Starts the command from a thread that lives as long as the host: the kernel sends the parent death
/// signal when the *thread* that forked ends, and threads of the runtime come and go.
async fn spawn_for_good(command: Command) -> io::Result<Child> {
    struct Job(Command, Handle, oneshot::Sender<io::Result<Child>>);
    static SPAWNER: OnceLock<mpsc::Sender<Job>> = OnceLock::new();

    let gone = || io::Error::other("the thread that starts processes is gone");
    let spawner = SPAWNER.get_or_init(|| {
        let (jobs, queue) = mpsc::channel::<Job>();
        thread::spawn(move || {
            for Job(mut command, runtime, done) in queue {
                let _runtime = runtime.enter();
                // If nobody waits any more, the child is dropped and thereby killed.
                let _ = done.send(command.spawn());
            }
        });
        jobs
    });
    let (done, started) = oneshot::channel();
    spawner.send(Job(command, Handle::current(), done)).map_err(|_| gone())?;
    started.await.map_err(|_| gone())?
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
