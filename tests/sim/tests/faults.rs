//! Updates on a bad network, with a broker and a fleet that come and go, and with people who change their minds.

use wasmbed_sim::{Build, Faults, Harm, Image, Memory, World};
use wasmbed_wire::{
    DeviceId,
    message::{FirmwareState, Reason},
};

/// Bytes of the images here; not a whole number of sectors or blocks.
const SIZE: usize = 45_001;
const LIMIT_MS: u64 = 120_000;

/// A device, online, with the image it runs, and two others.
struct Scene {
    world: World,
    pump: DeviceId,
    old: Image,
    new: Image,
    third: Image,
}

fn scene(seed: u64, memory: Memory) -> Scene {
    let mut world = World::seeded(seed);
    let [old, new, third] =
        ["1.0.0", "2.0.0", "3.0.0"].map(|version| world.firmware(&Build::new(version, SIZE)));
    let pump = world.board("pump-7", memory, old);
    world.run_for(1_000);
    Scene { world, pump, old, new, third }
}

impl Scene {
    /// Runs until so much has been downloaded, in percent.
    fn download(&mut self, percent: u8) {
        let Scene { pump, new, .. } = *self;
        let blocks = 1 + (SIZE as u64).div_ceil(512) * u64::from(percent) / 100;
        self.world.run_until(LIMIT_MS, "so far", |world| {
            assert_ne!(world.running_image(pump), Some(new.digest), "it is too late");
            world.served(new.artifact).blocks >= blocks
        });
    }
}

#[test]
fn blocks_may_be_lost_repeated_and_reordered() {
    for seed in 0..20 {
        let mut scene = scene(seed, Memory::Volatile);
        scene.world.set_faults(Faults { drop: 100, duplicate: 100, reorder: 100, ..Faults::NONE });
        scene.world.install(scene.pump, scene.new);
        scene.world.confirm_image(scene.pump, scene.new, LIMIT_MS);
    }
}

#[test]
fn only_a_lost_block_of_an_image_is_sent_again() {
    let mut scene = scene(1, Memory::Volatile);
    scene.world.drop_block(scene.pump, 7);
    scene.world.install(scene.pump, scene.new);
    scene.world.confirm_image(scene.pump, scene.new, LIMIT_MS);
    assert_eq!(scene.world.served(scene.new.artifact).blocks, 1 + 88 + 1);
}

#[test]
fn a_corrupt_block_costs_one_more_transfer_and_a_corrupt_manifest_nothing() {
    for (block, transfers) in [(9, 2), (0, 1)] {
        let mut scene = scene(1, Memory::Volatile);
        scene.world.harm_block(scene.pump, block, Harm::Corrupt);
        scene.world.install(scene.pump, scene.new);
        scene.world.confirm_image(scene.pump, scene.new, LIMIT_MS);
        let blocks = scene.world.served(scene.new.artifact).blocks;
        assert_eq!(blocks, 2 + transfers * 88, "block {block}");
    }
}

#[test]
fn a_corrupt_block_that_was_written_when_the_power_failed_is_overwritten() {
    // Programmed, but its bit not cleared: it is fetched again, and does not fit over what is there.
    for after in 0..30 {
        let mut scene = scene(1, Memory::Lasting);
        scene.world.install(scene.pump, scene.new);
        scene.world.run_until(LIMIT_MS, "block 9", |world| world.trace().contains("block 5\n"));
        (6..30).for_each(|block| scene.world.harm_block(scene.pump, block, Harm::Corrupt));
        scene.world.cut_power(scene.pump, [wasmbed_sim::Cut { after, seed: after }]);
        scene.world.run_until(LIMIT_MS, "cut", |world| world.power_cuts(scene.pump) == 1);
        scene.world.forget_harm();
        scene.world.confirm_image(scene.pump, scene.new, LIMIT_MS);
    }
}

#[test]
fn a_block_cut_short_is_asked_for_again() {
    for block in [0, 1, 88] {
        let mut scene = scene(1, Memory::Volatile);
        scene.world.harm_block(scene.pump, block, Harm::Short);
        scene.world.install(scene.pump, scene.new);
        scene.world.confirm_image(scene.pump, scene.new, LIMIT_MS);
        assert_eq!(scene.world.served(scene.new.artifact).blocks, 1 + 88 + 1, "block {block}");
    }
}

