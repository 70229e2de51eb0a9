//! Many simulated boards at once: what they cost the service and the broker.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde_json::json;
use wasmbed_boards::{Boards, Image};
use wasmbed_e2e::{BrokerKind, FACTORY_VERSION, Fleet, Limit, images, password};
use wasmbed_figures::{Aim, line, ratio};
use wasmbed_fleet::artifacts::FirmwareFile;
use wasmbed_load::{Broker, Factory, Kind, Member, Plan, Report, Swarm};
use wasmbed_wire::{Digest, PublicKey, message::FirmwareState};

use crate::update::push;

/// What the simulated devices are.
const BOARD: &str = "netduino2";
/// How many there are at a time.
const SIZES: [usize; 2] = [1, 100];
/// Time for all of them to come online, and for all of them to be updated.
const PATIENCE: Duration = Duration::from_secs(240);
/// After this they end by themselves.
const LIFE: Duration = Duration::from_secs(900);

/// Prints the figures of every size.
pub(crate) fn print() -> Result<()> {
    SIZES.into_iter().try_for_each(measure)
}

fn measure(devices: usize) -> Result<()> {
    let boards = Boards::embedded()?;
    let board = boards.get(&BOARD.parse()?).with_context(|| format!("no board {BOARD}"))?;
    let fleet = Fleet::start_with(BrokerKind::Embedded, &[])?;
    let elf = images()?.join(format!("{BOARD}.elf"));
    let swarm = start(&fleet, Kind::of(board)?, &elf, devices)?;

    let firmware = board.firmware.as_ref().with_context(|| format!("{BOARD} has no firmware"))?;
    let variant = images()?.join("variants").join(format!("{BOARD}-variant-note.elf"));
    let image = Image::from_elf(&fs::read(&variant)?, &firmware.memory.flash)?.bytes;
    push(&fleet, &variant, BOARD, "1.0.0")?;
    swarm.forget();
    let start = Instant::now();
    let fields = json!({ "firmware": BOARD, "version": "1.0.0", "to": "all", "delta": false });
    let answer = fleet.request("firmware-deploy", fields)?;
    let digest: Digest = answer["result"]["devices"][0]["image"].as_str().context("no image")?.parse()?;
    swarm.wait("confirmed", PATIENCE, |report| report.has_confirmed(&digest))?;

    let reports = swarm.reports();
    let name = format!("{devices} x n2");
    let since = |state| reports.iter().filter_map(|report| report.reached(state)).max();
    let time = |at: Option<Instant>| at.map_or(f64::NAN, |at| (at - start).as_secs_f64() * 1000.0);
    line(&name, "last one has all blocks", time(since(FirmwareState::Verifying)), "ms");
    line(&name, "last one is confirmed", time(since(FirmwareState::Confirmed)), "ms");
    let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    let (blocks, bytes, asked) =
        (sum(|report| report.blocks), sum(|report| report.block_bytes), sum(|report| report.asked));
    line(&name, "bytes of blocks received", bytes as f64, "B");
    // Every request is answered once at most, so no more can have been sent.
    let sent = asked.max(blocks) as f64 * (bytes as f64 / blocks.max(1) as f64);
    line(&name, "bytes of blocks asked for", sent, "B");
    ratio(&name, "asked for / images", sent / (devices * image.len()) as f64, Aim::AtMost(1.5));
    Ok(())
}

/// Registers simulated devices, signs what they are made with, and waits until they are online.
pub(crate) fn start(fleet: &Fleet, kind: Kind, image: &std::path::Path, devices: usize) -> Result<Swarm> {
    let signed = fleet.dir().join("factory.wbfw");
    fleet.sign(image, kind.board.as_str(), FACTORY_VERSION, &fleet.service_key(), &signed, &[])?;
    let file = FirmwareFile::parse(fs::read(&signed)?.into())?;
    let key = fs::read_to_string(fleet.dir().join("service/signing.key"))?;
    let mut members = Vec::new();
    for nth in 0..devices {
        let id = format!("sim-{nth}");
        fleet.add_idle(&id, kind.board.as_str())?;
        members.push(Member { device: id.parse()?, password: password(&format!("device/{id}"))? });
    }
    let plan = Plan {
        kind,
        factory: Factory { manifest: file.manifest, image: file.payload },
        trusted: vec![public(&key)?],
        broker: Broker(fleet.broker()),
        members,
        limit: LIFE,
    };
    let swarm = Swarm::start(plan)?;
    swarm.wait("online", PATIENCE, |report| report.is_online)?;
    fleet.wait("devices the service knows", Limit::seconds(60), || {
        let known = fleet.cli(&["device", "list", "--json"])?;
        let online = known.as_array().into_iter().flatten().filter(|device| device["status"] == "online");
        Ok(online.count() == devices)
    })?;
    Ok(swarm)
}

/// The public half of the fleet's key.
fn public(seed: &str) -> Result<PublicKey> {
    let seed: Digest = seed.trim().parse().context("the fleet's key")?;
    Ok(wasmbed_fleet::artifacts::Signer::from_seed(seed.0).public())
}
