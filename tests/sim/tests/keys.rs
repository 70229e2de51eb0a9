//! Keyrings: whom a device believes, and since when.

use wasmbed_sim::{Build, Cut, Image, Maker, Memory, Ring, World};
use wasmbed_wire::{
    DeviceId,
    keyring::Role,
    message::{FirmwareState, Reason},
};

const SIZE: usize = 20_001;
const LIMIT_MS: u64 = 60_000;

fn scene() -> (World, DeviceId, Image) {
    let mut world = World::seeded(1);
    let old = world.firmware(&Build::new("1.0.0", SIZE));
    let pump = world.board("pump-7", Memory::Volatile, old);
    world.run_for(1_000);
    (world, pump, old)
}

fn adopted(world: &mut World, pump: DeviceId, version: u32) {
    world.run_until(LIMIT_MS, "the keyring", |world| world.keyring(pump) == Some(version));
}

#[test]
fn keys_are_added_and_retired_step_by_step() {
    let (mut world, pump, _) = scene();
    // Key 2 comes beside key 1, signs the next firmware, and then key 1 can go.
    world.publish_keys(pump, &Ring::new(1, 0).key(1, &Role::ALL).key(2, &Role::ALL));
    adopted(&mut world, pump, 1);
    let new = world.firmware(&Build::new("2.0.0", SIZE).signed_by(2));
    world.install(pump, new);
    world.confirm_image(pump, new, LIMIT_MS);
    world.publish_keys(pump, &Ring::new(2, 0).key(2, &Role::ALL).signed_by(2));
    adopted(&mut world, pump, 2);
    let late = world.firmware(&Build::new("3.0.0", SIZE).signed_by(1));
    world.install(pump, late);
    world.run_until_firmware(pump, FirmwareState::Refused, Some(Reason::BadSignature), LIMIT_MS);
    let module = world.artifact(&Maker::new("flow", "1.0.0", 500));
    world.deploy(pump, "flow", module);
    world.run_until_refused(pump, "flow", Reason::BadSignature, LIMIT_MS);
}

#[test]
fn a_keyring_survives_restarts_updates_and_power_cuts() {
    let (mut world, pump, old) = scene();
    world.publish_keys(pump, &Ring::new(7, 0).key(1, &Role::ALL).key(2, &Role::ALL));
    adopted(&mut world, pump, 7);
    let new = world.firmware(&Build::new("2.0.0", SIZE).signed_by(2));
    world.install(pump, new);
    world.cut_power(pump, [1, 20, 30].map(|after| Cut { after, seed: after }));
    world.confirm_image(pump, new, LIMIT_MS);
    assert_eq!(world.power_cuts(pump), 3);
    assert_eq!(world.keyring(pump), Some(7));
    // Also where the broker does not repeat it.
    world.stop_broker();
    world.restart(pump);
    assert_eq!(world.running_image(pump), Some(new.digest), "signed by a key of that keyring only");
    world.start_broker();
    world.install(pump, old);
    world.confirm_image(pump, old, LIMIT_MS);
    assert_eq!(world.keyring(pump), Some(7));
}

#[test]
fn a_keyring_that_must_not_replace_the_one_in_use_changes_nothing() {
    let (mut world, pump, _) = scene();
    let two = Ring::new(5, 0).key(1, &[Role::Firmware, Role::Module]).key(2, &[Role::Root]);
    world.publish_keys(pump, &two);
    adopted(&mut world, pump, 5);
    let before = world.flash_operations(pump);
    let all = |version| Ring::new(version, 0).key(3, &Role::ALL);
    let refused = [
        ("older", all(4).signed_by(2)),
        ("the same again", all(5).signed_by(2)),
        ("signed by a key that may sign firmware only", all(6).signed_by(1)),
        ("signed by a stranger", all(6).signed_by(3)),
        ("empty", Ring::new(6, 0).signed_by(2)),
        ("too long", (10..20).fold(Ring::new(6, 0), |ring, key| ring.key(key, &Role::ALL)).signed_by(2)),
    ];
    for (what, ring) in refused {
        world.publish_keys(pump, &ring);
        world.run_for(5_000);
        world.restart(pump);
        world.run_for(5_000);
        assert_eq!(world.keyring(pump), Some(5), "{what}");
        assert_eq!(world.flash_operations(pump), before, "{what}");
    }
    world.publish_keys(pump, &all(6).signed_by(2));
    adopted(&mut world, pump, 6);
}

