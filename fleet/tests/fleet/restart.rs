//! The service dies; nothing is forgotten, nothing is done twice.

use serde_json::json;
use wasmbed_wire::{limits::Class, message::ModuleState};

use crate::world::World;

#[test]
fn what_was_answered_is_desired_again_after_a_death() {
    let mut world = World::with_devices();
    world.push("thermo", "1.0.0", "");
    world.ask("deploy", json!({ "module": "thermo", "to": "pump", "settings": { "a": "b" } }));
    let desired = world.desired("pump");
    let host = world.host_desired();
    world.die_and_start();
    assert_eq!(world.desired("pump"), desired);
    assert_eq!(world.host_desired(), host.or(world.host_desired()));
    assert_eq!(world.ask("module-list", json!({}))[0]["devices"], json!(["pump"]));
}

#[test]
fn a_power_cycle_survives_a_death_and_is_not_asked_for_again() {
    let mut world = World::with_devices();
    world.beat_for(&["hub"], 12_000);
    assert_eq!(world.host_desired().unwrap().devices[0].cycle, 1);
    world.die_and_start();
    world.host_online();
    world.run(1_000);
    assert_eq!(world.host_desired().unwrap().devices[0].cycle, 1);
    assert_eq!(world.stage("pump"), "recovering");
    world.device_online("pump", Class::Mcu, "netduino2");
    assert_eq!(world.stage("pump"), "healthy");
}

#[test]
fn a_device_is_online_by_its_heartbeats_where_the_broker_keeps_nothing() {
    let mut world = World::with_devices();
    world.die_and_start();
    assert_eq!(world.ask("device-show", json!({ "device": "pump" }))["status"], json!(null));
    world.heartbeat("pump");
    assert_eq!(world.ask("device-show", json!({ "device": "pump" }))["status"], "online");
    assert_eq!(world.stage("pump"), "healthy");
}

#[test]
fn events_keep_their_numbers_and_are_not_told_again() {
    let mut world = World::with_devices();
    world.push("thermo", "1.0.0", "");
    world.ask("deploy", json!({ "module": "thermo", "to": "pump" }));
    world.reach("pump", ModuleState::Running);
    let before = world.ask("event-list", json!({}));
    world.die_and_start();
    // The broker kept what the device reported.
    world.reach("pump", ModuleState::Running);
    assert_eq!(world.ask("event-list", json!({})), before);
    let last = before.as_array().unwrap().last().unwrap()["id"].as_u64().unwrap();
    world.ask("device-remove", json!({ "device": "hub" }));
    let later = world.ask("event-list", json!({ "after": last }));
    assert_eq!(later[0]["id"], last + 1);
    assert_eq!(later.as_array().unwrap().len(), 1);
}

#[test]
fn quarantine_outlives_the_service_and_ends_by_request() {
    let mut world = World::with_devices();
    for _ in 0..1_000 {
        world.beat_for(&["hub"], 1_000);
        if world.stage("pump") == "quarantined" {
            break;
        }
    }
    assert_eq!(world.stage("pump"), "quarantined");
    assert_eq!(world.host_desired().unwrap().devices[0].power, wasmbed_fleet::host_api::Power::Off);
    let cycles = world.host_desired().unwrap().devices[0].cycle;
    assert_eq!(cycles, 5, "the budget");
    world.die_and_start();
    world.host_online();
    world.run(600_000);
    assert_eq!(world.stage("pump"), "quarantined");
    world.ask("device-clear", json!({ "to": "pump" }));
    let host = world.host_desired().unwrap();
    assert_eq!(host.devices[0].power, wasmbed_fleet::host_api::Power::On);
    assert_eq!(world.stage("pump"), "starting");
}
