//! The host's end: finds or starts the keeper of its data folder, and asks it for processes.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io,
    os::{
        fd::OwnedFd,
        unix::{fs::OpenOptionsExt, net::UnixStream as StdStream},
    },
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::AsyncWriteExt,
    net::{UnixStream, unix::OwnedWriteHalf},
    process::{Child, Command},
    sync::{Mutex, mpsc, oneshot, watch},
    task::JoinHandle,
    time::timeout,
};
use wasmbed_wire::DeviceId;

use super::protocol::{self, Bounds, Greeting, Held, Launched, Reader, Report, Request, VERSION};
use crate::host::process::{Exit, Process, Said};

/// How long a keeper that runs may take to say what it is.
const GREETING: Duration = Duration::from_secs(2);
/// The same for one that is started: processes of the one before may have to end first.
const START: Duration = Duration::from_secs(15);
/// How long a keeper may take to end with its processes; longer than it waits for them.
const GOODBYE: Duration = Duration::from_secs(7);

/// What a keeper is started with.
#[derive(Debug, Clone)]
pub(in crate::host) struct Place {
    /// The program `wasmbed`.
    pub(in crate::host) program: PathBuf,
    /// Where later hosts find it.
    pub(in crate::host) socket: PathBuf,
    /// What all of its processes hold.
    pub(in crate::host) lock: PathBuf,
    /// What it says to people.
    pub(in crate::host) log: PathBuf,
}

/// Why there is no keeper.
#[derive(Debug, thiserror::Error)]
pub(in crate::host) enum OpenError {
    #[error("the keeper {} could not be started: {source}", program.display())]
    Start { program: PathBuf, source: io::Error },
    #[error("the keeper at {} cannot be reached: {source}", socket.display())]
    Unreachable { socket: PathBuf, source: io::Error },
    #[error("the keeper ended at once: {said}")]
    Ended { said: String },
    #[error(
        "the keeper did not start within {} s: processes of an earlier one still hold {1}; `fuser {1}` names them, end them",
        START.as_secs(), lock.display()
    )]
    Silent { lock: PathBuf },
}

/// A process of an earlier host.
#[derive(Debug)]
pub(in crate::host) struct Taken {
    pub(in crate::host) process: Process,
    pub(in crate::host) launched: Launched,
}

/// The keeper of a host; another one is started when it dies.
#[derive(Debug)]
pub(in crate::host) struct Keeper {
    place: Place,
    grace: Duration,
    link: Mutex<Link>,
}

impl Keeper {
    /// The keeper that runs for this data folder, with what it holds, or a new one. It waits for another host for
    /// `grace` after this one.
    pub(in crate::host) async fn open(
        place: Place,
        grace: Duration,
    ) -> Result<(Self, BTreeMap<DeviceId, Taken>), OpenError> {
        let (mut link, held) = match place.find().await? {
            Some(found) => found,
            None => place.start().await?,
        };
        link.ask(Request::Grace { ms: ms(grace) });
        let taken = held.into_iter().map(|held| link.take(held)).collect();
        Ok((Keeper { place, grace, link: Mutex::new(link) }, taken))
    }

    /// Has a process started for a device that has none; `said` gets each line of its standard error.
    pub(in crate::host) async fn start(
        &self,
        device: DeviceId,
        command: protocol::Command,
        bounds: Bounds,
        launched: Launched,
        said: Said,
    ) -> Result<Result<Process, String>, OpenError> {
        let (started, exit, requests) = {
            let mut link = self.link.lock().await;
            if lock(&link.entries).is_none() {
                tracing::warn!("the keeper is gone, and with it every process; starting another one");
                *link = self.place.replace().await?;
                link.ask(Request::Grace { ms: ms(self.grace) });
            }
            let (starting, started) = oneshot::channel();
            let exit = link.expect(device, said, Some(starting));
            link.ask(Request::Start { device, command, bounds, launched });
            (started, exit, link.requests.clone())
        };
        Ok(match started.await {
            Ok(Ok((pid, group))) => Ok(Process::new(device, pid, group, requests, exit, Said::default())),
            Ok(Err(error)) => Err(error),
            Err(_) => Err("its keeper ended".to_owned()),
        })
    }

    /// Whatever happens to this host from now on, nothing is kept for another one.
    pub(in crate::host) async fn keep_nothing(&self) {
        self.link.lock().await.ask(Request::Grace { ms: 0 });
    }

