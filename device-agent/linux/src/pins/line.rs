//! A line of a GPIO chip, by way of the kernel's character devices.
//!
//! It is taken from the kernel when a module first uses it and kept until the agent ends, so that an output stays as it
//! is while a module is replaced. Until then, and after its chip is gone, each use tries to take it. It is an input
//! until a module drives it.
//!
//! What the kernel has not told yet waits in its own queue, from which the oldest goes if it is full; what a module has
//! not heard yet waits in the module's, `worker::Line`.

use std::{
    io::{PipeReader, PipeWriter, pipe},
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, Weak},
    thread,
};

use gpiocdev::{
    Chip, Request,
    chip::chips,
    line::{Bias, EdgeDetection, EdgeKind, Offset},
    request::Config,
};
use nix::{
    errno::Errno as OsError,
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use wasmbed_abi::{Edges, Errno};

use super::{
    lock,
    watchers::Watchers,
    wiring::{self, Direction, GpioConfig, LineId},
};
use crate::worker;

/// Who has the line, for `gpioinfo`.
const CONSUMER: &str = "wasmbed-agent";
/// Edges that wait in the kernel.
const EVENTS: u32 = 64;
/// Stack of a thread that waits for edges, in bytes.
const STACK_BYTES: usize = 256 * 1024;
/// What drivers answer to a setting that their lines do not have; the kernel's own, so that no header has it.
const ENOTSUPP: i32 = 524;

/// What modules do with one line.
#[derive(Debug)]
pub(super) struct Line {
    config: GpioConfig,
    watchers: Watchers,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Once it was taken.
    held: Option<Held>,
    /// That it does not work was logged already.
    is_failing: bool,
}

/// A line that is this program's.
#[derive(Debug)]
struct Held {
    request: Arc<Request>,
    offset: Offset,
    mode: Mode,
    /// Once edges were watched.
    listener: Option<Listener>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// As it was found; for an output that no module drives yet.
    AsIs,
    Input(Edges),
    Output,
}

/// A thread that waits for edges; it ends when it sees the other end of this closed.
#[derive(Debug)]
struct Listener(#[expect(dead_code, reason = "closed when it is dropped")] PipeWriter);

/// Why a line does not work.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Chip(#[from] gpiocdev::Error),
    #[error("there is no chip with this label; `gpiodetect` lists them")]
    NoSuchChip,
    #[error("there is no line of this name; `gpioinfo` lists them")]
    NoSuchLine,
    #[error("cannot wait for edges")]
    Wait(#[from] std::io::Error),
}

impl Line {
    pub(super) fn new(config: GpioConfig) -> Arc<Self> {
        Arc::new(Line { config, watchers: Watchers::default(), state: Mutex::default() })
    }

    pub(super) fn write(self: &Arc<Self>, high: bool) -> Result<(), Errno> {
        if self.config.direction == Some(Direction::Input) {
            return Err(Errno::Denied);
        }
        let mut state = lock(&self.state);
        if self.watchers.edges() != Edges::default() {
            return Err(Errno::Busy);
        }
        let done = match &state.held {
            Some(Held { request, offset, mode: Mode::Output, .. }) => {
                request.set_value(*offset, high.into()).map_err(Failure::from)
            }
            _ => self.hold(&mut state, Mode::Output, high).map(drop),
        };
        self.judge(&mut state, done)
    }

    pub(super) fn read(self: &Arc<Self>) -> Result<bool, Errno> {
        let mut state = lock(&self.state);
        let mode = match (&state.held, self.config.direction) {
            (Some(held), _) => held.mode,
            (None, Some(Direction::Output)) => Mode::AsIs,
            (None, _) => Mode::Input(self.watchers.edges()),
        };
        let done = self.hold(&mut state, mode, false);
        let level = done.and_then(|held| Ok(held.request.value(held.offset)?.into()));
        self.judge(&mut state, level)
    }

    pub(super) fn watch(self: &Arc<Self>, edges: Edges, module: &Weak<worker::Line>) -> Result<(), Errno> {
        if self.config.direction == Some(Direction::Output) {
            return Err(Errno::Denied);
        }
        let mut state = lock(&self.state);
        if state.held.as_ref().is_some_and(|held| held.mode == Mode::Output) {
            return Err(Errno::Busy);
        }
        self.watchers.set(edges, module);
        let done = self.hold(&mut state, Mode::Input(self.watchers.edges()), false).map(drop);
        if done.is_err() {
            self.watchers.set(Edges::default(), module);
        }
        self.judge(&mut state, done)
    }

    /// Takes the line, or changes how it is used; an output begins with this level.
    fn hold<'s>(
        self: &Arc<Self>,
        state: &'s mut State,
        mode: Mode,
        high: bool,
    ) -> Result<&'s mut Held, Failure> {
        let held = match &mut state.held {
            Some(held) => {
                if held.mode != mode {
                    held.request.reconfigure(&self.lines(held.offset, mode, high))?;
                    held.mode = mode;
                }
                held
            }
            none => none.insert(self.take(mode, high)?),
        };
        if matches!(mode, Mode::Input(edges) if edges != Edges::default()) && held.listener.is_none() {
            held.listener = Some(self.listen(&held.request)?);
        }
        Ok(held)
    }

    fn take(&self, mode: Mode, high: bool) -> Result<Held, Failure> {
        let (chip, offset) = self.find()?;
        let mut request = Request::from_config(self.lines(offset, mode, high));
        request.on_chip(chip).with_consumer(CONSUMER).with_kernel_event_buffer_size(EVENTS);
        Ok(Held { request: Arc::new(request.request()?), offset, mode, listener: None })
    }

    /// Where it is now: chips may come and go, and have other numbers then.
    fn find(&self) -> Result<(PathBuf, Offset), Failure> {
        match (&self.config.chip, &self.config.line) {
            (Some(chip), LineId::Number(number)) => Ok((path_of(chip)?, *number)),
            (Some(chip), LineId::Name(name)) => {
                let chip = path_of(chip)?;
                let found = Chip::from_path(&chip)?.find_line_info(name).ok_or(Failure::NoSuchLine)?;
                Ok((chip, found.offset))
            }
            (None, LineId::Name(name)) => {
                let names = [name.as_str()];
                let found = gpiocdev::find_named_lines(&names, true)?.remove(names[0]);
                let found = found.ok_or(Failure::NoSuchLine)?;
                Ok((found.chip, found.info.offset))
            }
            // The configuration was checked for it.
            (None, LineId::Number(_)) => Err(Failure::NoSuchLine),
        }
    }

    fn lines(&self, offset: Offset, mode: Mode, high: bool) -> Config {
        let mut lines = Config::default();
        lines.with_line(offset);
        match mode {
            Mode::AsIs => lines.as_is(),
            Mode::Input(edges) => lines.as_input().with_edge_detection(detection(edges)),
            Mode::Output => lines.as_output(high.into()),
        };
        if self.config.active_low {
            lines.as_active_low();
        }
        // The kernel takes a bias only with a direction.
        if mode != Mode::AsIs {
            lines.with_bias(self.config.bias.map(Bias::from));
        }
        lines
    }

    /// Has modules told of edges until the line is let go.
    fn listen(self: &Arc<Self>, request: &Arc<Request>) -> Result<Listener, Failure> {
        let (stopped, writer) = pipe()?;
        let (line, request) = (Arc::downgrade(self), Arc::clone(request));
        let thread = thread::Builder::new().name(format!("pin-{}", self.config.pin)).stack_size(STACK_BYTES);
        thread.spawn(move || tell_edges(&line, &request, &stopped))?;
        Ok(Listener(writer))
    }

    /// Takes note of an edge. Without anybody who watches, there are no more.
    fn on_edge(self: &Arc<Self>, high: bool) {
        self.watchers.tell(self.config.pin, high);
        let mut state = lock(&self.state);
        let edges = self.watchers.edges();
        let watched = state.held.as_ref().map(|held| held.mode);
        if matches!(watched, Some(Mode::Input(watched)) if watched != edges) {
            let done = self.hold(&mut state, Mode::Input(edges), false).map(drop);
            // As in `tell_edges`.
            let _ = self.judge(&mut state, done);
        }
    }

    /// Lets a line go whose chip is gone, and says once in the log why one does not work.
    fn judge<T>(&self, state: &mut State, done: Result<T, Failure>) -> Result<T, Errno> {
        let failure = match done {
            Ok(value) => {
                state.is_failing = false;
                return Ok(value);
            }
            Err(failure) => failure,
        };
        let os_error = failure.os_error();
        if os_error == Some(libc::ENODEV) {
            state.held = None;
        }
        if !std::mem::replace(&mut state.is_failing, true) {
            let pin = self.config.pin;
            tracing::warn!("pin {pin}, {}: {failure}", self.config);
        }
        Err(match os_error {
            Some(libc::EBUSY) => Errno::Busy,
            // No interrupt, no bias, no output: not every line has them.
            Some(libc::ENXIO | libc::EOPNOTSUPP | ENOTSUPP) => Errno::Unsupported,
            _ => Errno::Io,
        })
    }
}

