//! The keeper: the parent of all processes that a host runs, which lives on when the host dies.
//!
//! A host starts one for its data folder, in a session of its own, and asks it for everything that is done to a process
//! ([`protocol`]). When the host is gone without a word, the keeper waits some time for another one, which takes over
//! what runs; then it kills every process and ends. When the keeper dies, the kernel kills its processes (`setpriv
//! --pdeathsig`, with which hosts have them started).
//!
//! Every process has the keeper's lock file for its standard input. A lock (flock(2)) lasts until everybody has closed
//! the file, so the next keeper gets it, and starts something, only when nothing of this one runs any more.
//!
//! Not here: what is started and when. A keeper knows nothing of boards.

mod child;
mod client;
mod group;
mod protocol;

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io,
    os::{fd::AsFd, unix::fs::OpenOptionsExt, unix::net::UnixStream as StdStream},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use nix::{
    sys::signal::Signal,
    unistd::{getppid, setsid},
};
use tokio::{
    io::AsyncWriteExt,
    net::{UnixListener, UnixStream, unix::OwnedWriteHalf},
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};
use wasmbed_wire::DeviceId;

pub(super) use client::{Keeper, OpenError, Place, Taken};
pub(super) use protocol::{Bounds, Command, Launched, Request};

use child::Event;
use group::Groups;
use protocol::{Greeting, Held, Reader, Report, VERSION};

use super::process::Exit;

/// Events of processes that wait for the keeper.
const EVENTS: usize = 64;
/// Reports that wait for a host. One that takes none for so long is gone.
const REPORTS: usize = 1024;
/// What of these is kept free of lines that processes say.
const RESERVED: usize = REPORTS / 2;
/// So long after a host was told something, its end may say that it never heard it.
const UNCERTAIN: Duration = Duration::from_secs(1);
/// How long killed processes may take to end.
const GOODBYE: Duration = Duration::from_secs(5);

/// Runs a keeper that later hosts find at `socket`, for the host at the other end of the standard input.
///
/// # Errors
/// If it was not started by a host, or cannot use its files.
pub(crate) async fn run(socket: &Path, lock: &Path) -> anyhow::Result<()> {
    let first = host_at_stdin()
        .context("no host is at the standard input; `wasmbed host` starts its keeper itself")?;
    let host_pid = getppid().as_raw().unsigned_abs();
    // What ends the session of the host, or its group, does not end this.
    setsid().context("cannot have a session of its own")?;
    let lock = locked(lock).with_context(|| format!("cannot lock {}", lock.display()))?;
    let listener = listen(socket).with_context(|| format!("cannot listen at {}", socket.display()))?;
    let (events, happened) = mpsc::channel(EVENTS);
    let server = Server {
        lock,
        groups: Groups::find(&[host_pid, std::process::id()]),
        grace: Duration::ZERO,
        processes: BTreeMap::new(),
        events,
        host: None,
    };
    server.run(first, listener, socket, happened).await
}

