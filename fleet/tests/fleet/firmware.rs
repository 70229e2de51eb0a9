//! From a request to a confirmed firmware, and every way it can end otherwise.

use serde_json::json;
use wasmbed_fleet::artifacts::Release;
use wasmbed_wire::message::{FirmwareReport, FirmwareSlots, FirmwareState as S, Reason, Status};

use crate::world::{World, image, own, sha256, signed};

/// A device that runs version 1.0.0, and a registry that has 1.1.0 too.
fn ready() -> World {
    let mut world = World::with_devices();
    world.push_image("1.0.0", image("a"));
    world.push_image("1.1.0", image("b"));
    world.runs("pump", "netduino2", &image("a"));
    world.sent.clear();
    world
}

fn deploy(version: &str) -> serde_json::Value {
    json!({ "firmware": "netduino2", "version": version, "to": "pump" })
}

/// The device has gone through the download and starts its trial.
fn into_trial(world: &mut World, since: u32) {
    for (state, progress) in [(S::Checking, 0), (S::Downloading, 0), (S::Downloading, 60), (S::Armed, 100)] {
        world.firmware("pump", state, progress);
    }
    let slots = FirmwareSlots { other: Some(sha256(&image("a"))), ..slots(&image("b")) };
    world.has("pump", "netduino2", slots);
    world.trial("pump", since);
}

fn slots(image: &[u8]) -> FirmwareSlots {
    FirmwareSlots {
        running: Some(sha256(image)),
        other: None,
        image_bytes: 0x2_0000,
        patch_bytes: 0x1_0000,
        counter: 0,
    }
}

#[test]
fn a_deployed_firmware_is_desired_tried_and_confirmed() {
    let mut world = ready();
    let answer = world.ask("firmware-deploy", deploy("1.1.0"));
    let device = &answer["devices"][0];
    assert_eq!((&device["changed"], &device["version"]), (&json!(true), &json!("1.1.0")));
    assert_eq!(device["transfer_bytes"], image("b").len());
    let wish = world.wish("pump").unwrap();
    assert_eq!((wish.image, wish.patch, wish.confirm), (sha256(&image("b")), None, None));

    world.firmware("pump", S::Downloading, 30);
    let status = world.firmware_status("pump");
    assert_eq!((&status["state"], &status["progress"]), (&json!("downloading"), &json!(30)));
    assert_eq!(status["done_bytes"], image("b").len() * 30 / 100);
    assert_eq!(
        (&status["running"]["version"], &status["desired"]["version"]),
        (&json!("1.0.0"), &json!("1.1.0"))
    );

    into_trial(&mut world, 9);
    let confirmed = world.wish("pump").unwrap();
    assert_eq!((confirmed.confirm, confirmed.generation), (Some(9), wish.generation));
    world.firmware("pump", S::Confirmed, 100);
    let status = world.firmware_status("pump");
    assert_eq!((&status["state"], &status["running"]["version"]), (&json!("confirmed"), &json!("1.1.0")));
    assert_eq!(
        world.told(),
        [
            "firmware-deployed",
            "firmware-downloading",
            "firmware-downloading",
            "firmware-downloading",
            "firmware-staged",
            "firmware-trial",
            "firmware-confirmed",
        ]
    );
    assert!(world.reason("firmware-downloading").contains("100 %"));
}

#[test]
fn a_trial_is_confirmed_again_only_when_it_starts_again() {
    let mut world = ready();
    world.ask("firmware-deploy", deploy("1.1.0"));
    into_trial(&mut world, 9);
    let revision = world.desired("pump").unwrap().0;
    world.trial("pump", 9);
    assert_eq!(world.desired("pump").unwrap().0, revision);
    world.die_and_start();
    world.trial("pump", 9);
    assert_eq!(world.desired("pump").unwrap().0, revision, "it was durable");
    world.trial("pump", 12);
    assert_eq!(world.wish("pump").unwrap().confirm, Some(12));
}