impl Failure {
    fn os_error(&self) -> Option<i32> {
        match self {
            Failure::Chip(
                gpiocdev::Error::Os(errno) | gpiocdev::Error::Uapi(_, gpiocdev_uapi::Error::Os(errno)),
            ) => Some(errno.0),
            _ => None,
        }
    }
}

/// The device of a chip that is called by its path or its label.
fn path_of(chip: &Path) -> Result<PathBuf, Failure> {
    if chip.is_absolute() {
        return Ok(chip.to_owned());
    }
    let label = |path: &PathBuf| Chip::from_path(path).and_then(|chip| chip.info()).map(|info| info.label);
    let found = chips()?.into_iter().find(|path| label(path).is_ok_and(|label| Path::new(&label) == chip));
    found.ok_or(Failure::NoSuchChip)
}

/// Tells the edges of a line as the kernel does, until the line is let go.
fn tell_edges(line: &Weak<Line>, request: &Request, stopped: &PipeReader) {
    loop {
        let mut waits = [request.as_fd(), stopped.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        let is_over = match poll(&mut waits, PollTimeout::NONE) {
            Ok(_) => waits[1].any() != Some(false),
            Err(error) => error != OsError::EINTR,
        };
        let Some(line) = line.upgrade().filter(|_| !is_over) else { return };
        if waits[0].any() == Some(false) {
            continue;
        }
        match request.read_edge_event() {
            Ok(edge) => line.on_edge(edge.kind == EdgeKind::Rising),
            Err(error) => {
                let mut state = lock(&line.state);
                state.held = None;
                // Told in the log; there is no module to tell.
                let _ = line.judge::<()>(&mut state, Err(error.into()));
                return;
            }
        }
    }
}

fn detection(edges: Edges) -> Option<EdgeDetection> {
    match (edges.rising, edges.falling) {
        (true, true) => Some(EdgeDetection::BothEdges),
        (true, false) => Some(EdgeDetection::RisingEdge),
        (false, true) => Some(EdgeDetection::FallingEdge),
        (false, false) => None,
    }
}

impl From<wiring::Bias> for Bias {
    fn from(bias: wiring::Bias) -> Self {
        match bias {
            wiring::Bias::PullUp => Bias::PullUp,
            wiring::Bias::PullDown => Bias::PullDown,
            wiring::Bias::Disabled => Bias::Disabled,
        }
    }
}
