//! A board's image for measurements, run in the emulator.

use std::{
    collections::HashMap,
    fs,
    io::{BufRead, BufReader, Write},
    os::{
        fd::AsFd,
        unix::net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use wasmbed_boards::{Board, Holds, Image, Machine, Place, Places};
use wasmtime::{Result, bail, ensure, error::Context as _};

/// The clock advances by one nanosecond for each instruction, and does not wait for that time to pass. The board starts
/// when it is told to: what it says before somebody listens is lost.
const COUNTING: [&str; 3] = ["-icount", "shift=0,sleep=off", "-S"];
/// In the emulator's protocol for control (QMP).
const START: &[u8] = b"{\"execute\":\"qmp_capabilities\"}{\"execute\":\"cont\"}";
/// Time for the emulator to start, in milliseconds.
const STARTED_MS: u16 = 20_000;
/// Longest time a board works on one figure: the emulator does some ten million instructions a second.
const SILENCE: Duration = Duration::from_secs(300);

/// What a board found out.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Figures(HashMap<(String, String), f64>);

impl Figures {
    /// The figure; not a number where there is none.
    pub(crate) fn get(&self, what: &str, whose: &str) -> f64 {
        self.0.get(&(what.to_owned(), whose.to_owned())).copied().unwrap_or(f64::NAN)
    }

    /// Whether everybody came to the same result.
    pub(crate) fn agree(&self, what: &str) -> bool {
        let results = || {
            self.0.iter().filter(|((of, _), _)| *of == format!("{what}-result")).map(|(_, result)| *result)
        };
        results().next().is_some_and(|first| results().all(|result| result == first))
    }

    /// Takes a line of the board; false after the last one.
    fn take(&mut self, line: &str) -> Result<bool> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["done"] => return Ok(false),
            [what, whose, figure] if figure.parse::<u64>().is_ok() => {
                self.0.insert((what.to_owned(), whose.to_owned()), figure.parse()?);
            }
            _ => bail!("the board says {line:?}"),
        }
        Ok(true)
    }
}

/// Runs the image in an emulated board until it is done, and adds what it found.
///
/// # Errors
/// If the emulator does not start, or the board fails, or falls silent.
pub(crate) fn run(board: &Board, elf: &Path, figures: &mut Figures) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let places = fill(board, &fs::read(elf).with_context(|| elf.display().to_string())?, dir.path())?;
    let link = UnixListener::bind(&places[&Place::Link])?;
    // The emulator connects there as well; nobody answers.
    let _flash = UnixListener::bind(&places[&Place::Nor])?;
    let arguments = board.run.arguments(&places, &Machine::default());
    let arguments = arguments.map_err(|place| wasmtime::format_err!("nothing is at {{{}}}", place.name()))?;
    let mut emulator = Command::new(board.run.program());
    let emulator = emulator.args(COUNTING).args(arguments).stdin(Stdio::null()).spawn();
    let _emulator = Emulator(emulator.with_context(|| format!("cannot start {}", board.run.program()))?);
    let mut ready = [PollFd::new(link.as_fd(), PollFlags::POLLIN)];
    ensure!(poll(&mut ready, PollTimeout::from(STARTED_MS))? > 0, "{} does not start", board.run.program());
    let (link, _) = link.accept()?;
    link.set_read_timeout(Some(SILENCE))?;
    let mut control = UnixStream::connect(&places[&Place::Qmp])?;
    control.write_all(START)?;
    let mut lines = BufReader::new(link);
    loop {
        let mut line = Vec::new();
        lines.read_until(b'\n', &mut line).context("the board is silent")?;
        if !figures.take(&String::from_utf8_lossy(&line))? {
            return Ok(());
        }
    }
}

/// Makes the files of a board that has nothing but this program.
fn fill(board: &Board, elf: &[u8], dir: &Path) -> Result<Places> {
    let firmware = board.firmware.as_ref().context("the board has no firmware")?;
    let image = Image::from_elf(elf, &firmware.memory.alone())?.bytes;
    let in_boot = image.len().min(firmware.memory.boot.size_bytes as usize);
    let (boot, window) = image.split_at(in_boot);
    let at = |name: &str| dir.join(name);
    let mut places: Places = [
        (Place::Dir, PathBuf::from(dir)),
        (Place::Link, at("link")),
        (Place::Nor, at("nor")),
        (Place::Qmp, at("qmp")),
    ]
    .into();
    for file in board.run.files() {
        let contents = match file.holds {
            Holds::Boot => boot,
            Holds::Window => window,
            // Erased.
            Holds::Provision => &[0xff],
            Holds::Disk => &[],
        };
        places.insert(file.holds.place(), file.fill(dir, contents)?);
    }
    Ok(places)
}

/// Ends with its owner.
struct Emulator(Child);

impl Drop for Emulator {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_board_says_is_a_figure_or_the_end_or_a_failure() {
        let mut figures = Figures::default();
        assert!(figures.take("fir wasmi 42\n").is_ok_and(|more| more));
        assert!(figures.get("fir", "wasmi") == 42.0 && figures.get("fir", "ours").is_nan());
        assert!(!figures.agree("fir"));
        assert!(figures.take("fir-result ours 7\n").is_ok() && figures.agree("fir"));
        assert!(figures.take("fir-result wasmi 8\n").is_ok() && !figures.agree("fir"));
        assert!(figures.take("done\n").is_ok_and(|more| !more));
        for line in ["", "failed: no memory\n", "fir wasmi -1\n", "fir wasmi 1 2\n", "\0panic"] {
            assert!(figures.take(line).is_err(), "{line:?}");
        }
    }
}
