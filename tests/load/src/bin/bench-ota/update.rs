//! Real boards: goodput against the raw link, full images against patches.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use wasmbed_boards::{Board, Boards, Image};
use wasmbed_e2e::{BrokerKind, Fleet, Limit, images, password};
use wasmbed_figures::{Aim, line, median, ratio};
use wasmbed_load::{Broker, Observer};
use wasmbed_wire::{
    Digest,
    message::{Block, FirmwareReport, FirmwareState, Get, Heartbeat, Reported},
    topic::{DEFAULT_PREFIX, Down, Up, split},
};

use crate::{
    goodput::{Round, goodput, is_enough},
    link::raw_speed,
};

/// Boards with firmware of ours.
const BOARDS: [(&str, &str); 3] = [("n2-1", "netduino2"), ("rv-1", "rv32-virt"), ("lx-1", "lx60")];
/// Longest silence of a device that is updated.
const PATIENCE: Duration = Duration::from_secs(120);
/// Full updates of each board, if the machine is not quiet.
const MOST_ROUNDS: u8 = 6;
/// Bytes added to an image that otherwise is one the device had already: it ignores them.
const PADDING: usize = 64;

/// Prints the figures of every board.
pub(crate) fn boards() -> Result<()> {
    let fleet = Fleet::start_with(BrokerKind::Embedded, &BOARDS)?;
    BOARDS.into_iter().try_for_each(|(id, name)| measure(&fleet, id, name))
}

fn measure(fleet: &Fleet, id: &str, name: &str) -> Result<()> {
    let boards = Boards::embedded()?;
    let board = boards.get(&name.parse()?).with_context(|| format!("no board {name}"))?;
    let topics = ["up/get", "up/reported", "up/hb", "dn/blk/+"].map(|rest| format!("{id}/{rest}"));
    let observer = observe(fleet, &topics)?;
    let variant = images()?.join("variants").join(format!("{name}-variant-note.elf"));
    push(fleet, &variant, name, "1.0.0")?;
    fleet.wait_fresh_heartbeat(id, Limit::seconds(20))?;
    let heap = fleet.device(id)?["heartbeat"]["heap_peak"].as_u64();
    let heap = heap.with_context(|| format!("{id} does not measure its heap"))?;
    let delta = update(fleet, &observer, id, name, "1.0.0", true)?;
    ensure!(delta.is_patch, "the fleet sent {name} the whole image, not a patch");
    line(name, "delta: to confirmed", millis(delta.whole), "ms");
    line(name, "delta: bytes of blocks", delta.block_bytes as f64, "B");
    line(name, "delta: patch", delta.transfer_bytes as f64, "B");
    ensure!(delta.heap_peak > 0, "{id} said nothing of its memory while it was updated");
    line(name, "peak heap before", heap as f64, "B");
    line(name, "peak heap in the update", delta.heap_peak as f64, "B");

    let (mut rounds, mut times) = (Vec::new(), Vec::new());
    let mut before = raw_speed(board)?;
    for nth in 1..=MOST_ROUNDS {
        let image = padded(fleet, board, nth)?;
        let version = format!("2.{nth}.0");
        push(fleet, &image, name, &version)?;
        let full = update(fleet, &observer, id, name, &version, false)?;
        let after = raw_speed(board)?;
        rounds.push(Round { before, goodput: full.goodput(), after });
        before = after;
        times.push(millis(full.whole));
        if nth == 1 {
            let share = delta.transfer_bytes as f64 / full.transfer_bytes as f64;
            ratio(name, "delta: share of the image", share, Aim::AtMost(0.15));
            line(name, "full: bytes of blocks", full.block_bytes as f64, "B");
        }
        if is_enough(&rounds) {
            break;
        }
    }
    line(name, "full: to confirmed", median(times), "ms");
    goodput(name, "full", &rounds, 0.85);
    Ok(())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// The image of the factory with some bytes at its end: another image each time, with the same behaviour.
fn padded(fleet: &Fleet, board: &Board, nth: u8) -> Result<PathBuf> {
    let firmware = board.firmware.as_ref().with_context(|| format!("{} has no firmware", board.name))?;
    let elf = fs::read(images()?.join(format!("{}.elf", board.name)))?;
    let mut image = Image::from_elf(&elf, &firmware.memory.flash)?.bytes;
    image.extend([nth; PADDING]);
    let path = fleet.dir().join(format!("{}-padded.bin", board.name));
    fs::write(&path, image)?;
    Ok(path)
}

/// Pushes an image for a board.
pub(crate) fn push(fleet: &Fleet, image: &std::path::Path, board: &str, version: &str) -> Result<()> {
    let image = image.to_string_lossy();
    fleet.cli(&["firmware", "push", &image, "--board", board, "--version", version]).map(drop)
}

/// Subscribes to topics of devices.
pub(crate) fn observe(fleet: &Fleet, topics: &[String]) -> Result<Observer> {
    let filters: Vec<String> = topics.iter().map(|topic| format!("{DEFAULT_PREFIX}/v1/{topic}")).collect();
    let password = password("operator/default")?;
    Observer::open(Broker(fleet.broker()), "bench-ota", ("_operator", &password), &filters)
}

/// What an update took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    /// From the request to the device's word that it has confirmed.
    pub(crate) whole: Duration,
    /// From the first request for a piece of the payload to the device's word that it has all.
    pub(crate) transfer: Duration,
    /// Bytes in all blocks that passed the broker, if they were observed.
    pub(crate) block_bytes: u64,
    /// Bytes of the image or the patch.
    pub(crate) transfer_bytes: u64,
    pub(crate) is_patch: bool,
    /// Most memory the device had in use before it restarted, in bytes; 0 if that was not observed.
    pub(crate) heap_peak: u64,
}

