//! Scripts over a few devices: facts come in, the clock moves, actions come out.

use wasmbed_plan::{
    Link, Time,
    rollout::{DeviceState, OnAbort, Owner, Phase, Skip, Spec},
};
use wasmbed_wire::message::{FirmwareState, Reason};

use crate::world::{IMAGE_BYTES, NEW, OLD, OTHER, World, id, ready, spec};

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
fn an_abort_can_roll_confirmed_devices_back() {
    let mut world = World::new(Spec { on_abort: OnAbort::Rollback, ..spec(&["canary:2", "rest"]) }, 2);
    world.settle();
    world.confirm(0, NEW);
    world.forget();
    world.revert(1);
    world.run(1_000);
    world.confirm(0, OLD);
    world.says(&[
        "0 d1 withdraw: failed: it did not prove itself; the one before runs again",
        "0 rolling back: 1 failed in the canary group",
        "0 d0 roll back",
        "1000 d0 rolled back",
        "1000 rolled back: 1 failed in the canary group",
    ]);
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
fn too_few_successes_hold_the_rollout_until_somebody_resumes_it() {
    let groups = Spec { abort_percent: 50, ..spec(&["40%", "rest"]) };
    let mut world = World::new(groups, 10);
    let failed = world.group(0)[1];
    world.settle();
    world.revert(failed);
    world.confirm_all();
    assert_eq!(world.rollout.hold().unwrap().to_string(), "held: only 3 of 4 succeeded in group 1");
    world.run(1_000_000);
    assert_eq!(world.progress().counts.pending, 6);
    world.rollout.resume().unwrap();
    world.confirm_all();
    assert_eq!(world.phase(), Phase::Done);
    assert_eq!(world.progress().counts.confirmed, 9);
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
    world.run(10_000);
    world.says(&["0 d0 start", "0 d3 start", "2000 d1 start", "2500 d2 start"]);
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
fn a_device_that_runs_the_firmware_already_is_not_started() {
    let mut world = World::new(spec(&["canary:1", "rest"]), 2);
    world.facts(0).running = Some(NEW);
    world.confirm(1, NEW);
    world.says(&["0 d0 runs it already", "0 d1 runs it already", "0 updating group 2", "0 done"]);
    world.rollout.roll_back().unwrap();
    world.run(1_000);
    world.says(&["0 rolled back"]);
}

#[test]
fn a_trial_is_not_taken_for_a_confirmed_firmware() {
    let mut world = World::new(spec(&["rest"]), 1);
    world.settle();
    world.facts(0).running = Some(NEW);
    world.settle();
    world.report(0, NEW, FirmwareState::Trial, None);
    world.settle();
    world.says(&["0 d0 start"]);
    world.confirm(0, NEW);
    world.says(&["0 d0 confirmed", "0 done"]);
}

#[test]
fn devices_that_are_not_connected_do_not_stop_the_others_and_come_later() {
    let mut world = World::new(spec(&["50%", "rest"]), 4);
    let (late, last) = (world.group(0)[0], world.group(1)[0]);
    world.facts(late).online = false;
    world.facts(last).online = false;
    world.confirm_all();
    assert_eq!(world.phase(), Phase::Done);
    assert!(!world.rollout.is_over());
    assert_eq!(world.progress().counts.absent, 2);
    world.forget();
    world.facts(late).online = true;
    world.settle();
    world.revert(late);
    world.facts(last).online = true;
    world.settle();
    world.says(&[
        &format!("0 d{late} start"),
        &format!("0 d{late} withdraw: failed: it did not prove itself; the one before runs again"),
        "0 aborted: 1 of the 3 whose turn has come failed",
    ]);
}

#[test]
fn a_late_device_is_started_with_the_group_that_runs_then() {
    let mut world = World::new(spec(&["50%", "rest"]), 4);
    let late = world.group(0)[0];
    world.facts(late).online = false;
    world.settle();
    let first = world.group(0)[1];
    world.confirm(first, NEW);
    world.forget();
    world.facts(late).online = true;
    world.settle();
    world.says(&[&format!("0 d{late} start")]);
    world.confirm_all();
    assert!(world.rollout.is_over());
}

#[test]
fn a_group_that_should_wait_for_its_devices_does() {
    let mut world = World::new(Spec { wait_offline: true, ..spec(&["50%", "rest"]) }, 4);
    let late = world.group(0)[0];
    world.facts(late).online = false;
    world.confirm_all();
    world.run(1_000_000);
    assert_eq!(world.phase(), Phase::Running { group: 0 });
    world.facts(late).online = true;
    world.confirm_all();
    assert_eq!(world.phase(), Phase::Done);
}

#[test]
fn canaries_that_are_all_absent_prove_nothing() {
    let mut world = World::new(spec(&["canary:1", "rest"]), 3);
    let canary = world.group(0)[0];
    world.facts(canary).online = false;
    world.run(1_000_000);
    world.says(&[]);
    world.facts(canary).online = true;
    world.confirm_all();
    assert_eq!(world.phase(), Phase::Done);
}

#[test]
fn devices_have_time_to_connect_again_after_the_service_did() {
    let mut world = World::new(spec(&["rest"]), 2);
    world.settle();
    world.confirm(0, NEW);
    world.view.link = Some(Link { session: 2, since: world.now });
    world.view.devices.values_mut().for_each(|facts| facts.online = false);
    world.confirm(1, NEW);
    world.says(&["0 d0 start", "0 d1 start", "0 d0 confirmed", "0 d1 confirmed", "0 done"]);

    let mut world = World::new(spec(&["rest"]), 2);
    world.facts(0).online = false;
    world.connect();
    world.settle();
    world.confirm(1, NEW);
    world.run(29_999);
    world.says(&["0 d1 start", "0 d1 confirmed"]);
    world.run(1);
    world.says(&["30000 done"]);
}

#[test]
fn removed_and_unfit_devices_are_skipped() {
    let mut world = World::new(spec(&["canary:1", "rest"]), 3);
    world.settle();
    let canary = world.group(0)[0];
    let rest = world.group(1);
    world.forget();
    world.view.devices.remove(&id(canary));
    world.facts(rest[0]).fits = false;
    world.confirm_all();
    assert_eq!(world.state(canary), DeviceState::Skipped { why: Skip::Removed });
    assert_eq!(world.state(rest[0]), DeviceState::Skipped { why: Skip::Unfit });
    assert_eq!(world.phase(), Phase::Done);
}

#[test]
fn a_later_deployment_takes_its_device_out_and_an_earlier_one_does_not() {
    let mut world = World::new(spec(&["rest"]), 3);
    world.facts(0).owner = Owner(6);
    world.facts(1).owner = Owner(1);
    world.settle();
    world.says(&["0 d0 skipped: a later deployment has the device", "0 d1 start", "0 d2 start"]);
    world.facts(1).owner = Owner(6);
    world.report(1, OTHER, FirmwareState::Downloading, None);
    world.settle();
    world.says(&["0 d1 skipped: a later deployment has the device"]);
    world.confirm(2, NEW);
    world.facts(2).owner = Owner(6);
    world.rollout.roll_back().unwrap();
    world.settle();
    world.says(&[
        "0 d2 confirmed",
        "0 done",
        "0 d2 skipped: a later deployment has the device",
        "0 rolled back",
    ]);
}

#[test]
fn a_paused_rollout_starts_nobody_and_still_sees_what_happens() {
    let mut world = World::new(Spec { at_once: 1, ..spec(&["canary:1", "rest"]) }, 3);
    world.settle();
    world.rollout.pause().unwrap();
    world.confirm(world.started()[0], NEW);
    world.run(1_000_000);
    assert_eq!(world.progress().counts.confirmed, 1);
    assert_eq!(world.phase(), Phase::Running { group: 0 });
    world.rollout.resume().unwrap();
    world.confirm_all();
    assert_eq!(world.phase(), Phase::Done);
}

#[test]
fn cancelling_calls_back_who_is_on_the_way_and_leaves_the_confirmed_ones() {
    let mut world = World::new(Spec { at_once: 2, ..spec(&["rest"]) }, 4);
    world.settle();
    world.confirm(0, NEW);
    world.forget();
    // One of the two was through at the same moment.
    world.facts(1).running = Some(NEW);
    world.report(1, NEW, FirmwareState::Confirmed, None);
    world.rollout.cancel().unwrap();
    world.run(1_000_000);
    world.says(&["0 d1 confirmed", "0 d2 withdraw: withdrawn"]);
    assert!(world.rollout.is_over());
    assert!(world.rollout.pause().is_err());
    assert_eq!(world.rollout.cancel().unwrap_err().to_string(), "cannot cancel the rollout: it is cancelled");
}

#[test]
fn rolling_back_calls_back_and_returns_so_many_at_once() {
    let mut world = World::new(Spec { at_once: 2, ..spec(&["rest"]) }, 4);
    world.settle();
    world.confirm(0, NEW);
    world.confirm(1, NEW);
    world.confirm(2, NEW);
    world.forget();
    world.rollout.roll_back().unwrap();
    world.settle();
    world.says(&["0 d3 withdraw: withdrawn", "0 d0 roll back", "0 d1 roll back"]);
    world.facts(0).running = Some(OLD);
    world.report(0, OLD, FirmwareState::Trial, None);
    world.settle();
    world.says(&[]);
    world.confirm(0, OLD);
    world.says(&["0 d0 rolled back", "0 d2 roll back"]);
    world.confirm(2, OLD);
    world.run(60_000);
    world.says(&[
        "0 d2 rolled back",
        "60000 d1 failed: the device did not return to its firmware within 60 s",
        "60000 rolled back",
    ]);
    assert!(world.rollout.roll_back().is_err());
}

#[test]
fn an_absent_device_returns_when_it_comes() {
    let mut world = World::new(spec(&["rest"]), 2);
    world.confirm_all();
    world.facts(0).online = false;
    world.rollout.roll_back().unwrap();
    world.settle();
    world.confirm(1, OLD);
    assert_eq!(world.phase(), Phase::RolledBack { why: None });
    assert!(!world.rollout.is_over());
    world.forget();
    world.facts(0).online = true;
    world.settle();
    world.confirm(0, OLD);
    world.says(&["0 d0 roll back", "0 d0 rolled back"]);
    assert!(world.rollout.is_over());
}

#[test]
fn a_canary_that_has_to_be_quarantined_while_it_is_watched_has_failed() {
    let mut world = World::new(Spec { soak_ms: 60_000, ..spec(&["canary:1", "rest"]) }, 3);
    world.confirm_all();
    let canary = world.group(0)[0];
    world.forget();
    world.facts(canary).quarantined = true;
    world.settle();
    world.says(&[
        &format!("0 d{canary} withdraw: failed: the device had to be quarantined after the update"),
        "0 aborted: 1 failed in the canary group",
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

#[test]
fn a_device_that_was_in_recovery_has_nothing_to_return_to() {
    let mut world = World::new(spec(&["rest"]), 1);
    *world.facts(0) = wasmbed_plan::rollout::Facts { running: None, ..ready() };
    world.confirm_all();
    world.rollout.roll_back().unwrap();
    world.settle();
    assert!(matches!(world.state(0), DeviceState::Confirmed { .. }));
    assert!(world.rollout.is_over());
}
