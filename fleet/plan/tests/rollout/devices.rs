//! Devices that are late, absent, somebody else's, or there already.

use wasmbed_plan::{
    Link,
    rollout::{DeviceState, Owner, Phase, Skip, Spec},
};
use wasmbed_wire::message::FirmwareState;

use crate::world::{NEW, OTHER, World, id, spec};

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
fn a_word_from_before_the_restart_confirms_nothing() {
    let mut world = World::new(spec(&["rest"]), 1);
    world.settle();
    world.report(0, NEW, FirmwareState::Confirmed, None);
    world.settle();
    world.says(&["0 d0 start"]);
}

#[test]
fn canaries_that_ran_it_already_are_not_watched_again() {
    let mut world = World::new(Spec { soak_ms: 60_000, ..spec(&["canary:1", "rest"]) }, 2);
    world.facts(0).running = Some(NEW);
    world.settle();
    world.says(&["0 d0 runs it already", "0 updating group 2", "0 d1 start"]);
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
fn late_devices_come_before_others_and_the_rollout_is_not_done_without_them() {
    let mut world = World::new(Spec { at_once: 1, ..spec(&["50%", "rest"]) }, 6);
    let late = *world.group(0).last().unwrap();
    let next = world.group(1);
    assert!(next[1] < late, "the order of names would do it, too");
    world.facts(late).online = false;
    world.settle();
    while world.phase() == (Phase::Running { group: 0 }) {
        world.confirm(world.started()[0], NEW);
    }
    world.facts(late).online = true;
    world.forget();
    world.confirm(next[0], NEW);
    world.says(&[&format!("0 d{} confirmed", next[0]), &format!("0 d{late} start")]);

    let mut world = World::new(spec(&["50%", "rest"]), 4);
    let late = world.group(0)[0];
    world.facts(late).online = false;
    world.settle();
    world.confirm(world.group(0)[1], NEW);
    world.facts(late).online = true;
    for number in world.group(1) {
        world.confirm(number, NEW);
    }
    assert_eq!(world.phase(), Phase::Running { group: 1 });
    world.confirm(late, NEW);
    assert_eq!(world.phase(), Phase::Done);
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
fn a_quarantined_canary_that_another_deployment_has_says_nothing_about_this_one() {
    let mut world = World::new(Spec { soak_ms: 60_000, ..spec(&["canary:1", "rest"]) }, 2);
    world.confirm_all();
    world.forget();
    world.facts(0).owner = Owner(6);
    world.facts(0).quarantined = true;
    world.run(60_000);
    world.says(&["60000 updating group 2", "60000 d1 start"]);
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
