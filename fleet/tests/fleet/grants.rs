//! What modules are granted, and instances of their own.

use serde_json::json;
use wasmbed_abi::{Capabilities, Capability};
use wasmbed_wire::{
    Seq,
    message::{Frame, ModuleState, Reason, Trap},
};

use crate::world::World;

/// Reads a pin if it is granted, and can do without the log.
const READS_A_PIN: &str = r#"(module
    (import "wasmbed" "gpio_read" (func $read (param i32) (result i32)))
    (import "wasmbed-optional" "kv_remove" (func (param i32 i32) (result i32)))
    (memory (export "memory") 1)
    (func $look (drop (call $read (i32.const 4))))
    (func (export "tick") (call $look)))"#;

#[test]
fn a_module_that_needs_what_it_is_not_granted_is_refused_until_it_is() {
    let mut world = World::with_devices();
    let revoked = world.ask("module-revoke", json!({ "module": "eye", "grants": ["gpio"] }));
    assert!(!revoked["grants"].as_array().unwrap().contains(&json!("gpio")));

    let refusal = world.push_wat("eye", "1.0.0", READS_A_PIN).error.unwrap();
    assert!(refusal.message.contains("capability: eye imports functions of gpio"), "{refusal:?}");
    assert!(refusal.hint.unwrap().contains("wasmbed module grant eye gpio"));

    world.ask("module-grant", json!({ "module": "eye", "grants": ["gpio"] }));
    let pushed = world.push_wat("eye", "1.0.0", READS_A_PIN).result.unwrap();
    assert_eq!((&pushed["needs"], &pushed["uses"]), (&json!(["gpio"]), &json!(["gpio", "store"])));

    world.ask("module-revoke", json!({ "module": "eye", "grants": ["gpio"] }));
    let (code, message) = world.refused("deploy", json!({ "module": "eye", "to": "all" }));
    assert_eq!(code, "refused");
    assert!(message.contains("gpio"), "{message}");
}

#[test]
fn nobody_commands_a_vehicle_or_publishes_on_a_topic_unless_it_was_said() {
    let mut world = World::with_devices();
    let flies = r#"(module
        (import "wasmbed" "arm_vehicle" (func (param i32) (result i32)))
        (import "wasmbed" "get_vehicle_status" (func (param i32 i32 i32) (result i32)))
        (import "wasmbed-optional" "publish_message" (func (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1) (func (export "tick")))"#;
    let refusal = world.push_wat("eye", "1.0.0", flies).error.unwrap();
    assert!(refusal.message.contains("eye imports functions of px4.command"), "{refusal:?}");
    world.ask("module-grant", json!({ "module": "eye", "grants": ["px4.command", "ros.publish:/eye/*"] }));
    let pushed = world.push_wat("eye", "1.0.0", flies).result.unwrap();
    assert_eq!(pushed["needs"], json!(["px4.command", "px4.telemetry"]));
    world.ask("deploy", json!({ "module": "eye", "to": "pump" }));
    let (_, wanted) = world.desired("pump").unwrap();
    assert_eq!(wanted[0].3, [("allow.ros.publish".to_owned(), "/eye/*".to_owned())]);
}

#[test]
fn devices_are_told_at_once_and_after_a_restart_of_the_service() {
    let mut world = World::with_devices();
    world.push_wat("eye", "1.0.0", READS_A_PIN);
    world.ask("deploy", json!({ "module": "eye", "to": "pump" }));
    let granted = |world: &World| Capabilities::from_bits(world.grants("pump", "eye"));
    assert!(granted(&world).contains(Capability::Gpio));
    assert!(!granted(&world).contains(Capability::Network));
    let (before, _) = world.desired("pump").unwrap();

    let request = json!({ "module": "eye", "grants": ["network:tcp:a:1", "network:udp:b:2"] });
    assert_eq!(world.ask("module-grant", request.clone())["devices"], json!(["pump"]));
    let (after, wanted) = world.desired("pump").unwrap();
    assert!(after > before);
    assert_eq!(wanted[0].3, [("allow.network".to_owned(), "tcp:a:1 udp:b:2".to_owned())]);
    assert!(granted(&world).contains(Capability::Network));
    assert_eq!(world.ask("module-grant", request)["devices"], json!(null), "nothing changed");

    world.die_and_start();
    assert!(granted(&world).contains(Capability::Network));
    let list = world.ask("grant-list", json!({}));
    assert_eq!(list["modules"][0]["module"], "eye");
    let (code, _) = world.refused("module-revoke", json!({ "module": "eye", "grants": ["bus"] }));
    assert_eq!(code, "not-found");
    let settings = json!({ "allow.network": "tcp:*:*" });
    let (_, message) = world.refused("deploy", json!({ "module": "eye", "to": "all", "settings": settings }));
    assert!(message.contains("allow.network"), "{message}");
}

#[test]
fn instances_of_a_module_run_side_by_side_with_their_own_settings() {
    let mut world = World::with_devices();
    world.push_wat("eye", "1.0.0", READS_A_PIN);
    world.push("thermo", "1.0.0", "");
    for (name, pin) in [("left", "1"), ("right", "2")] {
        let settings = json!({ "pin": pin });
        let request = json!({ "module": "eye", "as": name, "to": "pump", "settings": settings });
        assert_eq!(world.ask("deploy", request)["module"], name);
    }
    let (_, wanted) = world.desired("pump").unwrap();
    let names: Vec<&str> = wanted.iter().map(|wanted| wanted.0.as_str()).collect();
    assert_eq!(names, ["left", "right"]);
    assert_eq!(wanted[0].1, wanted[1].1, "both run the same artifact");
    assert_ne!(wanted[0].3, wanted[1].3);
    world.reach("pump", ModuleState::Running);
    let shown = world.ask("device-show", json!({ "device": "pump" }));
    assert_eq!(
        (&shown["modules"][0]["name"], &shown["modules"][0]["module"]),
        (&json!("left"), &json!("eye"))
    );

    let (_, message) = world.refused("deploy", json!({ "module": "thermo", "as": "left", "to": "pump" }));
    assert!(message.contains("left is an instance of eye"), "{message}");
    let (_, message) = world.refused("module-remove", json!({ "module": "eye", "version": "1.0.0" }));
    assert!(message.contains("pump"), "{message}");
    world.ask("undeploy", json!({ "module": "left", "to": "pump" }));
    let (_, wanted) = world.desired("pump").unwrap();
    assert_eq!((wanted.len(), wanted[0].0.as_str()), (1, "right"));
}

#[test]
fn a_trap_is_told_with_the_functions_it_was_in() {
    let mut world = World::with_devices();
    world.push_wat("eye", "1.0.0", READS_A_PIN);
    world.ask("deploy", json!({ "module": "eye", "to": "pump" }));
    let (_, wanted) = world.desired("pump").unwrap();
    let frames = [Frame { function: 2, offset: 0 }, Frame { function: 3, offset: 0 }];
    let trap = Trap {
        boot: 1,
        name: "eye".parse().unwrap(),
        artifact: wanted[0].1,
        reason: Reason::Trapped,
        stops: 1,
        frames: Seq::new(&frames),
    };
    let trap = minicbor::to_vec(trap).unwrap();
    for _ in 0..2 {
        world.say("p/v1/pump/up/trap", &trap, false);
    }
    let reasons = world.reasons("module-trapped");
    assert_eq!(reasons, ["it trapped, in look, called by tick"], "once, although it arrived twice");
    let shown = world.ask("device-show", json!({ "device": "pump" }));
    assert_eq!(shown["modules"][0]["backtrace"], json!(["look", "tick"]));
}
