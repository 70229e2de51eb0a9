//! What is refused before a single flash operation.

use wasmbed_sim::{Build, Image, Memory, Ring, World};
use wasmbed_wire::{
    DeviceId,
    keyring::Role,
    manifest::Kind,
    message::{FirmwareState, Reason},
};

const SIZE: usize = 20_001;
const LIMIT_MS: u64 = 60_000;
/// Larger than a slot, in bytes.
const OVERSIZE: u32 = 0x1_0001;

/// A device that runs its third image, with security counter 5.
fn scene() -> (World, DeviceId, Image) {
    let mut world = World::seeded(1);
    let first = world.firmware(&Build::new("1.0.0", SIZE));
    let running = world.firmware(&Build::new("2.0.0", SIZE).counter(5));
    let pump = world.board("pump-7", Memory::Volatile, first);
    world.install(pump, running);
    world.confirm_image(pump, running, LIMIT_MS);
    (world, pump, running)
}

/// Flash operations of a desired state that is accepted: its revision is kept.
const REVISION: u64 = 1;

/// Runs until the wish is refused for this reason without another flash operation.
fn is_refused(world: &mut World, pump: DeviceId, running: Image, reason: Reason, what: &str) {
    let before = world.flash_operations(pump);
    world.run_until(LIMIT_MS, &format!("{what} refused for {reason:?}"), |world| {
        let report = world.firmware_report(pump);
        report.is_some_and(|r| (r.state, r.reason) == (FirmwareState::Refused, Some(reason)))
    });
    world.take_trace();
    world.run_for(60_000);
    let trace = world.take_trace();
    assert!(!trace.contains("get"), "{what}: refused means no further requests:\n{trace}");
    assert_eq!(world.flash_operations(pump), before + REVISION, "{what}: something was erased or written");
    assert_eq!(world.running_image(pump), Some(running.digest), "{what}");
}

fn is_fulfilled_later(world: &mut World, pump: DeviceId, key: u8) {
    let good = world.firmware(&Build::new("9.0.0", SIZE).counter(5).signed_by(key));
    world.install(pump, good);
    world.confirm_image(pump, good, LIMIT_MS);
}

#[test]
fn an_image_that_is_not_for_this_device_is_refused_before_anything_is_erased() {
    let new = || Build::new("3.0.0", SIZE).counter(5);
    let unfit = [
        ("signed by a stranger", new().signed_by(2), Reason::BadSignature),
        ("for another board", new().for_board("another-board"), Reason::WrongBoard),
        ("a module", new().of_kind(Kind::Module), Reason::WrongArtifact),
        ("a patch", new().of_kind(Kind::Patch), Reason::WrongArtifact),
        ("below the counter", new().counter(4), Reason::Downgrade),
        ("oversized", new().claiming_size(OVERSIZE), Reason::TooLarge),
        ("endless", new().claiming_size(u32::MAX), Reason::TooLarge),
        ("empty", new().claiming_size(0), Reason::BadManifest),
    ];
    for (what, build, reason) in unfit {
        let (mut world, pump, running) = scene();
        let image = world.firmware(&build);
        world.install(pump, image);
        is_refused(&mut world, pump, running, reason, what);
        is_fulfilled_later(&mut world, pump, 1);
    }
}

#[test]
fn a_forged_manifest_is_refused_before_anything_is_erased() {
    // Every bit of it is tried in `wasmbed-core`.
    for bit in (0..3_000).step_by(41) {
        let (mut world, pump, running) = scene();
        let image = world.firmware(&Build::new("3.0.0", SIZE).counter(5));
        if !world.forge(image.artifact, bit) {
            break;
        }
        world.install(pump, image);
        let before = world.flash_operations(pump);
        world.run_until(LIMIT_MS, &format!("bit {bit} refused"), |world| {
            let report = world.firmware_report(pump).filter(|r| r.state == FirmwareState::Refused);
            report.is_some_and(|r| matches!(r.reason, Some(Reason::BadManifest | Reason::BadSignature)))
        });
        assert_eq!(world.flash_operations(pump), before + REVISION, "bit {bit}");
        assert_eq!(world.running_image(pump), Some(running.digest), "bit {bit}");
    }
}

