//! `wasmbed doctor` on brokers that differ, and on one that lets devices do too much.

use std::{collections::BTreeMap, fs};

use anyhow::{Context, Result};
use serde_json::Value;
use wasmbed_e2e::{Broker, BrokerKind};

/// A device that nobody runs.
const SPARE: &str = "spare-1";

/// What a broker's examination found: whether all is well, and each check's verdict with what was found.
struct Examined {
    is_well: bool,
    findings: BTreeMap<String, (String, String)>,
}

impl Examined {
    fn of(broker: &Broker) -> Result<Self> {
        let output = broker.wasmbed(&["doctor", "--json", "--device", SPARE])?;
        let said: Value = serde_json::from_slice(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
        let text = |finding: &Value, field: &str| finding[field].as_str().unwrap_or_default().to_owned();
        let findings = said["findings"].as_array().context("no findings")?.iter();
        let findings = findings
            .map(|found| (text(found, "check"), (text(found, "verdict"), text(found, "found"))))
            .collect();
        Ok(Examined { is_well: output.status.success(), findings })
    }

    /// The checks with this verdict.
    fn with(&self, verdict: &str) -> Vec<&str> {
        let wanted = self.findings.iter().filter(|(_, (found, _))| found == verdict);
        wanted.map(|(check, _)| check.as_str()).collect()
    }

    fn found(&self, check: &str) -> &str {
        self.findings.get(check).map_or("", |(_, found)| found)
    }
}

#[test]
fn our_broker_is_well() -> Result<()> {
    let examined = Examined::of(&Broker::start(BrokerKind::Embedded, &[])?)?;
    assert!(
        examined.is_well && examined.with("ok").len() == examined.findings.len(),
        "{:?}",
        examined.findings
    );
    Ok(())
}

#[test]
fn mosquitto_is_well_with_what_we_write_for_it() -> Result<()> {
    let broker = Broker::start(BrokerKind::Mosquitto, &[SPARE])?;
    let examined = Examined::of(&broker)?;
    // Its devices may call themselves what they like.
    assert_eq!(examined.with("differs"), ["device-client-id"], "{:?}", examined.findings);
    assert!(examined.is_well, "{:?}", examined.findings);
    // Nothing is left behind.
    let again = Examined::of(&broker)?;
    assert_eq!(again.findings, examined.findings);
    Ok(())
}

#[test]
fn what_rabbitmq_lacks_is_named() -> Result<()> {
    let examined = Examined::of(&Broker::start(BrokerKind::RabbitMq, &[SPARE])?)?;
    assert!(examined.is_well, "{:?}", examined.findings);
    assert_eq!(examined.found("versions"), "3.1.1 only");
    assert_eq!(examined.found("retained-wildcard"), "a new wildcard subscription brings 0 of 500");
    assert_eq!(
        examined.with("differs"),
        ["device-client-id", "retained-wildcard", "shared-subscriptions", "versions"],
        "{:?}",
        examined.findings
    );
    Ok(())
}

/// Mosquitto with these lines before those we write.
fn with_holes(lines: &str) -> Result<Examined> {
    let broker = Broker::start_altered(BrokerKind::Mosquitto, &[SPARE], |dir| {
        let path = dir.join("wasmbed.acl");
        let acl = fs::read_to_string(&path)?;
        Ok(fs::write(path, format!("{lines}\n{acl}"))?)
    })?;
    Examined::of(&broker)
}

#[test]
fn holes_in_permissions_are_found_and_named() -> Result<()> {
    let lines = "pattern write wasmbed/v1/+/up/#\npattern readwrite wasmbed/v1/%u/#\npattern write wasmbed/v1/_fleet/#\n\
                 pattern read wasmbed/v1/+/dn/#\npattern read wasmbed/v1/_host/#";
    let examined = with_holes(lines)?;
    assert!(!examined.is_well);
    assert_eq!(
        examined.with("hole"),
        ["device-publish", "device-subscribe", "device-will"],
        "{:?}",
        examined.findings
    );
    for (check, named) in [
        ("device-publish", "/up/tm/doctor"),
        ("device-publish", "spare-1/dn/msg/doctor/x"),
        ("device-publish", "_fleet/cmd/doctor"),
        ("device-publish", "_fleet/put/module/doctor/0.0.0"),
        ("device-subscribe", "wasmbed/v1/+/dn/#"),
        ("device-subscribe", "wasmbed/v1/_host/+/dn/#"),
    ] {
        assert!(examined.found(check).contains(named), "{check} {named}: {:?}", examined.findings);
    }
    Ok(())
}

#[test]
fn a_single_hole_is_found() -> Result<()> {
    let examined = with_holes("pattern write wasmbed/v1/+/up/state")?;
    assert!(!examined.is_well);
    assert_eq!(examined.with("hole"), ["device-will"], "{:?}", examined.findings);
    Ok(())
}

#[test]
fn a_broker_that_lets_everybody_in_is_noticed() -> Result<()> {
    let broker = Broker::start_altered(BrokerKind::Mosquitto, &[SPARE], |dir| {
        let config = fs::read_to_string(dir.join("mosquitto.conf"))?;
        let open: Vec<&str> = config
            .lines()
            .filter(|line| !line.contains("password_file") && !line.contains("acl_file"))
            .collect();
        let open = open.join("\n").replace("allow_anonymous false", "allow_anonymous true");
        Ok(fs::write(dir.join("mosquitto.conf"), open + "\n")?)
    })?;
    let examined = Examined::of(&broker)?;
    assert!(!examined.is_well);
    assert_eq!(examined.with("hole"), ["device-publish", "device-subscribe", "device-will", "strangers"]);
    Ok(())
}

#[test]
fn a_broker_that_cannot_be_used_is_an_error_that_says_why() -> Result<()> {
    let broker = Broker::start_altered(BrokerKind::Mosquitto, &[], |dir| {
        Ok(fs::write(dir.join("mosquitto.passwords"), "")?)
    })?;
    let output = broker.wasmbed(&["doctor"])?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("as \"_service\""), "{said}");
    Ok(())
}
