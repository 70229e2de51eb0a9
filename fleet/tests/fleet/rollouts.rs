//! Rollouts with simulated devices, and a service that dies in between.

use serde_json::{Value, json};
use wasmbed_wire::message::Status;

use crate::{
    park::{Park, fields},
    world::{image, own, sha256},
};

fn sorted(mut ids: Vec<String>) -> Vec<String> {
    ids.sort();
    ids
}

fn named(rollout: u64) -> Value {
    json!({ "rollout": rollout })
}

#[test]
fn a_canary_goes_first_then_a_share_then_the_rest() {
    let mut park = Park::new(10);
    let rollout = park.create(&["canary:1", "40%", "rest"], json!({}));
    let groups: Vec<_> = (0..3).map(|group| park.group(rollout, group)).collect();
    assert_eq!(groups.iter().map(Vec::len).collect::<Vec<_>>(), [1, 3, 6]);

    assert_eq!(park.told("b"), groups[0], "the canary alone");
    while park.told("b").len() == 1 {
        park.step_all();
    }
    assert_eq!(park.running(&groups[0][0]), sha256(&image("b")));
    assert_eq!(park.told("b"), sorted([&groups[0][..], &groups[1]].concat()));
    while park.told("b").len() == 4 {
        park.step_all();
    }
    assert_eq!(park.of(rollout, "confirmed").len(), 4, "the share is through before the rest begins");
    park.finish();
    let shown = park.show(rollout);
    assert_eq!(
        (&shown["phase"]["name"], &shown["percent"], &shown["over"]),
        (&json!("done"), &json!(100), &json!(true))
    );
    assert_eq!(shown["counts"]["confirmed"], 10);
    assert_eq!(
        park.milestones(),
        ["rollout-created", "rollout-group", "rollout-group", "rollout-done"],
        "both groups after the first"
    );
    assert!(park.ids().iter().all(|id| park.running(id) == sha256(&image("b"))));
}

#[test]
fn a_group_is_watched_before_the_next_begins() {
    let mut park = Park::new(3);
    let rollout = park.create(&["canary:1", "rest"], json!({ "soak_ms": 60_000 }));
    while park.step_all() {}
    assert_eq!(park.phase(rollout), "soaking");
    park.run(59_000);
    assert_eq!(park.told("b").len(), 1);
    park.run(1_000);
    assert_eq!(park.told("b").len(), 3);
}

#[test]
fn a_failing_canary_ends_the_rollout_and_the_rest_is_never_touched() {
    let mut park = Park::new(5);
    park.all_break_on("b");
    let rollout = park.create(&["canary:1", "rest"], json!({}));
    let canary = park.group(rollout, 0);
    park.finish();
    park.run(600_000);
    let shown = park.show(rollout);
    assert_eq!(shown["summary"], "aborted: 1 failed in the canary group");
    assert_eq!((&shown["over"], &shown["counts"]["pending"]), (&json!(true), &json!(4)));
    assert_eq!(park.count("firmware-deployed"), 1);
    assert_eq!(
        park.milestones(),
        ["rollout-created", "warning rollout-device-failed", "alert rollout-aborted"]
    );
    let reason = park.world.reason("rollout-device-failed");
    assert!(reason.contains("crashed in its trial"), "{reason}");
    assert_eq!(park.world.wish(&canary[0]).unwrap().image, sha256(&image("a")), "it is called back");
    let (code, _) = park.world.refused("rollout-resume", named(rollout));
    assert_eq!(code, "conflict");
}

#[test]
fn an_aborted_rollout_can_bring_confirmed_devices_back() {
    let mut park = Park::new(5);
    let more = json!({ "on_abort": "rollback", "abort_failures": 1, "at_once": 1 });
    let rollout = park.create(&["canary:2", "rest"], more);
    let canaries = park.group(rollout, 0);
    park.breaks_on(&canaries[1], "b");
    park.finish();
    let shown = park.show(rollout);
    assert_eq!(shown["summary"], "rolled back: 1 failed in the canary group");
    assert_eq!((&shown["counts"]["rolled-back"], &shown["counts"]["failed"]), (&json!(1), &json!(1)));
    assert!(park.ids().iter().all(|id| park.running(id) == sha256(&image("a"))));
    assert_eq!(
        park.milestones(),
        ["rollout-created", "warning rollout-device-failed", "alert rollout-aborted", "rollout-rolled-back"]
    );
}

