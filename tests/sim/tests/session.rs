//! Connections, commands, heartbeats and last words.

use expect_test::expect;
use wasmbed_sim::{Faults, Memory, World};
use wasmbed_wire::message::{Outcome, Verb};

#[test]
fn a_device_introduces_itself_in_order() {
    let mut world = World::seeded(1);
    let pump = world.device("pump-7", Memory::Volatile);
    world.crash(pump);
    world.run_for(200);
    let trace = world.take_trace();
    let said: Vec<&str> =
        trace.lines().filter_map(|line| line.split_once("-> ")).map(|(_, said)| said).collect();
    expect![[r#"
        up/info
        online
        reported r0
        up/crash
        up/hb"#]]
    .assert_eq(&said.join("\n"));
}

#[test]
fn heartbeats_come_at_their_interval_and_nearly_nothing_else_does() {
    let mut world = World::seeded(1);
    let pump = world.device("pump-7", Memory::Volatile);
    world.run_for(1_000);
    world.take_trace();
    world.run_for(600_000);
    let trace = world.take_trace();
    let beats = trace.lines().filter(|line| line.ends_with("up/hb")).count();
    assert!((60..=64).contains(&beats), "{beats} heartbeats of ten seconds in ten minutes");
    assert_eq!(trace.lines().count(), beats, "an idle device only beats:\n{trace}");
    assert!(world.heartbeats(pump) >= beats);
}

#[test]
fn a_crash_is_told_until_the_broker_has_it_and_then_never_again() {
    let mut world = World::seeded(3);
    let pump = world.device("pump-7", Memory::Volatile);
    world.stop_broker();
    world.crash(pump);
    world.run_for(10_000);
    world.restart(pump);
    world.start_broker();
    world.run_until(10_000, "told", |world| world.crashes(pump) == 1);
    world.run_for(1_000);
    world.restart(pump);
    world.run_for(10_000);
    assert_eq!(world.crashes(pump), 1);
}

#[test]
fn a_command_that_comes_twice_is_carried_out_once_and_answered_twice() {
    let mut world = World::seeded(1);
    let pump = world.device("pump-7", Memory::Volatile);
    world.run_for(1_000);
    world.command(pump, "p-1", Verb::Ping);
    world.command(pump, "p-1", Verb::Ping);
    world.run_for(1_000);
    assert_eq!(world.outcomes(pump), [Outcome::Done, Outcome::Done]);
}

#[test]
fn a_restart_is_answered_before_it_happens() {
    let mut world = World::seeded(1);
    let pump = world.device("pump-7", Memory::Volatile);
    world.run_for(1_000);
    world.take_trace();
    world.command(pump, "r-1", Verb::Restart);
    world.run_for(1_000);
    assert_eq!(world.outcomes(pump), [Outcome::Done]);
    let trace = world.take_trace();
    let (before, after) = trace.split_once("restarts: Command").expect("a restart");
    assert!(before.contains("answer r-1 Done") && before.contains("-> offline"), "{trace}");
    assert!(after.contains("-> online"), "{trace}");
}

#[test]
fn lost_acknowledgements_are_survived() {
    let mut world = World::seeded(9);
    let pump = world.device("pump-7", Memory::Volatile);
    // Acknowledgements and heartbeats alike: one in three is lost.
    world.set_faults(Faults { drop: 300, ..Faults::NONE });
    for nth in 0..5 {
        world.command(pump, &format!("p-{nth}"), Verb::Ping);
        world.run_for(60_000);
    }
    assert!(world.is_online(pump));
}

#[test]
fn devices_that_lost_their_broker_do_not_come_back_in_one_instant() {
    let mut world = World::seeded(1);
    let names: Vec<String> = (0..20).map(|nth| format!("pump-{nth}")).collect();
    let pumps: Vec<_> = names.iter().map(|name| world.device(name, Memory::Volatile)).collect();
    world.run_for(30_000);
    world.stop_broker();
    world.run_for(60_000);
    world.start_broker();
    world.take_trace();
    world.run_for(10_000);
    assert!(pumps.iter().all(|pump| world.is_online(*pump)));
    let trace = world.take_trace();
    let mut times: Vec<&str> = trace.lines().filter(|line| line.ends_with("connected")).collect();
    times.sort_unstable();
    times.dedup_by_key(|line| line.trim_start().split(' ').next());
    assert!(times.len() > 15, "{trace}");
}
