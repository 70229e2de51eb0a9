//! How the last run ended: a word in a file that every end of a run but the worst ones replaces, and the
//! record of a crash, written by the panic hook.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::Instant,
};

use wasmbed_wire::message::{Crash, ResetCause};

use crate::files;

/// This changes whenever the kernel starts.
const KERNEL_START: &str = "/proc/sys/kernel/random/boot_id";
/// Before the kernel's start, in the word of a run that has not ended.
const RUNNING: &str = "running since ";
const RESTARTING: &str = "restarting";
const CRASHED: &str = "crashed";

/// The connect during which a crash would happen.
static BOOT: AtomicU32 = AtomicU32::new(0);

/// Takes note of a new connect.
pub(crate) fn set_boot(boot: u32) {
    BOOT.store(boot, Ordering::Relaxed);
}

/// From now on a panic on any thread is recorded in `dir` and ends the process: whatever was broken,
/// the next start does not have it.
pub(crate) fn record_panics(dir: &Path, start: Instant) {
    let dir = dir.to_owned();
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
        let _ = minicbor::to_vec(crash).map(|record| files::replace(&crash_path(&dir), &record));
        let _ = files::replace(&word_path(&dir), CRASHED.as_bytes());
        std::process::abort();
    }));
}

/// The crash of a previous run, until the broker has it.
pub(crate) struct CrashRecord {
    path: PathBuf,
    record: Option<Vec<u8>>,
}

impl CrashRecord {
    pub(crate) fn read(dir: &Path) -> std::io::Result<Self> {
        let path = crash_path(dir);
        Ok(CrashRecord { record: files::read(&path)?, path })
    }

    pub(crate) fn get(&self) -> Option<Crash<'_>> {
        minicbor::decode(self.record.as_deref()?).ok()
    }

    pub(crate) fn clear(&mut self) {
        self.record = None;
        if let Err(error) = files::remove(&self.path) {
            tracing::error!("{} cannot be removed: {error}", self.path.display());
        }
    }
}

/// Why this run started; from here on it counts as one that has not ended.
pub(crate) fn begin_run(dir: &Path) -> std::io::Result<ResetCause> {
    let path = word_path(dir);
    let kernel_start = std::fs::read_to_string(KERNEL_START).unwrap_or_default();
    let kernel_start = kernel_start.trim();
    let word = files::read(&path)?.unwrap_or_default();
    let cause = cause(std::str::from_utf8(&word).unwrap_or_default(), kernel_start);
    log_failure(&path, files::replace(&path, format!("{RUNNING}{kernel_start}").as_bytes()));
    Ok(cause)
}

fn cause(word: &str, kernel_start: &str) -> ResetCause {
    match word {
        RESTARTING => ResetCause::Command,
        CRASHED => ResetCause::Crash,
        // It vanished, and the machine stayed: whatever it did, it did not come to its end.
        _ if word.strip_prefix(RUNNING) == Some(kernel_start) => ResetCause::Watchdog,
        _ => ResetCause::Power,
    }
}

/// Makes the next run start with [`ResetCause::Command`].
pub(crate) fn note_restart(dir: &Path) {
    let path = word_path(dir);
    log_failure(&path, files::replace(&path, RESTARTING.as_bytes()));
}

/// Makes the next run start with [`ResetCause::Power`].
pub(crate) fn note_stop(dir: &Path) {
    let path = word_path(dir);
    log_failure(&path, files::remove(&path));
}

// On a full disk a device that does not know why it started is better than one that does not start.
fn log_failure(path: &Path, done: std::io::Result<()>) {
    if let Err(error) = done {
        tracing::error!("{} cannot be changed: {error}", path.display());
    }
}

fn crash_path(dir: &Path) -> PathBuf {
    dir.join("crash")
}

fn word_path(dir: &Path) -> PathBuf {
    dir.join("last-run")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_of_a_run_is_told_apart() -> std::io::Result<()> {
        let dir = tempfile::tempdir()?;
        assert_eq!(begin_run(dir.path())?, ResetCause::Power, "the first run");
        assert_eq!(begin_run(dir.path())?, ResetCause::Watchdog, "it vanished");
        note_restart(dir.path());
        assert_eq!(begin_run(dir.path())?, ResetCause::Command);
        assert_eq!(begin_run(dir.path())?, ResetCause::Watchdog, "the command counts once");
        note_stop(dir.path());
        assert_eq!(begin_run(dir.path())?, ResetCause::Power);
        Ok(())
    }

    #[test]
    fn a_run_that_vanished_with_its_kernel_lost_power() {
        assert_eq!(cause("running since a", "b"), ResetCause::Power);
        assert_eq!(cause("running since a", "a"), ResetCause::Watchdog);
        assert_eq!(cause(CRASHED, "a"), ResetCause::Crash);
        assert_eq!(cause("", ""), ResetCause::Power);
    }
}
