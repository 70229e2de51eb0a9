//! One device: brings its process to what is desired and keeps it there.
//!
//! Everything about one device happens in one task, so nothing about it can race: its process, its
//! bridge and its restarts are futures of that task, and dropping them ends them. A process that the host before
//! had started is taken over if it is what would be started now; otherwise it is stopped first.
//!
//! Not here: how a board is started (`launch`), what devices there are (`manager`).

use std::{
    convert::Infallible,
    io,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep},
};
use wasmbed_wire::{DeviceId, message::LinkCounters};

use super::{
    bridge::{self, Observer},
    console::{self, Console},
    keeper::{Keeper, Launched, Taken},
    launch::{ChipLine, Launch, Launcher},
    nor::{self, Demand},
    ongoing::{Cut, Ongoing},
    orders::{self, Order},
    process::{Exit, Listener, Process, StartError},
    qmp,
    reporter::{Reporter, unix_ms},
    restarts::{self, Remaps, Restarts, Verdict},
    turns::{ComingUp, Turn, Turns},
    watchdog::Watchdog,
};
use crate::host_api::{DesiredDevice, EventKind, Power, ProcessStatus, ReportedDevice};

/// Connects for which two starts within one second leave room, so that their numbers still rise.
const CONNECTS_PER_START: u32 = 64;
const AS_DESIRED: &str = "as desired";
const UNCERTIFIED: &str = "it waits for its certificate";
const WAITING: &str = "its turn to start comes after that of others";
/// How long a board with a line may take until others may start.
const LONGEST_START: Duration = Duration::from_secs(20);
/// How long others wait for a board of which nobody here sees when it has come up.
const USUAL_START: Duration = Duration::from_secs(5);
const REMAPPED: &str = "the board asked for another image";

/// What a device's task is told from outside.
pub(super) struct Wishes {
    /// What is desired; `None` once the device is to be forgotten. Ends with the host.
    wanted: watch::Receiver<Option<DesiredDevice>>,
    /// What is to be done once.
    orders: mpsc::Receiver<Order>,
    /// The last power cycle done.
    cycle: u32,
}

/// One thing that was told.
enum Wish {
    Disturb(Disturbance),
    Order(Order),
}

/// The task of one device.
pub(super) struct Device {
    id: DeviceId,
    wishes: Wishes,
    launcher: Arc<Launcher>,
    keeper: Arc<Keeper>,
    reporter: Reporter,
    turns: Turns,
    /// What the host before had started, until it is taken over or stopped.
    taken: Option<Taken>,
    restarts: Restarts,
    remaps: Remaps,
    /// Starts after a death.
    restarted: u32,
    /// Why it was last started again, or does not run.
    reason: Option<String>,
    /// What asked for the next start.
    asked: &'static str,
    /// Whether the board asked for the next start, to run another image.
    is_remapped: bool,
    /// The last start numbered its connects above this.
    boot_floor: u32,
    /// Asks for a certificate.
    request: Option<String>,
    /// The cgroup of its process, if that has one of its own.
    group: Option<String>,
}

/// A process and what belongs to its start.
struct Running {
    launch: Launch,
    printer: Printer,
    process: Process,
    /// Until its board has come up, if the host does not start only to take it over.
    coming_up: Option<ComingUp>,
}

/// Why a device leaves the state it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disturbance {
    /// A power cycle is asked for.
    Cycle,
    /// Something else is desired.
    Changed,
    /// The host is ending.
    Ending,
}

/// How running ended.
enum Ended {
    Disturbed(Disturbance),
    Died(String),
    /// The board is to be started again with another image.
    Remapped,
    /// The power was to go.
    Cut(Cut),
    /// Could not run at all.
    Failed(String),
}

impl Wishes {
    /// Wishes for a device of which nothing was started yet.
    pub(super) fn new(wanted: watch::Receiver<Option<DesiredDevice>>, orders: mpsc::Receiver<Order>) -> Self {
        Wishes { wanted, orders, cycle: 0 }
    }

