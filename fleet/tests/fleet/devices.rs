//! What follows from what devices and hosts say and do not say.

use serde_json::json;
use wasmbed_fleet::host_api;
use wasmbed_wire::{
    Seq,
    limits::Class,
    message::{Crash, ModuleState, Status},
    ros::{RosNode, RosNodes, RosTyped},
};

use crate::world::{FIRST, World};

#[test]
fn a_registered_device_gets_its_desired_state_and_its_host_its_password() {
    let mut world = World::new();
    world.ask("device-add", json!({ "device": "pump", "board": "netduino2", "host": "lab" }));
    assert_eq!(world.desired("pump"), Some((FIRST, Vec::new())));
    let host = world.host_desired().unwrap();
    assert_eq!(host.devices[0].power, host_api::Power::On);
    assert_eq!(host.devices[0].password.len(), 64);
    assert_eq!(host.devices[0].trusted.len(), 1);
}

#[test]
fn silence_leads_to_a_ping_a_power_cycle_and_back() {
    let mut world = World::with_devices();
    world.beat_for(&["pump", "hub"], 10_000);
    world.sent.clear();
    world.beat_for(&["hub"], 3_000);
    assert_eq!(world.stage("pump"), "suspect");
    assert_eq!(world.sent.iter().filter(|m| m.topic.starts_with("p/v1/pump/dn/cmd/")).count(), 1);
    // Its board's own watchdog has its turn first.
    world.beat_for(&["hub"], 7_000);
    assert_eq!(world.stage("pump"), "suspect");
    world.beat_for(&["hub"], 2_000);
    assert_eq!(world.stage("pump"), "recovering");
    assert_eq!(world.host_desired().unwrap().devices[0].cycle, 1);
    world.device_online("pump", Class::Mcu, "netduino2");
    assert_eq!(world.stage("pump"), "healthy");
    let kinds = world.event_kinds();
    for kind in ["device-suspect", "device-restarted", "device-healthy"] {
        assert_eq!(kinds.iter().filter(|k| *k == kind).count(), 1, "{kinds:?}");
    }
    assert_eq!(world.stage("hub"), "healthy");
}

#[test]
fn retained_messages_and_wills_are_no_signs_of_life() {
    let mut world = World::with_devices();
    world.beat_for(&["pump", "hub"], 5_000);
    let heartbeat = world.sent.len();
    for _ in 0..4 {
        world.run(1_000);
        world.heartbeat("hub");
        world.say("p/v1/pump/up/info", b"\xa0", true);
        world.state("pump", Status::Offline, 0);
    }
    assert_eq!(world.stage("pump"), "suspect", "{heartbeat}");
}

#[test]
fn a_will_of_an_earlier_connect_is_ignored() {
    let mut world = World::with_devices();
    world.state("pump", Status::Online, 50);
    world.state("pump", Status::Offline, 49);
    assert_eq!(world.ask("device-show", json!({ "device": "pump" }))["status"], "online");
    world.state("pump", Status::Offline, 50);
    assert_eq!(world.ask("device-show", json!({ "device": "pump" }))["status"], "offline");
}

#[test]
fn with_every_connection_all_desired_states_are_published_again() {
    let mut world = World::with_devices();
    world.disconnect();
    world.run(60_000);
    world.sent.clear();
    world.connect();
    assert!(world.desired("pump").is_some() && world.desired("hub").is_some());
    assert!(world.host_desired().is_some());
    let topics: Vec<&str> = world.sent.iter().map(|message| message.topic.as_str()).collect();
    assert!(topics.contains(&"p/v1/_fleet/state"), "{topics:?}");
    assert_eq!(world.stage("pump"), "healthy", "nobody is judged for an outage");
}

#[test]
fn a_device_ahead_of_the_store_is_overtaken() {
    let mut world = World::with_devices();
    let reported = wasmbed_wire::message::Reported {
        boot: 1,
        revision: FIRST + 70,
        modules: Default::default(),
        firmware: None,
        keyring: None,
    };
    world.say("p/v1/hub/up/reported", &minicbor::to_vec(reported).unwrap(), false);
    assert_eq!(world.desired("hub").unwrap().0, FIRST + 71);
    world.die_and_start();
    assert_eq!(world.desired("hub").unwrap().0, FIRST + 71);
}

#[test]
fn an_impossible_revision_is_ignored() {
    let mut world = World::with_devices();
    let reported = wasmbed_wire::message::Reported {
        boot: 1,
        revision: u64::MAX,
        modules: Default::default(),
        firmware: None,
        keyring: None,
    };
    world.say("p/v1/hub/up/reported", &minicbor::to_vec(reported).unwrap(), false);
    assert!(world.desired("hub").is_none());
}

#[test]
fn what_becomes_of_a_module_is_told_once() {
    let mut world = World::with_devices();
    world.push("thermo", "1.0.0", "");
    world.ask("deploy", json!({ "module": "thermo", "to": "pump" }));
    for _ in 0..3 {
        world.reach("pump", ModuleState::Running);
    }
    world.reach("pump", ModuleState::Refused);
    let kinds = world.event_kinds();
    assert_eq!(kinds.iter().filter(|kind| *kind == "module-running").count(), 1);
    assert_eq!(kinds.iter().filter(|kind| *kind == "module-refused").count(), 1);
}

