//! Pushing, deploying and reading, by command line and by `mosquitto_pub` alone.

use std::fs;

use anyhow::{Context, Result};
use serde_json::json;
use wasmbed_e2e::{BrokerKind, Fleet, Limit, module};

/// A module pushed and deployed by one command each runs on every kind of device, and its telemetry can be
/// read with `mosquitto_sub`. The same scenario serves every broker.
pub(crate) fn thermo_runs_everywhere(fleet: &Fleet) -> Result<()> {
    let devices = fleet.devices();
    fleet.cli(&["module", "push", &module("thermo")?.to_string_lossy(), "--version", "1.0.0"])?;
    fleet.cli(&["deploy", "thermo", "--to", "all", "--wait"])?;
    for device in &devices {
        fleet.wait_running(device, "thermo", Limit::seconds(20))?;
        let line = fleet.subscribe_once(&format!("wasmbed/v1/{device}/up/tm/temperature"))?;
        let value: f64 = line.trim().parse().with_context(|| format!("{device} published {line:?}"))?;
        // What a 12-bit converter can say at all: QEMU's model of it makes its samples up.
        assert!((-300.0..=1100.0).contains(&value), "{device}: {value}");
    }
    Ok(())
}

#[test]
fn one_command_deploys_to_every_kind_of_device() -> Result<()> {
    let fleet = Fleet::start(BrokerKind::Embedded)?;
    thermo_runs_everywhere(&fleet)
}

#[test]
fn mosquitto_pub_alone_pushes_deploys_and_undeploys() -> Result<()> {
    let fleet = Fleet::start(BrokerKind::Embedded)?;
    fleet.publish_file("wasmbed/v1/_fleet/put/module/thermo/2.0.0", &module("thermo")?)?;
    fleet.wait("the module to be listed", Limit::seconds(30), || {
        Ok(fleet.request("module-list", json!({}))?["result"][0]["version"] == "2.0.0")
    })?;

    let request = json!({ "module": "thermo", "to": "all", "id": "deploy-1" });
    let answer = fleet.request("deploy", request.clone())?;
    assert_eq!(answer["ok"], true, "{answer}");
    assert_eq!(answer["id"], "deploy-1");
    for device in fleet.devices() {
        fleet.wait_running(&device, "thermo", Limit::seconds(20))?;
    }

    // The same request again is answered as before and changes nothing.
    assert_eq!(fleet.request("deploy", request)?["result"], answer["result"]);

    fleet.request("undeploy", json!({ "module": "thermo", "to": "all" }))?;
    for device in fleet.devices() {
        fleet.wait(&format!("no module on {device}"), Limit::seconds(20), || {
            let device = fleet.device(&device)?;
            Ok(device["modules"].as_array().is_some_and(Vec::is_empty))
        })?;
    }
    Ok(())
}

#[test]
fn a_file_that_is_no_good_module_is_refused_with_the_reason() -> Result<()> {
    let fleet = Fleet::start_with(BrokerKind::Embedded, &[])?;
    let good = fs::read(module("blink")?)?;
    let zeros = vec![0; 64 << 20];
    let header = b"\0asm\x01\0\0\0";
    let memory = [header.as_slice(), &[5, 4, 1, 0, 0x80, 0x80 | 4, 1][..0]].concat();
    let cases: [(&str, &[u8], &str); 4] = [
        ("truncated", &good[..good.len() / 2], "unexpected end"),
        ("zeros", &zeros, "67108864"),
        ("text", b"not a module", "WebAssembly"),
        ("empty", &memory, "memory"),
    ];
    for (name, bytes, reason) in cases {
        let path = fleet.dir().join(format!("{name}.wasm"));
        fs::write(&path, bytes)?;
        let refusal = fleet.cli_fails(&["module", "push", &path.to_string_lossy(), "--version", "1.0.0"])?;
        assert!(refusal.contains(reason), "{name}: expected {reason:?} in: {refusal}");
    }
    assert_eq!(fleet.cli(&["module", "list", "--json"])?.as_array().map(Vec::len), Some(0));
    Ok(())
}

#[test]
fn a_board_without_memory_for_modules_is_given_none() -> Result<()> {
    let fleet = Fleet::start_with(BrokerKind::Embedded, &[("hf-1", "hifive1")])?;
    fleet.cli(&["module", "push", &module("blink")?.to_string_lossy(), "--version", "1.0.0"])?;
    let refusal = fleet.cli_fails(&["deploy", "blink", "--to", "hf-1"])?;
    assert!(refusal.contains("board hifive1 has no memory for modules"), "{refusal}");
    let shown = fleet.device("hf-1")?;
    assert_eq!(shown["info"]["slots"], 0, "{shown:#}");
    Ok(())
}

#[test]
fn a_module_goes_only_to_classes_that_admit_it() -> Result<()> {
    let fleet = Fleet::start_with(BrokerKind::Embedded, &[])?;
    let cases = [
        ("big", r#"(memory (export "memory") 2) (func (export "tick"))"#, "memory"),
        (
            "vector",
            r#"(memory (export "memory") 1) (func (export "tick") (drop (v128.const i64x2 0 0)))"#,
            "SIMD",
        ),
    ];
    fleet.add_idle("n2-9", "netduino2")?;
    for (name, body, reason) in cases {
        let path = fleet.dir().join(format!("{name}.wasm"));
        fs::write(&path, wat::parse_str(format!("(module {body})"))?)?;
        fleet.cli(&["module", "push", &path.to_string_lossy(), "--version", "1.0.0"])?;
        let refusal = fleet.cli_fails(&["deploy", name, "--to", "board=netduino2"])?;
        assert!(refusal.contains("mcu") && refusal.contains(reason), "{name}: {refusal}");
    }
    let unknown = fleet.dir().join("unknown.wasm");
    let import =
        r#"(module (import "env" "abort" (func)) (memory (export "memory") 1) (func (export "tick")))"#;
    fs::write(&unknown, wat::parse_str(import)?)?;
    let refusal = fleet.cli_fails(&["module", "push", &unknown.to_string_lossy(), "--version", "1.0.0"])?;
    assert!(refusal.contains("env") && refusal.contains("abort"), "{refusal}");
    Ok(())
}