    /// What is desired now.
    fn wanted(&mut self) -> Option<DesiredDevice> {
        self.wanted.borrow_and_update().clone()
    }

    /// The next order, or the end of `wanted` being what is desired. Safe to drop and call again.
    async fn next(&mut self, wanted: &DesiredDevice) -> Wish {
        loop {
            tokio::select! {
                changed = self.wanted.changed() => {
                    if changed.is_err() {
                        return Wish::Disturb(Disturbance::Ending);
                    }
                    if let Some(disturbance) = self.disturbance(wanted) {
                        return Wish::Disturb(disturbance);
                    }
                }
                Some(order) = self.orders.recv() => return Wish::Order(order),
            }
        }
    }

    /// How `wanted` differs from what is desired now. New keys wait for the next start.
    fn disturbance(&mut self, wanted: &DesiredDevice) -> Option<Disturbance> {
        let Some(now) = self.wanted() else {
            return Some(Disturbance::Changed);
        };
        let is_same_client = now.password == wanted.password && now.certificate == wanted.certificate;
        let is_same_machine = now.board == wanted.board && now.machine == wanted.machine;
        if now.power != wanted.power || !is_same_machine || !is_same_client {
            return Some(Disturbance::Changed);
        }
        (now.cycle > self.cycle).then_some(Disturbance::Cycle)
    }
}

impl Device {
    /// A device of which this host has started nothing yet, but maybe the one before.
    pub(super) fn new(
        id: DeviceId,
        wishes: Wishes,
        launcher: Arc<Launcher>,
        keeper: Arc<Keeper>,
        reporter: Reporter,
        turns: Turns,
        taken: Option<Taken>,
    ) -> Self {
        Device {
            id,
            wishes,
            launcher,
            keeper,
            reporter,
            turns,
            taken,
            restarts: Restarts::default(),
            remaps: Remaps::default(),
            restarted: 0,
            reason: None,
            asked: AS_DESIRED,
            is_remapped: false,
            boot_floor: 0,
            request: None,
            group: None,
        }
    }

    /// Runs until the host ends; the process is gone then.
    pub(super) async fn run(mut self) {
        loop {
            let wanted = self.wishes.wanted();
            let disturbance = match wanted {
                None => self.forget().await,
                Some(wanted) if wanted.power == Power::Off => self.rest(&wanted).await,
                Some(wanted) => self.keep_running(&wanted).await,
            };
            if disturbance == Disturbance::Ending {
                return;
            }
            // Whoever changes what is desired has taken note of what was.
            self.restarts.forgive();
            self.reason = None;
            self.is_remapped = false;
            self.asked = if disturbance == Disturbance::Cycle { "power cycle" } else { AS_DESIRED };
        }
    }

    async fn forget(&mut self) -> Disturbance {
        self.stop_taken("not desired any more").await;
        self.launcher.forget(&self.id);
        match self.wishes.wanted.changed().await {
            Ok(()) => Disturbance::Changed,
            Err(_) => Disturbance::Ending,
        }
    }

    async fn rest(&mut self, wanted: &DesiredDevice) -> Disturbance {
        self.stop_taken(AS_DESIRED).await;
        self.wishes.cycle = wanted.cycle;
        self.report(ProcessStatus::Stopped, None);
        self.disturbed(wanted).await
    }

