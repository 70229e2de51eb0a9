//! What is taken into the registry of firmware, what is refused and why, and what comes out again.

use serde_json::json;
use wasmbed_fleet::artifacts::{Release, Signer};

use crate::world::{World, image, own, refusal, sha256, signed};

fn release(version: &str) -> Release {
    Release::new("pump-control".parse().unwrap(), version)
}

fn other() -> Signer {
    Signer::from_seed([8; 32])
}

#[test]
fn an_image_under_the_name_of_its_board_is_signed_and_listed() {
    let mut world = World::with_devices();
    let pushed = world.push_image("1.0.0", image("a"));
    assert_eq!(pushed["digest"], json!(sha256(&image("a"))));
    assert_eq!((&pushed["source"], &pushed["key_name"]), (&json!("image"), &json!("service")));
    assert_eq!(world.ask("firmware-list", json!({})), json!([pushed]));
    assert_eq!(world.ask("firmware-show", json!({ "firmware": "netduino2" })), pushed);
    let verified = world.ask("firmware-verify", json!({ "firmware": "netduino2", "version": "1.0.0" }));
    assert_eq!((&verified["ok"], &verified["sha256"]), (&json!(true), &json!(sha256(&image("a")))));
    assert_eq!(world.told(), ["firmware-pushed"]);
}

#[test]
fn a_signed_file_keeps_its_name_notes_and_build_facts() {
    let mut world = World::with_devices();
    let mut release = release("2.0.0");
    release.counter = 3;
    release.metadata.notes = "faster".into();
    release.metadata.build.insert("commit".into(), "abc".into());
    let answer = world.upload("pump-control", "2.0.0", signed(&own(), "netduino2", release, image("a")));
    let pushed = answer.result.unwrap();
    for (field, value) in [
        ("name", json!("pump-control")),
        ("counter", json!(3)),
        ("notes", json!("faster")),
        ("build", json!({ "commit": "abc" })),
        ("source", json!("signed")),
    ] {
        assert_eq!(pushed[field], value, "{field}");
    }
    world.die_and_start();
    assert_eq!(world.ask("firmware-list", json!({})), json!([pushed]));
}

#[test]
fn what_is_wrong_with_an_upload_is_named_by_rule() {
    let mut world = World::with_devices();
    let good = signed(&own(), "netduino2", release("1.0.0"), image("a"));
    let with = |at: usize, byte: u8| {
        let mut file = good.clone();
        let at = if at == usize::MAX { file.len() - 1 } else { at };
        file[at] ^= byte;
        file
    };
    let too_large = signed(&own(), "netduino2", release("1.0.0"), vec![1; 0x10_0000]);
    let cases = [
        ("pump-control", "1.0.0", b"#!/bin/sh".to_vec(), "format", "WBFW"),
        ("netduino2", "1.0.0", b"#!/bin/sh and so on".to_vec(), "format", "stack pointer"),
        ("netduino2", "1.0.0", b"\x7fELF nothing".to_vec(), "format", "ELF"),
        ("netduino2", "1.0.0", Vec::new(), "format", "empty"),
        ("netduino2", "1.0.0", [image("a"), vec![0; 0x10_0000]].concat(), "size", "netduino2 has room"),
        ("pump-control", "1.0.0", good[..good.len() - 1].to_vec(), "format", "cut short in its image"),
        ("pump-control", "1.0.0", good[..40].to_vec(), "format", "cut short in its manifest"),
        ("pump-control", "1.0.0", good[..6].to_vec(), "format", "cut short in its header"),
        ("pump-control", "1.0.0", with(4, 3), "format", "version 2"),
        ("pump-control", "1.0.0", with(usize::MAX, 1), "digest", "SHA-256"),
        ("pump-control", "1.0.1", good.clone(), "version", "1.0.0"),
        ("pump", "1.0.0", good.clone(), "name", "pump-control"),
        ("pump-control", "1.0.0", too_large, "size", "1048576"),
        ("pump-control", "one", good.clone(), "BadRequest", "version"),
        (
            "pump-control",
            "1.0.0",
            signed(&other(), "netduino2", release("1.0.0"), image("a")),
            "key",
            "not trusted",
        ),
    ];
    for (name, version, file, rule, named) in cases {
        let (found, message) = refusal(world.upload(name, version, file));
        assert_eq!(found, rule, "{message}");
        assert!(message.contains(named), "{message}");
    }
    assert_eq!(world.ask("firmware-list", json!({})), json!([]));
}