fn host_at_stdin() -> io::Result<UnixStream> {
    let stream = StdStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    stream.peer_addr()?;
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

/// Waits until nothing of an earlier keeper runs any more.
fn locked(path: &Path) -> io::Result<File> {
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    file.lock()?;
    Ok(file)
}

fn listen(socket: &Path) -> io::Result<UnixListener> {
    remove_if_there(socket)?;
    UnixListener::bind(socket)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

struct Server {
    lock: File,
    groups: Result<Groups, String>,
    grace: Duration,
    processes: BTreeMap<DeviceId, Process>,
    events: mpsc::Sender<Event>,
    /// Takes what the host is told.
    host: Option<mpsc::Sender<Vec<u8>>>,
}

struct Process {
    started: child::Started,
    group: Option<PathBuf>,
    launched: Launched,
    /// How it ended, until a host surely knows.
    exit: Option<Exit>,
    /// When a host was told so, which may have been gone already.
    told: Option<Instant>,
}

impl Server {
    async fn run(
        mut self,
        first: UnixStream,
        listener: UnixListener,
        socket: &Path,
        mut happened: mpsc::Receiver<Event>,
    ) -> anyhow::Result<()> {
        let mut terminate = signal(SignalKind::terminate()).context("cannot watch for signals")?;
        let mut requests = Some(self.welcome(first));
        let mut alone_since = Instant::now();
        loop {
            tokio::select! {
                Some(event) = happened.recv() => self.on_event(event),
                request = next(&mut requests) => match request {
                    Ok(Some(Request::End)) => break,
                    Ok(Some(request)) => self.on_request(request).await,
                    Ok(None) => self.host = None,
                    Err(error) => {
                        tracing::error!(%error, "the host cannot be understood");
                        self.host = None;
                    }
                },
                Ok((stream, _)) = listener.accept(), if requests.is_none() => {
                    requests = Some(self.welcome(stream));
                }
                () = sleep_until(alone_since + self.grace), if requests.is_none() => {
                    tracing::warn!(grace = ?self.grace, "no host came back: every process ends");
                    break;
                }
                _ = terminate.recv() => break,
            }
            if self.host.is_none() && requests.take().is_some() {
                tracing::info!("the host is gone");
                alone_since = Instant::now();
                self.forget_told(alone_since);
            }
        }
        // While the lock is held, what is there is this keeper's.
        let removed = remove_if_there(socket);
        self.kill_all(&mut happened).await;
        removed.with_context(|| format!("cannot remove {}", socket.display()))
    }

    /// Tells a host what there is and returns what it asks for.
    fn welcome(&mut self, host: UnixStream) -> Reader {
        let (reader, writer) = host.into_split();
        let (told, reports) = mpsc::channel(REPORTS);
        tokio::spawn(write(writer, reports));
        let unbounded = self.groups.as_ref().err().cloned();
        let processes = self.processes.iter().map(|(device, process)| Held {
            device: *device,
            pid: process.started.pid,
            group: process.group.clone(),
            launched: process.launched.clone(),
            exit: process.exit.clone(),
        });
        let holds = Report::Holds { processes: processes.collect(), unbounded };
        // There is room for both.
        let _ = told.try_send(protocol::line(&Greeting { version: VERSION }));
        let _ = told.try_send(protocol::line(&holds));
        self.processes.retain(|_, process| process.exit.is_none());
        self.host = Some(told);
        Reader::new(reader)
    }

    /// The host is gone: what it was told long before that, it knew.
    fn forget_told(&mut self, now: Instant) {
        self.processes.retain(|_, process| process.told.is_none_or(|told| now - told < UNCERTAIN));
    }

    fn tell(&mut self, report: &Report) {
        let is_line = matches!(report, Report::Said { .. });
        let Some(host) = self.host.as_ref().filter(|host| !is_line || host.capacity() > RESERVED) else {
            return;
        };
        if host.try_send(protocol::line(report)).is_err() {
            tracing::error!(reports = REPORTS, "the host takes no reports any more");
            self.host = None;
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Said(device, line) => self.tell(&Report::Said { device, line }),
            Event::Exited(device, exit) => {
                let Some(process) = self.processes.get_mut(&device) else {
                    return;
                };
                process.group.take().iter().for_each(|group| group::remove(group));
                process.exit = Some(exit.clone());
                if self.host.is_some() {
                    process.told = Some(Instant::now());
                    self.tell(&Report::Exited { device, exit });
                }
            }
        }
    }

    async fn on_request(&mut self, request: Request) {
        match request {
            Request::Grace { ms } => self.grace = Duration::from_millis(ms),
            Request::Start { device, command, bounds, launched } => {
                let report = match self.start(device, &command, bounds, launched).await {
                    Ok((pid, group)) => Report::Started { device, pid, group },
                    Err(error) => Report::Failed { device, error: error.to_string() },
                };
                self.tell(&report);
            }
            Request::Signal { device, signal } => {
                match (self.processes.get(&device), Signal::try_from(signal)) {
                    (Some(process), Ok(signal)) => {
                        // One that is just ending takes none.
                        let _ = process.started.signals.send(signal);
                    }
                    (None, _) => {}
                    (_, Err(error)) => tracing::error!(signal, %error, "the host sends an unknown signal"),
                }
            }
            Request::End => {}
        }
    }

    async fn start(
        &mut self,
        device: DeviceId,
        command: &Command,
        bounds: Bounds,
        launched: Launched,
    ) -> io::Result<(u32, Option<PathBuf>)> {
        if let Some(process) = self.processes.get(&device).filter(|process| process.exit.is_none()) {
            let pid = process.started.pid;
            return Err(io::Error::other(format!("process {pid} of {device} runs already")));
        }
        let stdin = self.lock.try_clone()?.into();
        let started = child::start(device, command, stdin, self.events.clone()).await?;
        let pid = started.pid;
        let group = self.groups.as_ref().ok().and_then(|groups| {
            let entered = groups.enter(&device, pid, bounds);
            entered.inspect_err(|error| tracing::warn!(%device, %error, "a process is not bounded")).ok()
        });
        self.processes
            .insert(device, Process { started, group: group.clone(), launched, exit: None, told: None });
        Ok((pid, group))
    }

    async fn kill_all(&mut self, happened: &mut mpsc::Receiver<Event>) {
        self.processes.retain(|_, process| process.exit.is_none());
        for process in self.processes.values() {
            // One that is just ending takes none.
            let _ = process.started.signals.send(Signal::SIGKILL);
        }
        let ended = async {
            while self.processes.values().any(|process| process.exit.is_none()) {
                match happened.recv().await {
                    Some(event) => self.on_event(event),
                    None => return,
                }
            }
        };
        if timeout(GOODBYE, ended).await.is_err() {
            tracing::error!("a killed process does not end; the kernel kills it again with this keeper");
        }
    }
}

/// What the host asks for next, once there is one.
async fn next(requests: &mut Option<Reader>) -> io::Result<Option<Request>> {
    match requests {
        Some(requests) => requests.next().await,
        None => std::future::pending().await,
    }
}

/// Dropping the writer tells the host that nothing follows.
async fn write(mut to: OwnedWriteHalf, mut reports: mpsc::Receiver<Vec<u8>>) {
    while let Some(report) = reports.recv().await {
        if to.write_all(&report).await.is_err() {
            return;
        }
    }
}