    /// Starts the device again and again, until it is used up or disturbed.
    async fn keep_running(&mut self, wanted: &DesiredDevice) -> Disturbance {
        // Everything is started afresh, which is what a cycle is.
        self.wishes.cycle = wanted.cycle;
        match self.launcher.certify(wanted) {
            Ok(request) => self.request = request,
            Err(error) => {
                self.stop_taken("its certificate cannot be used").await;
                return self.give_up(wanted, error.to_string()).await;
            }
        }
        if self.request.is_some() {
            self.stop_taken(UNCERTIFIED).await;
            self.reason = Some(UNCERTIFIED.to_owned());
            self.report(ProcessStatus::Starting, None);
            return self.disturbed(wanted).await;
        }
        let mut wanted = wanted.clone();
        loop {
            let why = match self.run_once(&wanted).await {
                Ended::Disturbed(disturbance) => return disturbance,
                Ended::Failed(why) => {
                    self.event(EventKind::StartFailed, &why);
                    return self.give_up(&wanted, why).await;
                }
                Ended::Remapped if self.remaps.grant(Instant::now()) => {
                    self.is_remapped = true;
                    self.renew(&mut wanted);
                    continue;
                }
                Ended::Remapped => {
                    let (count, seconds) = (restarts::REMAPS, restarts::WINDOW.as_secs());
                    format!("the board asked for another image more than {count} times in {seconds} s")
                }
                Ended::Cut(cut) => match self.cut(&mut wanted, cut).await {
                    Some(disturbance) => return disturbance,
                    None => continue,
                },
                Ended::Died(why) => why,
            };
            self.event(EventKind::Exited, &why);
            match self.restarts.on_death(Instant::now()) {
                Verdict::Spent => {
                    let (budget, seconds) = (restarts::BUDGET, restarts::WINDOW.as_secs());
                    let why = format!(
                        "restarted {budget} times in {seconds} s, restart budget used up; last: {why}"
                    );
                    self.event(EventKind::BudgetExhausted, &why);
                    return self.give_up(&wanted, why).await;
                }
                Verdict::After(pause) => {
                    self.reason = Some(why);
                    self.is_remapped = false;
                    if let Some(disturbance) = self.pause(&wanted, pause).await {
                        return disturbance;
                    }
                    self.restarted += 1;
                    self.renew(&mut wanted);
                }
            }
        }
    }

    /// The power is off, and what is to happen meanwhile happens.
    async fn cut(&mut self, wanted: &mut DesiredDevice, cut: Cut) -> Option<Disturbance> {
        let Cut { why, off, order } = cut;
        self.event(EventKind::Exited, &why);
        // It was wanted, and is nothing that a budget is for.
        self.restarts.forgive();
        self.reason = Some(why);
        self.is_remapped = false;
        if let Some((id, flip)) = order {
            let done = flip.map_or(Ok(orders::done()), |flip| self.launcher.flip(wanted, &flip));
            self.reporter.result(id, done);
        }
        if !off.is_zero()
            && let Some(disturbance) = self.pause(wanted, off).await
        {
            return Some(disturbance);
        }
        self.restarted += 1;
        self.renew(wanted);
        None
    }

    /// What did not disturb the last start still counts for the next one.
    fn renew(&self, wanted: &mut DesiredDevice) {
        if let Some(now) = self.wishes.wanted.borrow().clone() {
            wanted.trusted = now.trusted;
        }
    }

    async fn give_up(&mut self, wanted: &DesiredDevice, why: String) -> Disturbance {
        self.reason = Some(why);
        self.report(ProcessStatus::Error, None);
        self.disturbed(wanted).await
    }

    async fn pause(&mut self, wanted: &DesiredDevice, pause: Duration) -> Option<Disturbance> {
        self.report(ProcessStatus::Backoff, None);
        tokio::select! {
            () = sleep(pause) => None,
            disturbance = self.disturbed(wanted) => Some(disturbance),
        }
    }

