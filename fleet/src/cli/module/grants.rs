//! `wasmbed module grant`, `revoke` and `grants`.

use anyhow::Result;
use clap::Args;
use serde_json::json;
use wasmbed_wire::ModuleName;

use crate::{
    api::{Grant, GrantChange, GrantList, Granted},
    cli::{Common, device::once, output, table::Table},
};

#[derive(Debug, Args)]
pub(in crate::cli) struct Change {
    /// The module, in all its versions
    module: ModuleName,
    /// Capabilities: telemetry, sensors, gpio, bus, messages, store, files, security, threads,
    /// px4.telemetry, px4.command, network:tcp:HOST:PORT, ros.publish:/NAME, …
    #[arg(value_name = "CAPABILITY", required = true)]
    grants: Vec<Grant>,
}

impl Change {
    pub(super) async fn run(self, common: &Common, verb: &str) -> Result<()> {
        let fields = GrantChange { module: self.module, grants: self.grants };
        let granted: Granted = common.client().await?.request(verb, &once(fields)).await?;
        if common.json {
            return output::json(&granted);
        }
        let Granted { module, grants, devices } = granted;
        let told = match devices.len() {
            0 => String::new(),
            count => format!("; {} told", output::count(count, "device")),
        };
        output::line(format_args!("{module} is granted: {grants}{told}"))
    }
}

pub(super) async fn list(common: &Common) -> Result<()> {
    let list: GrantList = common.client().await?.request("grant-list", &json!({})).await?;
    if common.json {
        return output::json(&list);
    }
    let mut table = Table::new(["MODULE", "GRANTED"]);
    for Granted { module, grants, .. } in list.modules {
        table.row([module.to_string(), grants.to_string()]);
    }
    table.row(["(others)".into(), list.default.to_string()]);
    output::text(table)
}
