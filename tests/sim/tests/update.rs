//! Firmware updates on good days, and what they cost.

use wasmbed_sim::{Build, Faults, ImageSlot, Maker, Memory, World};
use wasmbed_wire::message::FirmwareState;

/// Bytes of the images here; not a whole number of sectors or blocks.
const SIZE: usize = 45_001;

#[test]
fn a_new_image_is_fetched_tried_and_confirmed() {
    for memory in [Memory::Lasting, Memory::Volatile] {
        let mut world = World::seeded(1);
        let [old, new] =
            ["1.0.0", "2.0.0"].map(|version| world.firmware(&Build::new(version, SIZE).counter(3)));
        let pump = world.board("pump-7", memory, old);
        world.run_for(1_000);
        world.install(pump, new);
        world.confirm_image(pump, new, 60_000);
        assert_eq!(
            world.firmware_history(pump),
            [
                FirmwareState::Checking,
                FirmwareState::Downloading,
                FirmwareState::Verifying,
                FirmwareState::Armed,
                FirmwareState::Trial,
                FirmwareState::Confirmed
            ]
        );
        let record = world.record(pump);
        assert_eq!((record.active, record.counter), (Some(ImageSlot::B), 3));
        let blocks = 1 + (SIZE as u64).div_ceil(512);
        assert_eq!(world.served(new.artifact).blocks, blocks, "nothing is fetched twice");
    }
}

#[test]
fn a_patch_makes_the_same_image_of_a_fraction_of_the_bytes() {
    let mut world = World::seeded(1);
    let [old, new] = ["1.0.0", "2.0.0"].map(|version| world.firmware(&Build::new(version, SIZE)));
    let pump = world.board("pump-7", Memory::Volatile, old);
    let delta = world.delta(old, new);
    let patch = world.patch(&delta);
    world.install_by_patch(pump, new, patch);
    world.confirm_image(pump, new, 60_000);
    assert!(world.firmware_history(pump).contains(&FirmwareState::Patching));
    assert_eq!(world.served(new.artifact).blocks, 1, "only the manifest");
    let bytes = world.served(patch).bytes;
    assert!(bytes < SIZE as u64 * 15 / 100, "{bytes} bytes");
}

#[test]
fn rollback_needs_no_download() {
    let mut world = World::seeded(1);
    let [old, new] = ["1.0.0", "2.0.0"].map(|version| world.firmware(&Build::new(version, SIZE)));
    let pump = world.board("pump-7", Memory::Volatile, old);
    world.install(pump, new);
    world.confirm_image(pump, new, 60_000);
    let served = world.served(new.artifact);
    for image in [old, new, old] {
        world.install(pump, image);
        world.confirm_image(pump, image, 60_000);
    }
    assert_eq!(world.served(old.artifact).blocks, 0);
    assert_eq!(world.served(new.artifact), served);
}

#[test]
fn a_confirmed_counter_rules_out_the_image_before() {
    let mut world = World::seeded(1);
    let old = world.firmware(&Build::new("1.0.0", SIZE).counter(1));
    let new = world.firmware(&Build::new("2.0.0", SIZE).counter(2));
    let pump = world.board("pump-7", Memory::Volatile, old);
    world.install(pump, new);
    world.run_until_firmware(pump, FirmwareState::Trial, None, 60_000);
    assert_eq!(world.record(pump).counter, 0, "not before it is confirmed");
    world.confirm_image(pump, new, 60_000);
    world.run_for(1_000);
    let slots = world.firmware_slots(pump).expect("slots");
    assert_eq!((slots.counter, slots.other), (2, None), "it is no image to go back to");
}

#[test]
fn modules_keep_running_during_the_download() {
    let mut world = World::seeded(1);
    let [old, new] = ["1.0.0", "2.0.0"].map(|version| world.firmware(&Build::new(version, SIZE)));
    let pump = world.board("pump-7", Memory::Lasting, old);
    let module = world.artifact(&Maker::new("flow", "1.0.0", 3_000));
    world.deploy(pump, "flow", module);
    world.converge(pump, 10_000);
    world.take_trace();
    world.install(pump, new);
    let mut runs = true;
    world.run_until(60_000, "armed", |world| {
        runs &= world.runs(pump, "flow");
        world.trace().contains("Armed")
    });
    let trace = world.take_trace();
    assert!(runs && !trace.contains("slot 0"), "it was disturbed:\n{trace}");
    world.confirm_image(pump, new, 60_000);
    world.converge(pump, 10_000);
}

#[test]
fn a_module_and_a_firmware_can_be_wished_for_at_once() {
    let mut world = World::seeded(1);
    let [old, new] = ["1.0.0", "2.0.0"].map(|version| world.firmware(&Build::new(version, SIZE)));
    let pump = world.board("pump-7", Memory::Volatile, old);
    let module = world.artifact(&Maker::new("flow", "1.0.0", 30_000));
    world.install(pump, new);
    world.deploy(pump, "flow", module);
    world.confirm_image(pump, new, 60_000);
    world.converge(pump, 60_000);
}

#[test]
fn a_hundred_devices_update_at_once_for_little_more_than_the_bytes_of_their_images() {
    let mut world = World::seeded(11);
    let [old, new] = ["1.0.0", "2.0.0"].map(|version| world.firmware(&Build::new(version, SIZE)));
    world.set_faults(Faults { drop: 20, duplicate: 5, reorder: 5, ..Faults::NONE });
    let names: Vec<String> = (0..100).map(|nth| format!("pump-{nth}")).collect();
    let pumps: Vec<_> = names.iter().map(|name| world.board(name, Memory::Volatile, old)).collect();
    world.run_for(1_000);
    for pump in &pumps {
        world.install(*pump, new);
    }
    for pump in &pumps {
        world.confirm_image(*pump, new, 600_000);
    }
    let bytes = world.served(new.artifact).bytes;
    let images = 100 * SIZE as u64;
    assert!(bytes <= images * 3 / 2, "{bytes} bytes for images of {images}");
}