    async fn run_once(&mut self, wanted: &DesiredDevice) -> Ended {
        self.report(ProcessStatus::Starting, None);
        let running = match self.adopt(wanted).await {
            Some(adopted) => Ok(adopted),
            None => match self.turn(wanted).await {
                Ok(turn) => {
                    let mut wanted = wanted.clone();
                    self.renew(&mut wanted);
                    self.start(&wanted, turn).await
                }
                Err(disturbance) => Err(Ended::Disturbed(disturbance)),
            },
        };
        let Running { mut launch, printer, mut process, coming_up } = match running {
            Ok(running) => running,
            Err(ended) => return ended,
        };
        let pid = process.pid();
        // A board runs once its line is there.
        let is_running = launch.link.is_none();
        self.report(if is_running { ProcessStatus::Running } else { ProcessStatus::Starting }, Some(pid));
        let watchdog = launch.silence.map(Watchdog::new);
        let mut attendant = Attendant {
            printer: &printer,
            reporter: self.reporter.clone(),
            status: self.status(ProcessStatus::Running, Some(pid)),
            watchdog: watchdog.as_ref(),
            coming_up,
        };
        let mut chip = launch.chip.take();
        let (id, reporter) = (self.id, self.reporter.clone());
        let on_reset = |why: &str| {
            printer.note(&format!("reset: {why}"));
            reporter.event(id, EventKind::Watchdog, why);
        };
        let mut serving = pin!(async {
            tokio::select! {
                demand = attend_chip(&id, chip.as_mut(), watchdog.as_ref()) => demand,
                never = attend(&launch, &mut attendant) => match never {},
                never = watch(&launch, watchdog.as_ref(), on_reset) => match never {},
            }
        });
        let mut ongoing = Ongoing::new(&launch, &self.reporter);
        let disturbance = loop {
            let wish = tokio::select! {
                exit = process.wait() => return Ended::Died(exit.to_string()),
                demand = &mut serving => {
                    process.kill().await;
                    return match demand {
                        Demand::Remap => Ended::Remapped,
                        Demand::PowerCut => Ended::Cut(Cut::torn()),
                    };
                }
                wish = self.wishes.next(wanted) => wish,
                () = ongoing.is_due() => {
                    ongoing.end_due(&process);
                    continue;
                }
            };
            let order = match wish {
                Wish::Disturb(disturbance) => break disturbance,
                Wish::Order(order) => order,
            };
            let id = order.id;
            match orders::judge(order.control, &launch) {
                Err(refused) => self.reporter.result(id, Err(refused)),
                Ok(step) => {
                    let what = step.text();
                    printer.note(&what);
                    self.event(EventKind::Ordered, &what);
                    if let Some(cut) = ongoing.begin(step, id, &process) {
                        process.kill().await;
                        return Ended::Cut(cut);
                    }
                }
            }
        };
        self.report(ProcessStatus::Stopping, Some(pid));
        let exit = end(process, &launch, disturbance).await;
        printer.note(&format!("stopped: {exit}"));
        if disturbance != Disturbance::Cycle {
            self.event(EventKind::Stopped, AS_DESIRED);
        }
        Ended::Disturbed(disturbance)
    }

    /// Takes over what the host before had started, if it is what would be started now; otherwise stops it.
    async fn adopt(&mut self, wanted: &DesiredDevice) -> Option<Running> {
        let Taken { process, launched } = self.taken.take()?;
        let (launch, printer) = match self.attach(wanted, &launched) {
            Ok(attached) => attached,
            Err(why) => {
                self.taken = Some(Taken { process, launched });
                self.stop_taken(&why).await;
                return None;
            }
        };
        process.hear(printer.listener());
        self.wishes.cycle = launched.cycle;
        self.boot_floor = launched.boot_floor;
        self.group = process.group().map(|group| group.display().to_string());
        Ongoing::new(&launch, &self.reporter).calm_adopted(&process);
        printer.note(&format!(
            "{} (the host started again), process {}",
            EventKind::Adopted.name(),
            process.pid()
        ));
        self.event(EventKind::Adopted, "the host started again");
        Some(Running { launch, printer, process, coming_up: None })
    }

    /// Attaches to what the host before had started so.
    fn attach(&self, wanted: &DesiredDevice, launched: &Launched) -> Result<(Launch, Printer), String> {
        if wanted.cycle > launched.cycle {
            return Err("power cycle".to_owned());
        }
        let attached = self.launcher.adopt(wanted, &launched.digest).map_err(|error| error.to_string())?;
        let launch = attached.ok_or("it is to be started with something else")?;
        let printer = self.printer(&launch)?;
        Ok((launch, printer))
    }

