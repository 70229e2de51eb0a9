//! Desired states: whatever happens on the way, devices end up as they should be.

use wasmbed_sim::{Faults, Maker, Memory, World};
use wasmbed_wire::message::{ModuleState, Reason};

#[test]
fn old_desired_states_change_nothing() {
    let mut world = World::seeded(1);
    let pump = world.device("pump-7", Memory::Volatile);
    let first = world.artifact(&Maker::new("flow", "1.0.0", 500));
    let second = world.artifact(&Maker::new("flow", "2.0.0", 500));
    world.deploy(pump, "flow", first);
    world.converge(pump, 10_000);
    let old = world.desired(pump);
    world.deploy(pump, "flow", second);
    world.replay_desired(pump, old.clone());
    world.converge(pump, 10_000);
    world.take_trace();
    world.replay_desired(pump, old);
    world.run_for(5_000);
    let trace = world.take_trace();
    assert!(trace.contains("refused: older than what was accepted"), "{trace}");
    assert!(!trace.contains("start") && !trace.contains("stop"), "{trace}");
}

#[test]
fn the_same_desired_state_again_changes_nothing() {
    let mut world = World::seeded(1);
    let pump = world.device("pump-7", Memory::Volatile);
    let artifact = world.artifact(&Maker::new("flow", "1.0.0", 500));
    world.deploy(pump, "flow", artifact);
    world.converge(pump, 10_000);
    let same = world.desired(pump);
    world.take_trace();
    world.replay_desired(pump, same);
    world.run_for(5_000);
    let trace = world.take_trace();
    assert!(!trace.contains("start") && !trace.contains("stop"), "{trace}");
}

#[test]
fn a_new_version_takes_over_only_once_it_is_complete() {
    let mut world = World::seeded(1);
    let pump = world.device("pump-7", Memory::Volatile);
    let first = world.artifact(&Maker::new("flow", "1.0.0", 500));
    let second = world.artifact(&Maker::new("flow", "2.0.0", 5_000));
    world.deploy(pump, "flow", first);
    world.converge(pump, 10_000);
    world.set_fleet_up(false);
    world.deploy(pump, "flow", second);
    world.run_for(20_000);
    assert!(world.runs(pump, "flow"), "the old version must run while the new one cannot be had");
    world.set_fleet_up(true);
    world.disconnect(pump);
    world.converge(pump, 20_000);
    assert_eq!(world.reports(pump, "flow"), [(second, ModuleState::Running)]);
}

#[test]
fn a_full_device_replaces_a_module_in_its_own_slot() {
    let mut world = World::seeded(2);
    let pump = world.device("pump-7", Memory::Volatile);
    for name in ["a", "b", "c"] {
        let artifact = world.artifact(&Maker::new(name, "1.0.0", 500));
        world.deploy(pump, name, artifact);
    }
    world.converge(pump, 10_000);
    for name in ["c", "a"] {
        let artifact = world.artifact(&Maker::new(name, "2.0.0", 900));
        world.deploy(pump, name, artifact);
    }
    world.converge(pump, 10_000);
    let one_too_many = world.artifact(&Maker::new("d", "1.0.0", 500));
    world.deploy(pump, "d", one_too_many);
    world.run_until_refused(pump, "d", Reason::NoSlot, 10_000);
    assert!(world.runs(pump, "a") && world.runs(pump, "b") && world.runs(pump, "c"));
    world.undeploy(pump, "b");
    world.converge(pump, 10_000);
}

#[test]
fn new_settings_restart_a_module_without_fetching_it() {
    let mut world = World::seeded(2);
    let pump = world.device("pump-7", Memory::Volatile);
    let artifact = world.artifact(&Maker::new("flow", "1.0.0", 500));
    world.deploy(pump, "flow", artifact);
    world.converge(pump, 10_000);
    world.take_trace();
    world.set_unit(pump, "flow", "F");
    world.run_for(2_000);
    let trace = world.take_trace();
    assert!(trace.contains("stop slot 0") && trace.contains("start flow"), "{trace}");
    assert!(!trace.contains("get"), "{trace}");
    assert!(world.is_converged(pump));
}