#[test]
fn a_trial_that_begins_before_the_device_hears_what_is_wanted_is_told_once() {
    let mut world = ready();
    world.ask("firmware-deploy", deploy("1.1.0"));
    world.firmware("pump", S::Armed, 100);
    let image = sha256(&image("b"));
    let early =
        FirmwareReport { image, state: S::Trial, progress: 100, reason: None, generation: 0, since: Some(9) };
    world.report("pump", early);
    assert_eq!(world.firmware_status("pump")["state"], "trial");
    world.trial("pump", 9);
    assert_eq!(world.told().iter().filter(|kind| *kind == "firmware-trial").count(), 1);
    assert_eq!(world.wish("pump").unwrap().confirm, Some(9));
}

#[test]
fn a_trial_of_another_image_than_the_wanted_one_is_not_confirmed() {
    let mut world = ready();
    world.ask("firmware-deploy", deploy("1.1.0"));
    let before = world.desired("pump").unwrap().0;
    let image = sha256(b"something else");
    let report =
        FirmwareReport { image, state: S::Trial, progress: 100, reason: None, generation: 0, since: Some(3) };
    world.report("pump", report);
    assert_eq!((world.desired("pump").unwrap().0, world.wish("pump").unwrap().confirm), (before, None));
}

#[test]
fn progress_is_told_once_in_quarters_also_over_restarts_of_device_and_service() {
    let mut world = ready();
    world.ask("firmware-deploy", deploy("1.1.0"));
    for progress in [0, 3, 27, 30] {
        world.firmware("pump", S::Downloading, progress);
    }
    world.run(10_000);
    let told = world.told();
    world.die_and_start();
    assert_eq!(told.iter().filter(|kind| *kind == "firmware-downloading").count(), 2);
    for (state, progress) in
        [(S::Checking, 0), (S::Downloading, 31), (S::Downloading, 100), (S::Verifying, 100)]
    {
        world.firmware("pump", state, progress);
    }
    assert_eq!(world.told(), ["firmware-downloading"]);
}

#[test]
fn a_reverted_firmware_raises_an_alert_and_is_tried_again_only_on_request() {
    let mut world = ready();
    world.ask("firmware-deploy", deploy("1.1.0"));
    into_trial(&mut world, 9);
    let first = world.wish("pump").unwrap().generation;
    world.runs("pump", "netduino2", &image("a"));
    for _ in 0..2 {
        world.failed("pump", S::Reverted, Reason::Crashed);
    }
    assert_eq!(world.told().iter().filter(|kind| *kind == "alert firmware-reverted").count(), 1);
    assert!(world.reason("firmware-reverted").contains("crashed in its trial"));
    assert_eq!(world.wish("pump").unwrap().generation, first);
    let status = world.firmware_status("pump");
    assert_eq!((&status["state"], &status["reason"]), (&json!("reverted"), &json!("crashed")));

    world.ask("firmware-clear", json!({ "to": "pump" }));
    let cleared = world.wish("pump").unwrap();
    assert!(cleared.generation > first && cleared.confirm.is_none());
    assert_eq!(world.ask("firmware-clear", json!({ "to": "pump" }))["devices"][0]["changed"], false);
    world.failed("pump", S::Reverted, Reason::Hung);
    assert_eq!(world.told().iter().filter(|kind| *kind == "alert firmware-reverted").count(), 2);
    world.ask("firmware-deploy", deploy("1.1.0"));
    assert!(world.wish("pump").unwrap().generation > cleared.generation, "deploying again tries again");
}

#[test]
fn a_refused_firmware_raises_an_alert_with_the_reason() {
    let mut world = ready();
    world.ask("firmware-deploy", deploy("1.1.0"));
    for _ in 0..2 {
        world.failed("pump", S::Refused, Reason::KeyExpired);
    }
    assert_eq!(world.told(), ["firmware-deployed", "alert firmware-refused"]);
    assert!(world.reason("firmware-refused").contains("expired"));
}

#[test]
fn deploying_what_is_on_its_way_changes_nothing_unless_forced() {
    let mut world = ready();
    world.ask("firmware-deploy", deploy("1.1.0"));
    let first = world.wish("pump").unwrap();
    assert_eq!(world.ask("firmware-deploy", deploy("1.1.0"))["devices"][0]["changed"], false);
    let mut forced = deploy("1.1.0");
    forced["force"] = json!(true);
    world.ask("firmware-deploy", forced);
    assert!(world.wish("pump").unwrap().generation > first.generation);
}

