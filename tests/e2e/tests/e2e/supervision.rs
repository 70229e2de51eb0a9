//! Modules that misbehave.

use anyhow::Result;
use wasmbed_e2e::{BrokerKind, Fleet, Limit, module};

#[test]
fn an_endless_loop_is_stopped_within_its_time_and_the_board_stays_alive() -> Result<()> {
    // Time is counted in instructions: what else this machine does must not decide. Counting is slow: two at a time.
    // The processor of mps2-an385 is that of netduino2.
    let boards: Vec<_> = Fleet::BOARDS.iter().copied().filter(|(_, board)| *board != "mps2-an385").collect();
    boards.chunks(2).try_for_each(is_stopped_in_time)
}

fn is_stopped_in_time(boards: &[(&str, &str)]) -> Result<()> {
    let fleet = Fleet::start_counting(boards)?;
    fleet.cli(&["module", "push", &module("spin")?.to_string_lossy(), "--version", "1.0.0"])?;
    fleet.cli(&["deploy", "spin", "--to", "all"])?;
    for (device, board) in boards {
        let limit_us = if *board == "netduino2" { 100_000 } else { 500_000 };
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
    let devices = [("rv-1", "rv32-virt"), ("vm-1", "linux-x86-64")];
    let fleet = Fleet::start_with(BrokerKind::Embedded, &devices)?;
    for name in ["crash", "blink"] {
        fleet.cli(&["module", "push", &module(name)?.to_string_lossy(), "--version", "1.0.0"])?;
        fleet.cli(&["deploy", name, "--to", "all"])?;
    }
    for (device, _) in devices {
        fleet.wait_module(device, "crash", "trapped", Limit::seconds(30))?;
        fleet.wait_state(device, "crash", "failed", Limit::seconds(120))?;
        fleet.wait_running(device, "blink", Limit::seconds(5))?;
        let events = fleet.events(device)?;
        assert!(events.iter().any(|event| event.to_string().contains("trapped")), "{events:#?}");
    }
    Ok(())
}
