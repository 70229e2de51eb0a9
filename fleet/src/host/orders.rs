//! Orders: what is done once to a device that runs.
//!
//! An order is judged here, and what it takes is told to the device's task ([`Step`]), which owns the process; only what
//! the emulator's monitor does is done here, beside the task, since an emulator may take its time to answer. Whatever
//! becomes of an order, it is answered.
//!
//! Not here: how lines are disturbed (`faults`), and who may give orders (the service).

use std::{
    ops::Range,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};
use wasmbed_boards::Board;
use wasmbed_update::{ImageSlot, Layout};
use wasmbed_wire::CommandId;

use super::{faults::Noise, launch::Launch, qmp};
use crate::{
    api::{Code, Problem},
    host_api::{CONTROL_MS, Control, FlashRegion, MAX_FLIPPED_BITS},
};

/// The network backend of every board that has a network.
const NETWORK: &str = "net0";
/// Delays what passes it, in batches.
const DELAY: &str = "delay0";
/// Where chips lie that have an `id` in the arguments.
const CHIPS: &str = "/machine/peripheral/";
/// The debugger's socket, beside the monitor's.
const GDB: &str = "gdb.sock";

/// An order for one device, and the number to answer it with.
#[derive(Debug, Clone)]
pub(super) struct Order {
    pub(super) id: CommandId,
    pub(super) control: Control,
}

/// What comes of an order.
pub(super) type Answer = Result<Value, Problem>;

/// What the device's task has to do for an order.
#[derive(Debug)]
pub(super) enum Step {
    /// Take the power away for this long.
    Cut(Duration),
    /// Suspend the process for this long.
    Freeze(Duration),
    /// Disturb the serial line.
    Disturb(Noise),
    /// Keep the board from its broker for this long.
    TakeOffline(Duration),
    /// Disturb the emulator's network with one command, and undo it with another.
    Unplug { lasts: Duration, socket: PathBuf, begin: Command, end: Command },
    /// Cut the power and invert bits before the next start.
    Flip(Flip),
    /// End everything that was to go on for a time.
    Calm,
    /// Have the emulator do this.
    Ask(PathBuf, Command),
}

/// A command of the emulator's monitor and its arguments.
pub(super) type Command = (&'static str, Value);

/// Bits to be inverted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flip {
    pub(super) bits: u32,
    pub(super) region: FlashRegion,
    pub(super) seed: u64,
}

/// What `control` takes of the device that was started as `launch`.
///
/// # Errors
/// If it makes no sense, or not for this device.
pub(super) fn judge(control: Control, launch: &Launch) -> Result<Step, Problem> {
    Ok(match control {
        Control::Cut { for_ms: 0 } => Step::Cut(Duration::ZERO),
        Control::Cut { for_ms } => Step::Cut(span(for_ms)?),
        Control::Freeze { for_ms } => Step::Freeze(span(for_ms)?),
        Control::Network { for_ms, delay_ms } => network(launch, span(for_ms)?, delay_ms)?,
        Control::Serial { for_ms, corrupt, lose, repeat } => {
            if launch.link.is_none() {
                return Err(lacks("serial line"));
            }
            let noise = Noise::new(span(for_ms)?, corrupt, lose, repeat);
            Step::Disturb(noise.map_err(|why| Problem::new(Code::BadRequest, why))?)
        }
        Control::Flip { bits, .. } if !(1..=MAX_FLIPPED_BITS).contains(&bits) => {
            let message = format!("{bits} bits to invert; use 1 to {MAX_FLIPPED_BITS}");
            return Err(Problem::new(Code::BadRequest, message));
        }
        Control::Flip { bits, region, seed } => Step::Flip(Flip { bits, region, seed }),
        Control::Calm => Step::Calm,
        Control::Pause => ask(launch, ("stop", json!({})))?,
        Control::Resume => ask(launch, ("cont", json!({})))?,
        Control::Reset => ask(launch, ("system_reset", json!({})))?,
        Control::Nmi => ask(launch, ("inject-nmi", json!({})))?,
        Control::Set { chip, property, value } => {
            let path = if chip.starts_with('/') { chip } else { format!("{CHIPS}{chip}") };
            ask(launch, ("qom-set", json!({ "path": path, "property": property, "value": value })))?
        }
        Control::Monitor { command } => ask(launch, line(&command))?,
        Control::Gdb => {
            let socket = monitor(launch)?.with_file_name(GDB);
            ask(launch, line(&format!("gdbserver unix:{},server=on,wait=off", socket.display())))?
        }
    })
}

/// Has the emulator whose monitor listens at `socket` do this, one after the other, and answers with what the last one
/// gave: its value, or the text the monitor's line printed.
pub(super) async fn ask_emulator(socket: &Path, commands: Vec<Command>) -> Answer {
    let refused = |error: std::io::Error| {
        Problem::new(Code::Refused, format!("the emulator did not do it: {error}"))
            .hint("`wasmbed device monitor ID` shows what there is, for example with `info qom-tree`")
    };
    qmp::execute(socket, &commands).await.map_err(refused)
}

