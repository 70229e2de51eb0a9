//! The agent as a firmware of its own: updates, trials, and everything that can go wrong with them.

use std::{os::unix::process::ExitStatusExt, process::Command};

use nix::sys::signal::Signal;
use wasmbed_update::{ImageSlot, Layout};
use wasmbed_wire::{
    manifest::Manifest,
    message::{DesiredFirmware, FirmwareState, ModuleState, Outcome, Reason, ResetCause, Status, Verb},
    topic::Up,
};

use crate::{
    fleet::{Fleet, keys, module_telling},
    images::{self, BLOCK_BYTES, digest},
    supervisor::Supervised,
};

const INSTALLED: &str = env!("CARGO_PKG_VERSION");
/// Ends at once, as a program does that cannot work here.
const FAILING: &[u8] = b"#!/bin/sh\nexit 1\n";
/// Two sectors at the start of the flash.
const RECORDS_BYTES: usize = 2 * (64 << 10);
const SLEEPING: &[u8] = b"#!/bin/sh\nexec sleep 3600\n";
/// Nothing that a system starts.
const NO_PROGRAM: &[u8] = b"\x7fELF, and nothing behind it";

fn online(fleet: &mut Fleet) {
    fleet.wait_for_state(|state| state.status == Status::Online);
    fleet.wait_for_report(|_| true);
}

