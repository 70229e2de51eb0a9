//! Fleets in which nobody gets in without a certificate.

use std::{fs, path::PathBuf, process::Command};

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

/// A Linux device that no host runs.
struct Own {
    dir: PathBuf,
    broker: String,
    keys: Vec<String>,
}

impl Own {
    fn new(fleet: &Fleet) -> Result<Self> {
        fleet.add_idle("pump-7", "linux")?;
        let keys = fleet.trusted_keys()?;
        Ok(Own { dir: fleet.dir().to_owned(), broker: fleet.broker().to_string(), keys })
    }

    /// What gets it its first certificate.
    fn token(fleet: &Fleet) -> Result<String> {
        let made = fleet.cli(&["device", "token", "pump-7", "--json"])?;
        made["token"].as_str().map(str::to_owned).context("no token")
    }

    /// Its agent, with its data in a folder of that name.
    fn agent(&self, data: &str, options: &[&str]) -> Result<Command> {
        let config = self.dir.join(format!("{data}.toml"));
        let text = format!(
            "device = 'pump-7'\nbroker = 'mqtts://{}'\nca_file = '{}'\ntrusted = {:?}\n\
             data_dir = '{}'\nsimulate = true\n",
            self.broker,
            self.dir.join("ca/ca.pem").display(),
            self.keys,
            self.dir.join(data).display()
        );
        fs::write(&config, text)?;
        let mut command = Command::new(program("wasmbed-agent")?);
        command.arg("--config").arg(config).args(options);
        Ok(command)
    }

    fn start(&self, options: &[&str]) -> Result<Process> {
        Process::start("pump", &self.dir, &self.agent("pump", options)?)
    }

    fn certificate(&self) -> Result<Vec<u8>> {
        Ok(fs::read(self.dir.join("pump/identity/identity.pem"))?)
    }
}

#[test]
fn a_device_of_ones_own_gets_its_certificate_with_a_token_once() -> Result<()> {
    let fleet = Fleet::start_with(BrokerKind::EmbeddedTls, &[("hub-1", "linux")])?;
    let (own, token) = (Own::new(&fleet)?, Own::token(&fleet)?);
    let mut first = own.start(&["--enrol-token", &token])?;
    fleet.wait_online("pump-7")?;
    first.kill()?;
    // The token is of no use any more, and not needed.
    let again = own.start(&[])?;
    fleet.wait_fresh_heartbeat("pump-7", Limit::seconds(20))?;
    drop(again);
    let thief = own.agent("thief", &["--enrol-token", &token])?.output()?;
    let said = String::from_utf8_lossy(&thief.stderr).into_owned();
    assert!(!thief.status.success() && said.contains("used already"), "{said}");
    Ok(())
}

/// With a service that makes them for longer than it did, so that the old ones have less than a third of it left.
#[test]
fn certificates_are_renewed_before_they_end() -> Result<()> {
    const LIFE: &str = "WASMBED__SERVICE__CERTIFICATE_LIFE_S";
    let mut fleet = Fleet::start_with(BrokerKind::EmbeddedTls, &[("mps-1", "mps2-an385")])?;
    fleet.kill_service()?;
    // As certificates begin an hour ago, the agent sees less than a third of this one's life left at once.
    fleet.start_service_with(&[(LIFE, "1500")])?;
    let (own, token) = (Own::new(&fleet)?, Own::token(&fleet)?);
    let mut first = own.start(&["--enrol-token", &token])?;
    fleet.wait_online("pump-7")?;
    first.kill()?;
    let first = own.certificate()?;

    fleet.kill_service()?;
    fleet.start_service_with(&[(LIFE, "25920000")])?;
    // Asked before it listens, it would be asked again an hour later only.
    fleet.wait("the service to listen", Limit::seconds(20), || Ok(fleet.device("pump-7").is_ok()))?;
    let mut renewing = own.start(&[])?;
    fleet.wait_event("pump-7", "certificate-issued", &["asked for by the device"], Limit::seconds(30))?;
    fleet.wait("the agent to keep it", Limit::seconds(10), || Ok(own.certificate()? != first))?;
    renewing.kill()?;
    let _with_the_new_one = own.start(&[])?;
    fleet.wait_fresh_heartbeat("pump-7", Limit::seconds(20))?;

    // The service renews those of devices that hosts run by itself, and they start again with them.
    fleet.wait_event("mps-1", "certificate-issued", &["comes to its end"], Limit::seconds(90))?;
    fleet.wait_fresh_heartbeat("mps-1", Limit::seconds(60))
}
