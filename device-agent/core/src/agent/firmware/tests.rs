//! What is judged before anything is erased, and what is said; `tests/sim` has the whole way.

use std::vec::Vec;

use sha2::{Digest as _, Sha256};
use wasmbed_update::{Record, model::Nor, write_header};
use wasmbed_wire::{
    ArtifactId, Seq,
    manifest::{self, Kind, Manifest},
    message::{Desired, FirmwareReport, FirmwareState, Info, Reported},
};

use super::*;
use crate::{
    Config, Instant,
    agent::{largest_message_bytes, tests::fill_tables},
    testing::{BOARD, Bench, LAYOUT, Made, make, manifest, online, serve, settle, told},
};

/// The image that runs.
const RUNNING: [u8; 2_000] = [0x11; 2_000];
const NEW: [u8; 3_000] = [0x22; 3_000];

fn firmware(image: &[u8], version: &'static str) -> Manifest<'static> {
    let board = Some(BOARD.parse().expect("a name"));
    Manifest { kind: Kind::Firmware, version, board, ..manifest(image) }
}

fn digest(image: &[u8]) -> Digest {
    Digest(Sha256::digest(image).into())
}

/// A device that runs [`RUNNING`] from slot A, all other flash being noise.
fn bench() -> Bench {
    let mut nor = Nor::noisy(LAYOUT.end(), LAYOUT.sector_bytes, 7);
    let signed = make(&firmware(&RUNNING, "1.0.0"), &RUNNING, 1).signed;
    let at = LAYOUT.image(ImageSlot::A).origin as usize;
    nor.bytes_mut()[at..at + RUNNING.len()].copy_from_slice(&RUNNING);
    nor.erase(LAYOUT.header(ImageSlot::A)).expect("erased");
    write_header(&mut nor, &LAYOUT, ImageSlot::A, &signed).expect("written");
    let mut record = Record::default();
    record.active = Some(ImageSlot::A);
    record.save(&mut nor, &LAYOUT).expect("saved");
    Bench { nor: Some(nor), ..Bench::default() }
}

fn wish(agent: &mut Agent<Bench, 2>, artifact: ArtifactId, image: Digest) {
    let wish = DesiredFirmware { artifact, image, patch: None, generation: 0, confirm: None };
    let revision = agent.revision + 1;
    let desired = Desired { revision, modules: Seq::default(), heartbeat_ms: None, firmware: Some(wish) };
    agent.on_message(Instant(1), "dn/desired", &told("dn/desired", &desired)).expect("taken in");
}

fn operations(agent: &mut Agent<Bench, 2>) -> u64 {
    agent.platform_mut().nor.as_ref().expect("a flash").operations()
}

fn report(agent: &Agent<Bench, 2>) -> FirmwareReport {
    agent.update.as_ref().and_then(Update::report).expect("a report")
}

#[test]
fn an_image_is_fetched_verified_and_armed() {
    let made = make(&firmware(&NEW, "2.0.0"), &NEW, 1);
    let mut agent = online(bench());
    wish(&mut agent, made.id, digest(&NEW));
    serve(&mut agent, &made);
    assert_eq!(report(&agent).state, FirmwareState::Armed);
    let nor = agent.platform_mut().nor.as_mut().expect("a flash");
    let record = Record::load(nor, &LAYOUT).expect("readable");
    assert_eq!(record.trial.map(|trial| trial.slot), Some(ImageSlot::B));
    let at = LAYOUT.image(ImageSlot::B).origin as usize;
    assert_eq!(nor.bytes()[at..at + NEW.len()], NEW);
}

#[test]
fn every_changed_bit_of_a_firmware_manifest_is_noticed_before_anything_is_erased() {
    let made = make(&firmware(&NEW, "2.0.0"), &NEW, 1);
    let mut agent = online(bench());
    for bit in 0..made.signed.len() * 8 {
        let mut forged = Made { id: made.id, signed: made.signed.clone(), payload: Vec::new() };
        forged.signed[bit / 8] ^= 1 << (bit % 8);
        // A wish of its own each time, and the forgery for both attempts.
        agent.update.as_mut().expect("a flash").refused = None;
        wish(&mut agent, made.id, digest(&NEW));
        let before = operations(&mut agent);
        serve(&mut agent, &forged);
        serve(&mut agent, &forged);
        assert_eq!(operations(&mut agent), before, "bit {bit}");
        let FirmwareReport { state, reason, .. } = report(&agent);
        assert_eq!(state, FirmwareState::Refused, "bit {bit}");
        assert!(matches!(reason, Some(Reason::BadManifest | Reason::BadSignature)), "bit {bit}: {reason:?}");
    }
}

#[test]
fn a_manifest_that_is_wrong_once_costs_nothing_of_what_is_there() {
    let made = make(&firmware(&NEW, "2.0.0"), &NEW, 1);
    let mut agent = online(bench());
    wish(&mut agent, made.id, digest(&NEW));
    let half = Made { id: made.id, signed: made.signed.clone(), payload: NEW[..1_024].to_vec() };
    serve(&mut agent, &half);
    let mut agent = online(agent.platform().clone());
    wish(&mut agent, made.id, digest(&NEW));
    let foreign = make(&firmware(&RUNNING, "1.0.0"), &RUNNING, 1);
    serve(&mut agent, &Made { id: made.id, signed: foreign.signed, payload: Vec::new() });
    serve(&mut agent, &Made { id: made.id, signed: made.signed.clone(), payload: Vec::new() });
    let known = report(&agent);
    assert_eq!((known.state, known.progress), (FirmwareState::Downloading, 42), "3 of 7 blocks");
}

#[test]
fn the_largest_messages_fit_also_with_firmware() {
    fits_with_slots::<0>();
    fits_with_slots::<1>();
    fits_with_slots::<2>();
    fits_with_slots::<4>();
}

fn fits_with_slots<const SLOTS: usize>() {
    let mut nor = bench().nor.expect("a flash");
    let signed = make(&firmware(&NEW, "2.0.0"), &NEW, 1).signed;
    nor.erase(LAYOUT.header(ImageSlot::B)).expect("erased");
    write_header(&mut nor, &LAYOUT, ImageSlot::B, &signed).expect("written");
    let firmware = core::iter::repeat_n('é', 500).collect();
    let mut agent: Agent<_, SLOTS> = Agent::new(
        Bench { nor: Some(nor), firmware, boot: u32::MAX - 1, ..Bench::default() },
        Config::default(),
    );
    settle(&mut agent);
    let update = agent.update.as_mut().expect("a flash");
    update.record.counter = u32::MAX;
    let image = update.running.expect("an image").firmware.image;
    let wish = DesiredFirmware {
        artifact: ArtifactId([9; 8]),
        image,
        patch: None,
        generation: u32::MAX,
        confirm: None,
    };
    update.wish = Some(wish);
    update.trial = Some(Trial::new(manifest::Trial::DEFAULT));
    if let Some(trial) = &mut update.trial {
        trial.failed = Some(Reason::Blocked);
    }
    agent.revision = u64::MAX;
    fill_tables(&mut agent);
    agent.on_connected(Instant(1));
    let said = settle(&mut agent);
    let longest = said.iter().map(|(_, payload)| payload.len()).max().expect("messages");
    assert!(longest <= largest_message_bytes(SLOTS), "{longest} bytes with {SLOTS} slots");
    let find = |topic: &str| said.iter().find(|(said, _)| said == topic).map(|(_, payload)| &payload[..]);
    let info: Info<'_> = minicbor::decode(find("up/info").expect("an info")).expect("a whole one");
    assert!(info.firmware_slots.and_then(|slots| slots.other).is_some());
    let reported: Reported<'_> =
        minicbor::decode(find("up/reported").expect("a report")).expect("a whole one");
    assert!(reported.firmware.and_then(|firmware| firmware.since).is_some());
}
