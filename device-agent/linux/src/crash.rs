//! The record of a crash, written by the panic hook and told after the next start.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::Instant,
};

use wasmbed_wire::message::{Crash, ResetCause};

use crate::files;

/// The connect during which a crash would happen.
static BOOT: AtomicU32 = AtomicU32::new(0);

/// Takes note of a new connect.
pub(crate) fn set_boot(boot: u32) {
    BOOT.store(boot, Ordering::Relaxed);
}

/// From now on a panic on any thread is recorded in `dir` and ends the process: whatever was broken,
/// the next start does not have it.
pub(crate) fn record_panics(dir: &Path, start: Instant) {
    let path = crash_path(dir);
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        let crash = Crash {
            boot: BOOT.load(Ordering::Relaxed),
            message: &panic.to_string(),
            pc: 0,
            uptime_ms: start.elapsed().as_millis() as u64,
        };
        // Nothing is left to do if this fails; the message is on the console.
        let _ = minicbor::to_vec(crash).map(|record| files::replace(&path, &record));
        std::process::abort();
    }));
}

/// What is known about the previous run.
pub(crate) struct LastRun {
    path: PathBuf,
    record: Option<Vec<u8>>,
    /// Why this run started.
    pub(crate) cause: ResetCause,
}

impl LastRun {
    /// Reads and clears what the previous run left in `dir`; the crash record stays until
    /// [`LastRun::clear_crash`].
    pub(crate) fn read(dir: &Path) -> std::io::Result<Self> {
        let path = crash_path(dir);
        let record = files::read(&path)?;
        let commanded = files::read(&restart_path(dir))?.is_some();
        files::remove(&restart_path(dir))?;
        let cause = match (&record, commanded) {
            (Some(_), _) => ResetCause::Crash,
            (None, true) => ResetCause::Command,
            (None, false) => ResetCause::Power,
        };
        Ok(LastRun { path, record, cause })
    }

    pub(crate) fn crash(&self) -> Option<Crash<'_>> {
        minicbor::decode(self.record.as_deref()?).ok()
    }

    pub(crate) fn clear_crash(&mut self) {
        self.record = None;
        if let Err(error) = files::remove(&self.path) {
            tracing::error!("{} cannot be removed: {error}", self.path.display());
        }
    }
}

/// Makes the next run start with [`ResetCause::Command`].
pub(crate) fn note_restart(dir: &Path) -> std::io::Result<()> {
    files::replace(&restart_path(dir), b"")
}

fn crash_path(dir: &Path) -> PathBuf {
    dir.join("crash")
}

fn restart_path(dir: &Path) -> PathBuf {
    dir.join("restart")
}
