//! `wasmbed events`.

use anyhow::Result;
use clap::Args;
use wasmbed_wire::DeviceId;

use super::{Common, output};
use crate::api::{Event, EventFilter, Severity};

#[derive(Debug, Args)]
pub(super) struct Events {
    /// Only those of this device
    #[arg(long, value_name = "ID")]
    device: Option<DeviceId>,
    /// How many of the last ones
    #[arg(short = 'n', long, default_value_t = 100)]
    limit: u32,
    /// Only those after the one with this id
    #[arg(long, value_name = "EVENT", default_value_t = 0)]
    after: u64,
    /// Go on with new ones until interrupted
    #[arg(short, long)]
    follow: bool,
}

impl Events {
    pub(super) async fn run(self, common: &Common) -> Result<()> {
        let mut client = common.client().await?;
        if self.follow {
            // Before the old ones are read, so that none is missed in between.
            client.subscribe(&["_fleet/events".into()]).await?;
        }
        let filter = EventFilter { after: self.after, device: self.device, limit: Some(self.limit) };
        let known: Vec<Event> = client.request("event-list", &filter).await?;
        if common.json && !self.follow {
            return output::json(&known);
        }
        let mut last = 0;
        for event in &known {
            last = event.id;
            print(common, event)?;
        }
        if !self.follow {
            return Ok(());
        }
        loop {
            let message = client.next().await?;
            let Ok(event) = serde_json::from_slice::<Event>(&message.payload) else { continue };
            let is_wanted = self.device.is_none() || event.device == self.device;
            if event.id > last && is_wanted {
                last = event.id;
                print(common, &event)?;
            }
        }
    }
}

fn print(common: &Common, event: &Event) -> Result<()> {
    if common.json {
        return output::line(serde_json::to_string(event)?);
    }
    let mark = match event.severity {
        Severity::Info => " ",
        Severity::Warning => "!",
        Severity::Alert => "!!",
    };
    let device = event.device.map(|id| id.to_string());
    let host = event.host.map(|id| format!("host {id}"));
    let module = event.module.or(event.firmware).map(|name| name.to_string());
    let about = match (device.or(host), module) {
        (Some(who), Some(module)) => format!("{who} {module}"),
        (Some(who), None) => who,
        (None, module) => module.unwrap_or_default(),
    };
    output::line(format_args!(
        "{:>6} {} {mark:<2} {:<24} {about}: {}",
        event.id,
        output::utc(event.at_ms),
        event.kind,
        event.reason
    ))
}
