//! The agent as a process, against Mosquitto (Debian package `mosquitto`): what only shows with a real
//! broker, real files and real signals.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "agent/events.rs"]
mod events;
#[path = "agent/firmware.rs"]
mod firmware;
#[path = "agent/fleet.rs"]
mod fleet;
#[path = "agent/images.rs"]
mod images;
#[path = "agent/ros.rs"]
mod ros;
#[path = "agent/supervisor.rs"]
mod supervisor;
#[path = "agent/vehicles.rs"]
mod vehicles;

use std::time::{Duration, Instant};

use fleet::{Fleet, module_telling};
use nix::sys::signal::Signal;
use wasmbed_wire::{
    message::{ModuleState, Outcome, Reason, ResetCause, Status, Verb},
    topic::Up,
};

#[test]
fn a_module_is_fetched_runs_and_outlives_a_kill_without_being_fetched_again() {
    let mut fleet = Fleet::start();
    let mut agent = fleet.agent();
    let artifact = fleet.publish_artifact("hello", &module_telling("hi"));
    fleet.desire(1, &[("hello", artifact)]);
    fleet.wait_for_report(|report| report.state("hello") == Some(ModuleState::Running));
    fleet.wait_for(|topic, payload| matches!(topic, Up::Telemetry(_)) && payload == b"hi");
    let boot = fleet.state().boot;

    agent.kill(Signal::SIGKILL);
    fleet.wait_for_state(|state| state.status == Status::Offline && state.boot == boot);
    let served = fleet.blocks_served();
    let _agent = fleet.agent();
    fleet.wait_for_state(|state| state.status == Status::Online && state.boot > boot);
    fleet.wait_for_report(|report| report.state("hello") == Some(ModuleState::Running));
    fleet.wait_for(|topic, payload| matches!(topic, Up::Telemetry(_)) && payload == b"hi");
    assert_eq!(fleet.blocks_served(), served);
}

#[test]
fn files_of_a_module_outlive_a_kill() {
    let mut fleet = Fleet::start();
    let mut agent = fleet.agent();
    // Each tick makes the file a byte longer and tells its length.
    let growing = r#"(module
        (import "wasmbed" "telemetry" (func $telemetry (param i32 i32 i32 i32) (result i32)))
        (import "wasmbed" "timer_set" (func $timer (param i32) (result i32)))
        (import "wasmbed" "file_size" (func $size (param i32 i32) (result i64)))
        (import "wasmbed" "file_write" (func $write (param i32 i32 i64 i32 i32) (result i32)))
        (memory (export "memory") 1) (data (i32.const 0) "log/a")
        (func (export "init") (result i32)
            (if (i64.lt_s (call $size (i32.const 0) (i32.const 5)) (i64.const 0))
                (then (drop (call $write (i32.const 0) (i32.const 5) (i64.const 0) (i32.const 0) (i32.const 0)))))
            (call $timer (i32.const 50)))
        (func (export "tick")
            (drop (call $write (i32.const 0) (i32.const 5) (call $size (i32.const 0) (i32.const 5))
                (i32.const 0) (i32.const 1)))
            (i64.store8 (i32.const 16) (call $size (i32.const 0) (i32.const 5)))
            (drop (call $telemetry (i32.const 0) (i32.const 3) (i32.const 16) (i32.const 1)))))"#;
    let artifact = fleet.publish_artifact("growing", growing);
    fleet.desire(1, &[("growing", artifact)]);
    let (_, before) = fleet.wait_for(|topic, len| matches!(topic, Up::Telemetry(_)) && len[0] >= 3);
    assert!(fleet.data_dir().join("files/growing/log/a").is_file());
    let boot = fleet.state().boot;
    agent.kill(Signal::SIGKILL);
    let _agent = fleet.agent();
    fleet.wait_for_state(|state| state.status == Status::Online && state.boot > boot);
    let (_, after) = fleet.wait_for(|topic, _| matches!(topic, Up::Telemetry(_)));
    assert!(after[0] > before[0], "{after:?} after {before:?}");
}

