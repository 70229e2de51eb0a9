//! Firmware that is replaced over MQTT, on boards in QEMU.

use std::fs;

use anyhow::{Context, Result};
use serde_json::Value;
use wasmbed_e2e::{
    BrokerKind, FACTORY_VERSION, Fleet, Limit, Subscription,
    features::{self, Devices, each},
    module, variant,
};

/// Those whose firmware Cargo builds alone.
const FOR_CARGO: Devices = &[("n2-1", "netduino2"), ("mps-1", "mps2-an385"), ("rv-1", "rv32-virt")];
const UPDATED: Devices = features::UPDATE.devices;
const WHOLE: Devices = features::WHOLE.devices;
/// Boards with a reset of their own and with none.
const MUTE: Devices = &[("n2-1", "netduino2"), ("hf-1", "hifive1")];
const ONE: Devices = &[("n2-1", "netduino2")];
/// An image may take long to be sent over an emulated serial line.
const UPDATE: Limit = Limit::seconds(120);

/// Deploys a version and waits until it is confirmed.
fn deploy(fleet: &Fleet, board: &str, version: &str, options: &[&str]) -> Result<()> {
    let (firmware, to) = (format!("{board}@{version}"), format!("board={board}"));
    let mut arguments = vec!["firmware", "deploy", &firmware, "--to", &to, "--wait", "--timeout", "240"];
    arguments.extend(options);
    fleet.cli(&arguments).map(drop)
}

/// How many events of a device are of this kind.
fn count(fleet: &Fleet, id: &str, kind: &str) -> Result<usize> {
    Ok(fleet.events(id)?.iter().filter(|event| event["kind"] == kind).count())
}

#[test]
fn a_board_is_updated_and_rolled_back() -> Result<()> {
    let fleet = Fleet::start_with(BrokerKind::Embedded, UPDATED)?;
    fleet.cli(&["module", "push", &module("thermo")?.to_string_lossy(), "--version", "1.0.0"])?;
    let runs_modules = |id: &str| Fleet::BOARDS.iter().any(|(of, _)| *of == id);
    let with_modules: Vec<&str> = Fleet::BOARDS.iter().map(|(id, _)| *id).collect();
    fleet.cli(&["deploy", "thermo", "--to", &with_modules.join(","), "--wait"])?;
    // One after the other: patches are made one at a time, and nobody waits long for one.
    for (id, board) in UPDATED {
        let is_running_again = || match runs_modules(id) {
            true => fleet.wait_running(id, "thermo", Limit::seconds(60)),
            false => Ok(()),
        };
        fleet.push_variant(board, "variant-note", "0.2.0", &[])?;
        fleet.wait_version(id, FACTORY_VERSION, Limit::seconds(60))?;

        deploy(&fleet, board, "0.2.0", &[])?;
        fleet.wait_version(id, "0.2.0", UPDATE)?;
        fleet.wait_event(id, "firmware-downloading", &["100 %", "of a patch"], Limit::seconds(30))?;
        for kind in ["firmware-staged", "firmware-trial", "firmware-confirmed"] {
            fleet.wait_event(id, kind, &["0.2.0"], Limit::seconds(30))?;
        }
        is_running_again()?;

        // Back without a download: no block of it is asked for, whatever modules do.
        let factory = fleet.cli(&["firmware", "show", &format!("{board}@{FACTORY_VERSION}"), "--json"])?;
        let artifact = factory["artifact"].as_str().context("no artifact")?;
        let requests = Subscription::open(&fleet, &format!("wasmbed/v1/{id}/up/get"))?;
        fleet.cli(&["firmware", "rollback", "--to", id, "--wait", "--timeout", "240"])?;
        fleet.wait_version(id, FACTORY_VERSION, UPDATE)?;
        is_running_again()?;
        let fetched = requests.drain().filter(|request| request.contains(artifact)).count();
        assert_eq!(fetched, 0, "{id} fetched blocks to roll back");
    }
    Ok(())
}

#[test]
fn a_board_is_updated_by_a_whole_image() -> Result<()> {
    let fleet = Fleet::start_with(BrokerKind::Embedded, WHOLE)?;
    each(WHOLE, |id, board| {
        let pushed = fleet.push_variant(board, "variant-note", "0.2.0", &[])?;
        deploy(&fleet, board, "0.2.0", &["--no-delta"])?;
        fleet.wait_version(id, "0.2.0", UPDATE)?;
        let size = format!("{} bytes", pushed["size_bytes"]);
        fleet.wait_event(id, "firmware-downloading", &["100 %", &size], Limit::seconds(30))?;
        Ok(())
    })
}