#[test]
fn too_few_successes_hold_the_rollout_until_somebody_resumes_it() {
    let mut park = Park::new(10);
    let rollout = park.create(&["40%", "rest"], json!({ "abort_percent": 50 }));
    let first = park.group(rollout, 0);
    park.breaks_on(&first[0], "b");
    park.finish();
    assert_eq!(park.show(rollout)["summary"], "held: only 3 of 4 succeeded in group 1");
    assert_eq!(park.told("b").len(), 3);
    assert_eq!(park.milestones().last().unwrap(), "alert rollout-held");
    park.world.ask("rollout-resume", named(rollout));
    park.finish();
    assert_eq!(park.phase(rollout), "done");
    assert_eq!(park.of(rollout, "failed"), [first[0].clone()]);
}

#[test]
fn a_paused_rollout_starts_nobody_until_it_is_resumed() {
    let mut park = Park::new(4);
    let rollout = park.create(&["rest"], json!({ "at_once": 1 }));
    park.world.ask("rollout-pause", named(rollout));
    park.finish();
    assert_eq!((park.told("b").len(), park.show(rollout)["summary"].clone()), (1, json!("paused")));
    park.world.ask("rollout-pause", named(rollout));
    park.die_and_start();
    park.finish();
    assert_eq!(park.told("b").len(), 1, "a pause outlives the service");
    park.world.ask("rollout-resume", named(rollout));
    park.finish();
    assert_eq!(park.phase(rollout), "done");
    assert_eq!(
        park.milestones(),
        ["rollout-created", "rollout-paused", "rollout-resumed", "rollout-done"],
        "pausing again is no news"
    );
}

#[test]
fn cancelling_calls_back_who_is_on_the_way_and_leaves_the_others() {
    let mut park = Park::new(4);
    let rollout = park.create(&["rest"], json!({ "at_once": 2 }));
    let first = park.told("b");
    while park.told("b").len() < 3 {
        park.step(&first[0]);
    }
    park.step(&first[1]);
    park.world.ask("rollout-cancel", named(rollout));
    park.finish();
    let shown = park.show(rollout);
    assert_eq!((&shown["summary"], &shown["over"]), (&json!("cancelled"), &json!(true)));
    let counts = &shown["counts"];
    assert_eq!(
        (&counts["confirmed"], &counts["withdrawn"], &counts["pending"]),
        (&json!(1), &json!(2), &json!(1))
    );
    let new: Vec<_> = park.ids().into_iter().filter(|id| park.running(id) == sha256(&image("b"))).collect();
    assert_eq!(new, [first[0].clone()]);
    assert_eq!(park.milestones(), ["rollout-created", "rollout-cancelled"]);
    assert_eq!(park.world.refused("rollout-cancel", named(rollout)).0, "conflict");
}

#[test]
fn a_device_in_its_trial_is_called_back_too() {
    let mut park = Park::new(1);
    let rollout = park.create(&["rest"], json!({}));
    while park.running("d0") == sha256(&image("a")) {
        park.step("d0");
    }
    park.world.ask("rollout-cancel", named(rollout));
    park.finish();
    assert_eq!(park.running("d0"), sha256(&image("a")));
    assert_eq!(park.of(rollout, "withdrawn"), ["d0"]);
}