#[test]
fn of_two_deployments_the_later_one_wins() {
    let mut world = ready();
    world.push_image("1.2.0", image("c"));
    world.ask("firmware-deploy", deploy("1.1.0"));
    world.firmware("pump", S::Downloading, 50);
    world.ask("firmware-deploy", deploy("1.2.0"));
    let wish = world.wish("pump").unwrap();
    assert_eq!(wish.image, sha256(&image("c")));
    // A late word about the first says nothing about the second.
    let late = FirmwareReport {
        image: sha256(&image("b")),
        state: S::Trial,
        progress: 100,
        reason: None,
        generation: wish.generation - 1,
        since: Some(9),
    };
    world.report("pump", late);
    assert_eq!(world.wish("pump"), Some(wish));
    assert!(world.firmware_status("pump").get("state").is_none());
}

#[test]
fn devices_that_cannot_take_a_firmware_are_named_and_nothing_is_deployed() {
    let mut world = ready();
    let counted = Release { counter: 2, ..Release::new("netduino2".parse().unwrap(), "2.0.0") };
    world.upload("netduino2", "2.0.0", signed(&own(), "netduino2", counted, image("e")));
    let cases = [
        (FirmwareSlots { image_bytes: 100, ..slots(&image("a")) }, "1.1.0", "slots hold 100"),
        (FirmwareSlots { counter: 2, ..slots(&image("a")) }, "1.1.0", "has confirmed 2"),
    ];
    for (slots, version, named) in cases {
        world.has("pump", "netduino2", slots);
        let (code, message) = world.refused("firmware-deploy", deploy(version));
        assert_eq!(code, "conflict");
        assert!(message.contains("pump") && message.contains(named), "{message}");
    }
    world.ask("firmware-deploy", deploy("2.0.0"));
    let everywhere = json!({ "firmware": "netduino2", "version": "2.0.0", "to": "all" });
    let (_, message) = world.refused("firmware-deploy", everywhere);
    assert!(message.contains("hub: it is a linux"), "{message}");
    let mut forced = deploy("1.1.0");
    forced["force"] = json!(true);
    world.ask("firmware-deploy", forced);
    assert_eq!(world.wish("pump").unwrap().image, sha256(&image("b")), "the device is left to judge");
}

#[test]
fn a_device_without_slots_and_an_unknown_firmware_are_refused() {
    let mut world = World::with_devices();
    world.push_image("1.0.0", image("a"));
    let (_, message) = world.refused("firmware-deploy", deploy("1.0.0"));
    assert!(message.contains("cannot be replaced"), "{message}");
    let (code, message) = world.refused("firmware-deploy", deploy("9.0.0"));
    assert_eq!(code, "not-found");
    assert!(message.contains("9.0.0"), "{message}");
}

#[test]
fn a_firmware_whose_key_was_retired_is_not_deployed() {
    let mut world = ready();
    let release = wasmbed_fleet::artifacts::Signer::from_seed([8; 32]);
    world.ask("key-add", json!({ "name": "release", "key": release.public(), "roles": ["firmware"] }));
    let file = signed(&release, "netduino2", Release::new("netduino2".parse().unwrap(), "3.0.0"), image("f"));
    assert!(world.upload("netduino2", "3.0.0", file).ok);
    world.ask("key-retire", json!({ "name": "release" }));
    let (_, message) = world.refused("firmware-deploy", deploy("3.0.0"));
    assert!(message.contains("not trusted"), "{message}");
}

#[test]
fn cancelling_a_download_leaves_what_runs() {
    let mut world = ready();
    world.ask("firmware-deploy", deploy("1.1.0"));
    world.firmware("pump", S::Downloading, 50);
    world.ask("firmware-cancel", json!({ "to": "pump" }));
    assert_eq!(world.wish("pump").unwrap().image, sha256(&image("a")));
    assert_eq!(world.ask("firmware-cancel", json!({ "to": "pump" }))["devices"][0]["changed"], false);
    assert!(world.told().ends_with(&["firmware-cancelled".to_owned()]));
}

#[test]
fn cancelling_where_the_running_image_is_not_known_lets_it_stay() {
    let mut world = ready();
    world.runs("pump", "netduino2", &image("unknown"));
    world.ask("firmware-deploy", deploy("1.1.0"));
    world.ask("firmware-cancel", json!({ "to": "pump" }));
    assert_eq!(world.wish("pump"), None);
    world.die_and_start();
    assert_eq!(world.wish("pump"), None);
}