#[test]
fn another_firmware_under_the_name_of_the_one_that_is_wished_for_is_refused() {
    let (mut world, pump, running) = scene();
    let wished = world.firmware(&Build::new("3.0.0", SIZE).counter(5));
    let served = world.firmware(&Build::new("4.0.0", SIZE).counter(5));
    world.serve_foreign_manifest(wished.artifact, served.artifact);
    world.install(pump, wished);
    is_refused(&mut world, pump, running, Reason::WrongArtifact, "another firmware");
    is_fulfilled_later(&mut world, pump, 1);
}

#[test]
fn a_key_that_must_not_sign_firmware_any_more_is_refused() {
    let root = |ring: Ring| ring.key(1, &[Role::Root]).key(4, &[Role::Firmware]);
    let rings = [
        // Good until a second before the keyring was made.
        ("expired", root(Ring::new(1, 5_000).key_until(3, &[Role::Firmware], 4_999)), Reason::KeyExpired),
        (
            "without the role",
            root(Ring::new(1, 5_000).key(3, &[Role::Module, Role::Patch])),
            Reason::WrongRole,
        ),
        ("retired", root(Ring::new(1, 5_000)), Reason::BadSignature),
    ];
    for (what, ring, reason) in rings {
        let (mut world, pump, running) = scene();
        world.publish_keys(pump, &ring);
        world.run_until(LIMIT_MS, "the keyring", |world| world.keyring(pump) == Some(1));
        let image = world.firmware(&Build::new("3.0.0", SIZE).counter(5).signed_by(3));
        world.install(pump, image);
        is_refused(&mut world, pump, running, reason, what);
        is_fulfilled_later(&mut world, pump, 4);
    }
}

#[test]
fn a_patch_that_does_not_fit_is_refused_before_anything_is_erased() {
    let (mut world, pump, running) = scene();
    let new = world.firmware(&Build::new("3.0.0", SIZE).counter(5));
    let other = world.firmware(&Build::new("4.0.0", SIZE).counter(5));
    let delta = world.delta(running, new);
    let unfit = [
        ("for another base", delta.clone().claiming_base(other), Reason::WrongBase),
        ("to another image", delta.clone().claiming_to_make(other), Reason::WrongArtifact),
        ("signed by a stranger", delta.clone().signed_by(2), Reason::BadSignature),
        ("larger than its place", delta.clone().of_bytes(vec![0; 0x2001]), Reason::TooLarge),
        ("empty", delta.clone().of_bytes(Vec::new()), Reason::BadManifest),
    ];
    for (what, delta, reason) in unfit {
        let patch = world.patch(&delta);
        world.install_by_patch(pump, new, patch);
        is_refused(&mut world, pump, running, reason, what);
    }
    world.install_by_patch(pump, new, new.artifact);
    is_refused(&mut world, pump, running, Reason::WrongArtifact, "no patch at all");
    // The image itself was never the trouble.
    world.install(pump, new);
    world.confirm_image(pump, new, LIMIT_MS);
}

#[test]
fn a_patch_that_makes_something_else_is_refused_and_nothing_of_it_starts() {
    let (mut world, pump, running) = scene();
    let new = world.firmware(&Build::new("3.0.0", SIZE).counter(5));
    let other = world.firmware(&Build::new("4.0.0", SIZE).counter(5));
    let noise: Vec<u8> = (0..900_u32).map(|at| (at * 7 % 251) as u8).collect();
    let wrong = [
        (world.delta(running, other).claiming_to_make(new), Reason::DigestMismatch),
        (world.delta(running, new).of_bytes(noise), Reason::BadPatch),
    ];
    for (delta, reason) in wrong {
        let patch = world.patch(&delta);
        world.install_by_patch(pump, new, patch);
        world.run_until_firmware(pump, FirmwareState::Refused, Some(reason), LIMIT_MS);
        world.restart(pump);
        assert_eq!(world.running_image(pump), Some(running.digest));
        // Refusals are not kept over a restart: the wish is no longer there.
        world.withdraw_firmware(pump);
        world.run_for(5_000);
    }
    world.install(pump, new);
    world.confirm_image(pump, new, LIMIT_MS);
}
