//! Groups, limits, pace and clocks: facts come in, the clock moves, actions come out.

use wasmbed_plan::{
    Time,
    rollout::{DeviceState, Phase, Spec},
};
use wasmbed_wire::message::{FirmwareState, Reason};

use crate::world::{IMAGE_BYTES, NEW, World, spec};

#[test]
fn canary_then_a_share_then_the_rest() {
    let mut world = World::new(Spec { soak_ms: 5_000, ..spec(&["canary:1", "50%", "rest"]) }, 4);
    assert_eq!([world.group(0), world.group(1), world.group(2)], [vec![0], vec![2], vec![1, 3]]);
    world.run(1_000);
    world.confirm(0, NEW);
    world.run(9_000);
    world.confirm(2, NEW);
    world.run(9_000);
    world.confirm(1, NEW);
    world.confirm(3, NEW);
    world.says(&[
        "0 d0 start",
        "1000 d0 confirmed",
        "1000 watching group 1 before the next",
        "6000 updating group 2",
        "6000 d2 start",
        "10000 d2 confirmed",
        "10000 watching group 2 before the next",
        "15000 updating group 3",
        "15000 d1 start",
        "15000 d3 start",
        "19000 d1 confirmed",
        "19000 d3 confirmed",
        "19000 done",
    ]);
    assert!(world.rollout.is_over());
    assert_eq!(world.settle(), None);
}

#[test]
fn a_failed_canary_aborts_the_rollout() {
    let mut world = World::new(spec(&["canary:2", "rest"]), 4);
    world.settle();
    let (failed, other) = (world.group(0)[0], world.group(0)[1]);
    world.forget();
    world.revert(failed);
    world.says(&[
        &format!("0 d{failed} withdraw: failed: it did not prove itself; the one before runs again"),
        "0 aborted: 1 failed in the canary group",
        &format!("0 d{other} withdraw: withdrawn"),
    ]);
    let DeviceState::Failed { failure, .. } = world.state(failed) else { panic!("not failed") };
    assert_eq!(failure.reason(), Some(Reason::Crashed));
    world.run(1_000_000);
    world.says(&[]);
    assert!(world.rollout.is_over());
}

#[test]
fn a_share_of_failures_aborts_and_not_one_less() {
    let mut world = World::new(Spec { at_once: 100, ..spec(&["rest"]) }, 10);
    world.settle();
    world.revert(0);
    assert_eq!(world.phase(), Phase::Running { group: 0 });
    world.revert(1);
    assert!(matches!(world.phase(), Phase::Aborted { .. }), "{:?}", world.phase());
    assert_eq!(world.progress().counts.withdrawn, 8);
}

#[test]
fn a_number_of_failures_aborts_whatever_their_share() {
    let limits = Spec { abort_failures: Some(3), abort_percent: 100, at_once: 100, ..spec(&["rest"]) };
    let mut world = World::new(limits, 50);
    world.settle();
    (0..2).for_each(|number| world.revert(number));
    assert_eq!(world.phase(), Phase::Running { group: 0 });
    world.revert(2);
    assert_eq!(world.phase().to_string(), "aborted: 3 failed");
}

#[test]
fn devices_whose_turn_has_not_come_or_that_ran_it_already_do_not_dilute_the_share() {
    let mut world = World::new(spec(&["40%", "rest"]), 10);
    let first = world.group(0);
    world.confirm(first[0], NEW);
    world.settle();
    world.revert(first[1]);
    assert_eq!(world.phase().to_string(), "aborted: 1 of the 3 whose turn has come failed");
}

#[test]
fn a_group_goes_on_when_enough_of_it_succeeded() {
    let groups = Spec { abort_percent: 50, success_percent: 75, ..spec(&["40%", "rest"]) };
    let mut world = World::new(groups, 10);
    let failed = world.group(0)[1];
    world.settle();
    world.revert(failed);
    world.confirm_all();
    assert_eq!(world.phase(), Phase::Done);
}

#[test]
fn no_more_than_so_many_update_at_the_same_time() {
    let mut world = World::new(Spec { at_once: 2, ..spec(&["rest"]) }, 4);
    world.settle();
    world.says(&["0 d0 start", "0 d1 start"]);
    world.confirm(1, NEW);
    world.says(&["0 d1 confirmed", "0 d2 start"]);
}

#[test]
fn starts_are_spread_by_the_bytes_they_ask_for() {
    let mut world = World::new(Spec { bytes_per_second: Some(500), ..spec(&["rest"]) }, 4);
    world.facts(1).transfer_bytes = IMAGE_BYTES / 4;
    world.facts(3).transfer_bytes = 0;
    world.run(1_999);
    world.says(&["0 d0 start", "0 d3 start"]);
    world.run(1);
    world.run(10_000);
    world.says(&["2000 d1 start", "2500 d2 start"]);
}