#[test]
fn changing_ones_mind_during_a_transfer_is_fine() {
    let mut world = World::seeded(2);
    let pump = world.device("pump-7", Memory::Volatile);
    let first = world.artifact(&Maker::new("flow", "1.0.0", 500));
    let second = world.artifact(&Maker::new("flow", "2.0.0", 30_000));
    world.deploy(pump, "flow", first);
    world.converge(pump, 10_000);
    world.take_trace();
    world.deploy(pump, "flow", second);
    world.run_for(100);
    world.deploy(pump, "flow", first);
    world.converge(pump, 10_000);
    world.run_for(5_000);
    let trace = world.take_trace();
    assert!(!trace.contains("stop slot"), "the first version never had to stop:\n{trace}");
    let (_, after) = trace.split_once("desired r3").expect("the last change");
    assert!(!after.contains("get"), "nobody wants the second version any more:\n{trace}");
}

#[test]
fn everything_comes_back_after_the_broker_forgot_everything() {
    let mut world = World::seeded(5);
    let pumps = ["pump-1", "pump-2", "pump-3"].map(|name| world.device(name, Memory::Volatile));
    let artifact = world.artifact(&Maker::new("flow", "1.0.0", 5_000));
    for pump in pumps {
        world.deploy(pump, "flow", artifact);
    }
    world.run_for(30);
    world.stop_broker();
    world.run_for(20_000);
    world.start_broker();
    for pump in pumps {
        world.converge(pump, 20_000);
    }
}

#[test]
fn a_device_with_memory_runs_its_modules_before_it_is_online() {
    let mut world = World::seeded(6);
    let pump = world.device("pump-7", Memory::Lasting);
    let artifact = world.artifact(&Maker::new("flow", "1.0.0", 5_000));
    world.deploy(pump, "flow", artifact);
    world.converge(pump, 10_000);
    world.stop_broker();
    world.take_trace();
    world.restart(pump);
    world.run_for(100);
    assert!(world.runs(pump, "flow"));
    world.start_broker();
    world.converge(pump, 20_000);
    let trace = world.take_trace();
    assert!(!trace.contains("get"), "nothing had to be fetched:\n{trace}");
}

#[test]
fn a_device_without_memory_fetches_everything_again() {
    let mut world = World::seeded(6);
    let pump = world.device("pump-7", Memory::Volatile);
    let artifact = world.artifact(&Maker::new("flow", "1.0.0", 5_000));
    world.deploy(pump, "flow", artifact);
    world.converge(pump, 10_000);
    world.restart(pump);
    assert!(!world.runs(pump, "flow"));
    world.run_until(1_000, "online", |world| world.is_online(pump));
    world.converge(pump, 10_000);
}

/// Half a minute of everything at once, then peace: every device must get where it should be.
#[test]
fn any_history_converges_once_the_network_is_good_again() {
    for seed in 0..120 {
        let memory = if seed % 2 == 0 { Memory::Lasting } else { Memory::Volatile };
        let mut world = World::seeded(seed);
        let pumps = ["pump-1", "pump-2"].map(|name| world.device(name, memory));
        world.set_faults(Faults { drop: 100, duplicate: 50, reorder: 50, corrupt: 5, disconnect: 10 });
        for _ in 0..30 {
            let quiet_ms = world.below(2_000);
            world.run_for(quiet_ms);
            let pump = pumps[world.below(2) as usize];
            disturb(&mut world, pump);
        }
        world.set_faults(Faults::NONE);
        world.start_broker();
        for pump in pumps {
            // A transfer that was corrupted twice is believed; asking afresh clears that.
            for name in NAMES {
                world.renew(pump, name);
            }
            world.disconnect(pump);
            world.converge(pump, 60_000);
        }
    }
}

const NAMES: [&str; 3] = ["a", "b", "c"];
const VERSIONS: [&str; 3] = ["1.0.0", "2.0.0", "3.0.0"];

fn disturb(world: &mut World, pump: wasmbed_wire::DeviceId) {
    let name = NAMES[world.below(3) as usize];
    match world.below(9) {
        0..=3 => {
            let version = VERSIONS[world.below(3) as usize];
            let size = 1 + world.below(9_000) as usize;
            let artifact = world.artifact(&Maker::new(name, version, size));
            world.deploy(pump, name, artifact);
        }
        4 => world.undeploy(pump, name),
        5 => world.restart(pump),
        6 => world.stop_broker(),
        7 => world.start_broker(),
        _ => world.disconnect(pump),
    }
}