/// Deploys an image that does not prove itself: the board comes back and says why, and does not try it
/// again until it is told to.
fn comes_back(fleet: &Fleet, id: &str, board: &str, fault: &str, version: &str, reason: &str) -> Result<()> {
    fleet.push_variant(board, fault, version, &["--tries", "1", "--confirm-s", "5"])?;
    let firmware = format!("{board}@{version}");
    let refusal =
        fleet.cli_fails(&["firmware", "deploy", &firmware, "--to", id, "--wait", "--timeout", "240"])?;
    assert!(refusal.contains(reason), "expected {reason:?} in: {refusal}");
    fleet.wait_online(id)?;
    let status = fleet.firmware(id)?;
    assert_eq!(status["running"]["version"], FACTORY_VERSION, "{status:#}");
    assert_eq!(status["state"], "reverted", "{status:#}");
    fleet.wait_event(id, "firmware-reverted", &[reason], Limit::seconds(10))?;

    // A restart is no reason to try again.
    let trials = count(fleet, id, "firmware-reverted")?;
    let pid = fleet.pid(id)?;
    fleet.cli(&["device", "restart", id])?;
    fleet.wait(&format!("{id} in another process"), Limit::seconds(20), || {
        Ok(fleet.pid(id).is_ok_and(|now| now != pid))
    })?;
    fleet.wait_online(id)?;
    fleet.wait_fresh_heartbeat(id, Limit::seconds(20))?;
    assert_eq!(fleet.firmware(id)?["running"]["version"], FACTORY_VERSION);
    assert_eq!(count(fleet, id, "firmware-reverted")?, trials, "{id} tried it again");

    // Told to, it does, with the same outcome.
    let refusal = fleet.cli_fails(&["firmware", "clear", "--to", id, "--wait", "--timeout", "240"])?;
    assert!(refusal.contains(reason), "expected {reason:?} in: {refusal}");
    assert_eq!(count(fleet, id, "firmware-reverted")?, trials + 1);
    Ok(())
}

#[test]
fn an_image_that_panics_is_given_up() -> Result<()> {
    let fleet = Fleet::start_with(BrokerKind::Embedded, features::PANICS.devices)?;
    each(features::PANICS.devices, |id, board| {
        comes_back(&fleet, id, board, "fault-panic", "0.3.0", "it crashed in its trial")
    })
}

#[test]
fn an_image_that_hangs_is_given_up() -> Result<()> {
    let fleet = Fleet::start_with(BrokerKind::Embedded, features::HANGS.devices)?;
    each(features::HANGS.devices, |id, board| {
        comes_back(&fleet, id, board, "fault-hang", "0.3.0", "it hung in its trial")
    })?;
    // Its own watchdog knows where, the host's does not.
    let console = fs::read_to_string(fleet.dir().join("host/devices/mps-1/console.log"))?;
    assert!(console.contains("hung for 6 s; from "), "{console}");
    Ok(())
}

#[test]
fn an_image_that_does_not_reach_the_broker_is_given_up() -> Result<()> {
    let fleet = Fleet::start_with(BrokerKind::Embedded, MUTE)?;
    each(MUTE, |id, board| {
        comes_back(&fleet, id, board, "fault-mute", "0.3.0", "it did not reach the broker")
    })
}

#[test]
fn an_update_survives_the_end_of_the_broker_and_of_the_service() -> Result<()> {
    let mut fleet = Fleet::start_with(BrokerKind::Embedded, ONE)?;
    fleet.push_variant("netduino2", "variant-note", "0.2.0", &[])?;
    fleet.cli(&["firmware", "deploy", "netduino2@0.2.0", "--to", "n2-1", "--no-delta"])?;
    let loading = |fleet: &Fleet, percent: u64| {
        fleet.wait(&format!("{percent} % of the image"), UPDATE, || {
            let status = fleet.firmware("n2-1")?;
            Ok(status["progress"].as_u64().is_some_and(|progress| progress >= percent))
        })
    };
    loading(&fleet, 10)?;
    fleet.kill_broker()?;
    fleet.start_broker()?;
    loading(&fleet, 40)?;
    fleet.kill_service()?;
    fleet.start_service()?;
    fleet.wait_version("n2-1", "0.2.0", UPDATE)
}