#[test]
fn a_whole_rollout_is_rolled_back_without_a_download() {
    let mut park = Park::new(4);
    let rollout = park.create(&["canary:1", "rest"], json!({ "at_once": 2 }));
    park.finish();
    assert_eq!(park.phase(rollout), "done");
    park.world.ask("firmware-deploy", json!({ "firmware": "netduino2", "version": "1.2.0", "to": "d3" }));
    park.finish();
    park.world.ask("rollout-rollback", named(rollout));
    assert_eq!(park.told("a").len(), 2, "at most so many at once, back as well");
    let downloads = park.count("firmware-downloading");
    park.finish();
    assert_eq!(park.count("firmware-downloading"), downloads);
    let shown = park.show(rollout);
    assert_eq!((&shown["summary"], &shown["counts"]["rolled-back"]), (&json!("rolled back"), &json!(3)));
    assert_eq!(park.told("a"), ["d0", "d1", "d2"]);
    assert_eq!(park.running("d3"), sha256(&image("c")), "a later deployment has it");
    assert_eq!(park.milestones().last().unwrap(), "rollout-rolled-back");
    assert_eq!(park.world.refused("rollout-rollback", named(rollout)).0, "conflict");
}

#[test]
fn what_devices_would_return_to_must_be_in_the_registry() {
    let mut park = Park::new(2);
    let ids = park.ids();
    ids.iter().for_each(|id| park.goes_offline(id));
    let rollout = park.create(&["canary:1", "rest"], json!({}));
    let version = |version: &str| json!({ "firmware": "netduino2", "version": version });
    let refused = |park: &mut Park, text: &str| {
        let (code, message) = park.world.refused("firmware-remove", version(text));
        assert!(code == "conflict" && message.contains("rollout"), "{message}");
    };
    refused(&mut park, "1.1.0");
    ids.iter().for_each(|id| park.comes_online(id));
    park.run(1_000);
    let old = version("1.0.0");
    refused(&mut park, "1.0.0");
    park.finish();
    park.world.ask("firmware-remove", old);
    let (code, message) = park.world.refused("rollout-rollback", named(rollout));
    assert!(code == "conflict" && message.contains("no longer has"), "{message}");
    park.world.push_image("1.0.0", image("a"));
    park.world.ask("rollout-rollback", named(rollout));
    park.finish();
    assert_eq!(park.show(rollout)["summary"], "rolled back");
}

#[test]
fn no_more_than_so_many_devices_update_at_once() {
    let mut park = Park::new(9);
    let rollout = park.create(&["rest"], json!({ "at_once": 3 }));
    let mut most = 0;
    for _ in 0..1_000 {
        most = most.max(park.of(rollout, "started").len());
        let Some(id) = park.of(rollout, "started").first().cloned() else { break };
        park.step(&id);
    }
    assert_eq!((most, park.phase(rollout)), (3, "done".to_owned()));
}

#[test]
fn bytes_per_second_pace_the_starts() {
    let mut park = Park::new(3);
    let rate = image("b").len() as u64 / 10;
    park.create(&["rest"], json!({ "bytes_per_second": rate }));
    let mut told = vec![park.told("b").len()];
    for _ in 0..2 {
        park.run(9_000);
        told.push(park.told("b").len());
        park.run(2_000);
        told.push(park.told("b").len());
    }
    assert_eq!(told, [1, 1, 2, 2, 3]);
}

#[test]
fn outside_of_its_windows_a_rollout_waits() {
    let mut park = Park::new(1);
    // The clock of these tests begins at a quarter past midnight on a Thursday.
    let opens = 20 * 60_000;
    park.create(&["rest"], json!({ "windows": ["thu 00:20-03:00"] }));
    park.run(opens - 1 - park.world.now.0);
    assert!(park.told("b").is_empty());
    park.run(1_000);
    assert_eq!(park.told("b"), ["d0"]);
}

#[test]
fn devices_that_are_away_are_not_waited_for_and_updated_when_they_come() {
    let mut park = Park::new(4);
    park.goes_offline("d2");
    let rollout = park.create(&["rest"], json!({}));
    park.finish();
    let shown = park.show(rollout);
    assert_eq!((&shown["summary"], &shown["counts"]["absent"]), (&json!("done"), &json!(1)));
    assert_eq!((&shown["over"], &shown["percent"]), (&json!(false), &json!(75)));
    park.die_and_start();
    park.comes_online("d2");
    park.finish();
    assert_eq!(park.running("d2"), sha256(&image("b")));
    assert_eq!(park.show(rollout)["over"], true);
}