#[test]
fn a_crash_is_told_once_and_a_loop_of_them_ends_in_quarantine() {
    let mut world = World::with_devices();
    for boot in 1..=11 {
        world.run(1_000);
        let crash = Crash { boot, message: "panicked", pc: 0x0800_1234, uptime_ms: 600 };
        for _ in 0..2 {
            world.say("p/v1/pump/up/crash", &minicbor::to_vec(crash).unwrap(), false);
        }
        assert_eq!(world.stage("pump") == "quarantined", boot == 11, "crash {boot}");
    }
    let kinds = world.event_kinds();
    assert_eq!(kinds.iter().filter(|kind| *kind == "device-crashed").count(), 11);
    assert_eq!(world.host_desired().unwrap().devices[0].power, host_api::Power::Off);
}

#[test]
fn a_host_speaks_for_its_own_devices_only() {
    let mut world = World::with_devices();
    let event = |device: &str| host_api::Event {
        device: device.parse().unwrap(),
        kind: host_api::EventKind::Exited,
        reason: "killed by SIGKILL".into(),
        at_ms: 7,
    };
    for device in ["pump", "hub"] {
        let payload = serde_json::to_vec(&event(device)).unwrap();
        world.say("p/v1/_host/lab/up/event", &payload, false);
        world.say("p/v1/_host/lab/up/event", &payload, false);
    }
    assert_eq!(world.event_kinds(), ["process-exited"]);
}

#[test]
fn console_and_log_lines_are_kept() {
    let mut world = World::with_devices();
    world.say("p/v1/_host/lab/up/console/pump", b"booting\r\n", false);
    world.say("p/v1/pump/up/log/warn", b"hot", false);
    let lines = world.ask("device-logs", json!({ "device": "pump" }));
    assert_eq!(lines[0]["source"], "console");
    assert_eq!(lines[0]["text"], "booting");
    assert_eq!(lines[1]["source"], "warn");
    assert_eq!(
        world.ask("device-logs", json!({ "device": "pump", "limit": 1 })).as_array().unwrap().len(),
        1
    );
}

#[test]
fn nonsense_from_devices_and_hosts_changes_nothing() {
    let mut world = World::with_devices();
    let before = world.ask("device-list", json!({}));
    for rest in ["state", "info", "reported", "crash", "get", "res/x", "nope", "tm/ch"] {
        for payload in [&b""[..], b"\xff\xff\xff", b"{}", &[0x9f; 100]] {
            world.say(&format!("p/v1/hub/up/{rest}"), payload, true);
            world.say(&format!("p/v1/_host/lab/up/{rest}"), payload, true);
        }
    }
    for topic in ["p/v1/", "p", "", "p/v1/_host/lab", "p/v1/_host//up/state", "q/v1/hub/up/hb"] {
        world.say(topic, b"x", false);
    }
    assert_eq!(world.ask("device-list", json!({})), before);
}

#[test]
fn what_modules_are_in_ros_is_shown_until_their_device_is_gone() {
    let mut world = World::with_devices();
    let typed = [RosTyped { name: "/t", ty: "p/msg/T" }];
    let nodes = [RosNode { name: "/a/m", publishers: Seq::new(&typed), ..RosNode::default() }];
    let said = minicbor::to_vec(RosNodes { nodes: Seq::new(&nodes), omitted: 0 }).unwrap();
    let node = json!([{ "name": "/a/m", "publishers": [{ "name": "/t", "type": "p/msg/T" }] }]);
    let ros = |world: &mut World, id: &str| world.ask("device-show", json!({ "device": id }))["ros"].clone();

    // A gateway speaks for a board, and for none that does not exist; the hub does so itself.
    assert_eq!(ros(&mut world, "pump"), json!(null));
    world.say("p/v1/_gateway/plant/up/nodes/pump", &said, false);
    world.say("p/v1/_gateway/plant/up/nodes/nobody", &said, false);
    world.say("p/v1/hub/up/nodes", &said, false);
    let of_pump = ros(&mut world, "pump");
    assert_eq!((&of_pump["gateway"], &of_pump["nodes"]), (&json!("plant"), &node));
    let of_hub = ros(&mut world, "hub");
    assert_eq!((&of_hub["gateway"], &of_hub["nodes"]), (&json!(null), &node));
    world.say("p/v1/hub/up/nodes", b"no nodes", false);
    assert_eq!(ros(&mut world, "hub"), of_hub, "what cannot be read changes nothing");

    world.state("pump", Status::Offline, 9);
    assert_eq!(ros(&mut world, "pump"), json!(null));
    world.say("p/v1/_gateway/plant/up/nodes/pump", &said, false);
    assert_eq!(ros(&mut world, "pump"), json!(null), "its gateway has not heard of it");
}
