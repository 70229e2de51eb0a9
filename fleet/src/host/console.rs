//! What a device prints: kept in `console.log`, handed on line by line.
//!
//! The log has two generations of bounded size. A device that prints without end fills neither the
//! disk nor the broker: lines beyond a rate are only counted.

use std::{
    convert::Infallible,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    io::AsyncReadExt,
    net::UnixListener,
    time::{Instant, sleep},
};

/// Size at which the log is moved to `console.log.1`, in bytes.
const LOG_BYTES: u64 = 1024 * 1024;
/// Longest line handed on, in bytes; the log has all of it.
const LINE_BYTES: usize = 512;
/// Lines handed on at once, and then per second.
const BURST: f64 = 100.0;
const LINES_PER_SECOND: f64 = 20.0;

/// Bytes read from a console at once.
const READ_BYTES: usize = 4096;
/// Pause after a failure that is the machine's (no file descriptors left), not the console's.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Reads what connects to `listener`, one after the other, for ever.
pub(super) async fn attend(listener: &UnixListener, mut said: impl FnMut(&[u8])) -> Infallible {
    let mut bytes = [0; READ_BYTES];
    loop {
        let Ok((mut console, _)) = listener.accept().await else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        while let Ok(len @ 1..) = console.read(&mut bytes).await {
            said(&bytes[..len]);
        }
    }
}

/// The console of one device.
pub(super) struct Console {
    path: PathBuf,
    file: Option<File>,
    size: u64,
    line: Vec<u8>,
    allowance: f64,
    refilled: Instant,
    left_out: u64,
}

impl Console {
    /// The console whose log is in `dir`; earlier text is kept.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let path = dir.join("console.log");
        let file = append(&path)?;
        let size = file.metadata()?.len();
        Ok(Console {
            path,
            file: Some(file),
            size,
            line: Vec::new(),
            allowance: BURST,
            refilled: Instant::now(),
            left_out: 0,
        })
    }

    /// Logs `bytes` and calls `each` with the lines that are complete now.
    pub(super) fn write(&mut self, now: Instant, bytes: &[u8], mut each: impl FnMut(String)) {
        self.log(bytes);
        for &byte in bytes {
            match byte {
                b'\n' => {
                    if let Some(line) = self.end_line(now) {
                        each(line);
                    }
                }
                _ if self.line.len() < LINE_BYTES => self.line.push(byte),
                _ => {}
            }
        }
    }

    /// Logs a line of the host's own, marked as such.
    pub(super) fn note(&mut self, text: &str) {
        self.log(format!("--- {text}\n").as_bytes());
    }

    fn end_line(&mut self, now: Instant) -> Option<String> {
        let bytes = std::mem::take(&mut self.line);
        let text: String =
            String::from_utf8_lossy(&bytes).chars().filter(|c| !c.is_control() || *c == '\t').collect();
        if text.is_empty() || !self.is_allowed(now) {
            return None;
        }
        let left_out = std::mem::take(&mut self.left_out);
        Some(if left_out == 0 { text } else { format!("{text} [{left_out} lines left out before this one]") })
    }

    fn is_allowed(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.refilled).as_secs_f64();
        self.refilled = now;
        self.allowance = (self.allowance + passed * LINES_PER_SECOND).min(BURST);
        if self.allowance < 1.0 {
            self.left_out += 1;
            return false;
        }
        self.allowance -= 1.0;
        true
    }

    fn log(&mut self, bytes: &[u8]) {
        if let Err(error) = self.try_log(bytes) {
            // A full disk must not take the device down with it.
            tracing::warn!(path = %self.path.display(), %error, "the console log ends here until the host restarts");
            self.file = None;
        }
    }

    fn try_log(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        file.write_all(bytes)?;
        self.size += bytes.len() as u64;
        if self.size >= LOG_BYTES {
            fs::rename(&self.path, self.path.with_extension("log.1"))?;
            self.file = Some(append(&self.path)?);
            self.size = 0;
        }
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_and_free_of_control_characters() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut console = Console::open(dir.path()).expect("a console");
        let now = Instant::now();
        let mut lines = Vec::new();
        for piece in [&b"boo"[..], b"t\r\n\n\x1b[1mhi", b"\xff\nrest"] {
            console.write(now, piece, |line| lines.push(line));
        }
        assert_eq!(lines, ["boot", "[1mhi\u{fffd}"]);
        let log = fs::read(dir.path().join("console.log")).expect("a log");
        assert_eq!(log, b"boot\r\n\n\x1b[1mhi\xff\nrest");
    }

    #[test]
    fn the_log_has_two_generations_of_bounded_size() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut console = Console::open(dir.path()).expect("a console");
        let chunk = vec![b'x'; 100_000];
        for _ in 0..40 {
            console.write(Instant::now(), &chunk, |_| ());
        }
        let size = |name: &str| fs::metadata(dir.path().join(name)).map_or(0, |m| m.len());
        assert!(size("console.log") <= LOG_BYTES + chunk.len() as u64);
        assert!(size("console.log.1") <= LOG_BYTES + chunk.len() as u64);
        assert!(size("console.log.1") >= LOG_BYTES);
        assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 2);
    }

    #[test]
    fn a_flood_of_lines_is_counted_instead_of_handed_on() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut console = Console::open(dir.path()).expect("a console");
        let start = Instant::now();
        let mut lines = Vec::new();
        for _ in 0..1000 {
            console.write(start, b"x\n", |line| lines.push(line));
        }
        assert_eq!(lines.len(), BURST as usize);
        console.write(start + Duration::from_secs(1), b"later\n", |line| lines.push(line));
        assert_eq!(lines.last().map(String::as_str), Some("later [900 lines left out before this one]"));
    }
}
