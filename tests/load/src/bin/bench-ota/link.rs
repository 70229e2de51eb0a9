//! The raw speed of a board's serial link: what its port takes while the board does nothing but drain it.

use std::{
    fs,
    io::Write,
    os::unix::net::{UnixListener, UnixStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use tempfile::TempDir;
use wasmbed_boards::{Board, Holds, Image, Machine, Place, Places};
use wasmbed_e2e::{images, wait_for};

/// Time until every buffer on the way is full.
const WARM_UP: Duration = Duration::from_millis(1_000);
/// Time measured.
const MEASURED: Duration = Duration::from_millis(4_000);
/// Bytes written at once: about a frame with a block of 1 KiB.
const FRAME_BYTES: usize = 1_100;
const START: Duration = Duration::from_secs(20);

/// Bytes per second.
pub(crate) fn raw_speed(board: &Board) -> Result<f64> {
    let mut idle = Idle::start(board)?;
    let mut frame = [0x55; FRAME_BYTES];
    // A board wakes up for the end of a frame.
    frame[FRAME_BYTES - 1] = 0;
    idle.write(&frame, WARM_UP)?;
    let start = Instant::now();
    let bytes = idle.write(&frame, MEASURED)?;
    Ok(bytes as f64 / start.elapsed().as_secs_f64())
}

/// A board that was never provisioned: its bootloader has nothing to do but to read and drop what comes.
struct Idle {
    child: Child,
    line: UnixStream,
    /// The chip on the other line; it is never asked for anything.
    _chip: UnixListener,
    _dir: TempDir,
}

impl Drop for Idle {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Idle {
    fn start(board: &Board) -> Result<Self> {
        let firmware = board.firmware.as_ref().with_context(|| format!("{} has no firmware", board.name))?;
        let dir = TempDir::with_prefix("wasmbed-bench-")?;
        let path = |name: &str| dir.path().join(name);
        let mut places = Places::from([
            (Place::Dir, dir.path().to_owned()),
            (Place::Link, path("link")),
            (Place::Nor, path("nor")),
            (Place::Qmp, path("qmp")),
        ]);
        let elf = images()?.join(format!("{}-boot.elf", board.name));
        let elf = fs::read(&elf).with_context(|| format!("cannot read {}", elf.display()))?;
        let boot = Image::from_elf(&elf, &firmware.memory.boot)?.bytes;
        for file in board.run.files() {
            let contents = if file.holds == Holds::Boot { &boot[..] } else { &[0] };
            places.insert(file.holds.place(), file.fill(dir.path(), contents)?);
        }
        let lines = UnixListener::bind(path("link"))?;
        let chip = UnixListener::bind(path("nor"))?;
        let arguments = board.run.arguments(&places, &Machine::default());
        let arguments =
            arguments.map_err(|place| anyhow::anyhow!("{} uses {{{}}}", board.name, place.name()))?;
        let child = Command::new(board.run.program())
            .args(arguments)
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", board.run.program()))?;
        lines.set_nonblocking(true)?;
        let mut line = None;
        let waited = wait_for("the emulator to connect its line", START, || {
            line = Some(lines.accept()?.0);
            Ok(true)
        });
        let idle = line.map(|line| Idle { child, line, _chip: chip, _dir: dir });
        waited.and(idle.context("no line"))
    }

    /// Writes for some time; returns how many bytes were taken.
    fn write(&mut self, frame: &[u8], time: Duration) -> Result<usize> {
        self.line.set_nonblocking(false)?;
        // The board is as slow as it is, but it never stops.
        self.line.set_write_timeout(Some(START))?;
        let end = Instant::now() + time;
        let mut bytes = 0;
        while Instant::now() < end {
            bytes += self.line.write(frame).context("the board stopped to take bytes")?;
        }
        Ok(bytes)
    }
}