impl Measured {
    /// Bytes of the payload per second of transfer.
    pub(crate) fn goodput(&self) -> f64 {
        self.transfer_bytes as f64 / self.transfer.as_secs_f64()
    }
}

/// Has a device run a version and waits until it is confirmed.
pub(crate) fn update(
    fleet: &Fleet,
    observer: &Observer,
    id: &str,
    firmware: &str,
    version: &str,
    delta: bool,
) -> Result<Measured> {
    observer.forget();
    let start = Instant::now();
    let fields = json!({ "firmware": firmware, "version": version, "to": id, "delta": delta });
    let answer = fleet.request("firmware-deploy", fields)?;
    let wanted = wanted(&answer).with_context(|| format!("firmware-deploy answered {answer}"))?;
    let mut seen = Seen::default();
    loop {
        let message = observer.next(PATIENCE)?;
        let (device, rest) = split(DEFAULT_PREFIX, &message.topic).context("another prefix")?;
        ensure!(device == id, "a message of {device}");
        match (Up::parse(rest), Down::parse(rest)) {
            (Some(Up::Get), _) => {
                let get: Get = minicbor::decode(&message.payload)?;
                // Block 0 is the manifest; what is asked for after it has room in the flash.
                if get.base > 0 {
                    seen.first.get_or_insert(message.at);
                }
            }
            (Some(Up::Reported), _) => {
                let reported: Reported<'_> = minicbor::decode(&message.payload)?;
                let report = reported.firmware.filter(|report| report.image == wanted.image);
                if report.map(|report| seen.take(&report, message.at)).transpose()? == Some(true) {
                    return seen.measured(start, message.at, &wanted);
                }
            }
            (Some(Up::Heartbeat), _) => {
                let beat: Heartbeat<'_> = minicbor::decode(&message.payload)?;
                seen.beat(&beat);
            }
            (_, Some(Down::Block(_))) => {
                let block: Block<'_> = minicbor::decode(&message.payload)?;
                seen.block_bytes += block.bytes.len() as u64;
            }
            _ => {}
        }
    }
}

#[derive(Default)]
struct Seen {
    first: Option<Instant>,
    last: Option<Instant>,
    block_bytes: u64,
    heap_peak: u64,
    /// It is about to restart, or has: memory is measured from a new start on.
    is_over: bool,
}

impl Seen {
    fn beat(&mut self, beat: &Heartbeat<'_>) {
        if !self.is_over {
            self.heap_peak = self.heap_peak.max(beat.heap_peak.into());
        }
    }

    /// Takes note of a state; whether it is the last one.
    fn take(&mut self, report: &FirmwareReport, at: Instant) -> Result<bool> {
        match report.state {
            FirmwareState::Patching | FirmwareState::Verifying => {
                self.last.get_or_insert(at);
            }
            FirmwareState::Armed | FirmwareState::Trial => self.is_over = true,
            FirmwareState::Reverted | FirmwareState::Refused => bail!("the update failed: {report:?}"),
            _ => {}
        }
        Ok(report.state == FirmwareState::Confirmed)
    }

    fn measured(&self, start: Instant, end: Instant, wanted: &Wanted) -> Result<Measured> {
        let (first, last) = self.first.zip(self.last).context("no transfer was seen")?;
        let Wanted { transfer_bytes, is_patch, .. } = *wanted;
        let (whole, transfer) = (end - start, last - first);
        let Seen { block_bytes, heap_peak, .. } = *self;
        Ok(Measured { whole, transfer, block_bytes, transfer_bytes, is_patch, heap_peak })
    }
}

struct Wanted {
    image: Digest,
    transfer_bytes: u64,
    is_patch: bool,
}

fn wanted(answer: &Value) -> Option<Wanted> {
    let device = answer["result"]["devices"].get(0)?;
    Some(Wanted {
        image: device["image"].as_str()?.parse().ok()?,
        transfer_bytes: device["transfer_bytes"].as_u64()?,
        is_patch: device["patch"].as_bool()?,
    })
}
