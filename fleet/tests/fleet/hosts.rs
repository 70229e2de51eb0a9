//! Which host runs a new device, and what happens if two processes call themselves the same host.

use serde_json::{Value, json};

use crate::world::World;

fn say(world: &mut World, host: &str, rest: &str, message: &Value) {
    world.say(&format!("p/v1/_host/{host}/{rest}"), message.to_string().as_bytes(), false);
}

/// A host connects with so much memory.
fn connect(world: &mut World, host: &str, started_ms: u64, boards: &[&str], free_mib: u64) {
    let boot = world.now.0;
    say(world, host, "up/state", &json!({ "status": "online", "boot": boot, "started_ms": started_ms }));
    let info = json!({ "boot": boot, "version": "1", "boards": boards, "free_memory_bytes": free_mib << 20 });
    say(world, host, "up/info", &info);
}

fn add(id: &str) -> Value {
    json!({ "device": id, "board": "netduino2", "emulate": true })
}

#[test]
fn a_device_goes_where_most_memory_is_left_for_its_board() {
    let mut world = World::with_devices();
    connect(&mut world, "small", 1, &["netduino2"], 200);
    connect(&mut world, "large", 1, &["netduino2"], 300);
    connect(&mut world, "other", 1, &["rv32-virt"], 9_000);
    let mut chosen = Vec::new();
    for n in 0..6 {
        chosen.push(world.ask("device-add", add(&format!("d-{n}")))["host"].as_str().unwrap().to_owned());
    }
    // 64 MiB each, counted from when it is wanted and not from when it runs.
    assert_eq!(chosen, ["large", "large", "small", "large", "small", "large"]);
    // Asked again it stays where it is.
    assert_eq!(world.ask("device-add", add("d-0"))["host"], "large");
    let hosts = world.ask("host-list", json!({}));
    let devices: Vec<_> =
        hosts.as_array().unwrap().iter().map(|host| (&host["id"], &host["devices"])).collect();
    assert!(devices.contains(&(&json!("large"), &json!(4))), "{devices:?}");
}

#[test]
fn a_device_that_has_no_place_is_refused_with_the_reason() {
    let mut world = World::with_devices();
    let gone = json!({ "status": "offline", "boot": world.now.0 });
    say(&mut world, "lab", "up/state", &gone);
    assert!(world.refused("device-add", add("d")).1.contains("no host is connected"));
    connect(&mut world, "other", 1, &["rv32-virt"], 9_000);
    assert!(
        world.refused("device-add", add("d")).1.contains("no host that is connected can start netduino2")
    );
    connect(&mut world, "full", 1, &["netduino2"], 63);
    let (_, message) = world.refused("device-add", add("d"));
    assert_eq!(message, "netduino2 takes 64 MiB of memory; host full, which has the most, has 63 MiB left");
    let both = json!({ "device": "d", "board": "netduino2", "emulate": true, "host": "full" });
    assert!(world.refused("device-add", both).1.contains("both a host and emulate"));
}

#[test]
fn of_two_processes_of_one_host_the_one_that_started_last_is_meant() {
    let mut world = World::with_devices();
    let holder = |world: &World| world.host_desired().map(|desired| desired.holder_ms);
    let is_told = |world: &World| world.kinds().contains(&"host-conflict".to_owned());
    connect(&mut world, "lab", 1_000, &["netduino2"], 100);
    assert_eq!(holder(&world), Some(1_000));
    connect(&mut world, "lab", 2_000, &["netduino2"], 100);
    assert_eq!(holder(&world), Some(2_000));
    assert!(!is_told(&world));
    connect(&mut world, "lab", 1_000, &["netduino2"], 100);
    assert_eq!(holder(&world), Some(2_000));
    assert!(is_told(&world));
}