#[test]
fn an_image_whose_key_expires_runs_on_and_starts_again() {
    let (mut world, pump, old) = scene();
    let ring = Ring::new(1, 9_000).key_until(1, &[Role::Firmware], 8_000).key(2, &Role::ALL);
    world.publish_keys(pump, &ring);
    adopted(&mut world, pump, 1);
    world.restart(pump);
    assert_eq!(world.running_image(pump), Some(old.digest));
    let late = world.firmware(&Build::new("2.0.0", SIZE));
    world.install(pump, late);
    world.run_until_firmware(pump, FirmwareState::Refused, Some(Reason::KeyExpired), LIMIT_MS);
    // The same firmware, signed anew.
    let new = world.firmware(&Build::new("2.0.0", SIZE).signed_by(2));
    world.try_again(pump);
    world.confirm_image(pump, new, LIMIT_MS);
}

#[test]
fn a_refused_image_is_tried_again_once_its_key_is_trusted() {
    let (mut world, pump, _) = scene();
    let new = world.firmware(&Build::new("2.0.0", SIZE).signed_by(2));
    world.install(pump, new);
    world.run_until_firmware(pump, FirmwareState::Refused, Some(Reason::BadSignature), LIMIT_MS);
    world.publish_keys(pump, &Ring::new(1, 0).key(1, &Role::ALL).key(2, &Role::ALL));
    world.confirm_image(pump, new, LIMIT_MS);
}

#[test]
fn an_image_signed_with_a_key_from_the_factory_starts_also_when_that_is_retired() {
    let (mut world, pump, old) = scene();
    world.publish_keys(pump, &Ring::new(1, 0).key(2, &Role::ALL));
    adopted(&mut world, pump, 1);
    world.restart(pump);
    assert_eq!(world.running_image(pump), Some(old.digest));
    let late = world.firmware(&Build::new("2.0.0", SIZE));
    world.install(pump, late);
    world.run_until_firmware(pump, FirmwareState::Refused, Some(Reason::BadSignature), LIMIT_MS);
}

#[test]
fn a_keyring_that_would_leave_a_device_without_an_image_to_start_is_refused() {
    let both = |version| Ring::new(version, 0).key(2, &Role::ALL).key(3, &Role::ALL);
    let (mut world, pump, _) = scene();
    world.publish_keys(pump, &both(1));
    adopted(&mut world, pump, 1);
    let second = world.firmware(&Build::new("2.0.0", SIZE).signed_by(2));
    world.install(pump, second);
    world.confirm_image(pump, second, LIMIT_MS);
    let without = Ring::new(2, 0).key(3, &Role::ALL).signed_by(3);
    world.publish_keys(pump, &without);
    world.run_for(5_000);
    world.restart(pump);
    assert_eq!((world.keyring(pump), world.running_image(pump)), (Some(1), Some(second.digest)));
    // Not in the trial of the next image either: it would be left without one if that fails.
    world.set_confirming(false);
    let third = world.firmware(&Build::new("3.0.0", SIZE).signed_by(3));
    world.install(pump, third);
    world.run_until_firmware(pump, FirmwareState::Trial, None, LIMIT_MS);
    world.publish_keys(pump, &without);
    world.run_for(5_000);
    assert_eq!(world.keyring(pump), Some(1));
    world.set_confirming(true);
    world.restart(pump);
    world.confirm_image(pump, third, LIMIT_MS);
    world.publish_keys(pump, &without);
    adopted(&mut world, pump, 2);
    world.restart(pump);
    assert_eq!(world.running_image(pump), Some(third.digest));
}

#[test]
fn an_image_signed_anew_is_taken_although_the_other_slot_holds_it_with_the_old_signature() {
    let (mut world, pump, _) = scene();
    world.publish_keys(pump, &Ring::new(1, 0).key(2, &Role::ALL).key(3, &Role::ALL));
    adopted(&mut world, pump, 1);
    let [next, running] = [("2.0.0", 2), ("3.0.0", 3)]
        .map(|(version, key)| world.firmware(&Build::new(version, SIZE).signed_by(key)));
    for image in [next, running] {
        world.install(pump, image);
        world.confirm_image(pump, image, LIMIT_MS);
    }
    world.publish_keys(pump, &Ring::new(2, 0).key(3, &Role::ALL).signed_by(3));
    adopted(&mut world, pump, 2);
    // Back to what is in the other slot; its signature there is no good any more.
    let again = world.firmware(&Build::new("2.0.0", SIZE).signed_by(3).counter(1));
    assert_eq!(again.digest, next.digest);
    world.install(pump, again);
    world.confirm_image(pump, again, LIMIT_MS);
    assert_eq!(world.record(pump).counter, 1);
}