    async fn stop_taken(&mut self, why: &str) {
        if let Some(Taken { process, .. }) = self.taken.take() {
            process.stop(nobody_to_ask()).await;
            self.event(EventKind::Stopped, why);
        }
    }

    /// Waits until this device may start.
    async fn turn(&mut self, wanted: &DesiredDevice) -> Result<Turn, Disturbance> {
        if let Some(turn) = self.turns.try_take() {
            return Ok(turn);
        }
        let waiting = self.status(ProcessStatus::Starting, None);
        self.reporter.report(ReportedDevice { reason: Some(WAITING.to_owned()), ..waiting });
        let turns = self.turns.clone();
        tokio::select! {
            turn = turns.take() => Ok(turn),
            disturbance = self.disturbed(wanted) => Err(disturbance),
        }
    }

    async fn start(&mut self, wanted: &DesiredDevice, turn: Turn) -> Result<Running, Ended> {
        let now_s = u32::try_from(unix_ms() / 1000).unwrap_or(u32::MAX);
        self.boot_floor = now_s.max(self.boot_floor.saturating_add(CONNECTS_PER_START));
        let prepared = self.launcher.prepare(wanted, self.boot_floor).map_err(|error| error.to_string());
        let prepared = prepared.and_then(|launch| self.printer(&launch).map(|printer| (launch, printer)));
        let (launch, printer) = prepared.map_err(Ended::Failed)?;
        let launched =
            Launched { digest: launch.digest.clone(), cycle: self.wishes.cycle, boot_floor: self.boot_floor };
        let Launch { spec, bounds, .. } = &launch;
        let started =
            Process::start(&self.keeper, self.id, spec, *bounds, launched, printer.listener()).await;
        let process = started.map_err(|error| match error {
            StartError::Missing { .. } => Ended::Failed(error.to_string()),
            _ => Ended::Died(error.to_string()),
        })?;
        self.group = process.group().map(|group| group.display().to_string());
        let (kind, why) = match &self.reason {
            _ if std::mem::take(&mut self.is_remapped) => (EventKind::Remapped, REMAPPED),
            Some(why) => (EventKind::Restarted, why.as_str()),
            None => (EventKind::Started, self.asked),
        };
        printer.note(&format!("{} ({why}), process {}", kind.name(), process.pid()));
        self.event(kind, why);
        let coming_up = match (&launch.link, &launch.qmp) {
            (Some(_), _) => Some(turn.at_most(LONGEST_START)),
            (None, Some(_)) => Some(turn.at_most(USUAL_START)),
            // No emulator.
            (None, None) => None,
        };
        Ok(Running { launch, printer, process, coming_up })
    }

    fn printer(&self, launch: &Launch) -> Result<Printer, String> {
        let console = Console::open(&launch.spec.dir).map_err(|error| {
            format!("the console log in {} cannot be written: {error}", launch.spec.dir.display())
        })?;
        let console = Arc::new(Mutex::new(console));
        Ok(Printer { device: self.id, console, reporter: self.reporter.clone() })
    }

    /// Returns when `wanted` is not what is desired any more; there is nothing that could be given orders.
    async fn disturbed(&mut self, wanted: &DesiredDevice) -> Disturbance {
        loop {
            match self.wishes.next(wanted).await {
                Wish::Disturb(disturbance) => return disturbance,
                Wish::Order(order) => self.reporter.result(order.id, Err(orders::not_running())),
            }
        }
    }

    fn status(&self, status: ProcessStatus, pid: Option<u32>) -> ReportedDevice {
        ReportedDevice {
            id: self.id,
            status,
            pid,
            since_ms: unix_ms(),
            cycle: self.wishes.cycle,
            restarts: self.restarted,
            reason: self.reason.clone(),
            request: self.request.clone(),
            group: self.group.clone().filter(|_| pid.is_some()),
            link: None,
            used: None,
        }
    }

