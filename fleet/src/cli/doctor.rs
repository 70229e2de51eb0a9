//! `wasmbed doctor`.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;
use wasmbed_broker::credentials::Role;
use wasmbed_broker_client::Tls;
use wasmbed_wire::DeviceId;

use super::{Common, output, table::Table};
use crate::{
    config::{Config, read_password},
    connection::{Connection, TlsFiles},
    doctor::{Finding, Suspect, Verdict, examine},
};

#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// Also try what this device can do, and must not; it loses its connection meanwhile
    #[arg(long, value_name = "ID")]
    device: Option<DeviceId>,
    /// File with the device's password [default: derived from the secret]
    #[arg(long, value_name = "FILE", requires = "device")]
    device_password_file: Option<PathBuf>,
    /// The device's certificate, PEM, instead of a password
    #[arg(long, value_name = "FILE", requires_all = ["device", "device_key_file"])]
    device_cert_file: Option<PathBuf>,
    /// Key of that certificate, PEM
    #[arg(long, value_name = "FILE", requires = "device_cert_file")]
    device_key_file: Option<PathBuf>,
}

impl Doctor {
    /// Fails if something does not work or a hole was found.
    pub(super) async fn run(self, common: &Common) -> Result<ExitCode> {
        let config = common.load()?;
        let service = config.connection(&Role::Service)?;
        let suspect = self.device.map(|id| self.suspect(&config, &service, id)).transpose()?;
        let findings = examine(&service, suspect.as_ref()).await?;
        show(common, &findings)?;
        let is_well = findings.iter().all(|finding| finding.verdict <= Verdict::Differs);
        Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl Doctor {
    fn suspect(&self, config: &Config, service: &Connection, id: DeviceId) -> Result<Suspect> {
        let files =
            |cert_file, key_file| TlsFiles { ca_file: config.broker.ca_file.clone(), cert_file, key_file };
        // The service's certificate says nothing of others.
        let tls = service.address.is_tls.then(|| Tls::load(files(None, None))).transpose()?;
        let stranger = Connection { tls, ..service.with_identity(id.as_str(), "") };
        let connection = match (&self.device_cert_file, &self.device_password_file) {
            (Some(cert), _) => service
                .with_certificate(id.as_str(), files(Some(cert.clone()), self.device_key_file.clone()))?,
            (None, Some(file)) => stranger.with_identity(id.as_str(), read_password(file)?),
            (None, None) => {
                let secret = config.secret().context("no password for the device")?;
                stranger.with_identity(id.as_str(), secret.password(&Role::Device(id)))
            }
        };
        Ok(Suspect { id, connection, stranger })
    }
}

fn show(common: &Common, findings: &[Finding]) -> Result<()> {
    if common.json {
        return output::json(&json!({ "findings": findings }));
    }
    let mut table = Table::new(["CHECK", "VERDICT", "FOUND"]);
    for Finding { check, verdict, found, .. } in findings {
        table.row([(*check).to_owned(), verdict.name().to_owned(), found.clone()]);
    }
    output::text(table)?;
    let advice = findings.iter().filter_map(|finding| finding.advice.map(|advice| (finding, advice)));
    for (Finding { check, verdict, .. }, advice) in advice {
        output::line(format_args!("\n{check} {}: {advice}", verdict.name()))?;
    }
    Ok(())
}
