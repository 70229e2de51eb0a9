//! `wasmbed doctor`.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;
use wasmbed_broker::credentials::Role;
use wasmbed_wire::DeviceId;

use super::{Common, output, table::Table};
use crate::{
    config::read_password,
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
}

impl Doctor {
    /// Fails if something does not work or a hole was found.
    pub(super) async fn run(self, common: &Common) -> Result<ExitCode> {
        let config = common.load()?;
        let service = config.connection(&Role::Service)?;
        let suspect = match self.device {
            Some(id) => {
                let password = match &self.device_password_file {
                    Some(file) => read_password(file)?,
                    None => {
                        config.secret().context("no password for the device")?.password(&Role::Device(id))
                    }
                };
                Some(Suspect { id, connection: service.with_identity(id.as_str(), password) })
            }
            None => None,
        };
        let findings = examine(&service, suspect.as_ref()).await?;
        show(common, &findings)?;
        let is_well = findings.iter().all(|finding| finding.verdict <= Verdict::Differs);
        Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