#[test]
fn cancelling_a_trial_goes_back_to_the_image_before_and_once_only() {
    let mut world = ready();
    world.ask("firmware-deploy", deploy("1.1.0"));
    into_trial(&mut world, 9);
    for changed in [true, false] {
        let answer = world.ask("firmware-cancel", json!({ "to": "pump" }));
        assert_eq!(answer["devices"][0]["changed"], changed);
        assert_eq!(world.wish("pump").unwrap().image, sha256(&image("a")));
    }
}

#[test]
fn a_trial_cannot_be_cancelled_towards_an_image_nobody_knows() {
    let mut world = World::with_devices();
    world.push_image("1.1.0", image("b"));
    world.runs("pump", "netduino2", &image("a"));
    world.ask("firmware-deploy", deploy("1.1.0"));
    into_trial(&mut world, 9);
    let (_, message) = world.refused("firmware-cancel", json!({ "to": "pump" }));
    assert!(message.contains("does not know the one before"), "{message}");
}

#[test]
fn cancelling_what_is_confirmed_changes_nothing() {
    let mut world = ready();
    world.ask("firmware-deploy", deploy("1.1.0"));
    into_trial(&mut world, 9);
    world.firmware("pump", S::Confirmed, 100);
    assert_eq!(world.ask("firmware-cancel", json!({ "to": "pump" }))["devices"][0]["changed"], false);
    assert_eq!(world.wish("pump").unwrap().image, sha256(&image("b")));
}

#[test]
fn a_rollback_wants_the_image_in_the_other_slot() {
    let mut world = ready();
    let (_, message) = world.refused("firmware-rollback", json!({ "to": "pump" }));
    assert!(message.contains("no complete image"), "{message}");
    let confirmed = FirmwareSlots { other: Some(sha256(&image("a"))), ..slots(&image("b")) };
    world.has("pump", "netduino2", confirmed);
    world.ask("firmware-rollback", json!({ "to": "pump" }));
    let wish = world.wish("pump").unwrap();
    assert_eq!((wish.image, wish.patch), (sha256(&image("a")), None));
    assert_eq!(world.ask("firmware-rollback", json!({ "to": "pump" }))["devices"][0]["changed"], false);

    world.has("pump", "netduino2", FirmwareSlots { other: Some(sha256(b"?")), ..slots(&image("b")) });
    let (_, message) = world.refused("firmware-rollback", json!({ "to": "pump" }));
    assert!(message.contains("does not know"), "{message}");
}

#[test]
fn a_rollback_below_the_confirmed_counter_is_refused() {
    let mut world = ready();
    let other = Some(sha256(&image("a")));
    world.has("pump", "netduino2", FirmwareSlots { other, counter: 1, ..slots(&image("b")) });
    let (_, message) = world.refused("firmware-rollback", json!({ "to": "pump" }));
    assert!(message.contains("has confirmed 1"), "{message}");
}

#[test]
fn a_patch_is_sent_where_it_starts_from_what_runs() {
    let mut world = ready();
    assert_eq!(world.prepare(&deploy("1.1.0"), &[&image("a"), &image("b")]), 1);
    assert_eq!(world.prepare(&deploy("1.1.0"), &[]), 0, "made once for each pair");
    let answer = world.ask("firmware-deploy", deploy("1.1.0"));
    let sent = answer["devices"][0]["transfer_bytes"].as_u64().unwrap() as usize;
    assert!(answer["devices"][0]["patch"] == true && sent < image("b").len() * 8 / 10, "{answer}");
    let wish = world.wish("pump").unwrap();
    assert!(wish.patch.is_some());
    world.die_and_start();
    assert_eq!(world.wish("pump"), Some(wish));
    assert_eq!(world.firmware_status("pump")["transfer_bytes"], sent);
}

#[test]
fn patches_from_what_runs_are_made_as_soon_as_a_version_is_pushed() {
    let mut world = ready();
    assert_eq!(world.ordered_patches(), [], "nothing ran when these were pushed");
    world.push_image("1.2.0", image("c"));
    assert_eq!(world.ordered_patches(), [(sha256(&image("a")), sha256(&image("c")))]);
    world.push_image("1.2.0", image("c"));
    assert_eq!(world.ordered_patches(), [], "it is the same");
}

