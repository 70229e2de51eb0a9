//! Modules that misbehave.

use anyhow::Result;
use wasmbed_e2e::{BrokerKind, Fleet, Limit, module};

#[test]
fn an_endless_loop_is_stopped_and_the_board_stays_alive() -> Result<()> {
    let fleet = Fleet::start(BrokerKind::Embedded)?;
    fleet.cli(&["module", "push", &module("spin")?.to_string_lossy(), "--version", "1.0.0"])?;
    fleet.cli(&["deploy", "spin", "--to", "all"])?;
    // A call on Linux may take a minute; the boards' limits are what this is about.
    for device in ["n2-1", "rv-1"] {
        fleet.wait_module(device, "spin", "timed-out", Limit::seconds(30))?;
        fleet.wait_fresh_heartbeat(device, Limit::seconds(10))?;
        let call_ms = if device == "n2-1" { 100 } else { 500 };
        let slowest = fleet.device(device)?["heartbeat"]["slowest_call_us"].as_u64().unwrap_or(0);
        // Twice the limit allows for an emulator that shares its processor.
        assert!(slowest < call_ms * 2000, "{device}: a call took {slowest} us");
    }
    Ok(())
}

#[test]
fn a_module_that_keeps_trapping_is_reported_failed_and_harms_nobody() -> Result<()> {
    let fleet = Fleet::start_with(BrokerKind::Embedded, &[("rv-1", "rv32-virt")])?;
    for name in ["crash", "blink"] {
        fleet.cli(&["module", "push", &module(name)?.to_string_lossy(), "--version", "1.0.0"])?;
        fleet.cli(&["deploy", name, "--to", "all"])?;
    }
    fleet.wait_module("rv-1", "crash", "trapped", Limit::seconds(30))?;
    fleet.wait_state("rv-1", "crash", "failed", Limit::seconds(120))?;
    fleet.wait_running("rv-1", "blink", Limit::seconds(5))?;
    let events = fleet.events("rv-1")?;
    assert!(events.iter().any(|event| event.to_string().contains("trapped")), "{events:#?}");
    Ok(())
}
