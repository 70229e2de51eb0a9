//! What requests do.

use serde_json::json;
use wasmbed_wire::{RuntimeId, limits::Class, message::ModuleState};

use crate::world::{FIRST, World};

#[test]
fn a_deployed_module_is_desired_with_its_settings_and_shown_as_it_gets_along() {
    let mut world = World::with_devices();
    world.push("thermo", "1.0.0", "");
    let answer = world.ask("deploy", json!({ "module": "thermo", "to": "all", "settings": { "unit": "K" } }));
    assert_eq!(answer["version"], "1.0.0");
    assert_eq!(answer["devices"].as_array().map(Vec::len), Some(2));
    let (revision, wanted) = world.desired("pump").unwrap();
    assert_eq!(revision, FIRST + 1);
    assert_eq!(wanted[0].0, "thermo");
    assert_eq!(wanted[0].3, [("unit".to_owned(), "K".to_owned())]);
    assert_ne!(wanted[0].1, world.desired("hub").unwrap().1[0].1, "boards and Linux run other artifacts");

    world.reach("pump", ModuleState::Running);
    let shown = world.ask("device-show", json!({ "device": "pump" }));
    assert_eq!(shown["revision"], json!({ "desired": FIRST + 1, "reported": FIRST + 1 }));
    assert_eq!(shown["modules"][0]["state"], "running");
    assert_eq!(shown["modules"][0]["version"], "1.0.0");
}

#[test]
fn deploying_what_runs_already_changes_nothing_and_what_failed_is_tried_again() {
    let mut world = World::with_devices();
    world.push("thermo", "1.0.0", "");
    let request = json!({ "module": "thermo", "to": "pump" });
    world.ask("deploy", request.clone());
    world.reach("pump", ModuleState::Running);
    assert_eq!(world.ask("deploy", request.clone())["devices"][0]["changed"], false);
    let (_, before) = world.desired("pump").unwrap();

    world.reach("pump", ModuleState::Failed);
    assert_eq!(world.ask("deploy", request)["devices"][0]["changed"], true);
    let (_, after) = world.desired("pump").unwrap();
    assert!(after[0].2 > before[0].2, "a higher generation starts it afresh");
}

#[test]
fn undeploying_removes_the_module_and_only_it() {
    let mut world = World::with_devices();
    for name in ["thermo", "blink"] {
        world.push(name, "1.0.0", name);
        world.ask("deploy", json!({ "module": name, "to": "pump" }));
    }
    world.ask("undeploy", json!({ "module": "thermo", "to": "all" }));
    let (revision, wanted) = world.desired("pump").unwrap();
    assert_eq!((revision, wanted.len(), wanted[0].0.as_str()), (FIRST + 3, 1, "blink"));
    assert_eq!(world.refused("undeploy", json!({ "module": "nope", "to": "all" })).0, "not-found");
}

#[test]
fn a_request_with_an_id_is_carried_out_once() {
    let mut world = World::with_devices();
    let request = json!({ "to": "pump", "id": "r-1" });
    let first = world.answer("device-restart", &request);
    let cycle = world.host_desired().unwrap().devices[0].cycle;
    world.die_and_start();
    assert_eq!(world.answer("device-restart", &request), first);
    world.run(100);
    assert_eq!(world.host_desired().unwrap().devices[0].cycle, cycle);

    let other = world.refused("device-restart", json!({ "to": "hub", "id": "r-1" }));
    assert_eq!(other.0, "conflict");
}

#[test]
fn restarting_cycles_the_power_of_emulated_devices_and_commands_real_ones() {
    let mut world = World::with_devices();
    world.ask("device-restart", json!({ "to": "all" }));
    assert_eq!(world.host_desired().unwrap().devices[0].cycle, 1);
    let commands: Vec<_> =
        world.sent.iter().filter(|m| m.topic.starts_with("p/v1/hub/dn/cmd/")).cloned().collect();
    assert_eq!(commands.len(), 1);
    assert!(!commands[0].delivery.retain && commands[0].expiry_s.is_some());
}

#[test]
fn stopping_and_starting_switches_the_power() {
    let mut world = World::with_devices();
    let is_on =
        |world: &World| world.host_desired().unwrap().devices[0].power == wasmbed_fleet::host_api::Power::On;
    world.ask("device-stop", json!({ "to": "pump" }));
    assert!(!is_on(&world));
    assert_eq!(world.stage("pump"), "off");
    world.run(1);
    world.ask("device-start", json!({ "to": "pump" }));
    assert!(is_on(&world));
    assert_eq!(world.stage("pump"), "starting");
    assert_eq!(world.refused("device-stop", json!({ "to": "hub" })).0, "conflict");
}

#[test]
fn a_removed_device_is_forgotten_by_service_and_host() {
    let mut world = World::with_devices();
    world.ask("device-remove", json!({ "device": "pump" }));
    assert!(world.host_desired().unwrap().devices.is_empty());
    assert_eq!(world.refused("device-show", json!({ "device": "pump" })).0, "not-found");
    world.die_and_start();
    assert_eq!(world.ask("device-list", json!({})).as_array().map(Vec::len), Some(1));
}

