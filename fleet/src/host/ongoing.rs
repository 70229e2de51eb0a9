//! What was ordered for a running device and goes on for a time, each thing of its kind once.
//!
//! All of it ends with the start of the device it was ordered for.
//!
//! Not here: whether an order makes sense (`orders`).

use std::{path::PathBuf, time::Duration};

use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep_until};
use wasmbed_wire::CommandId;

use super::{
    faults::Faults,
    launch::Launch,
    nor,
    orders::{self, Command, Flip, Step},
    process::Process,
    reporter::Reporter,
};

/// A power cut that somebody wanted.
pub(super) struct Cut {
    /// Why, for people.
    pub(super) why: String,
    /// How long the power is off.
    pub(super) off: Duration,
    /// The order that wanted it, and which bits it wants inverted meanwhile.
    pub(super) order: Option<(CommandId, Option<Flip>)>,
}

impl Cut {
    /// In the middle of a flash operation, as a test demands with a file.
    pub(super) fn torn() -> Self {
        let why = format!("power cut in the middle of a flash operation, as {} demanded", nor::FAULT);
        Cut { why, off: Duration::ZERO, order: None }
    }

    fn ordered(id: CommandId, off: Duration, flip: Option<Flip>) -> Self {
        Cut { why: "power cut on request".to_owned(), off, order: Some((id, flip)) }
    }
}

/// What goes on for one start of a device.
pub(super) struct Ongoing<'a> {
    launch: &'a Launch,
    reporter: Reporter,
    thaw_at: Option<Instant>,
    /// What undoes a disturbance of the emulator's network.
    replug: Option<(Instant, PathBuf, Command)>,
}

impl<'a> Ongoing<'a> {
    /// Nothing yet.
    pub(super) fn new(launch: &'a Launch, reporter: &Reporter) -> Self {
        Ongoing { launch, reporter: reporter.clone(), thaw_at: None, replug: None }
    }

    /// Ends what the host before had begun and cannot end any more.
    pub(super) fn calm_adopted(&self, process: &Process) {
        process.signal(Signal::SIGCONT);
        if let Some(monitor) = self.launch.qmp.clone().filter(|_| self.launch.has_network) {
            self.ask(monitor, orders::calm_network(), None);
        }
    }

    /// Returns when something is to end. Safe to drop and call again.
    pub(super) async fn is_due(&self) {
        let replug_at = self.replug.as_ref().map(|(at, ..)| *at);
        match self.thaw_at.into_iter().chain(replug_at).min() {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    /// Ends what is to end by now.
    pub(super) fn end_due(&mut self, process: &Process) {
        let now = Instant::now();
        if self.thaw_at.take_if(|at| *at <= now).is_some() {
            process.signal(Signal::SIGCONT);
        }
        if let Some((_, socket, command)) = self.replug.take_if(|(at, ..)| *at <= now) {
            self.ask(socket, vec![command], None);
        }
    }

    /// Takes a step for the order with this number; what is returned is for the caller to do.
    pub(super) fn begin(&mut self, step: Step, id: CommandId, process: &Process) -> Option<Cut> {
        match step {
            Step::Cut(off) => return Some(Cut::ordered(id, off, None)),
            Step::Flip(flip) => return Some(Cut::ordered(id, Duration::ZERO, Some(flip))),
            Step::Ask(socket, command) => {
                self.ask(socket, vec![command], Some(id));
                return None;
            }
            Step::Unplug { lasts, socket, begin, end } => {
                let before = self.replug.take().map(|(_, _, command)| command);
                self.ask(socket.clone(), before.into_iter().chain([begin]).collect(), Some(id));
                self.replug = Some((Instant::now() + lasts, socket, end));
                return None;
            }
            Step::Freeze(lasts) => {
                process.signal(Signal::SIGSTOP);
                self.thaw_at = Some(Instant::now() + lasts);
            }
            Step::Disturb(noise) => self.launch.faults.send_modify(|faults| faults.noise = Some(noise)),
            Step::TakeOffline(lasts) => {
                let until = Instant::now() + lasts;
                self.launch.faults.send_modify(|faults| faults.offline_until = Some(until));
            }
            Step::Calm => self.calm(process),
        }
        self.reporter.result(id, Ok(orders::done()));
        None
    }

    fn calm(&mut self, process: &Process) {
        let now = Instant::now();
        self.launch.faults.send_replace(Faults::default());
        self.thaw_at = self.thaw_at.map(|_| now);
        self.replug.iter_mut().for_each(|(at, ..)| *at = now);
        self.end_due(process);
    }

    /// Beside the device's task: an emulator may take its time.
    fn ask(&self, socket: PathBuf, commands: Vec<Command>, order: Option<CommandId>) {
        let reporter = self.reporter.clone();
        tokio::spawn(async move {
            let answer = orders::ask_emulator(&socket, commands).await;
            if let Some(id) = order {
                reporter.result(id, answer);
            }
        });
    }
}
