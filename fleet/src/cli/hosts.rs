//! `wasmbed hosts`.

use anyhow::Result;
use serde_json::json;

use super::{Common, output, table::Table};
use crate::api;

pub(super) async fn list(common: &Common) -> Result<()> {
    let hosts: Vec<api::Host> = common.client().await?.request("host-list", &json!({})).await?;
    if common.json {
        return output::json(&hosts);
    }
    if hosts.is_empty() {
        return output::line("no hosts; start one with `wasmbed host --id ID`");
    }
    let mut table = Table::new(["HOST", "STATE", "DEVICES", "FREE", "BOARDS"]);
    for host in &hosts {
        let state = if host.online { "online" } else { "offline" };
        let (free, boards) = host.info.as_ref().map_or_else(Default::default, |info| {
            let boards: Vec<&str> = info.boards.iter().map(|board| board.as_str()).collect();
            (output::bytes(info.free_memory_bytes), boards.join(" "))
        });
        let state = format!("{state} since {}", output::ago(host.since_ms));
        table.row([host.id.to_string(), state, host.devices.to_string(), free, boards]);
    }
    output::text(table)
}
