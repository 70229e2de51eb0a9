//! What a hostile broker can say to a device: it may delay, and that is all.

use wasmbed_sim::{Build, CONTROLLER, Faults, Maker, Memory, TRUSTED, World};
use wasmbed_wire::{
    message::{Refusal, Subject, Verb},
    topic::Down,
};

const LIMIT_MS: u64 = 120_000;

#[test]
fn a_desired_state_of_before_is_refused_after_restarts_and_the_last_one_is_not() {
    let mut world = World::seeded(1);
    let image = world.firmware(&Build::new("1.0.0", 3_000));
    let pump = world.board("pump-7", Memory::Volatile, image);
    let first = world.artifact(&Maker::new("flow", "1.0.0", 500));
    let second = world.artifact(&Maker::new("flow", "2.0.0", 500));
    world.deploy(pump, "flow", first);
    world.converge(pump, LIMIT_MS);
    let old = world.desired(pump);
    world.deploy(pump, "flow", second);
    world.converge(pump, LIMIT_MS);

    // The device hears nothing else, as long as the broker likes.
    world.set_fleet_up(false);
    world.retain_instead(pump, old);
    for _ in 0..3 {
        world.take_trace();
        world.restart(pump);
        world.run_for(LIMIT_MS);
        let trace = world.take_trace();
        assert!(trace.contains("-> refused Desired Stale") && !trace.contains("<- block"), "{trace}");
    }
    world.set_fleet_up(true);
    world.converge(pump, LIMIT_MS);
    assert_eq!(world.reports(pump, "flow").first().map(|(artifact, _)| *artifact), Some(second));
}

#[test]
fn what_was_said_to_another_device_is_refused() {
    let mut world = World::seeded(1);
    let pumps = ["pump-7", "pump-8"].map(|name| world.device(name, Memory::Lasting));
    let artifact = world.artifact(&Maker::new("flow", "1.0.0", 500));
    world.deploy(pumps[0], "flow", artifact);
    world.converge(pumps[0], LIMIT_MS);
    let (topic, restart) = world.command_bytes(pumps[0], "r-1", Verb::Restart);
    let desired = world.desired(pumps[0]);
    world.take_trace();
    for (topic, payload) in [(Down::Desired, desired), (topic, restart)] {
        world.inject(pumps[1], topic, payload);
        world.run_for(10_000);
    }
    let trace = world.take_trace();
    assert!(!trace.contains("start") && !trace.contains("answer"), "{trace}");
    assert_eq!(world.refused(pumps[1]).map(|refused| refused.reason), Some(Refusal::Forged));
}

#[test]
fn a_restart_that_is_repeated_in_the_next_connect_does_not_happen_again() {
    let mut world = World::seeded(1);
    let pump = world.device("pump-7", Memory::Volatile);
    world.run_for(1_000);
    let (topic, restart) = world.command_bytes(pump, "r-1", Verb::Restart);
    world.inject(pump, topic, restart.clone());
    world.run_for(2_000);
    assert!(world.take_trace().contains("restarts: Command"));
    world.run_until(LIMIT_MS, "online", |world| world.is_online(pump));
    world.inject(pump, topic, restart);
    world.run_for(10_000);
    assert!(!world.take_trace().contains("restarts"));
    assert_eq!(world.refused(pump).map(|refused| refused.reason), Some(Refusal::Stale));
}

#[test]
fn a_key_for_artifacts_does_not_decide_what_runs() {
    let mut world = World::seeded(1);
    let pump = world.device("pump-7", Memory::Volatile);
    let artifact = world.artifact(&Maker::new("flow", "1.0.0", 500));
    let modules_only = wasmbed_sim::Ring::new(1, 0).key(TRUSTED, &[wasmbed_wire::keyring::Role::Module]);
    world.publish_keys(pump, &modules_only);
    world.run_until(LIMIT_MS, "the keyring", |world| world.keyring(pump) == Some(1));
    world.sign_orders_with(TRUSTED);
    world.deploy(pump, "flow", artifact);
    world.run_until(LIMIT_MS, "a refusal", |world| world.refused(pump).is_some());
    assert_eq!(world.refused(pump).map(|refused| refused.reason), Some(Refusal::WrongRole));
    assert!(!world.runs(pump, "flow"));
    world.sign_orders_with(CONTROLLER);
    world.deploy(pump, "flow", artifact);
    world.converge(pump, LIMIT_MS);
}

#[test]
fn a_flood_of_forgeries_delays_what_is_genuine_and_no_more() {
    let mut world = World::seeded(3);
    let pump = world.device("pump-7", Memory::Volatile);
    let other = world.device("pump-8", Memory::Volatile);
    let artifact = world.artifact(&Maker::new("flow", "1.0.0", 2_000));
    world.set_faults(Faults { drop: 20, duplicate: 20, reorder: 20, ..Faults::NONE });
    world.run_for(1_000);
    world.deploy(other, "flow", artifact);
    for _ in 0..5_000 {
        let forged = world.desired(other);
        world.inject(pump, Down::Desired, forged);
        world.run_for(10);
    }
    let refused = world.refused(pump).expect("a report");
    assert_eq!((refused.subject, refused.reason), (Subject::Desired, Refusal::Forged));
    assert!(world.is_online(pump) && !world.runs(pump, "flow"));
    // As long as a signature is not tried after one that did not hold.
    world.run_for(2_000);
    world.deploy(pump, "flow", artifact);
    world.converge(pump, LIMIT_MS);
}