#[test]
fn adding_a_device_again_may_change_its_labels_but_not_what_it_is() {
    let mut world = World::with_devices();
    world.ask("device-add", json!({ "device": "hub", "board": "linux", "labels": { "site": "cellar" } }));
    let found = world.ask("device-list", json!({ "to": "label=site:cellar" }));
    assert_eq!(found[0]["id"], "hub");
    let changed = json!({ "device": "hub", "board": "netduino2" });
    assert_eq!(world.refused("device-add", changed).0, "conflict");
    let unknown = world.refused("device-add", json!({ "device": "x", "board": "toaster" }));
    assert_eq!(unknown.0, "not-found");
}

#[test]
fn a_version_never_changes_and_pushing_it_again_is_fine() {
    let mut world = World::with_devices();
    let first = world.push("thermo", "1.0.0", "a");
    assert!(first.ok, "{first:?}");
    assert_eq!(world.push("thermo", "1.0.0", "a"), first);
    let other = world.push("thermo", "1.0.0", "b").error.unwrap();
    assert_eq!(serde_json::to_value(other.code).unwrap(), "conflict");
    assert_eq!(world.event_kinds().iter().filter(|kind| *kind == "module-pushed").count(), 1);
}

#[test]
fn a_device_with_another_runtime_gets_the_artifact_made_for_it() {
    let runtime = RuntimeId([9; 8]);
    let mut world = World::with_devices();
    world.push("thermo", "1.0.0", "");
    world.ask("deploy", json!({ "module": "thermo", "to": "all" }));
    let before = world.desired("pump").unwrap();

    // First the device is newer than the service, then the service catches up.
    world.device_online_with("pump", Class::Mcu, "netduino2", runtime);
    assert_eq!(world.desired("pump").unwrap(), before);
    world.push_for("thermo", "1.0.0", "", runtime);
    let after = world.desired("pump").unwrap();
    assert_ne!(after.1[0].1, before.1[0].1);
    assert_eq!(after.0, before.0 + 1);

    // The other way round.
    let before = world.desired("hub").unwrap();
    world.device_online_with("hub", Class::Mpu, "linux", runtime);
    assert_ne!(world.desired("hub").unwrap().1[0].1, before.1[0].1);
}

#[test]
fn a_version_in_use_cannot_be_removed() {
    let mut world = World::with_devices();
    world.push("thermo", "1.0.0", "");
    world.ask("deploy", json!({ "module": "thermo", "to": "pump" }));
    let remove = json!({ "module": "thermo", "version": "1.0.0" });
    let (code, message) = world.refused("module-remove", remove.clone());
    assert_eq!(code, "conflict");
    assert!(message.contains("pump"), "{message}");
    world.ask("undeploy", json!({ "module": "thermo", "to": "pump" }));
    world.ask("module-remove", remove);
    assert_eq!(world.ask("module-list", json!({})), json!([]));
}

#[test]
fn a_module_is_deployed_to_all_selected_devices_or_to_none() {
    let mut world = World::with_devices();
    let artifacts = |world: &mut World, name: &str| world.push(name, "1.0.0", name);
    for name in ["a", "b", "c"] {
        artifacts(&mut world, name);
    }
    for name in ["a", "b"] {
        world.ask("deploy", json!({ "module": name, "to": "pump" }));
    }
    world.sent.clear();
    let (code, message) = world.refused("deploy", json!({ "module": "c", "to": "all" }));
    assert_eq!(code, "conflict");
    assert!(message.contains("pump") && message.contains("slots"), "{message}");
    assert!(world.desired("hub").is_none(), "nothing was deployed");
}

#[test]
fn mistakes_in_requests_are_named() {
    let mut world = World::with_devices();
    for (verb, fields, code, named) in [
        ("device-lst", json!({}), "unknown-verb", "device-lst"),
        ("device-list", json!({ "board": "x" }), "bad-request", "board"),
        ("device-list", json!([]), "bad-request", "object"),
        ("device-list", json!({ "to": "board=" }), "bad-request", "board="),
        ("device-show", json!({ "device": "Pump" }), "bad-request", "a-z"),
        ("device-show", json!({ "device": "nope" }), "not-found", "nope"),
        ("device-restart", json!({ "to": "class=riscv" }), "not-found", "class=riscv"),
        ("deploy", json!({ "module": "nope", "to": "all" }), "not-found", "nope"),
        ("device-list", json!({ "id": "Not An Id" }), "bad-request", "id"),
    ] {
        let (found, message) = world.refused(verb, fields);
        assert_eq!(found, code, "{message}");
        assert!(message.contains(named), "{message}");
    }
}

#[test]
fn an_unregistered_device_is_noted_once_and_not_obeyed() {
    let mut world = World::new();
    for _ in 0..3 {
        world.device_online("stray", Class::Mcu, "netduino2");
    }
    assert_eq!(world.event_kinds(), ["device-unclaimed"]);
    assert!(world.desired("stray").is_none());
    let (_, message) = world.refused("device-show", json!({ "device": "stray" }));
    assert!(message.contains("stray"));
}
