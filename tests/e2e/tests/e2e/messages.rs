//! Messages to modules and from them, with MQTT clients alone.

use anyhow::{Result, ensure};
use wasmbed_e2e::{BrokerKind, Fleet, Limit, Subscription, hex, module};

#[test]
fn instances_on_every_device_hear_their_own_messages() -> Result<()> {
    let fleet = Fleet::start(BrokerKind::Embedded)?;
    fleet.cli(&["module", "push", &module("valve")?.to_string_lossy(), "--version", "1.0.0"])?;
    for instance in ["left", "right"] {
        fleet.cli(&["deploy", "valve", "--as", instance, "--to", "all", "--wait"])?;
    }
    for (id, _) in Fleet::EVERY_KIND {
        fleet.wait_running(id, "left", Limit::seconds(20))?;
        fleet.wait_running(id, "right", Limit::seconds(20))?;
        let state = |instance: &str| format!("wasmbed/v1/{id}/up/msg/{instance}/state");
        let left = Subscription::open(&fleet, &state("left"))?;
        let right = Subscription::open(&fleet, &state("right"))?;
        tell(&fleet, id, "left", "open")?;
        left.next(|line| line == hex("open"))?;
        tell(&fleet, id, "right", "close")?;
        right.next(|line| line == hex("closed"))?;
        tell(&fleet, id, "left", "close")?;
        left.next(|line| line == hex("closed"))?;
        assert!(right.drain().all(|line| line == hex("closed")), "{id}: right heard what was for left");
    }
    fleet.wait("what the instances used", Limit::seconds(20), || {
        let device = fleet.device("n2-1")?;
        let modules = device["modules"].as_array().cloned().unwrap_or_default();
        Ok(modules.len() == 2 && modules.iter().all(|module| module["used"]["calls"].as_u64() >= Some(2)))
    })?;
    // Taken back, the capability is missing at once.
    fleet.cli(&["module", "revoke", "valve", "messages"])?;
    fleet.wait_module("n2-1", "left", "denied", Limit::seconds(20))?;
    fleet.cli(&["module", "grant", "valve", "messages"])?;
    fleet.wait_running("n2-1", "left", Limit::seconds(20))
}

fn tell(fleet: &Fleet, id: &str, instance: &str, order: &str) -> Result<()> {
    let topic = format!("wasmbed/v1/{id}/dn/msg/{instance}/set");
    let status = fleet.mosquitto("mosquitto_pub")?.args(["-t", &topic, "-m", order]).status()?;
    ensure!(status.success(), "mosquitto_pub: {status}");
    Ok(())
}