#[test]
fn a_group_that_should_wait_for_its_devices_does() {
    let mut park = Park::new(2);
    park.goes_offline("d0");
    let rollout = park.create(&["rest"], json!({ "wait_offline": true }));
    park.finish();
    park.run(600_000);
    assert_eq!(park.phase(rollout), "running");
    park.comes_online("d0");
    park.finish();
    assert_eq!(park.phase(rollout), "done");
}

#[test]
fn while_the_broker_is_away_a_rollout_is_suspended_and_nobody_is_late() {
    let mut park = Park::new(3);
    let rollout = park.create(&["canary:1", "rest"], json!({ "device_timeout_ms": 120_000 }));
    park.step_all();
    park.run(60_000);
    park.world.disconnect();
    assert_eq!(park.show(rollout)["suspended"], true);
    park.world.run(24 * 3_600_000);
    assert_eq!(park.of(rollout, "started").len(), 1);
    park.reconnect();
    assert_eq!(park.show(rollout)["suspended"], false);
    park.run(45_000);
    assert_eq!(park.of(rollout, "started").len(), 1, "it has a minute left");
    park.finish();
    assert_eq!(park.phase(rollout), "done");
    assert!(!park.events().contains(&"warning rollout-device-failed".to_owned()));
}

#[test]
fn a_device_that_is_late_fails_and_its_time_outlives_the_service() {
    let mut park = Park::new(1);
    let rollout = park.create(&["rest"], json!({ "device_timeout_ms": 120_000 }));
    park.step_all();
    park.run(100_000);
    park.die_and_start();
    park.run(40_000);
    assert_eq!(park.of(rollout, "failed"), ["d0"]);
    let reason = park.world.reason("rollout-device-failed");
    assert!(reason.contains("within 120 s"), "{reason}");
    assert_eq!(park.world.wish("d0").unwrap().image, sha256(&image("a")));
}

#[test]
fn a_service_that_dies_after_every_step_does_nothing_twice_and_forgets_nothing() {
    let mut park = Park::new(5);
    let rollout = park.create(&["canary:1", "40%", "rest"], json!({ "at_once": 2, "on_abort": "rollback" }));
    let mut steps = 0;
    for round in 0..200 {
        park.die_and_start();
        let id = format!("d{}", round % 5);
        steps += usize::from(park.step(&id));
        park.die_and_start();
        assert!(park.of(rollout, "started").len() <= 2);
    }
    assert!(steps > 5 * 5, "{steps}");
    assert_eq!((park.phase(rollout), park.of(rollout, "confirmed").len()), ("done".to_owned(), 5));
    assert_eq!(park.milestones(), ["rollout-created", "rollout-group", "rollout-group", "rollout-done"]);
    assert_eq!(park.count("firmware-deployed"), 5);

    park.world.ask("rollout-rollback", named(rollout));
    for round in 0..200 {
        park.die_and_start();
        park.step(&format!("d{}", round % 5));
    }
    assert_eq!(park.of(rollout, "rolled-back").len(), 5);
    assert_eq!(park.count("firmware-deployed"), 10);
    assert!(park.ids().iter().all(|id| park.running(id) == sha256(&image("a"))));
}

#[test]
fn a_service_that_dies_on_a_failing_canary_touches_nobody_else() {
    let mut park = Park::new(4);
    park.all_break_on("b");
    let rollout = park.create(&["canary:1", "rest"], json!({}));
    for round in 0..60 {
        park.die_and_start();
        park.step(&format!("d{}", round % 4));
    }
    assert_eq!(park.phase(rollout), "aborted");
    assert_eq!(park.count("firmware-deployed"), 1);
    assert_eq!(park.count("rollout-aborted"), 1);
    assert_eq!(park.count("rollout-device-failed"), 1);
}

