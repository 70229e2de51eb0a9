//! Whom the fleet trusts, and how devices come to do the same.

use serde_json::{Value, json};
use wasmbed_fleet::artifacts::{Signer, Trust, key_id};
use wasmbed_wire::{
    Seq,
    keyring::{Keyring, Role, Roles, TrustedKey},
    sign1::Sign1,
};

use crate::world::{World, own};

fn signer(seed: u8) -> Signer {
    Signer::from_seed([seed; 32])
}

/// The last keyring a device was sent: version, key that signed it, keys with their roles.
fn sent(world: &World, id: &str) -> Option<(u32, String, Vec<TrustedKey>)> {
    let message = *world.sent_to(&format!("p/v1/{id}/dn/keys")).last()?;
    assert!(message.delivery.retain && message.delivery.qos == 1);
    let signed = Sign1::decode(&message.payload).unwrap();
    let keyring: Keyring<'_> = minicbor::decode(signed.payload).unwrap();
    Some((keyring.version, signed.key.to_string(), keyring.keys.iter().collect()))
}

fn add(world: &mut World, name: &str, key: &Signer, roles: &[&str]) -> Value {
    world.ask("key-add", json!({ "name": name, "key": key.public(), "roles": roles }))
}

/// A keyring as somebody with a root key makes it elsewhere.
fn offline(root: &Signer, version: u32, issued_s: u32, keys: &[(&Signer, Roles)]) -> String {
    let keys: Vec<TrustedKey> = keys
        .iter()
        .map(|(key, roles)| TrustedKey { key: key.public(), roles: *roles, not_after_s: None })
        .collect();
    let keyring = Keyring { version, issued_s, keys: Seq::new(&keys) };
    let signed = root.sign_keyring(&keyring).unwrap();
    signed.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn only(role: Role) -> Roles {
    Roles::default().with(role)
}

#[test]
fn without_a_keyring_devices_keep_what_they_were_provisioned_with() {
    let mut world = World::with_devices();
    let keys = world.ask("key-list", json!({}));
    assert!(keys.get("version").is_none(), "{keys}");
    assert_eq!(keys["can_sign"], true);
    assert_eq!(keys["keys"][0]["name"], "service");
    assert_eq!(keys["keys"][0]["roles"], json!(["root", "firmware", "module", "patch", "control"]));
    world.connect();
    assert_eq!(sent(&world, "pump"), None);
}

#[test]
fn a_key_that_is_added_and_retired_reaches_every_device() {
    let mut world = World::with_devices();
    let keys = add(&mut world, "release", &signer(8), &["firmware"]);
    assert_eq!((&keys["version"], keys["keys"].as_array().unwrap().len()), (&json!(1), 2));
    for id in ["pump", "hub"] {
        let (version, by, keys) = sent(&world, id).unwrap();
        assert_eq!((version, by, keys.len()), (1, own().id().to_string(), 2));
        let message = *world.sent_to(&format!("p/v1/{id}/dn/keys")).last().unwrap();
        let provisioned = TrustedKey { key: own().public(), roles: Roles::ALL, not_after_s: None };
        let device = Trust { keys: vec![provisioned], now_s: 0 };
        assert!(device.verify(Role::Root, &message.payload).is_ok(), "devices believe it");
    }
    world.ask("key-retire", json!({ "name": "release" }));
    let (version, _, keys) = sent(&world, "pump").unwrap();
    assert_eq!((version, keys.len()), (2, 1));
    assert_eq!(world.told(), ["key-added", "warning key-retired"]);
    assert_eq!(world.ask("key-list", json!({}))["keys"][0]["state"], "retired");
}

#[test]
fn keyrings_are_published_before_desired_states_on_every_connection_and_after_a_death() {
    let mut world = World::with_devices();
    add(&mut world, "release", &signer(8), &["firmware"]);
    world.die_and_start();
    let topics: Vec<&str> = world.sent.iter().map(|message| message.topic.as_str()).collect();
    let at = |topic: &str| topics.iter().position(|found| *found == topic).unwrap();
    assert!(at("p/v1/pump/dn/keys") < at("p/v1/pump/dn/desired"));
    world.disconnect();
    world.sent.clear();
    add(&mut world, "spare", &signer(9), &["root"]);
    assert_eq!(sent(&world, "pump"), None);
    world.connect();
    assert_eq!(sent(&world, "pump").unwrap().0, 2);
}

#[test]
fn adding_a_key_again_changes_its_roles_and_the_same_again_nothing() {
    let mut world = World::with_devices();
    add(&mut world, "release", &signer(8), &["firmware"]);
    assert_eq!(add(&mut world, "release", &signer(8), &["firmware"])["version"], 1);
    let keys = add(&mut world, "release", &signer(8), &["firmware", "module"]);
    assert_eq!((&keys["version"], &keys["keys"][0]["roles"]), (&json!(2), &json!(["firmware", "module"])));
    world.ask("key-retire", json!({ "name": "release" }));
    assert_eq!(world.ask("key-retire", json!({ "name": "release" }))["version"], 3);
    assert_eq!(add(&mut world, "release", &signer(8), &["module"])["keys"][0]["state"], "trusted");
}

#[test]
fn mistakes_with_keys_are_named() {
    let mut world = World::with_devices();
    add(&mut world, "release", &signer(8), &["firmware"]);
    let key = signer(9).public();
    for (verb, fields, code, named) in [
        ("key-add", json!({ "name": "x", "key": key, "roles": [] }), "bad-request", "role"),
        ("key-add", json!({ "name": "x", "key": key, "roles": ["king"] }), "bad-request", "king"),
        ("key-add", json!({ "name": "x", "key": "12", "roles": ["root"] }), "bad-request", "hexadecimal"),
        ("key-add", json!({ "name": "X", "key": key, "roles": ["root"] }), "bad-request", "a-z"),
        (
            "key-add",
            json!({ "name": "x", "key": key, "roles": ["root"], "not_after": 5 }),
            "bad-request",
            "past",
        ),
        ("key-add", json!({ "name": "release", "key": key, "roles": ["root"] }), "conflict", "release"),
        (
            "key-add",
            json!({ "name": "x", "key": signer(8).public(), "roles": ["root"] }),
            "conflict",
            "release",
        ),
        ("key-retire", json!({ "name": "nope" }), "not-found", "nope"),
        ("key-retire", json!({ "name": "service" }), "conflict", "no root key"),
        ("keyring-import", json!({ "keyring": "xyz" }), "bad-request", "base64"),
    ] {
        let (found, message) = world.refused(verb, fields);
        assert_eq!(found, code, "{message}");
        assert!(message.contains(named), "{message}");
    }
    assert_eq!(world.ask("key-list", json!({}))["version"], 1);
}

#[test]
fn there_are_no_more_keys_than_a_keyring_holds() {
    let mut world = World::with_devices();
    for seed in 8..15 {
        add(&mut world, &format!("key-{seed}"), &signer(seed), &["module"]);
    }
    let ninth = json!({ "name": "ninth", "key": signer(15).public(), "roles": ["module"] });
    assert_eq!(world.refused("key-add", ninth.clone()).0, "conflict");
    world.ask("key-retire", json!({ "name": "key-8" }));
    world.ask("key-add", ninth);
}

#[test]
fn a_service_without_the_role_root_takes_keyrings_made_elsewhere() {
    let mut world = World::with_devices();
    let (root, now_s) = (signer(8), (world.now.0 / 1000) as u32);
    add(&mut world, "offline-root", &root, &["root"]);
    add(&mut world, "service", &own(), &["module", "patch"]);
    let keys = world.ask("key-list", json!({}));
    assert_eq!((&keys["can_sign"], &keys["version"]), (&json!(false), &json!(2)));
    let answer = world.answer("key-retire", &json!({ "name": "service" })).error.unwrap();
    assert!(answer.hint.unwrap().contains("wasmbed keys keyring"));

    let release = signer(9);
    let service = only(Role::Module).with(Role::Patch);
    let keys = [(&root, only(Role::Root)), (&own(), service), (&release, only(Role::Firmware))];
    let import = |keyring: String| json!({ "keyring": keyring });
    for (keyring, named) in [
        (offline(&own(), 3, now_s, &keys), "does not have the role root"),
        (offline(&release, 3, now_s, &keys), "not trusted"),
        (offline(&root, 2, now_s, &keys), "version 2"),
        (offline(&root, 3, now_s + 10_000, &keys), "it is"),
        (offline(&root, 3, 1, &keys), "it is"),
    ] {
        let (code, message) = world.refused("keyring-import", import(keyring));
        assert_eq!(code, "refused");
        assert!(message.contains(named), "{message}");
    }
    assert_eq!(world.refused("keyring-import", import(offline(&root, 3, now_s, &keys[1..]))).0, "conflict");

    world.sent.clear();
    let good = offline(&root, 3, now_s, &keys);
    let listed = world.ask("keyring-import", import(good.clone()));
    let name = format!("key-{}", &key_id(&release.public()).to_string()[..8]);
    assert_eq!((&listed["version"], &listed["keys"][0]["name"]), (&json!(3), &json!(name)));
    assert_eq!(world.told(), ["key-added"]);
    assert_eq!(world.ask("keyring-import", import(good)), listed, "again");
}

#[test]
fn a_keyring_may_be_written_in_base64() {
    let mut world = World::with_devices();
    let now_s = (world.now.0 / 1000) as u32;
    let trusted = [TrustedKey { key: own().public(), roles: Roles::ALL, not_after_s: None }];
    let keyring = Keyring { version: 4, issued_s: now_s, keys: Seq::new(&trusted) };
    let signed = own().sign_keyring(&keyring).unwrap();
    let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &signed);
    assert_eq!(world.ask("keyring-import", json!({ "keyring": text }))["version"], 4);
}