#[test]
fn a_forged_signature_is_refused() {
    let mut world = World::with_devices();
    let mut file = signed(&own(), "netduino2", release("1.0.0"), image("a"));
    // The last byte of the manifest is one of its signature.
    let manifest_bytes = u32::from_le_bytes(file[8..12].try_into().unwrap()) as usize;
    file[12 + manifest_bytes - 1] ^= 1;
    let (rule, message) = refusal(world.upload("pump-control", "1.0.0", file));
    assert_eq!(rule, "signature", "{message}");
}

#[test]
fn a_manifest_for_an_unknown_or_another_kind_of_board_is_refused() {
    let boards = wasmbed_boards::Boards::embedded().unwrap();
    let mut toaster = boards.get(&"netduino2".parse().unwrap()).unwrap().clone();
    toaster.name = "toaster".parse().unwrap();
    let mut misfit = boards.get(&"netduino2".parse().unwrap()).unwrap().clone();
    misfit.class = wasmbed_wire::limits::Class::Riscv;
    let mut blocky = boards.get(&"netduino2".parse().unwrap()).unwrap().clone();
    blocky.modules.block_bytes = 4096;
    let mut world = World::with_devices();
    for (board, rule) in [(toaster, "board"), (misfit, "class"), (blocky, "blocks")] {
        let file =
            wasmbed_fleet::artifacts::sign_firmware(&own(), &board, release("1.0.0"), image("a").into())
                .unwrap();
        let (found, message) = refusal(world.upload("pump-control", "1.0.0", file.to_bytes().to_vec()));
        assert_eq!(found, rule, "{message}");
    }
}

#[test]
fn a_key_must_have_the_role_and_not_be_expired_or_retired() {
    let mut world = World::with_devices();
    let file = |version: &str| signed(&other(), "netduino2", release(version), image("a"));
    let add = |roles: &[&str], until: Option<u64>| json!({ "name": "release", "key": other().public(), "roles": roles, "not_after": until });
    world.ask("key-add", add(&["module"], None));
    assert_eq!(refusal(world.upload("pump-control", "1.0.0", file("1.0.0"))).0, "role");
    let until = world.now.0 / 1000 + 60;
    world.ask("key-add", add(&["firmware"], Some(until)));
    assert!(world.upload("pump-control", "1.0.0", file("1.0.0")).ok);
    let verify = json!({ "firmware": "pump-control" });
    assert_eq!(world.ask("firmware-verify", verify.clone())["ok"], true);
    world.run(62_000);
    assert_eq!(refusal(world.upload("pump-control", "1.0.1", file("1.0.1"))).0, "expired");
    let verified = world.ask("firmware-verify", verify);
    assert!(verified["problem"].as_str().unwrap().contains("expired"), "{verified}");
    world.ask("key-retire", json!({ "name": "release" }));
    assert_eq!(refusal(world.upload("pump-control", "1.0.1", file("1.0.1"))).0, "key");
}

#[test]
fn a_service_whose_key_may_not_sign_firmware_says_what_to_do() {
    let mut world = World::with_devices();
    let own = json!({ "name": "service", "key": own().public(), "roles": ["root", "module", "patch"] });
    world.ask("key-add", own);
    let answer = world.upload("netduino2", "1.0.0", image("a"));
    let hint = answer.error.clone().unwrap().hint.unwrap();
    assert_eq!(refusal(answer).0, "role");
    assert!(hint.contains("wasmbed firmware sign"), "{hint}");
}

