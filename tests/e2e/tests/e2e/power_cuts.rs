//! Power that goes in the middle of an update.

use std::fs;

use anyhow::Result;
use serde_json::Value;
use wasmbed_e2e::{
    BrokerKind, FACTORY_VERSION, Fleet, Limit,
    features::{self, Devices, each},
};

const KILLED: Devices = features::KILLED.devices;
/// Flash operations after which the power goes, each counted from the start after the one before. Each board
/// adds its number to all.
const CUTS: [u32; 11] = [0, 1, 4, 9, 18, 37, 60, 90, 120, 240, 400];
/// The same once the new image is to be started: two in the bootloader, which counts the try, and one after.
const TRIAL_CUTS: [u32; 3] = [0, 0, 1];
const UPDATE: Limit = Limit::seconds(360);

#[test]
fn power_cuts_in_the_middle_of_flash_operations_do_no_harm() -> Result<()> {
    cut_the_power("netduino2", 4).map(drop)
}

#[test]
fn power_cuts_do_no_harm_to_a_board_with_16_kib_of_memory() -> Result<()> {
    let fleet = cut_the_power("hifive1", 2)?;
    for id in fleet.devices() {
        fleet.has_stack_left(&id)?;
        let console = fs::read_to_string(fleet.dir().join(format!("host/devices/{id}/console.log")))?;
        assert!(console.contains("starting hifive1") && !console.contains("stack is too small"), "{console}");
    }
    Ok(())
}

/// That of so many boards at once, each at other moments.
fn cut_the_power(board: &str, count: u32) -> Result<Fleet> {
    let ids: Vec<String> = (1..=count).map(|nth| format!("cut-{nth}")).collect();
    let devices: Vec<(&str, &str)> = ids.iter().map(|id| (id.as_str(), board)).collect();
    let fleet = Fleet::start_with(BrokerKind::Embedded, &devices)?;
    fleet.push_variant(board, "variant-note", "0.2.0", &["--tries", "5"])?;
    for (id, more) in ids.iter().zip(0..) {
        fleet.cli(&["device", "stop", id])?;
        fleet.wait(&format!("{id} without a process"), Limit::seconds(20), || Ok(fleet.pid(id).is_err()))?;
        fleet.plan_power_cuts(id, &CUTS.map(|cut| cut + more), &TRIAL_CUTS)?;
        fleet.cli(&["device", "start", id])?;
    }
    fleet.cli(&["firmware", "deploy", &format!("{board}@0.2.0"), "--to", &format!("board={board}")])?;
    for id in &ids {
        fleet.wait_version(id, "0.2.0", UPDATE)?;
        assert_eq!(fleet.power_cuts_to_come(id), 0, "{id} was updated before all its power cuts");
    }
    Ok(fleet)
}

#[test]
fn a_board_killed_at_any_percent_of_an_update_goes_on_with_it() -> Result<()> {
    let fleet = Fleet::start_with(BrokerKind::Embedded, KILLED)?;
    each(KILLED, |id, board| {
        fleet.push_variant(board, "variant-note", "0.2.0", &["--tries", "5"])?;
        fleet.cli(&["firmware", "deploy", &format!("{board}@0.2.0"), "--to", id, "--no-delta"])?;
        let mut kills = 0;
        // As often as a host starts a board again within a minute.
        for percent in [10, 35, 60, 85] {
            let mut update = Value::Null;
            fleet.wait(&format!("{percent} % of the image"), UPDATE, || {
                update = fleet.firmware(id)?;
                Ok(update["progress"].as_u64().is_some_and(|progress| progress >= percent))
            })?;
            // Between two looks of this test, a board can fetch the rest and start it.
            if update["state"] != "downloading" {
                break;
            }
            assert_eq!(update["running"]["version"], FACTORY_VERSION, "{id} runs a part of an image");
            fleet.pull_the_power(id)?;
            kills += 1;
        }
        assert!(kills >= 2, "{id} was updated before its power went twice");
        fleet.wait_event(id, "firmware-trial", &[], UPDATE)?;
        fleet.pull_the_power(id)?;
        fleet.wait_version(id, "0.2.0", UPDATE)?;
        Ok(())
    })
}