fn span(ms: u32) -> Result<Duration, Problem> {
    if CONTROL_MS.contains(&ms) {
        return Ok(Duration::from_millis(ms.into()));
    }
    let (least, most) = CONTROL_MS.into_inner();
    Err(Problem::new(Code::BadRequest, format!("for_ms is {ms}; use {least} to {most} milliseconds")))
}

fn network(launch: &Launch, lasts: Duration, delay_ms: Option<u32>) -> Result<Step, Problem> {
    match (launch.has_network, delay_ms) {
        (true, None) => {
            let socket = monitor(launch)?.to_owned();
            Ok(Step::Unplug { lasts, socket, begin: plug(false), end: plug(true) })
        }
        (true, Some(ms)) => {
            let interval_us = ms.checked_mul(1000).filter(|us| *us > 0).ok_or_else(|| {
                Problem::new(Code::BadRequest, format!("delay_ms is {ms}; use 1 to {}", u32::MAX / 1000))
            })?;
            let filter = json!({
                "qom-type": "filter-buffer", "id": DELAY, "netdev": NETWORK, "interval": interval_us,
            });
            let socket = monitor(launch)?.to_owned();
            Ok(Step::Unplug { lasts, socket, begin: ("object-add", filter), end: no_delay() })
        }
        (false, None) if launch.link.is_some() => Ok(Step::TakeOffline(lasts)),
        (false, None) => Err(lacks("network of its own")),
        (false, Some(_)) => Err(lacks("network whose packets could be delayed")),
    }
}

/// What ends every disturbance of an emulator's network; the last fails where there is no delay.
pub(super) fn calm_network() -> Vec<Command> {
    vec![plug(true), no_delay()]
}

fn plug(up: bool) -> Command {
    ("set_link", json!({ "name": NETWORK, "up": up }))
}

fn no_delay() -> Command {
    ("object-del", json!({ "id": DELAY }))
}

fn line(command: &str) -> Command {
    ("human-monitor-command", json!({ "command-line": command }))
}

fn ask(launch: &Launch, command: Command) -> Result<Step, Problem> {
    Ok(Step::Ask(monitor(launch)?.to_owned(), command))
}

fn monitor(launch: &Launch) -> Result<&Path, Problem> {
    launch.qmp.as_deref().ok_or_else(|| lacks("emulator: it is a process of its own"))
}

fn lacks(what: &str) -> Problem {
    Problem::new(Code::Conflict, format!("the device has no {what}"))
}

/// The answer to an order that was carried out and has nothing to tell.
pub(super) fn done() -> Value {
    json!({})
}

/// The answer to an order for a device that does not run.
pub(super) fn not_running() -> Problem {
    Problem::new(Code::Conflict, "the device does not run").hint("start it with `wasmbed device start ID`")
}

impl Step {
    /// What it does to the device, for people.
    pub(super) fn text(&self) -> String {
        let text = match self {
            Step::Cut(off) if off.is_zero() => "power cut".to_owned(),
            Step::Cut(off) => format!("power cut for {off:?}"),
            Step::Freeze(lasts) => format!("suspended for {lasts:?}"),
            Step::Disturb(Noise { corrupt, lose, repeat, .. }) => {
                format!("serial line disturbed: corrupt {corrupt}, lose {lose}, repeat {repeat}")
            }
            Step::TakeOffline(lasts) => format!("kept from the broker for {lasts:?}"),
            Step::Unplug { lasts, begin: (command, _), .. } => format!("network: {command} for {lasts:?}"),
            Step::Flip(Flip { bits, region, seed }) => {
                format!("{bits} bits of its flash inverted ({region:?}, seed {seed})")
            }
            Step::Calm => "every disturbance ended".to_owned(),
            Step::Ask(_, (command, arguments)) => format!("{command} {arguments}"),
        };
        format!("{text}, as ordered")
    }
}

impl Flip {
    /// The addresses of the bytes with a bit to invert and which one each, drawn from the region of the board's flash.
    ///
    /// # Errors
    /// If the board has none.
    pub(super) fn choose(&self, board: &Board) -> Result<Vec<(u32, u8)>, Problem> {
        let firmware = board.firmware.as_ref().ok_or_else(|| lacks("flash"))?;
        let range = region(&firmware.slots.layout(), self.region);
        if range.is_empty() {
            return Err(lacks("such part of its flash"));
        }
        let mut random = fastrand::Rng::with_seed(self.seed);
        Ok((0..self.bits).map(|_| (random.u32(range.clone()), random.u8(..8))).collect())
    }
}

fn region(layout: &Layout, region: FlashRegion) -> Range<u32> {
    match region {
        FlashRegion::Any => layout.records..layout.end(),
        FlashRegion::Records => layout.records..layout.keyrings,
        FlashRegion::ImageA => image(layout, ImageSlot::A),
        FlashRegion::ImageB => image(layout, ImageSlot::B),
        FlashRegion::Values => layout.values.origin..layout.values.end(),
    }
}

fn image(layout: &Layout, slot: ImageSlot) -> Range<u32> {
    let region = layout.image(slot);
    layout.header(slot)..region.end()
}
