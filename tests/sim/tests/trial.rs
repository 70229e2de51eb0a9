//! Images that do not prove themselves, and surroundings that do not let them.

use wasmbed_sim::{Build, Image, ImageSlot, Memory, Start, World};
use wasmbed_wire::{
    DeviceId,
    message::{FirmwareState, Reason, Verb},
};

const SIZE: usize = 20_001;
const LIMIT_MS: u64 = 600_000;

fn scene(memory: Memory, start: Start) -> (World, DeviceId, Image, Image) {
    let mut world = World::seeded(1);
    let old = world.firmware(&Build::new("1.0.0", SIZE));
    let new = world.firmware(&Build::new("2.0.0", SIZE).starting(start));
    let pump = world.board("pump-7", memory, old);
    world.run_for(1_000);
    world.install(pump, new);
    (world, pump, old, new)
}

/// How often the device started in trial.
fn trials(world: &mut World) -> usize {
    world.take_trace().lines().filter(|line| line.ends_with("starts in trial")).count()
}

#[test]
fn an_image_that_does_not_prove_itself_comes_back_by_itself_and_is_not_tried_again_until_asked() {
    let bad = [
        (Start::Panics, Reason::Crashed, 3),
        (Start::Hangs, Reason::Hung, 3),
        // Two trials of one start: the broker might have been away in the first.
        (Start::Mute, Reason::Unconnected, 2),
        (Start::Unfit, Reason::Unhealthy, 1),
    ];
    for memory in [Memory::Lasting, Memory::Volatile] {
        for (start, reason, starts) in bad {
            let (mut world, pump, old, new) = scene(memory, start);
            for round in 0..2 {
                let is_over = |world: &mut World| {
                    let report = world.firmware_report(pump);
                    let is_reverted = report.is_some_and(|report| {
                        (report.state, report.reason, report.generation)
                            == (FirmwareState::Reverted, Some(reason), round)
                    });
                    is_reverted && world.running_image(pump) == Some(old.digest) && world.is_online(pump)
                };
                world.run_until(LIMIT_MS, &format!("{start:?} reverted"), is_over);
                assert_eq!(trials(&mut world), starts, "{start:?}");
                assert!(!world.firmware_history(pump).contains(&FirmwareState::Confirmed), "{start:?}");
                // Not by time, not by restarts.
                world.run_for(3_600_000);
                world.restart(pump);
                world.run_for(600_000);
                assert_eq!(trials(&mut world), 0, "{start:?} is tried again");
                assert!(is_over(&mut world), "{start:?}: {:?}", world.firmware_report(pump));
                assert_eq!(world.record(pump).active, Some(ImageSlot::A));
                world.try_again(pump);
            }
            world.run_until(LIMIT_MS, "tried again", |world| world.running_image(pump) == Some(new.digest));
            assert_eq!(world.served(new.artifact).blocks, 1 + 40, "{start:?}: it was fetched once");
        }
    }
}

#[test]
fn another_image_is_tried_after_one_that_failed() {
    for start in [Start::Panics, Start::Hangs, Start::Mute, Start::Unfit] {
        let (mut world, pump, old, _) = scene(Memory::Volatile, start);
        world.run_until(LIMIT_MS, "reverted", |world| {
            let report = world.firmware_report(pump);
            report.is_some_and(|report| report.state == FirmwareState::Reverted)
        });
        let good = world.firmware(&Build::new("3.0.0", SIZE));
        world.install(pump, good);
        world.confirm_image(pump, good, LIMIT_MS);
        assert_ne!(world.running_image(pump), Some(old.digest));
    }
}

#[test]
fn a_broker_that_is_away_during_a_trial_reverts_nobody() {
    for memory in [Memory::Lasting, Memory::Volatile] {
        // Some of these end in the very moment in which the trial ends, or the image before starts.
        for away_s in (1..=75).chain([90, 119, 120, 121, 130, 600, 7_200]) {
            let (mut world, pump, _, new) = scene(memory, Start::Well);
            world.run_until_firmware(pump, FirmwareState::Armed, None, LIMIT_MS);
            world.stop_broker();
            world.run_for(away_s * 1_000);
            world.start_broker();
            world.confirm_image(pump, new, LIMIT_MS);
            let history = world.firmware_history(pump);
            assert!(!history.contains(&FirmwareState::Reverted), "{memory:?}, {away_s} s: {history:?}");
            assert!(trials(&mut world) <= 2, "{memory:?}, {away_s} s");
        }
    }
}

#[test]
fn a_service_that_is_away_during_a_trial_reverts_nobody() {
    for memory in [Memory::Lasting, Memory::Volatile] {
        let (mut world, pump, _, new) = scene(memory, Start::Well);
        world.run_until_firmware(pump, FirmwareState::Armed, None, LIMIT_MS);
        world.set_fleet_up(false);
        world.run_for(24 * 3_600_000);
        assert_eq!(world.running_image(pump), Some(new.digest), "it stays in trial");
        assert!(world.record(pump).trial.is_some());
        world.set_fleet_up(true);
        world.confirm_image(pump, new, LIMIT_MS);
        assert_eq!(trials(&mut world), 1);
    }
}

#[test]
fn an_image_that_nobody_confirms_uses_up_its_starts() {
    let (mut world, pump, old, _) = scene(Memory::Volatile, Start::Well);
    world.set_confirming(false);
    world.run_until_firmware(pump, FirmwareState::Trial, None, LIMIT_MS);
    for nth in 0..3 {
        world.command(pump, &format!("r-{nth}"), Verb::Restart);
        world.run_for(10_000);
    }
    world.run_until_firmware(pump, FirmwareState::Reverted, Some(Reason::Unconfirmed), LIMIT_MS);
    assert_eq!(world.running_image(pump), Some(old.digest));
}

#[test]
fn a_confirmation_of_an_earlier_start_confirms_nothing() {
    let (mut world, pump, _, new) = scene(Memory::Volatile, Start::Well);
    world.run_until_firmware(pump, FirmwareState::Trial, None, LIMIT_MS);
    // The confirmation is on its way when the device restarts; what is retained is that of the start before.
    world.restart(pump);
    world.set_confirming(false);
    world.run_for(60_000);
    assert!(world.record(pump).trial.is_some(), "this start has not been seen yet");
    world.set_confirming(true);
    world.restart(pump);
    world.confirm_image(pump, new, LIMIT_MS);
}

#[test]
fn a_trial_without_a_connection_is_given_the_time_of_its_manifest() {
    let mut world = World::seeded(1);
    let old = world.firmware(&Build::new("1.0.0", SIZE));
    let mute = world.firmware(&Build::new("2.0.0", SIZE).starting(Start::Mute).trial(3, 200));
    let pump = world.board("pump-7", Memory::Volatile, old);
    world.install(pump, mute);
    world.run_until(LIMIT_MS, "in trial", |world| world.running_image(pump) == Some(mute.digest));
    world.run_for(199_000);
    assert_eq!(world.running_image(pump), Some(mute.digest));
    world.run_until(2_000, "given up", |world| world.running_image(pump) == Some(old.digest));
}