#[test]
fn foreign_blocks_change_nothing() {
    let mut scene = scene(1, Memory::Volatile);
    scene.world.install(scene.pump, scene.new);
    scene.download(30);
    let before = scene.world.flash_operations(scene.pump);
    scene.world.set_fleet_up(false);
    // Whatever was on its way arrives first.
    scene.world.run_for(100);
    let quiet = scene.world.flash_operations(scene.pump);
    assert!(quiet - before < 20);
    for index in [0, 1, 2, 40, 88, 89, u32::MAX] {
        scene.world.inject_block(scene.pump, scene.third.artifact, index, &[0; 512]);
        scene.world.inject_block(scene.pump, scene.new.artifact, 1_000_000 + index / 2, &[0; 512]);
        // Here already.
        scene.world.inject_block(scene.pump, scene.new.artifact, 1 + index % 2, &[0; 512]);
    }
    scene.world.run_for(100);
    assert_eq!(scene.world.flash_operations(scene.pump), quiet);
    scene.world.set_fleet_up(true);
    scene.world.confirm_image(scene.pump, scene.new, LIMIT_MS);
}

#[test]
fn a_payload_that_is_not_what_was_signed_is_refused_after_a_second_transfer() {
    let mut scene = scene(1, Memory::Volatile);
    let bad = scene.world.firmware(&Build::new("4.0.0", SIZE).with_spoilt_payload());
    scene.world.install(scene.pump, bad);
    let refused = (FirmwareState::Refused, Some(Reason::DigestMismatch));
    scene.world.run_until_firmware(scene.pump, refused.0, refused.1, LIMIT_MS);
    assert_eq!(scene.world.served(bad.artifact).blocks, 2 * (1 + 88));
    assert_eq!(scene.world.running_image(scene.pump), Some(scene.old.digest));
    scene.world.install(scene.pump, scene.new);
    scene.world.confirm_image(scene.pump, scene.new, LIMIT_MS);
}

#[test]
fn a_broker_restart_in_the_middle_of_a_transfer_costs_only_what_was_on_its_way() {
    for percent in [0, 20, 50, 99] {
        let mut scene = scene(1, Memory::Volatile);
        scene.world.install(scene.pump, scene.new);
        scene.download(percent);
        scene.world.stop_broker();
        scene.world.run_for(20_000);
        scene.world.start_broker();
        scene.world.confirm_image(scene.pump, scene.new, LIMIT_MS);
        let blocks = scene.world.served(scene.new.artifact).blocks;
        assert!(blocks <= 1 + 88 + 4, "{percent} %: {blocks} blocks");
    }
}

#[test]
fn a_service_that_is_killed_in_the_middle_of_an_update_goes_on_with_it() {
    for percent in [0, 20, 50, 99] {
        let mut scene = scene(1, Memory::Volatile);
        scene.world.install(scene.pump, scene.new);
        scene.download(percent);
        scene.world.set_fleet_up(false);
        scene.world.run_for(300_000);
        scene.world.set_fleet_up(true);
        scene.world.confirm_image(scene.pump, scene.new, LIMIT_MS);
    }
}

#[test]
fn the_last_of_two_deployments_wins_at_any_percent() {
    for memory in [Memory::Lasting, Memory::Volatile] {
        for percent in (0..100).step_by(3) {
            let mut scene = scene(u64::from(percent), memory);
            scene.world.install(scene.pump, scene.new);
            scene.download(percent);
            scene.world.install(scene.pump, scene.third);
            scene.world.confirm_image(scene.pump, scene.third, LIMIT_MS);
            assert!(!scene.world.firmware_history(scene.pump).contains(&FirmwareState::Reverted));
        }
    }
}

#[test]
fn a_cancelled_transfer_ends_at_any_percent_and_goes_on_later() {
    for percent in (0..100).step_by(3) {
        let mut scene = scene(u64::from(percent), Memory::Volatile);
        scene.world.install(scene.pump, scene.new);
        scene.download(percent);
        if percent % 2 == 0 {
            scene.world.withdraw_firmware(scene.pump);
        } else {
            scene.world.install(scene.pump, scene.old);
            scene.world.confirm_image(scene.pump, scene.old, LIMIT_MS);
        }
        scene.world.run_for(5_000);
        let (operations, served) =
            (scene.world.flash_operations(scene.pump), scene.world.served(scene.new.artifact));
        scene.world.run_for(60_000);
        assert_eq!(scene.world.flash_operations(scene.pump), operations, "{percent} %");
        assert_eq!(scene.world.served(scene.new.artifact), served, "{percent} %");
        assert_eq!(scene.world.running_image(scene.pump), Some(scene.old.digest), "{percent} %");
        scene.world.install(scene.pump, scene.new);
        scene.world.confirm_image(scene.pump, scene.new, LIMIT_MS);
        let blocks = scene.world.served(scene.new.artifact).blocks;
        // Two manifests, and what was on its way.
        assert!(blocks <= 2 + 88 + 4, "{percent} %: {blocks} blocks");
    }
}

