//! Supervision: modules that stop by themselves.

use wasmbed_sim::{Behaviour, Maker, Memory, World};
use wasmbed_wire::message::{ModuleState, Reason};

#[test]
fn a_module_that_keeps_trapping_is_restarted_ever_later_and_then_given_up() {
    let mut world = World::seeded(1);
    let pump = world.device("pump-7", Memory::Volatile);
    let maker = Maker::new("flow", "1.0.0", 500).behaving(Behaviour::TrapsAtTick(1));
    let artifact = world.artifact(&maker);
    world.deploy(pump, "flow", artifact);
    world.run_until_state(pump, "flow", ModuleState::Failed, 60_000);
    let report = world.report(pump, "flow").expect("a report");
    assert_eq!((report.restarts, report.reason), (4, Some(Reason::Trapped)));
    let trace = world.take_trace();
    let starts: Vec<u64> = times(&trace, "start flow");
    let waits: Vec<u64> = starts.windows(2).map(|pair| (pair[1] - pair[0]) / 1_000).collect();
    // A second until the tick that traps, then 1, 2, 4 and 8 seconds and a little.
    assert_eq!(waits, [2, 3, 5, 9], "{trace}");
    let same = world.desired(pump);
    world.replay_desired(pump, same);
    world.run_for(600_000);
    assert_eq!(times(&world.take_trace(), "start flow"), []);

    world.renew(pump, "flow");
    world.run_for(100);
    assert!(world.runs(pump, "flow"), "a new generation starts it afresh");
}

#[test]
fn stops_are_forgiven_after_a_stable_run() {
    let mut world = World::seeded(1);
    let pump = world.device("pump-7", Memory::Volatile);
    let maker = Maker::new("flow", "1.0.0", 500).behaving(Behaviour::TrapsAtTick(90));
    let artifact = world.artifact(&maker);
    world.deploy(pump, "flow", artifact);
    world.run_for(15 * 60_000);
    let report = world.report(pump, "flow").expect("a report");
    assert!(report.restarts >= 8, "{report:?}");
    assert_ne!(report.state, ModuleState::Failed);
}

#[test]
fn a_module_that_cannot_be_loaded_is_refused_at_once() {
    let mut world = World::seeded(1);
    let pump = world.device("pump-7", Memory::Volatile);
    let maker = Maker::new("flow", "1.0.0", 500).behaving(Behaviour::FailsToStart(Reason::LoadFailed));
    let artifact = world.artifact(&maker);
    world.deploy(pump, "flow", artifact);
    world.run_until_refused(pump, "flow", Reason::LoadFailed, 1_000);
    world.run_for(600_000);
    assert_eq!(times(&world.take_trace(), "start flow").len(), 1);
}

#[test]
fn a_module_that_is_not_healthy_at_first_gets_more_chances() {
    let mut world = World::seeded(1);
    let pump = world.device("pump-7", Memory::Volatile);
    let maker = Maker::new("flow", "1.0.0", 500).behaving(Behaviour::FailsToStart(Reason::Unhealthy));
    let artifact = world.artifact(&maker);
    world.deploy(pump, "flow", artifact);
    world.run_until_state(pump, "flow", ModuleState::Failed, 60_000);
    assert_eq!(times(&world.take_trace(), "start flow").len(), 5);
}

#[test]
fn one_modules_trouble_does_not_touch_another() {
    let mut world = World::seeded(1);
    let pump = world.device("pump-7", Memory::Volatile);
    let bad = Maker::new("bad", "1.0.0", 500).behaving(Behaviour::TrapsAtTick(2));
    let (bad, good) = (world.artifact(&bad), world.artifact(&Maker::new("good", "1.0.0", 500)));
    world.deploy(pump, "good", good);
    world.deploy(pump, "bad", bad);
    world.run_until_state(pump, "bad", ModuleState::Failed, 60_000);
    let report = world.report(pump, "good").expect("a report");
    assert_eq!((report.state, report.restarts), (ModuleState::Running, 0));
}

/// When lines with this text were written, in milliseconds.
fn times(trace: &str, text: &str) -> Vec<u64> {
    let lines = trace.lines().filter(|line| line.contains(text));
    lines.filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect()
}

#[test]
fn instances_of_one_module_run_side_by_side_and_find_their_artifact_after_a_restart() {
    let mut world = World::seeded(1);
    let pump = world.device("pump-7", Memory::Lasting);
    let artifact = world.artifact(&Maker::new("flow", "1.0.0", 500));
    world.deploy(pump, "left", artifact);
    world.deploy(pump, "right", artifact);
    world.converge(pump, 10_000);
    assert!(world.runs(pump, "left") && world.runs(pump, "right"));

    world.set_unit(pump, "right", "K");
    world.converge(pump, 10_000);
    let served = world.served(artifact);
    world.restart(pump);
    world.converge(pump, 10_000);
    assert!(world.runs(pump, "left") && world.runs(pump, "right"));
    assert_eq!(world.served(artifact), served, "both artifacts lay there");

    world.undeploy(pump, "left");
    world.converge(pump, 10_000);
    assert!(!world.runs(pump, "left") && world.runs(pump, "right"));
}

#[test]
fn what_a_module_used_is_told_with_heartbeats() {
    let mut world = World::seeded(1);
    let pump = world.device("pump-7", Memory::Volatile);
    let maker = Maker::new("flow", "1.0.0", 500).behaving(Behaviour::TrapsAtTick(30));
    let artifact = world.artifact(&maker);
    world.deploy(pump, "flow", artifact);
    world.run_until_state(pump, "flow", ModuleState::Backoff, 60_000);
    world.run_for(11_000);
    let used = world.used(pump);
    let [used] = used[..] else { panic!("one module was called: {used:?}") };
    assert_eq!((used.name.as_str(), used.stops), ("flow", 1));
    assert!(used.calls >= 31, "a start and thirty ticks: {used:?}");
    assert_eq!((used.slowest_us, used.memory_bytes), (100, 4_096));
    assert_eq!(world.traps(pump), 1);
}
