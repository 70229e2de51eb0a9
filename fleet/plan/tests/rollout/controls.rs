//! What people do to a rollout, and what it does by itself in their place.

use wasmbed_plan::rollout::{DeviceState, OnAbort, Phase, Spec};
use wasmbed_wire::message::FirmwareState;

use crate::world::{NEW, OLD, World, ready, spec};

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
fn a_device_found_in_a_trial_is_started_and_has_nothing_to_return_to() {
    let mut world = World::new(spec(&["rest"]), 1);
    world.facts(0).running = Some(NEW);
    world.report(0, NEW, FirmwareState::Trial, None);
    world.settle();
    world.says(&["0 d0 start"]);
    world.confirm(0, NEW);
    world.rollout.roll_back().unwrap();
    world.settle();
    world.says(&["0 d0 confirmed", "0 done", "0 rolled back"]);
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
fn a_paused_rollout_is_aborted_for_good() {
    let mut world = World::new(spec(&["canary:1", "rest"]), 2);
    world.settle();
    world.rollout.pause().unwrap();
    world.revert(0);
    assert_eq!(
        (world.phase().to_string().as_str(), world.rollout.hold()),
        ("aborted: 1 failed in the canary group", None)
    );
    assert!(world.rollout.resume().is_err());
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
fn devices_have_time_to_connect_again_before_a_rollback_ends_without_them() {
    let mut world = World::new(spec(&["rest"]), 1);
    world.confirm_all();
    world.forget();
    world.facts(0).online = false;
    world.connect();
    world.rollout.roll_back().unwrap();
    world.run(29_999);
    world.says(&[]);
    world.run(1);
    world.says(&["30000 rolled back"]);
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