#[test]
fn the_whole_image_is_sent_where_a_patch_does_not_apply() {
    let without = |world: &mut World, fields: serde_json::Value| {
        let made = world.prepare(&fields, &[&image("a"), &image("b")]);
        world.ask("firmware-deploy", fields);
        assert_eq!(world.wish("pump").unwrap().patch, None);
        made
    };
    let mut world = ready();
    let mut whole = deploy("1.1.0");
    whole["delta"] = json!(false);
    assert_eq!(without(&mut world, whole), 0, "it was not asked for");

    let mut world = ready();
    world.runs("pump", "netduino2", &image("unknown"));
    assert_eq!(without(&mut world, deploy("1.1.0")), 0, "the registry does not know what runs");

    let mut world = ready();
    world.has("pump", "netduino2", FirmwareSlots { patch_bytes: 0, ..slots(&image("a")) });
    assert_eq!(without(&mut world, deploy("1.1.0")), 0, "the device applies none");

    let mut world = ready();
    world.has("pump", "netduino2", FirmwareSlots { patch_bytes: 10, ..slots(&image("a")) });
    assert_eq!(without(&mut world, deploy("1.1.0")), 1, "it has no room for this one");

    let mut world = ready();
    world.has("pump", "netduino2", FirmwareSlots { other: Some(sha256(&image("b"))), ..slots(&image("a")) });
    assert_eq!(without(&mut world, deploy("1.1.0")), 0, "it has the image already");

    let mut world = ready();
    world.ask("key-add", json!({ "name": "service", "key": own().public(), "roles": ["root", "firmware"] }));
    assert_eq!(without(&mut world, deploy("1.1.0")), 0, "devices would not believe the patch");
}

#[test]
fn a_patch_that_saves_little_is_not_kept_and_not_made_again() {
    let noise: Vec<u8> = {
        let mut state = 1_u32;
        let step = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..4_000).map(step).collect()
    };
    let other = [image("a")[..8].to_vec(), noise].concat();
    let mut world = ready();
    world.push_image("9.0.0", other.clone());
    assert_eq!(world.prepare(&deploy("9.0.0"), &[&image("a"), &other]), 1);
    assert_eq!(world.prepare(&deploy("9.0.0"), &[]), 0);
    world.ask("firmware-deploy", deploy("9.0.0"));
    assert_eq!(world.wish("pump").unwrap().patch, None);
}

#[test]
fn a_device_that_cannot_use_its_patch_gets_the_whole_image() {
    let mut world = ready();
    world.prepare(&deploy("1.1.0"), &[&image("a"), &image("b")]);
    world.ask("firmware-deploy", deploy("1.1.0"));
    let patched = world.wish("pump").unwrap();
    world.failed("pump", S::Refused, Reason::WrongBase);
    let whole = world.wish("pump").unwrap();
    assert!(patched.patch.is_some() && whole.patch.is_none() && whole.generation > patched.generation);
    assert_eq!(world.told().last().unwrap(), "warning firmware-refused");
    assert!(world.reason("firmware-refused").contains("whole image"));
}

#[test]
fn a_patch_is_no_longer_wanted_once_its_image_runs() {
    let mut world = ready();
    world.prepare(&deploy("1.1.0"), &[&image("a"), &image("b")]);
    world.ask("firmware-deploy", deploy("1.1.0"));
    into_trial(&mut world, 9);
    assert_eq!(world.wish("pump").unwrap().patch, None);
    world.ask("firmware-remove", json!({ "firmware": "netduino2", "version": "1.0.0" }));
}

#[test]
fn a_device_that_updates_is_not_power_cycled_for_its_silence() {
    let mut world = ready();
    world.beat_for(&["pump", "hub"], 5_000);
    world.ask("firmware-deploy", deploy("1.1.0"));
    let boot = 40;
    world.state("pump", Status::Online, boot);
    world.state("pump", Status::Updating, boot);
    assert_eq!(world.stage("pump"), "starting");
    world.state("pump", Status::Offline, boot);
    world.beat_for(&["hub"], 15_000);
    assert_eq!(world.stage("pump"), "starting");
    world.state("pump", Status::Online, boot + 1);
    assert_eq!(world.stage("pump"), "healthy");
    assert!(!world.event_kinds().contains(&"device-suspect".to_owned()));
}