#[test]
fn a_firmware_version_never_changes_and_pushing_it_again_is_fine() {
    let mut world = World::with_devices();
    let first = world.push_image("1.0.0", image("a"));
    assert_eq!(world.push_image("1.0.0", image("a")), first);
    let (code, message) = refusal(world.upload("netduino2", "1.0.0", image("b")));
    assert_eq!(code, "Conflict");
    assert!(message.contains("never changes"), "{message}");
    assert_eq!(world.told(), ["firmware-pushed"]);
}

#[test]
fn a_lower_counter_than_one_pushed_before_is_taken_with_a_warning() {
    let mut world = World::with_devices();
    let push = |world: &mut World, version: &str, counter: u32| {
        let release = Release { counter, ..release(version) };
        world
            .upload("pump-control", version, signed(&own(), "netduino2", release, image(version)))
            .result
            .unwrap()
    };
    assert!(push(&mut world, "2.0.0", 5).get("warnings").is_none());
    let late = push(&mut world, "1.9.9", 4);
    assert!(late["warnings"][0].as_str().unwrap().contains("below 5 of version 2.0.0"), "{late}");
    assert_eq!(world.told(), ["firmware-pushed", "warning firmware-pushed"]);
}

#[test]
fn a_version_is_removed_only_while_nobody_should_run_it() {
    let mut world = World::with_devices();
    world.push_image("1.0.0", image("a"));
    world.push_image("1.1.0", image("b"));
    world.runs("pump", "netduino2", &image("a"));
    let deploy = json!({ "firmware": "netduino2", "to": "pump" });
    assert_eq!(world.prepare(&deploy, &[&image("a"), &image("b")]), 1);
    world.ask("firmware-deploy", deploy);
    let remove = |version: &str| json!({ "firmware": "netduino2", "version": version });
    for version in ["1.0.0", "1.1.0"] {
        let (code, message) = world.refused("firmware-remove", remove(version));
        assert_eq!(code, "conflict", "the wanted image and the one its patch starts from");
        assert!(message.contains("pump"), "{message}");
    }
    world.ask("firmware-cancel", json!({ "to": "pump" }));
    world.ask("firmware-remove", remove("1.1.0"));
    assert_eq!(world.ask("firmware-list", json!({})).as_array().unwrap().len(), 1);
    assert_eq!(world.refused("firmware-show", remove("1.1.0")).0, "not-found");
    assert_eq!(world.refused("firmware-remove", remove("1.1.0")).0, "not-found");
}

#[test]
fn two_versions_with_one_image_outlive_each_other() {
    let mut world = World::with_devices();
    world.push_image("1.0.0", image("a"));
    world.push_image("1.0.1", image("a"));
    world.ask("firmware-remove", json!({ "firmware": "netduino2", "version": "1.0.0" }));
    assert_eq!(world.ask("firmware-verify", json!({ "firmware": "netduino2" }))["ok"], true);
}

#[test]
fn a_full_disk_is_answered_and_changes_nothing() {
    let mut world = World::with_devices();
    world.push_image("1.0.0", image("a"));
    world.runs("pump", "netduino2", &image("a"));
    world.fill_the_disk(Some(0));
    let before = world.ask("firmware-list", json!({}));
    let wish = world.wish("pump");
    let refused = world.upload("netduino2", "2.0.0", [image("b"), vec![7; 0x4_0000]].concat()).error.unwrap();
    assert_eq!(serde_json::to_value(refused.code).unwrap(), "internal");
    assert!(refused.message.contains("full"), "{}", refused.message);
    assert!(refused.hint.unwrap().contains("nothing was changed"));
    assert_eq!(world.ask("firmware-list", json!({})), before);
    assert_eq!(world.wish("pump"), wish);
    assert!(world.told().is_empty(), "an event of what did not happen");

    world.fill_the_disk(None);
    world.push_image("2.0.0", image("b"));
    world.ask("firmware-deploy", json!({ "firmware": "netduino2", "to": "pump" }));
}