    fn report(&self, status: ProcessStatus, pid: Option<u32>) {
        self.reporter.report(self.status(status, pid));
    }

    fn event(&self, kind: EventKind, reason: &str) {
        self.reporter.event(self.id, kind, reason);
    }
}

/// A power cycle is hard, as on a real board, and so reaches a process that does not listen any more.
async fn end(process: Process, launch: &Launch, disturbance: Disturbance) -> Exit {
    match (&launch.qmp, disturbance) {
        (_, Disturbance::Cycle) => process.kill().await,
        (Some(qmp), _) => process.stop(qmp::quit(qmp)).await,
        (None, _) => process.stop(nobody_to_ask()).await,
    }
}

async fn nobody_to_ask() -> io::Result<()> {
    Err(io::ErrorKind::NotConnected.into())
}

/// Holds the serial line, or the console, where the device has one.
async fn attend(launch: &Launch, attendant: &mut Attendant<'_>) -> Infallible {
    match (&launch.link, &launch.console) {
        (Some(link), _) => bridge::attend(&link.port, &link.listener, attendant).await,
        (None, Some(console)) => console::attend(console, |text| attendant.printer.print(text)).await,
        (None, None) => std::future::pending().await,
    }
}

/// Is the flash chip, where the host is it. A bootloader that hashes a slot has no link yet, but is alive.
async fn attend_chip(device: &DeviceId, line: Option<&mut ChipLine>, watchdog: Option<&Watchdog>) -> Demand {
    match line {
        Some(ChipLine { listener, chip }) => nor::attend(device, listener, chip, || feed(watchdog)).await,
        None => std::future::pending().await,
    }
}

/// Something came from the board, or its time begins anew.
fn feed(watchdog: Option<&Watchdog>) {
    if let Some(watchdog) = watchdog {
        watchdog.heard();
    }
}

/// Resets a silent board, where that is wanted.
async fn watch(launch: &Launch, watchdog: Option<&Watchdog>, on_reset: impl FnMut(&str)) -> Infallible {
    match (&launch.qmp, watchdog) {
        (Some(qmp), Some(watchdog)) => watchdog.watch(qmp, on_reset).await,
        _ => std::future::pending().await,
    }
}

/// Where the device's text goes.
#[derive(Clone)]
struct Printer {
    device: DeviceId,
    console: Arc<Mutex<Console>>,
    reporter: Reporter,
}

impl Printer {
    fn print(&self, text: &[u8]) {
        self.with(|console| {
            console.write(Instant::now(), text, |line| self.reporter.line(self.device, line))
        });
    }

    /// Prints what the device's process says.
    fn listener(&self) -> Listener {
        let printer = self.clone();
        Listener::new(move |line| printer.print(format!("{line}\n").as_bytes()))
    }

    fn note(&self, text: &str) {
        self.with(|console| console.note(text));
    }

    fn with(&self, act: impl FnOnce(&mut Console)) {
        act(&mut self.console.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

struct Attendant<'a> {
    printer: &'a Printer,
    reporter: Reporter,
    status: ReportedDevice,
    watchdog: Option<&'a Watchdog>,
    coming_up: Option<ComingUp>,
}

impl Observer for Attendant<'_> {
    fn connected(&mut self) {
        // The emulator has opened its end of the line; whether its board lives is not known yet.
        feed(self.watchdog);
        self.reporter.report(ReportedDevice { since_ms: unix_ms(), ..self.status.clone() });
    }

    fn heard(&mut self) {
        self.coming_up = None;
        feed(self.watchdog);
    }

    fn console(&mut self, text: &[u8]) {
        // One frame is one line, whether or not it says so.
        self.printer.print(text);
        if !text.ends_with(b"\n") {
            self.printer.print(b"\n");
        }
    }

    fn counters(&mut self, counters: LinkCounters) {
        self.reporter.count(self.status.id, counters);
    }
}