fn slots(fleet: &Fleet) -> serde_json::Value {
    let output = fleet.agent_command("").arg("--print-slots").output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn an_agent_becomes_another_one_and_goes_back_without_a_download() {
    let mut fleet = Fleet::start();
    let agent = Supervised::start(fleet.agent_command(""));
    online(&mut fleet);
    assert_eq!(fleet.info().firmware, INSTALLED);
    assert_eq!(fleet.info().slots.unwrap().running, None, "the installed program runs");

    let first = images::agent("first");
    let first = fleet.publish_firmware("90.0.1", &first, 3);
    fleet.update_to(1, first);
    assert_eq!((fleet.info().firmware.as_str(), fleet.info().reset), ("90.0.1", ResetCause::Command));
    let second = images::agent("second");
    let second = fleet.publish_firmware("90.0.2", &second, 3);
    fleet.update_to(10, second);
    assert_eq!(fleet.info().firmware, "90.0.2");
    assert_eq!(fleet.info().slots.unwrap().other, Some(first.image));

    let served = fleet.blocks_served();
    fleet.update_to(20, first);
    assert_eq!(fleet.info().firmware, "90.0.1");
    assert_eq!(fleet.blocks_served(), served);
    assert_eq!(agent.ends(), [], "the process became another program and never ended");

    // What is below the highest counter that was confirmed does not come back.
    let old = images::manifest("90.0.0", FAILING, 1);
    let old = Manifest { counter: 0, ..old };
    let old = fleet.publish_firmware_signed(&old, FAILING, &keys(1));
    fleet.desire_firmware(30, old);
    let refused = fleet.wait_for_firmware(&old, FirmwareState::Refused);
    assert_eq!(refused.reason, Some(Reason::Downgrade));
    fleet.desire_firmware(31, first);
    fleet.wait_for_firmware(&first, FirmwareState::Confirmed);

    // What was confirmed is what starts from now on.
    let boot = fleet.state().boot;
    agent.kill();
    fleet.wait_for_state(|state| state.status == Status::Online && state.boot > boot);
    let confirmed = fleet.wait_for_firmware(&first, FirmwareState::Confirmed);
    assert_eq!(confirmed.reason, None);
    assert_eq!((fleet.info().firmware.as_str(), fleet.info().reset), ("90.0.1", ResetCause::Watchdog));

    let found = slots(&fleet);
    assert_eq!((&found["active"], &found["counter"]), (&"a".into(), &1.into()), "{found}");
    assert_eq!(found["trial"], serde_json::Value::Null);
    assert_eq!(found["slots"]["a"]["version"], "90.0.1");
    assert_eq!(found["slots"]["b"]["image"], second.image.to_string());

    // Unless it must not be.
    drop(agent);
    let mut plain = fleet.agent_command("");
    plain.arg("--no-boot");
    let _agent = Supervised::start(plain);
    let boot = fleet.state().boot;
    fleet.wait_for_state(|state| state.status == Status::Online && state.boot > boot);
    assert_eq!(fleet.info().firmware, INSTALLED);
    assert_eq!(fleet.info().slots, None);
}

#[test]
fn an_image_that_ends_at_once_is_reverted_and_tried_again_only_for_a_higher_generation() {
    let mut fleet = Fleet::start();
    let agent = Supervised::start(fleet.agent_command(""));
    online(&mut fleet);
    let wish = fleet.publish_firmware("90.0.1", FAILING, 2);
    fleet.desire_firmware(1, wish);
    let reverted = fleet.wait_for_firmware(&wish, FirmwareState::Reverted);
    assert_eq!(reverted.reason, Some(Reason::Hung));
    assert_eq!(fleet.info().firmware, INSTALLED);
    let ended: Vec<_> = agent.ends().iter().map(|end| end.code()).collect();
    assert_eq!(ended, [Some(1), Some(1)]);
    assert_eq!(slots(&fleet)["slots"]["a"]["blocked"], "hung");

    let served = fleet.blocks_served();
    fleet.desire_firmware(2, wish);
    fleet.wait_for_report(|report| report.revision == 2);
    assert_eq!(fleet.command("still-there", Verb::Ping), Outcome::Done);
    assert_eq!((agent.ends().len(), fleet.blocks_served()), (2, served));

    let again = DesiredFirmware { generation: 1, ..wish };
    fleet.desire_firmware(3, again);
    fleet.wait_for_report(|report| {
        report
            .firmware
            .is_some_and(|firmware| (firmware.state, firmware.generation) == (FirmwareState::Reverted, 1))
    });
    assert_eq!(agent.ends().len(), 4);
}

#[test]
fn an_image_that_hangs_is_ended_by_the_watchdog_and_reverted() {
    let mut fleet = Fleet::start();
    let agent = Supervised::start(fleet.agent_command("watchdog_s = 1\n"));
    online(&mut fleet);
    let wish = fleet.publish_firmware("90.0.1", SLEEPING, 1);
    fleet.desire_firmware(1, wish);
    let reverted = fleet.wait_for_firmware(&wish, FirmwareState::Reverted);
    assert_eq!(reverted.reason, Some(Reason::Hung));
    let ended: Vec<_> = agent.ends().iter().map(|end| end.signal()).collect();
    assert_eq!(ended, [Some(Signal::SIGALRM as i32)]);
}

#[test]
fn an_image_that_the_system_does_not_start_is_reverted_without_an_end() {
    let mut fleet = Fleet::start();
    let agent = Supervised::start(fleet.agent_command(""));
    online(&mut fleet);
    let wish = fleet.publish_firmware("90.0.1", NO_PROGRAM, 3);
    fleet.desire_firmware(1, wish);
    let reverted = fleet.wait_for_firmware(&wish, FirmwareState::Reverted);
    assert_eq!(reverted.reason, Some(Reason::Crashed));
    assert_eq!(agent.ends(), []);
}

#[test]
fn an_image_that_finds_no_room_on_the_disk_waits_for_the_next_start() {
    let mut fleet = Fleet::start();
    let agent = Supervised::start(fleet.agent_command(""));
    online(&mut fleet);
    let programs = fleet.data_dir().join("run");
    std::fs::write(&programs, "a file where there should be a folder").unwrap();
    let wish = fleet.publish_firmware("90.0.1", NO_PROGRAM, 1);
    fleet.desire_firmware(1, wish);
    // The device is there, and nothing in its flash is lost.
    fleet.wait_for_firmware(&wish, FirmwareState::Armed);
    let boot = fleet.state().boot;
    fleet.wait_for_state(|state| state.status == Status::Online && state.boot > boot);
    assert_eq!(fleet.info().slots, None);
    assert_eq!(slots(&fleet)["trial"]["tries_left"], 1);

    std::fs::remove_file(programs).unwrap();
    assert_eq!(fleet.command("again", Verb::Restart), Outcome::Done);
    let reverted = fleet.wait_for_firmware(&wish, FirmwareState::Reverted);
    assert_eq!(reverted.reason, Some(Reason::Crashed));
    assert_eq!(agent.ends(), []);
}

#[test]
fn what_is_not_for_this_device_is_refused_before_the_flash_is_touched() {
    let mut fleet = Fleet::start();
    let _agent = Supervised::start(fleet.agent_command(""));
    online(&mut fleet);
    let flash = fleet.data_dir().join("flash.bin");
    // All but the records, where revisions are kept: patch and slots.
    let touched = || digest(std::fs::read(&flash).unwrap().get(RECORDS_BYTES..).unwrap_or_default());
    let before = touched();
    let good = images::manifest("90.0.1", FAILING, 1);
    let too_large = Manifest { size: u32::MAX, ..good };
    let other_board = Manifest { board: Some("netduino2".parse().unwrap()), ..good };
    let cases = [
        (good, keys(2), Reason::BadSignature),
        (other_board, keys(1), Reason::WrongBoard),
        (too_large, keys(1), Reason::TooLarge),
    ];
    for (revision, (manifest, keys, reason)) in (1..).zip(cases) {
        let wish = fleet.publish_firmware_signed(&manifest, FAILING, &keys);
        fleet.desire_firmware(revision, wish);
        let refused = fleet.wait_for_report(|report| {
            report.revision == revision
                && report.firmware.is_some_and(|firmware| firmware.state == FirmwareState::Refused)
        });
        assert_eq!(refused.firmware.unwrap().reason, Some(reason));
    }
    assert_eq!(touched(), before);
    assert_eq!(slots(&fleet)["slots"], serde_json::json!({}));
}

#[test]
fn a_download_that_is_killed_again_and_again_goes_on_where_it_was() {
    const KILLS: u32 = 30;
    /// More than are ever on their way, more than the journal is late by, and the manifest once more.
    const LOST_PER_KILL: usize = 32 + 8 + 1;
    let mut fleet = Fleet::start();
    let image = images::agent("killed");
    let blocks = 1 + image.len().div_ceil(BLOCK_BYTES.into());
    let wish = fleet.publish_firmware("90.0.1", &image, 3);
    fleet.desire_firmware(1, wish);
    let mut seed = 0x2545_f491_u32;
    for _ in 0..KILLS {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let mut agent = fleet.agent();
        // So few that the image is not complete before the last one.
        let until = fleet.blocks_served() + 1 + (seed >> 16) as usize % 36;
        fleet.wait_for_blocks(until);
        agent.kill(Signal::SIGKILL);
    }
    let agent = Supervised::start(fleet.agent_command("watchdog_s = 10\n"));
    let trial = fleet.wait_for_firmware(&wish, FirmwareState::Trial);
    fleet.desire_firmware(2, DesiredFirmware { confirm: trial.since, ..wish });
    fleet.wait_for_firmware(&wish, FirmwareState::Confirmed);
    // One a second, for longer than the watchdog waits: it is renewed.
    for _ in 0..12 {
        fleet.wait_for(|topic, _| topic == Up::Heartbeat);
    }
    assert_eq!(agent.ends(), []);
    let wasted = fleet.blocks_served() - blocks;
    assert!(wasted <= KILLS as usize * LOST_PER_KILL, "{wasted} blocks were fetched in vain");
}

#[test]
fn a_full_disk_refuses_the_firmware_and_stops_nothing_else() {
    let mut fleet = Fleet::start();
    let image = vec![7; 40 * usize::from(BLOCK_BYTES)];
    // Nobody needs a full disk for this: files end in the middle of the image.
    let layout = Layout::new(0, 0x1_0000, 64 << 20, 16 << 20);
    let kib = (layout.image(ImageSlot::A).origin + 20 * u32::from(BLOCK_BYTES)) / 1024;
    let agent = fleet.agent_command("");
    let mut limited = Command::new("bash");
    limited.args(["-c", "trap '' XFSZ; ulimit -f \"$0\"; exec \"$@\""]).arg(kib.to_string());
    limited.arg(agent.get_program()).args(agent.get_args());
    let agent = Supervised::start(limited);
    online(&mut fleet);
    let found = fleet.info().slots.unwrap();
    assert_eq!((found.image_bytes, found.patch_bytes), (layout.image_bytes, layout.patch.bytes));

    let wish = fleet.publish_firmware("90.0.1", &image, 1);
    fleet.desire_firmware(1, wish);
    let refused = fleet.wait_for_firmware(&wish, FirmwareState::Refused);
    assert_eq!(refused.reason, Some(Reason::StoreFailed));
    let hello = fleet.publish_artifact("hello", &module_telling("hi"));
    fleet.desire(2, &[("hello", hello)]);
    fleet.wait_for_report(|report| report.state("hello") == Some(ModuleState::Running));
    assert_eq!(agent.ends(), []);
}