#[test]
fn progress_is_told_in_steps_of_five_percent_and_never_twice() {
    let mut park = Park::new(3);
    park.create(&["rest"], json!({ "at_once": 1 }));
    for _ in 0..40 {
        park.step_all();
        park.run(1_000);
        park.die_and_start();
    }
    let events = park.world.ask("event-list", json!({ "limit": 10_000 }));
    let told = events.as_array().unwrap().iter().filter(|event| event["kind"] == "rollout-progress");
    let percent = |event: &Value| {
        let text = event["reason"].as_str().unwrap().split_once(": ").unwrap().1;
        text.split_once(' ').unwrap().0.parse::<u8>().unwrap()
    };
    let told: Vec<u8> = told.map(percent).collect();
    assert!(told.len() >= 8 && told.last() == Some(&100), "{told:?}");
    assert!(told.windows(2).all(|pair| pair[0] / 5 < pair[1] / 5), "{told:?}");
}

#[test]
fn a_device_that_is_deployed_to_directly_leaves_the_rollout() {
    let mut park = Park::new(4);
    let rollout = park.create(&["rest"], json!({ "at_once": 1 }));
    let (started, pending) = (park.told("b")[0].clone(), park.of(rollout, "pending")[0].clone());
    park.step(&started);
    for id in [&started, &pending] {
        park.world.ask("firmware-deploy", json!({ "firmware": "netduino2", "version": "1.2.0", "to": id }));
    }
    park.finish();
    assert_eq!(park.of(rollout, "skipped"), sorted(vec![started.clone(), pending.clone()]));
    assert_eq!(park.phase(rollout), "done");
    for id in [&started, &pending] {
        assert_eq!(park.running(id), sha256(&image("c")), "the rollout did not call it back");
    }
    assert_eq!(park.of(rollout, "confirmed").len(), 2);
}

#[test]
fn a_device_that_was_named_directly_is_taken_even_if_nothing_changed_for_it() {
    let mut park = Park::new(2);
    let rollout = park.create(&["rest"], json!({ "at_once": 1 }));
    let started = park.told("b")[0].clone();
    let same = json!({ "firmware": "netduino2", "version": "1.1.0", "to": started });
    assert_eq!(park.world.ask("firmware-deploy", same)["devices"][0]["changed"], false);
    park.world.ask("rollout-cancel", named(rollout));
    park.finish();
    assert_eq!(park.running(&started), sha256(&image("b")));
    assert_eq!(park.of(rollout, "skipped"), [started]);
    park.world.ask("firmware-clear", json!({ "to": "all" }));
}

