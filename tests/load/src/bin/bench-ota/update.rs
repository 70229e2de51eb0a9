//! Real boards: goodput against the raw link, full images against patches.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use wasmbed_boards::{Boards, Image};
use wasmbed_e2e::{BrokerKind, Fleet, Limit, images, password};
use wasmbed_load::{Broker, Observer};
use wasmbed_wire::{
    Digest,
    message::{Block, FirmwareReport, FirmwareState, Get, Reported},
    topic::{DEFAULT_PREFIX, Down, Up, split},
};

use crate::{
    figure::{Aim, line, ratio},
    link::raw_speed,
};

/// Boards with firmware of ours.
const BOARDS: [(&str, &str); 2] = [("n2-1", "netduino2"), ("rv-1", "rv32-virt")];
/// Longest silence of a device that is updated.
const PATIENCE: Duration = Duration::from_secs(120);
/// Bytes added to an image that otherwise is one the device had already: it ignores them.
const PADDING: usize = 64;

/// Prints the figures of every board.
pub(crate) fn boards() -> Result<()> {
    let boards = Boards::embedded()?;
    let mut raw = Vec::new();
    for (_, name) in BOARDS {
        let board = boards.get(&name.parse()?).with_context(|| format!("no board {name}"))?;
        raw.push(raw_speed(board)?);
    }
    let fleet = Fleet::start_with(BrokerKind::Embedded, &BOARDS)?;
    for ((id, name), raw) in BOARDS.into_iter().zip(raw) {
        line(name, "raw link", raw, "B/s");
        board(&fleet, id, name, raw)?;
    }
    Ok(())
}

fn board(fleet: &Fleet, id: &str, name: &str, raw: f64) -> Result<()> {
    let observer =
        observe(fleet, &[&format!("{id}/up/get"), &format!("{id}/up/reported"), &format!("{id}/dn/blk/+")])?;
    let variant = images()?.join("variants").join(format!("{name}-variant-note.elf"));
    push(fleet, &variant, name, "1.0.0")?;
    let heap = heap_peak(fleet, id)?;
    let delta = update(fleet, &observer, id, name, "1.0.0", true)?;
    ensure!(delta.is_patch, "the fleet sent {name} the whole image, not a patch");
    line(name, "delta: to confirmed", delta.whole.as_secs_f64() * 1000.0, "ms");
    line(name, "delta: bytes of blocks", delta.block_bytes as f64, "B");
    line(name, "delta: patch", delta.transfer_bytes as f64, "B");
    let image = padded(fleet, name)?;
    let image_bytes = fs::metadata(&image)?.len();
    let share = delta.transfer_bytes as f64 / image_bytes as f64;
    ratio(name, "delta: share of the image", share, Aim::AtMost(0.15));

    push(fleet, &image, name, "2.0.0")?;
    let full = update(fleet, &observer, id, name, "2.0.0", false)?;
    line(name, "full: to confirmed", full.whole.as_secs_f64() * 1000.0, "ms");
    line(name, "full: bytes of blocks", full.block_bytes as f64, "B");
    line(name, "full: transfer", full.transfer.as_secs_f64() * 1000.0, "ms");
    let goodput = full.goodput();
    line(name, "full: goodput", goodput, "B/s");
    ratio(name, "full: goodput / raw link", goodput / raw, Aim::AtLeast(0.85));
    let grown = heap_peak(fleet, id)?.saturating_sub(heap);
    line(name, "peak heap, grown by updates", grown as f64, "B");
    Ok(())
}

/// The image of the factory with some bytes at its end: another image, with the same behaviour.
fn padded(fleet: &Fleet, name: &str) -> Result<PathBuf> {
    let boards = Boards::embedded()?;
    let board = boards.get(&name.parse()?).with_context(|| format!("no board {name}"))?;
    let firmware = board.firmware.as_ref().with_context(|| format!("{name} has no firmware"))?;
    let elf = fs::read(images()?.join(format!("{name}.elf")))?;
    let mut image = Image::from_elf(&elf, &firmware.memory.flash)?.bytes;
    image.extend([0x5a; PADDING]);
    let path = fleet.dir().join(format!("{name}-padded.bin"));
    fs::write(&path, image)?;
    Ok(path)
}

/// Pushes an image for a board.
pub(crate) fn push(fleet: &Fleet, image: &std::path::Path, board: &str, version: &str) -> Result<()> {
    let image = image.to_string_lossy();
    fleet
        .cli(&["firmware", "push", &image, "--board", board, "--version", version, "--name", board])
        .map(drop)
}

/// Most memory the device ever had in use since it started, in bytes.
fn heap_peak(fleet: &Fleet, id: &str) -> Result<u64> {
    fleet.wait_fresh_heartbeat(id, Limit::seconds(20))?;
    let peak = fleet.device(id)?["heartbeat"]["heap_peak"].as_u64();
    peak.with_context(|| format!("{id} does not measure its heap"))
}

/// Subscribes to topics of devices.
pub(crate) fn observe(fleet: &Fleet, topics: &[&str]) -> Result<Observer> {
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
}

impl Seen {
    /// Takes note of a state; whether it is the last one.
    fn take(&mut self, report: &FirmwareReport, at: Instant) -> Result<bool> {
        match report.state {
            FirmwareState::Patching | FirmwareState::Verifying => {
                self.last.get_or_insert(at);
            }
            FirmwareState::Reverted | FirmwareState::Refused => bail!("the update failed: {report:?}"),
            _ => {}
        }
        Ok(report.state == FirmwareState::Confirmed)
    }

    fn measured(&self, start: Instant, end: Instant, wanted: &Wanted) -> Result<Measured> {
        let (first, last) = self.first.zip(self.last).context("no transfer was seen")?;
        let Wanted { transfer_bytes, is_patch, .. } = *wanted;
        let (whole, transfer) = (end - start, last - first);
        Ok(Measured { whole, transfer, block_bytes: self.block_bytes, transfer_bytes, is_patch })
    }
}

struct Wanted {
    image: Digest,
    transfer_bytes: u64,
    is_patch: bool,
}

fn wanted(answer: &Value) -> Option<Wanted> {
    let device = answer["devices"].get(0)?;
    Some(Wanted {
        image: device["image"].as_str()?.parse().ok()?,
        transfer_bytes: device["transfer_bytes"].as_u64()?,
        is_patch: device["patch"].as_bool()?,
    })
}
