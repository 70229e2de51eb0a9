//! Modules that misbehave.

use anyhow::Result;
use wasmbed_e2e::{BrokerKind, Fleet, Limit, module};

#[test]
fn an_endless_loop_is_stopped_within_its_time_and_the_board_stays_alive() -> Result<()> {
    // Time is counted in instructions: what else this machine does must not decide.
    let fleet =
        Fleet::start_counting(&[("n2-1", "netduino2"), ("mps-1", "mps2-an385"), ("rv-1", "rv32-virt")])?;
    fleet.cli(&["module", "push", &module("spin")?.to_string_lossy(), "--version", "1.0.0"])?;
    fleet.cli(&["deploy", "spin", "--to", "all"])?;
    for (device, limit_us) in [("n2-1", 100_000), ("rv-1", 500_000)] {
        let mut slowest = 0;
        fleet.wait(&format!("a call on {device} that was stopped"), Limit::seconds(60), || {
            slowest = fleet.device(device)?["heartbeat"]["slowest_call_us"].as_u64().unwrap_or(0);
            Ok(slowest > limit_us / 2)
        })?;
        // A tenth more for a loop that is cheaper in fuel than the one that was timed.
        assert!(slowest <= limit_us * 11 / 10, "{device}: a call took {slowest} us of {limit_us}");
        fleet.wait_module(device, "spin", "timed-out", Limit::seconds(30))?;
        fleet.wait_fresh_heartbeat(device, Limit::seconds(10))?;
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
