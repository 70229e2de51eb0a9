//! Fleets in which nobody gets in without a certificate.

use std::{fs, process::Command};

use anyhow::{Context, Result};
use wasmbed_e2e::{
    BrokerKind, Fleet, Limit, Process,
    features::{self, Devices},
    program,
};

use crate::control::thermo_runs_everywhere;

const DEVICES: Devices = features::CERTIFICATES.devices;

#[test]
fn everybody_is_known_by_a_certificate_and_who_loses_it_is_out() -> Result<()> {
    let fleet = Fleet::start_with(BrokerKind::EmbeddedTls, DEVICES)?;
    thermo_runs_everywhere(&fleet)?;
    fleet.ca(&["revoke", "n2-1"])?;
    // The broker ends its connection, and takes no other; the service has its host stop it.
    fleet.wait_event("n2-1", "certificate-revoked", &["was revoked"], Limit::seconds(90))?;
    fleet.wait("the board to be off", Limit::seconds(20), || {
        Ok(fleet.device("n2-1")?["process"]["reason"] == "it waits for its certificate")
    })?;
    for id in ["hub-1", "vm-1"] {
        fleet.wait_fresh_heartbeat(id, Limit::seconds(20))?;
    }
    // Somebody else's from now on.
    fleet.cli(&["device", "remove", "n2-1"])?;
    fleet.cli(&["device", "add", "n2-1", "--board", "netduino2", "--host", "bench"])?;
    fleet.wait_online("n2-1")
}

#[test]
fn certificates_do_with_mosquitto_too() -> Result<()> {
    let fleet = Fleet::start_with(BrokerKind::MosquittoTls, DEVICES)?;
    thermo_runs_everywhere(&fleet)
}

#[test]
fn a_board_keeps_away_from_a_broker_that_is_not_its_own() -> Result<()> {
    let mut fleet = Fleet::start_with(BrokerKind::MosquittoTls, features::ETHERNET.devices)?;
    for (name, told) in [("elsewhere.example", true), ("127.0.0.1", false)] {
        fleet.kill_broker()?;
        let identity = fleet.dir().join("broker.identity");
        fs::remove_dir_all(&identity)?;
        fleet.ca(&["issue", "broker", "--name", name, "--out", &identity.display().to_string()])?;
        fleet.start_broker()?;
        for id in fleet.devices() {
            if told {
                let line = "the broker's certificate is not for 127.0.0.1";
                let console = fleet.dir().join("host/devices").join(&id).join("console.log");
                fleet.wait(&format!("{id} to say why"), Limit::seconds(30), || {
                    Ok(fs::read_to_string(&console)?.contains(line))
                })?;
            } else {
                fleet.wait_fresh_heartbeat(&id, Limit::seconds(60))?;
            }
        }
    }
    Ok(())
}

#[test]
fn a_device_of_ones_own_gets_its_certificate_with_a_token_once() -> Result<()> {
    let fleet = Fleet::start_with(BrokerKind::EmbeddedTls, &[("hub-1", "linux")])?;
    fleet.add_idle("pump-7", "linux")?;
    let made = fleet.cli(&["device", "token", "pump-7", "--json"])?;
    let token = made["token"].as_str().context("no token")?;
    let keys = fleet.cli(&["keys", "list", "--json"])?;
    let key = keys["keys"][0]["key"].as_str().with_context(|| format!("no key in {keys}"))?;
    let agent = |dir: &str| {
        let data = fleet.dir().join(dir);
        let config = fleet.dir().join(format!("{dir}.toml"));
        let (ca, broker) = (fleet.dir().join("ca/ca.pem"), fleet.broker());
        let text = format!(
            "device = 'pump-7'\nbroker = 'mqtts://{broker}'\nca_file = '{}'\ntrusted = ['{key}']\n\
             data_dir = '{}'\nsimulate = true\n",
            ca.display(),
            data.display()
        );
        fs::write(&config, text)?;
        let mut command = Command::new(program("wasmbed-agent")?);
        command.arg("--config").arg(config);
        anyhow::Ok(command)
    };
    let mut first = Process::start("pump", fleet.dir(), agent("pump")?.args(["--enrol-token", token]))?;
    fleet.wait_online("pump-7")?;
    first.kill()?;
    // The token is of no use any more, and not needed.
    let again = Process::start("pump", fleet.dir(), &agent("pump")?)?;
    fleet.wait_fresh_heartbeat("pump-7", Limit::seconds(20))?;
    drop(again);
    let thief = agent("thief")?.args(["--enrol-token", token]).output()?;
    let said = String::from_utf8_lossy(&thief.stderr).into_owned();
    assert!(!thief.status.success() && said.contains("used already"), "{said}");
    Ok(())
}