#[test]
fn of_two_rollouts_the_later_one_has_the_devices() {
    let mut park = Park::new(4);
    let first = park.create(&["rest"], json!({ "at_once": 2 }));
    let started = park.told("b");
    assert!(started.iter().all(|id| park.step(id)));
    let second = park.create(&["canary:1", "rest"], json!({ "version": "1.2.0", "to": ["d0", "d1", "d2"] }));
    assert!(second > first);
    park.finish();
    let shown = park.show(first);
    assert_eq!(
        (&shown["counts"]["skipped"], &shown["counts"]["confirmed"], &shown["over"]),
        (&json!(3), &json!(1), &json!(true))
    );
    assert_eq!((park.phase(second), park.of(second, "confirmed").len()), ("done".to_owned(), 3));
    for id in ["d0", "d1", "d2"] {
        assert_eq!(park.running(id), sha256(&image("c")));
    }
    assert_eq!(park.running("d3"), sha256(&image("b")));
    let listed = park.world.ask("rollout-list", json!({}));
    let numbers: Vec<u64> =
        listed.as_array().unwrap().iter().map(|rollout| rollout["rollout"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [first, second]);
    assert!(listed[0].get("devices").is_none());
}

#[test]
fn a_device_that_is_removed_leaves_the_rollout() {
    let mut park = Park::new(2);
    let rollout = park.create(&["rest"], json!({ "at_once": 1 }));
    let started = park.told("b")[0].clone();
    park.world.ask("device-remove", json!({ "device": started }));
    assert_eq!(park.of(rollout, "skipped"), [started]);
    assert_eq!(park.of(rollout, "started").len(), 1, "the next has its turn");
}

#[test]
fn devices_get_patches_where_those_were_made_in_time() {
    let mut park = Park::new(2);
    let asked = fields(&["rest"], json!({}));
    assert_eq!(park.world.prepare_for("rollout-create", &asked, &[&image("a"), &image("b")]), 1);
    let rollout = park.create(&["rest"], json!({}));
    let bytes = park.show(rollout)["devices"][0]["transfer_bytes"].as_u64().unwrap();
    assert!(bytes > 0 && bytes < image("b").len() as u64 * 8 / 10, "{bytes}");
    assert!(park.world.wish("d0").unwrap().patch.is_some());
}

#[test]
fn a_patch_nobody_would_believe_is_not_counted_on() {
    let mut park = Park::new(1);
    let asked = fields(&["rest"], json!({}));
    park.world.prepare_for("rollout-create", &asked, &[&image("a"), &image("b")]);
    let key = json!({ "name": "service", "key": own().public(), "roles": ["root", "firmware"] });
    park.world.ask("key-add", key);
    let rollout = park.create(&["rest"], json!({}));
    assert_eq!(park.show(rollout)["devices"][0]["transfer_bytes"], image("b").len());
    assert!(park.world.wish("d0").unwrap().patch.is_none());
}

#[test]
fn what_cannot_be_rolled_out_is_refused_and_leaves_no_trace() {
    let mut park = Park::new(2);
    park.world.ask("device-add", json!({ "device": "hub", "board": "linux" }));
    let cases = [
        (json!({}), "conflict", "hub: it is a linux"),
        (json!({ "version": "9.0.0" }), "not-found", "9.0.0"),
        (json!({ "to": "nobody" }), "not-found", "nobody"),
        (json!({ "to": "d0", "groups": ["10%"] }), "bad-request", "leave devices out"),
        (json!({ "to": "d0", "groups": ["most"] }), "bad-request", "most"),
        (json!({ "to": "d0", "at_once": 0 }), "bad-request", "at_once"),
        (json!({ "to": "d0", "windows": ["always"] }), "bad-request", "always"),
        (json!({ "to": "d0", "speed": 3 }), "bad-request", "speed"),
    ];
    for (more, code, text) in cases {
        let (found, message) = park.world.refused("rollout-create", fields(&["rest"], more));
        assert!(found == code && message.contains(text), "{found}: {message}");
    }
    assert_eq!(park.world.ask("rollout-list", json!({})), json!([]));
    assert_eq!(park.world.refused("rollout-show", named(7)).0, "not-found");
    assert!(park.events().is_empty());
}

#[test]
fn a_limit_of_null_is_none() {
    let mut park = Park::new(4);
    park.all_break_on("b");
    let more = json!({ "abort_canary_failures": null, "abort_percent": 100, "success_percent": 0 });
    let rollout = park.create(&["canary:1", "rest"], more);
    let shown = park.show(rollout);
    assert_eq!(shown["spec"]["abort_canary_failures"], Value::Null);
}

#[test]
fn a_rollout_asked_for_twice_with_one_id_is_made_once() {
    let mut park = Park::new(2);
    let asked = fields(&["rest"], json!({ "id": "r-1" }));
    let first = park.world.ask("rollout-create", asked.clone());
    park.die_and_start();
    assert_eq!(park.world.ask("rollout-create", asked), first);
    assert_eq!(park.world.ask("rollout-list", json!({})).as_array().unwrap().len(), 1);
}

#[test]
fn a_full_disk_stops_a_rollout_and_room_lets_it_go_on() {
    let mut park = Park::new(3);
    let rollout = park.create(&["canary:1", "rest"], json!({}));
    park.world.fill_the_disk(Some(0));
    park.reconnect();
    for _ in 0..200 {
        park.step_all();
        park.run(1_000);
    }
    assert_eq!(park.phase(rollout), "running", "it stands still");
    park.world.fill_the_disk(None);
    park.reconnect();
    park.finish();
    assert_eq!((park.phase(rollout), park.of(rollout, "confirmed").len()), ("done".to_owned(), 3));
}

#[test]
fn a_device_that_restarts_is_not_taken_for_one_that_is_back() {
    let mut park = Park::new(2);
    park.goes_offline("d1");
    park.create(&["rest"], json!({}));
    // Connected again, but it has not said what it is and runs.
    park.world.state("d1", Status::Online, 7);
    park.world.run(5_000);
    assert!(park.world.wish("d1").is_none());
}
