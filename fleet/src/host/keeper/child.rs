//! One process of a keeper, from its start until it is reaped.
//!
//! The task that reaps a process is the one that signals it: no signal can reach another process with its number.

use std::{
    io,
    os::unix::process::ExitStatusExt,
    process::Stdio,
    sync::{Arc, Mutex, OnceLock, PoisonError, mpsc as blocking},
    thread,
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{self, Child},
    runtime::Handle,
    sync::{mpsc, oneshot},
    time::timeout,
};
use wasmbed_wire::DeviceId;

use super::protocol::Command;
use crate::host::process::Exit;

/// How long the last words of an ended process are waited for.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// Longest line kept of what a process says, in bytes.
const LINE_BYTES: usize = 1024;

/// What happened to a process.
pub(super) enum Event {
    /// It said this on its standard error.
    Said(DeviceId, String),
    /// It ended and is reaped; the last event.
    Exited(DeviceId, Exit),
}

/// A process that was started.
pub(super) struct Started {
    pub(super) pid: u32,
    /// Signals for it and all of its group.
    pub(super) signals: mpsc::UnboundedSender<Signal>,
}

/// Starts a process that leads a group of its own.
pub(super) async fn start(
    device: DeviceId,
    command: &Command,
    stdin: Stdio,
    events: mpsc::Sender<Event>,
) -> io::Result<Started> {
    let mut spawned = process::Command::new(&command.program);
    spawned
        .args(&command.args)
        .current_dir(&command.dir)
        .stdin(stdin)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let child = spawn_for_good(spawned).await?;
    let pid = child.id().ok_or(io::ErrorKind::NotFound)?;
    let (signals, received) = mpsc::unbounded_channel();
    tokio::spawn(attend(device, child, pid, received, events));
    Ok(Started { pid, signals })
}

async fn attend(
    device: DeviceId,
    mut child: Child,
    pid: u32,
    mut signals: mpsc::UnboundedReceiver<Signal>,
    events: mpsc::Sender<Event>,
) {
    let last_line = Arc::new(Mutex::new(String::new()));
    let said = listen(device, child.stderr.take(), Arc::clone(&last_line), events.clone());
    let mut said = tokio::spawn(said);
    let status = loop {
        tokio::select! {
            status = child.wait() => break status.ok(),
            Some(signal) = signals.recv() => send(pid, signal),
        }
    };
    // What it started goes with it.
    send(pid, Signal::SIGKILL);
    // What cannot be killed may hold the pipe open: its words are not worth waiting for.
    let _ = timeout(LAST_WORDS, &mut said).await;
    said.abort();
    let exit = Exit {
        code: status.and_then(|status| status.code()),
        signal: status.and_then(|status| status.signal()),
        last_line: last_line.lock().unwrap_or_else(PoisonError::into_inner).clone(),
    };
    // Nobody listens any more once the keeper is ending.
    let _ = events.send(Event::Exited(device, exit)).await;
}

fn send(pid: u32, signal: Signal) {
    // 0 would be the keeper's own group.
    let Some(group) = i32::try_from(pid).ok().filter(|pid| *pid > 0) else {
        return;
    };
    match killpg(Pid::from_raw(group), signal) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => tracing::warn!(pid, %signal, %error, "could not signal a process group"),
    }
}

/// Passes on what a process says and keeps the last line of it.
async fn listen(
    device: DeviceId,
    from: Option<impl AsyncRead + Unpin>,
    last_line: Arc<Mutex<String>>,
    events: mpsc::Sender<Event>,
) {
    let Some(from) = from else {
        return;
    };
    let mut reader = BufReader::new(from);
    let mut line = Vec::new();
    let mut is_open = true;
    while is_open {
        let (used, is_whole) = match reader.fill_buf().await {
            Ok([]) | Err(_) => {
                is_open = false;
                (0, true)
            }
            Ok(bytes) => {
                let end = bytes.iter().position(|byte| *byte == b'\n');
                let text = &bytes[..end.unwrap_or(bytes.len())];
                let room = LINE_BYTES - line.len();
                line.extend_from_slice(&text[..text.len().min(room)]);
                (end.map_or(bytes.len(), |end| end + 1), end.is_some())
            }
        };
        reader.consume(used);
        if !is_whole {
            continue;
        }
        let text = String::from_utf8_lossy(&line).trim().to_owned();
        line.clear();
        if !text.is_empty() {
            last_line.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&text);
            let _ = events.send(Event::Said(device, text)).await;
        }
    }
}

/// Starts the command from a thread that lives as long as the keeper: the kernel sends the parent death
/// signal when the *thread* that forked ends, and threads of the runtime come and go.
async fn spawn_for_good(command: process::Command) -> io::Result<Child> {
    struct Job(process::Command, Handle, oneshot::Sender<io::Result<Child>>);
    static SPAWNER: OnceLock<blocking::Sender<Job>> = OnceLock::new();

    let gone = || io::Error::other("the thread that starts processes is gone");
    let spawner = SPAWNER.get_or_init(|| {
        let (jobs, queue) = blocking::channel::<Job>();
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