#[test]
fn an_update_cancelled_when_armed_or_in_trial_returns_to_the_image_before() {
    for memory in [Memory::Lasting, Memory::Volatile] {
        for state in [FirmwareState::Armed, FirmwareState::Trial] {
            for is_absent in [true, false] {
                let mut scene = scene(1, memory);
                scene.world.set_confirming(false);
                scene.world.install(scene.pump, scene.new);
                scene.world.run_until_firmware(scene.pump, state, None, LIMIT_MS);
                if is_absent {
                    scene.world.withdraw_firmware(scene.pump);
                } else {
                    scene.world.install(scene.pump, scene.old);
                }
                // It may still have to start.
                scene.world.run_for(10_000);
                assert_eq!(scene.world.running_image(scene.pump), Some(scene.old.digest));
                let record = scene.world.record(scene.pump);
                assert_eq!((record.trial, record.find(&scene.new.digest)), (None, None), "no verdict");
                let served = scene.world.served(scene.new.artifact);
                scene.world.set_confirming(true);
                scene.world.install(scene.pump, scene.new);
                scene.world.confirm_image(scene.pump, scene.new, LIMIT_MS);
                assert_eq!(scene.world.served(scene.new.artifact), served, "it was there already");
            }
        }
    }
}

#[test]
fn another_deployment_during_a_trial_ends_it_without_a_verdict() {
    for memory in [Memory::Lasting, Memory::Volatile] {
        let mut scene = scene(1, memory);
        scene.world.set_confirming(false);
        scene.world.install(scene.pump, scene.new);
        scene.world.run_until_firmware(scene.pump, FirmwareState::Trial, None, LIMIT_MS);
        scene.world.install(scene.pump, scene.third);
        scene.world.set_confirming(true);
        scene.world.confirm_image(scene.pump, scene.third, LIMIT_MS);
        assert_eq!(scene.world.record(scene.pump).find(&scene.new.digest), None);
    }
}

#[test]
fn a_flash_that_fails_is_reported_and_tried_again_when_asked() {
    let mut scene = scene(1, Memory::Volatile);
    scene.world.install(scene.pump, scene.new);
    scene.download(40);
    scene.world.wear_flash(scene.pump, true);
    let refused = (FirmwareState::Refused, Some(Reason::StoreFailed));
    scene.world.run_until_firmware(scene.pump, refused.0, refused.1, LIMIT_MS);
    scene.world.run_for(60_000);
    assert_eq!(scene.world.running_image(scene.pump), Some(scene.old.digest));
    scene.world.wear_flash(scene.pump, false);
    scene.world.try_again(scene.pump);
    scene.world.confirm_image(scene.pump, scene.new, LIMIT_MS);
}

/// Everything at once, then peace: every device must get where it should be.
#[test]
fn any_history_of_updates_ends_with_the_last_wish() {
    for seed in 0..100 {
        let memory = if seed % 2 == 0 { Memory::Lasting } else { Memory::Volatile };
        let mut scene = scene(seed, memory);
        let images = [scene.old, scene.new, scene.third];
        let (world, pump) = (&mut scene.world, scene.pump);
        world.set_faults(Faults { drop: 50, duplicate: 50, reorder: 50, corrupt: 1, disconnect: 5 });
        for _ in 0..20 {
            let quiet_ms = world.below(3_000);
            world.run_for(quiet_ms);
            match world.below(9) {
                0..=2 => {
                    let image = images[world.below(3) as usize];
                    world.install(pump, image);
                }
                3 => world.withdraw_firmware(pump),
                4 => world.restart(pump),
                5 => {
                    let cut = wasmbed_sim::Cut { after: world.below(60), seed };
                    world.cut_power(pump, [cut]);
                }
                6 => world.stop_broker(),
                7 => world.start_broker(),
                _ => world.disconnect(pump),
            }
        }
        world.set_faults(Faults::NONE);
        world.start_broker();
        let last = images[world.below(3) as usize];
        world.install(pump, last);
        // A transfer that was corrupted twice is believed; asking afresh clears that.
        world.try_again(pump);
        world.confirm_image(pump, last, 300_000);
    }
}