#[test]
fn what_devices_accept_is_told_and_shown() {
    let mut world = World::with_devices();
    add(&mut world, "release", &signer(8), &["firmware"]);
    for _ in 0..2 {
        world.trusts("pump", 1);
    }
    assert_eq!(world.told(), ["key-added", "keyring-accepted"]);
    assert_eq!(world.firmware_status("pump")["keyring"], 1);
}

#[test]
fn a_device_that_was_away_is_led_from_root_key_to_root_key() {
    let mut world = World::with_devices();
    let (first, second, now_s) = (signer(8), signer(9), (world.now.0 / 1000) as u32);
    world.trusts("hub", 0);
    // The service's key vouches for the first root, that for the second, and that for the last keyring.
    add(&mut world, "first", &first, &["root"]);
    let import =
        |world: &mut World, keyring: String| world.ask("keyring-import", json!({ "keyring": keyring }));
    import(&mut world, offline(&first, 2, now_s, &[(&second, only(Role::Root))]));
    import(
        &mut world,
        offline(&second, 3, now_s, &[(&second, only(Role::Root)), (&own(), only(Role::Module))]),
    );
    world.connect();
    for (has, gets) in [(1, 2), (2, 3), (3, 3)] {
        assert_eq!(sent(&world, "pump").unwrap().0, has.max(1));
        world.trusts("pump", has);
        assert_eq!(sent(&world, "pump").unwrap().0, gets);
    }
}

#[test]
fn a_service_whose_key_may_no_longer_control_says_so_once() {
    let mut world = World::with_devices();
    add(&mut world, "offline-root", &signer(8), &["root"]);
    add(&mut world, "service", &own(), &["root", "module", "control"]);
    assert_eq!(world.told(), ["key-added", "key-added"]);
    add(&mut world, "service", &own(), &["root", "module"]);
    add(&mut world, "service", &own(), &["root", "module", "patch"]);
    assert_eq!(world.told()[2..], ["key-added", "alert key-without-control", "key-added"]);
    assert!(world.reason("key-without-control").contains("control"));
}