#[test]
fn what_must_not_run_is_refused_with_the_reason() -> Result<()> {
    let fleet = Fleet::start_with(BrokerKind::Embedded, ONE)?;
    fleet.add_idle("rv-9", "rv32-virt")?;
    let firmware = fleet.push_variant("netduino2", "variant-note", "0.2.0", &["--counter", "3"])?;
    assert_eq!(firmware["counter"], 3);

    let refusal = fleet.cli_fails(&["firmware", "deploy", "netduino2@0.2.0", "--to", "rv-9"])?;
    assert!(refusal.contains("rv32-virt") && refusal.contains("netduino2"), "{refusal}");

    // A key that nobody trusts, and bytes that were not signed.
    let (key, signed) = (fleet.dir().join("stranger.key"), fleet.dir().join("forged.wbfw"));
    fleet.cli(&["keys", "create", "stranger", "--out", &key.to_string_lossy()])?;
    let elf = variant("netduino2", "variant-note")?;
    fleet.sign(&elf, "netduino2", "0.2.1", &key, &signed, &[])?;
    let refusal = fleet.cli_fails(&["firmware", "push", &signed.to_string_lossy()])?;
    assert!(refusal.contains("trust"), "{refusal}");
    fleet.sign(&elf, "netduino2", "0.2.1", &fleet.service_key(), &signed, &[])?;
    let mut bytes = std::fs::read(&signed)?;
    *bytes.last_mut().context("an empty file")? ^= 1;
    std::fs::write(&signed, bytes)?;
    let refusal = fleet.cli_fails(&["firmware", "push", &signed.to_string_lossy()])?;
    assert!(refusal.contains("SHA-256") || refusal.contains("digest"), "{refusal}");

    // Once a counter is confirmed, nothing below it runs again.
    deploy(&fleet, "netduino2", "0.2.0", &[])?;
    let older = format!("netduino2@{FACTORY_VERSION}");
    let refusal = fleet.cli_fails(&["firmware", "deploy", &older, "--to", "n2-1"])?;
    assert!(refusal.contains("security counter"), "{refusal}");
    Ok(())
}

#[test]
fn a_board_without_a_good_image_fetches_the_one_it_should_run() -> Result<()> {
    let fleet = Fleet::start_with(BrokerKind::Embedded, WHOLE)?;
    each(WHOLE, |id, board| {
        fleet.push_variant(board, "variant-note", "0.2.0", &[])?;
        deploy(&fleet, board, "0.2.0", &[])?;
        fleet.cli(&["device", "stop", id])?;
        fleet.wait(&format!("{id} without a process"), Limit::seconds(20), || Ok(fleet.pid(id).is_err()))?;
        fleet.damage_slots(id, board)?;
        fleet.cli(&["device", "start", id])?;
        fleet.wait_version(id, "0.2.0", UPDATE)?;
        let status: Value = fleet.firmware(id)?;
        assert_eq!(status["state"], "confirmed", "{status:#}");
        Ok(())
    })
}

#[test]
fn a_release_key_may_be_kept_elsewhere() -> Result<()> {
    let fleet = Fleet::start_with(BrokerKind::Embedded, ONE)?;
    let (key, signed) = (fleet.dir().join("release.key"), fleet.dir().join("release.wbfw"));
    let created = fleet.cli(&["keys", "create", "release", "--out", &key.to_string_lossy(), "--json"])?;
    let public = created["key"].as_str().context("no public key")?;
    fleet.cli(&["keys", "add", "release", public, "--roles", "firmware"])?;
    fleet.sign(&variant("netduino2", "variant-note")?, "netduino2", "0.2.0", &key, &signed, &[])?;
    let pushed = fleet.push(&signed)?;
    assert_eq!(pushed["key_name"], "release", "{pushed:#}");
    deploy(&fleet, "netduino2", "0.2.0", &[])?;
    fleet.wait_version("n2-1", "0.2.0", UPDATE)?;

    // Once it is retired, nothing new of it is taken, and what runs goes on.
    fleet.cli(&["keys", "retire", "release"])?;
    fleet.sign(&variant("netduino2", "fault-mute")?, "netduino2", "0.3.0", &key, &signed, &[])?;
    let refusal = fleet.cli_fails(&["firmware", "push", &signed.to_string_lossy()])?;
    assert!(refusal.contains("not trusted"), "{refusal}");
    fleet.cli(&["device", "restart", "n2-1"])?;
    fleet.wait_fresh_heartbeat("n2-1", Limit::seconds(20))?;
    fleet.wait_version("n2-1", "0.2.0", UPDATE)
}

#[test]
fn a_firmware_project_of_ones_own_builds_and_boots() -> Result<()> {
    let fleet = Fleet::start_with(BrokerKind::Embedded, FOR_CARGO)?;
    each(FOR_CARGO, |id, board| {
        let elf = fleet.build_project(board)?;
        fleet.cli(&["firmware", "push", &elf.to_string_lossy(), "--board", board, "--version", "0.2.0"])?;
        deploy(&fleet, board, "0.2.0", &[])?;
        fleet.wait_version(id, "0.2.0", UPDATE)?;
        Ok(())
    })
}
