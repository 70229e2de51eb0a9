//! Fetching artifacts: loss, repetition, refusal.

use expect_test::expect_file;
use wasmbed_sim::{BLOCK_BYTES, Faults, Maker, Memory, World};
use wasmbed_wire::{
    RuntimeId,
    limits::Class,
    message::{ModuleState, Reason},
};

const BLOCK: usize = BLOCK_BYTES as usize;

#[test]
fn a_lost_block_is_the_only_one_sent_again() {
    let mut world = World::seeded(7);
    let pump = world.device("pump-7", Memory::Volatile);
    world.run_for(1_000);
    let artifact = world.artifact(&Maker::new("flow", "1.0.0", BLOCK * 2));
    world.take_trace();
    world.drop_block(pump, 1);
    world.deploy(pump, "flow", artifact);
    world.converge(pump, 10_000);
    expect_file!["traces/lost_block.txt"].assert_eq(&world.take_trace());
}

#[test]
fn a_transfer_goes_on_where_the_connection_broke() {
    let mut world = World::seeded(3);
    let pump = world.device("pump-7", Memory::Volatile);
    let artifact = world.artifact(&Maker::new("flow", "1.0.0", BLOCK * 40));
    world.deploy(pump, "flow", artifact);
    world.run_until(5_000, "half way", |world| world.trace().contains("block 20\n"));
    world.disconnect(pump);
    world.take_trace();
    // At once, not when the requests that were under way time out.
    world.converge(pump, 900);
    let trace = world.take_trace();
    assert!(!trace.contains("block 0\n"), "the manifest was fetched again:\n{trace}");
    assert!(trace.contains("block 40\n"), "the rest was not fetched:\n{trace}");
}

#[test]
fn nothing_is_fetched_twice_on_a_good_network() {
    let mut world = World::seeded(4);
    let pump = world.device("pump-7", Memory::Volatile);
    let artifact = world.artifact(&Maker::new("flow", "1.0.0", BLOCK * 100 + 1));
    world.deploy(pump, "flow", artifact);
    world.converge(pump, 10_000);
    let trace = world.take_trace();
    let blocks = trace.lines().filter(|line| line.contains("<- block")).count();
    assert_eq!(blocks, 102, "{trace}");
}

#[test]
fn one_corrupt_block_costs_one_more_transfer_and_two_are_believed() {
    let mut world = World::seeded(5);
    let pump = world.device("pump-7", Memory::Volatile);
    let good = world.artifact(&Maker::new("flow", "1.0.0", BLOCK * 3));
    world.set_faults(Faults { corrupt: 100, ..Faults::NONE });
    world.deploy(pump, "flow", good);
    world.run_for(500);
    world.set_faults(Faults::NONE);
    world.renew(pump, "flow");
    world.converge(pump, 30_000);

    let spoilt = world.artifact(&Maker::new("leak", "1.0.0", BLOCK * 3).with_spoilt_payload());
    world.deploy(pump, "leak", spoilt);
    world.run_until_refused(pump, "leak", Reason::DigestMismatch, 10_000);
    assert!(world.runs(pump, "flow"));
}

#[test]
fn what_this_device_cannot_run_is_refused_before_anything_is_erased() {
    let strangers = [
        (Maker::new("flow", "2.0.0", 500).signed_by_stranger(), Reason::BadSignature),
        (Maker::new("flow", "2.0.0", 500).for_class(Class::Riscv), Reason::WrongClass),
        (Maker::new("flow", "2.0.0", 500).for_runtime(RuntimeId([9; 8])), Reason::WrongRuntime),
        (Maker::new("flow", "2.0.0", 65 * 1024), Reason::TooLarge),
        (Maker::new("flow", "2.0.0", 0), Reason::BadManifest),
    ];
    for (maker, reason) in strangers {
        let mut world = World::seeded(1);
        let pump = world.device("pump-7", Memory::Volatile);
        let first = world.artifact(&Maker::new("flow", "1.0.0", 500));
        world.deploy(pump, "flow", first);
        world.converge(pump, 10_000);
        let second = world.artifact(&maker);
        world.take_trace();
        world.deploy(pump, "flow", second);
        world.run_until_refused(pump, "flow", reason, 10_000);
        let trace = world.take_trace();
        assert!(!trace.contains("stop slot"), "{reason:?}:\n{trace}");
        // What ran before runs on, and is reported beside what was refused.
        let expected = [(second, ModuleState::Refused), (first, ModuleState::Running)];
        assert_eq!(world.reports(pump, "flow"), expected, "{reason:?}");
        world.run_for(60_000);
        let again = world.take_trace();
        assert!(!again.contains("get"), "{reason:?}: refused means no further requests:\n{again}");
    }
}

#[test]
fn a_store_that_fails_is_reported() {
    let mut world = World::seeded(1);
    let pump = world.device("pump-7", Memory::Volatile);
    let artifact = world.artifact(&Maker::new("flow", "1.0.0", 500));
    world.fail_writes(pump, true);
    world.deploy(pump, "flow", artifact);
    world.run_until_refused(pump, "flow", Reason::StoreFailed, 10_000);
    world.fail_writes(pump, false);
    world.renew(pump, "flow");
    world.converge(pump, 10_000);
}

#[test]
fn an_artifact_nobody_serves_is_asked_for_until_it_is_there() {
    let mut world = World::seeded(1);
    let pump = world.device("pump-7", Memory::Volatile);
    let maker = Maker::new("flow", "1.0.0", 500);
    world.set_fleet_up(false);
    let artifact = world.artifact(&maker);
    world.run_for(100);
    world.deploy(pump, "flow", artifact);
    world.run_for(120_000);
    let trace = world.take_trace();
    let asked = trace.lines().filter(|line| line.contains("-> get")).count();
    assert!((10..20).contains(&asked), "asked {asked} times in two minutes");
    world.set_fleet_up(true);
    world.disconnect(pump);
    world.converge(pump, 15_000);
}