    /// Ends the keeper and every process that is left.
    pub(in crate::host) async fn end(&self) {
        let mut link = self.link.lock().await;
        link.ask(Request::End);
        let Link { attending, child, pid, .. } = &mut *link;
        let ended = async {
            let _ = attending.await;
            if let Some(child) = child {
                let _ = child.wait().await;
            }
        };
        if timeout(GOODBYE, ended).await.is_err() {
            tracing::error!(pid, "the keeper does not end; it is killed, and its processes with it");
            put_down(*pid, Signal::SIGKILL);
        }
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn put_down(pid: i32, signal: Signal) {
    // 0 and below are groups, this host's among them.
    if pid > 0
        && let Err(error) = kill(Pid::from_raw(pid), signal)
    {
        tracing::debug!(pid, %signal, %error, "could not signal a keeper");
    }
}

type Opened = (Link, Vec<Held>);

impl Place {
    /// The keeper that runs, if it speaks as this host does. Another one is ended.
    async fn find(&self) -> Result<Option<Opened>, OpenError> {
        let Some(stream) = self.connect().await? else {
            return Ok(None);
        };
        let pid = peer(&stream);
        let (reader, writer) = stream.into_split();
        let mut reader = Reader::new(reader);
        let why = match timeout(GREETING, greet(&mut reader)).await {
            Ok(Ok(Greeted::Holds(held))) => return Ok(Some((Link::new(reader, writer, pid, None), held))),
            Ok(Ok(Greeted::Version(version))) => format!("it speaks version {version}, this host {VERSION}"),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it does not answer".to_owned(),
        };
        tracing::warn!(
            pid,
            why,
            "the keeper that runs cannot be used: it is replaced, and devices start again"
        );
        end_other(&mut reader, pid).await;
        Ok(None)
    }

    /// A new keeper in the place of whatever is there.
    async fn replace(&self) -> Result<Link, OpenError> {
        if let Some(stream) = self.connect().await? {
            let pid = peer(&stream);
            let (reader, _writer) = stream.into_split();
            end_other(&mut Reader::new(reader), pid).await;
        }
        self.start().await.map(|(link, _)| link)
    }

    async fn connect(&self) -> Result<Option<UnixStream>, OpenError> {
        match UnixStream::connect(&self.socket).await {
            Ok(stream) => Ok(Some(stream)),
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
            {
                Ok(None)
            }
            Err(source) => Err(OpenError::Unreachable { socket: self.socket.clone(), source }),
        }
    }

    /// A new keeper. It gets its end of the connection at birth, so there is nothing to wait for but its greeting.
    async fn start(&self) -> Result<Opened, OpenError> {
        let (mut child, stream) =
            self.spawn().map_err(|source| OpenError::Start { program: self.program.clone(), source })?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
        let (reader, writer) = stream.into_split();
        let mut reader = Reader::new(reader);
        match timeout(START, greet(&mut reader)).await {
            Ok(Ok(Greeted::Holds(held))) => Ok((Link::new(reader, writer, pid, Some(child)), held)),
            Ok(Ok(Greeted::Version(version))) => {
                put_down(pid, Signal::SIGTERM);
                let (program, mine) = (self.program.display(), VERSION);
                let said =
                    format!("{program} speaks version {version}, this host {mine}; start hosts with it");
                Err(OpenError::Ended { said })
            }
            Ok(Err(_)) => {
                let _ = child.wait().await;
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                let said = log.lines().last().map_or_else(|| "it does not say why".to_owned(), str::to_owned);
                Err(OpenError::Ended { said })
            }
            Err(_) => {
                put_down(pid, Signal::SIGKILL);
                Err(OpenError::Silent { lock: self.lock.clone() })
            }
        }
    }

    fn spawn(&self) -> io::Result<(Child, UnixStream)> {
        let log = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&self.log)?;
        let (ours, theirs) = StdStream::pair()?;
        ours.set_nonblocking(true)?;
        let child = Command::new(&self.program)
            .arg("keeper")
            .args([&self.socket, &self.lock])
            .current_dir("/")
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        Ok((child, UnixStream::from_std(ours)?))
    }
}

enum Greeted {
    Holds(Vec<Held>),
    /// It is of this one.
    Version(u32),
}

async fn greet(reader: &mut Reader) -> io::Result<Greeted> {
    let ended = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let Greeting { version } = reader.next().await?.ok_or_else(ended)?;
    if version != VERSION {
        return Ok(Greeted::Version(version));
    }
    match reader.next().await?.ok_or_else(ended)? {
        Report::Holds { processes, unbounded } => {
            if let Some(why) = unbounded {
                tracing::info!(why, "devices' processes are not bounded by cgroups");
            }
            Ok(Greeted::Holds(processes))
        }
        other => Err(io::Error::other(format!("it begins with {other:?}"))),
    }
}

fn peer(stream: &UnixStream) -> i32 {
    stream.peer_cred().ok().and_then(|peer| peer.pid()).unwrap_or_default()
}

/// Ends a keeper that cannot be spoken to; its processes go with it.
async fn end_other(reader: &mut Reader, pid: i32) {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        put_down(pid, signal);
        let silent = async { while let Ok(Some(_)) = reader.next::<serde_json::Value>().await {} };
        if timeout(GOODBYE, silent).await.is_ok() {
            return;
        }
    }
}