#[test]
fn a_signal_ends_it_politely() {
    let mut fleet = Fleet::start();
    let mut agent = fleet.agent();
    fleet.wait_for_state(|state| state.status == Status::Online);
    let boot = fleet.state().boot;
    assert!(agent.kill(Signal::SIGTERM).success());
    fleet.wait_for_state(|state| state.status == Status::Offline && state.boot == boot);
}

#[test]
fn a_restart_by_command_keeps_the_process_and_says_why() {
    let mut fleet = Fleet::start();
    let mut agent = fleet.agent();
    fleet.wait_for_state(|state| state.status == Status::Online);
    let boot = fleet.state().boot;
    assert_eq!(fleet.command("again", Verb::Restart), Outcome::Done);
    fleet.wait_for_state(|state| state.status == Status::Online && state.boot > boot);
    assert_eq!(fleet.info().reset, ResetCause::Command);
    assert!(agent.is_running());
}

#[test]
fn on_a_machine_of_its_own_a_restart_ends_the_agent_for_the_machine_to_start_again() {
    let mut fleet = Fleet::start();
    let on_its_own = "restart_exit_code = 133\nboard = 'linux-x86-64'\n";
    let mut agent = fleet.agent_with(on_its_own);
    fleet.wait_for_state(|state| state.status == Status::Online);
    let boot = fleet.state().boot;
    assert_eq!(fleet.command("again", Verb::Restart), Outcome::Done);
    assert_eq!(agent.wait().code(), Some(133));
    let _agent = fleet.agent_with(on_its_own);
    fleet.wait_for_state(|state| state.status == Status::Online && state.boot > boot);
    assert_eq!(fleet.info().reset, ResetCause::Command);
    assert_eq!(fleet.info().board.as_str(), "linux-x86-64");
}

#[test]
fn a_broker_that_comes_back_finds_the_agent_again() {
    let mut fleet = Fleet::start();
    let _agent = fleet.agent();
    let artifact = fleet.publish_artifact("hello", &module_telling("hi"));
    fleet.wait_for_state(|state| state.status == Status::Online);
    let boot = fleet.state().boot;
    fleet.restart_broker();
    fleet.wait_for_state(|state| state.status == Status::Online && state.boot > boot);
    // Nothing was retained over the restart; the device asks for nothing it does not need.
    fleet.desire(5, &[("hello", artifact)]);
    fleet.wait_for_report(|report| report.state("hello") == Some(ModuleState::Running));
}

#[test]
fn what_nobody_signed_is_refused() {
    let mut fleet = Fleet::start();
    let _agent = fleet.agent();
    let artifact = fleet.publish_unsigned_artifact("evil", &module_telling("hi"));
    fleet.desire(1, &[("evil", artifact)]);
    fleet.wait_for_report(|report| report.refusal("evil") == Some(Reason::BadSignature));
}

#[test]
fn an_endless_tick_delays_neither_heartbeats_nor_other_modules() {
    let mut fleet = Fleet::start();
    let _agent = fleet.agent();
    let endless = "(module (memory (export \"memory\") 1) (func (export \"tick\") (loop (br 0))))";
    let endless = fleet.publish_artifact("endless", endless);
    let hello = fleet.publish_artifact("hello", &module_telling("hi"));
    fleet.desire(1, &[("endless", endless), ("hello", hello)]);
    fleet.wait_for_report(|report| report.state("endless") == Some(ModuleState::Running));
    fleet.wait_for(|topic, payload| matches!(topic, Up::Telemetry(_)) && payload == b"hi");
    let start = Instant::now();
    for _ in 0..3 {
        fleet.wait_for(|topic, _| topic == Up::Heartbeat);
    }
    assert!(start.elapsed() < Duration::from_secs(5), "heartbeats every second");
}