#[test]
fn nobody_is_started_outside_the_windows_and_who_is_on_the_way_goes_on() {
    // The clock starts at 00:16:40.
    let windows = vec!["00:20-00:21".parse().unwrap()];
    let timeout = Spec { windows, at_once: 1, device_timeout_ms: 3_600_000, ..spec(&["rest"]) };
    let mut world = World::new(timeout, 2);
    world.run(260_000);
    world.confirm(0, NEW);
    world.run(24 * 3_600_000);
    world.confirm(1, NEW);
    world.says(&[
        "200000 d0 start",
        "260000 d0 confirmed",
        "86600000 d1 start",
        "86660000 d1 confirmed",
        "86660000 done",
    ]);
}

#[test]
fn an_outage_stops_every_clock() {
    let mut world = World::new(Spec { soak_ms: 20_000, ..spec(&["canary:1", "rest"]) }, 2);
    world.run(50_000);
    world.says(&["0 d0 start"]);
    world.lose_link();
    world.run(3_600_000);
    assert!(world.progress().suspended);
    world.says(&[]);
    world.connect();
    world.run(9_999);
    world.says(&[]);
    world.confirm(0, NEW);
    world.says(&["3659999 d0 confirmed", "3659999 watching group 1 before the next"]);
    world.run(10_000);
    world.lose_link();
    world.run(3_600_000);
    world.connect();
    world.run(9_999);
    world.says(&[]);
    world.run(1);
    world.says(&["7279999 updating group 2", "7279999 d1 start"]);
}

#[test]
fn many_outages_do_not_give_a_device_time_without_end() {
    let mut world = World::new(spec(&["rest"]), 1);
    for _ in 0..6 {
        world.run(12_000);
        world.lose_link();
        world.run(1_000_000);
        world.connect();
    }
    // Ten of every twelve seconds counted.
    world.says(&[
        "0 d0 start",
        "5070000 d0 withdraw: failed: it was not confirmed within 60 s",
        "5070000 aborted: 1 of the 1 whose turn has come failed",
    ]);
}

#[test]
fn a_device_that_is_not_confirmed_in_time_has_failed_and_is_called_back() {
    let mut world = World::new(spec(&["rest"]), 1);
    world.run(1_000_000);
    world.says(&[
        "0 d0 start",
        "60000 d0 withdraw: failed: it was not confirmed within 60 s",
        "60000 aborted: 1 of the 1 whose turn has come failed",
    ]);
}

#[test]
fn a_rollout_without_devices_is_done() {
    let mut world = World::new(spec(&["canary:1", "10%", "rest"]), 0);
    world.settle();
    assert_eq!(world.phase(), Phase::Done);
    assert_eq!(world.progress().percent, 100);
}

#[test]
fn progress_counts_bytes_and_estimates_from_what_is_through() {
    let mut world = World::new(Spec { at_once: 2, ..spec(&["rest"]) }, 4);
    world.facts(3).transfer_bytes = 0;
    world.settle();
    assert_eq!((world.progress().percent, world.progress().eta_ms), (0, None));
    world.report(0, NEW, FirmwareState::Downloading, None);
    world.run(4_000);
    // 500 of 3001 bytes.
    assert_eq!(world.progress().percent, 16);
    world.confirm(0, NEW);
    let progress = world.progress();
    assert_eq!(progress.percent, 33);
    assert_eq!(progress.eta_ms, Some(8_000));
    assert_eq!((progress.counts.confirmed, progress.counts.started, progress.counts.pending), (1, 2, 1));
    assert_eq!(progress.groups.len(), 1);
    world.report(1, NEW, FirmwareState::Trial, None);
    world.confirm(2, NEW);
    world.confirm(3, NEW);
    assert_eq!(world.progress().percent, 99);
    world.lose_link();
    assert_eq!(world.progress().eta_ms, None);
    world.connect();
    world.confirm(1, NEW);
    assert_eq!(world.progress().percent, 100);
}

#[test]
fn a_clock_set_back_while_the_service_was_away_stops_nothing() {
    let mut world = World::new(spec(&["rest"]), 1);
    world.run(30_000);
    world.lose_link();
    world.now = Time(10_000);
    world.connect();
    world.run(29_999);
    world.says(&["0 d0 start"]);
    world.run(1);
    assert!(matches!(world.phase(), Phase::Aborted { .. }), "{:?}", world.phase());
}