/// What reports are for; nothing once the keeper is gone.
type Entries = Arc<StdMutex<Option<BTreeMap<DeviceId, Entry>>>>;

/// Whom the outcome of a start is told.
type Starting = oneshot::Sender<Result<(u32, Option<PathBuf>), String>>;

#[derive(Debug)]
struct Entry {
    said: Said,
    exit: watch::Sender<Option<Exit>>,
    starting: Option<Starting>,
}

/// A connection to a keeper.
#[derive(Debug)]
struct Link {
    requests: mpsc::UnboundedSender<Request>,
    entries: Entries,
    /// Ends with the connection.
    attending: JoinHandle<()>,
    pid: i32,
    /// Present if this host started it.
    child: Option<Child>,
}

impl Link {
    fn new(reports: Reader, to: OwnedWriteHalf, pid: i32, child: Option<Child>) -> Self {
        let (requests, asked) = mpsc::unbounded_channel();
        let entries = Entries::new(StdMutex::new(Some(BTreeMap::new())));
        tokio::spawn(write(to, asked));
        let attending = tokio::spawn(attend(reports, Arc::clone(&entries), pid));
        Link { requests, entries, attending, pid, child }
    }

    /// One that is gone is noticed by its silence.
    fn ask(&self, request: Request) {
        let _ = self.requests.send(request);
    }

    fn expect(
        &self,
        device: DeviceId,
        said: Said,
        starting: Option<Starting>,
    ) -> watch::Receiver<Option<Exit>> {
        let (exit, ended) = watch::channel(None);
        if let Some(entries) = lock(&self.entries).as_mut() {
            entries.insert(device, Entry { said, exit, starting });
        }
        ended
    }

    fn take(&mut self, held: Held) -> (DeviceId, Taken) {
        let Held { device, pid, group, launched, exit } = held;
        let said = Said::default();
        let ended = match exit {
            Some(exit) => watch::channel(Some(exit)).1,
            None => self.expect(device, Arc::clone(&said), None),
        };
        let process = Process::new(device, pid, group, self.requests.clone(), ended, said);
        (device, Taken { process, launched })
    }
}

async fn write(mut to: OwnedWriteHalf, mut asked: mpsc::UnboundedReceiver<Request>) {
    while let Some(request) = asked.recv().await {
        if to.write_all(&protocol::line(&request)).await.is_err() {
            return;
        }
    }
}

async fn attend(mut reports: Reader, entries: Entries, pid: i32) {
    loop {
        match reports.next().await {
            Ok(Some(report)) => on_report(&entries, report),
            Ok(None) => break,
            Err(error) => {
                tracing::error!(pid, %error, "the keeper cannot be understood; it is ended");
                put_down(pid, Signal::SIGKILL);
                break;
            }
        }
    }
    // Whoever waits for one of them is told by that.
    lock(&entries).take();
}

fn on_report(entries: &Entries, report: Report) {
    let mut entries = lock(entries);
    let Some(entries) = entries.as_mut() else {
        return;
    };
    match report {
        Report::Said { device, line } => {
            if let Some(said) = entries.get(&device).and_then(|entry| entry.said.get()) {
                said.hear(&line);
            }
        }
        Report::Started { device, pid, group } => {
            if let Some(starting) = entries.get_mut(&device).and_then(|entry| entry.starting.take()) {
                // Whoever waited may be gone; then the host is ending.
                let _ = starting.send(Ok((pid, group)));
            }
        }
        Report::Failed { device, error } => {
            if let Some(starting) = entries.remove(&device).and_then(|entry| entry.starting) {
                let _ = starting.send(Err(error));
            }
        }
        Report::Exited { device, exit } => {
            if let Some(entry) = entries.remove(&device) {
                entry.exit.send_replace(Some(exit));
            }
        }
        Report::Holds { .. } => {}
    }
}

fn lock<T>(mutex: &StdMutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
