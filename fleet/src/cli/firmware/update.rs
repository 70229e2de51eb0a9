//! `wasmbed firmware deploy`, `cancel`, `rollback`, `clear` and `status`.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use serde::Serialize;
use tokio::time::Instant;
use wasmbed_wire::{DeviceId, message::FirmwareState};

use super::{Choice, short};
use crate::{
    api::{
        self, FirmwareChange, FirmwareChanged, FirmwareDeploy, FirmwareKnown, FirmwareStatus,
        FirmwareStatusOf, Selector,
    },
    cli::{Common, device::once, live::Live, output, table::Table},
    client::Client,
    service::reason_text,
};

/// Time between two looks at the devices.
const POLL: Duration = Duration::from_millis(200);
/// Characters of a progress bar.
const BAR: usize = 20;
/// Progress is news at multiples of this where it cannot be drawn in place, in percent.
const NEWS_PERCENT: u8 = 10;

#[derive(Debug, Args)]
pub(in crate::cli) struct Deploy {
    /// NAME, or NAME@VERSION; the last version pushed if none is given
    firmware: Choice,
    #[command(flatten)]
    to: Targets,
    /// Ask again whatever the devices said before; each still refuses what it must
    #[arg(long)]
    force: bool,
    /// Send whole images, no patches
    #[arg(long)]
    no_delta: bool,
    #[command(flatten)]
    wait: Wait,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Targets {
    /// Which devices: all, ID, board=NAME, class=NAME, label=KEY:VALUE; + joins, , separates; may be
    /// repeated
    #[arg(long = "to", value_name = "SELECTOR", required = true)]
    to: Vec<Selector>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Waiting {
    #[command(flatten)]
    to: Targets,
    #[command(flatten)]
    wait: Wait,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Status {
    /// Which devices, as for deploy [default: all]
    #[arg(long = "to", value_name = "SELECTOR")]
    to: Vec<Selector>,
    /// Show it again and again
    #[arg(short, long)]
    watch: bool,
}

#[derive(Debug, Args)]
struct Wait {
    /// Wait until it is confirmed on every device; fails if it fails on one
    #[arg(long)]
    wait: bool,
    /// How long to wait, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    timeout: u64,
}

impl Targets {
    fn fields(self) -> api::Targets {
        api::Targets { to: Selector::any(self.to) }
    }

    pub(super) async fn run(self, common: &Common, verb: &str) -> Result<()> {
        let (_, changed) = request(common, verb, self.fields()).await?;
        announce(common, verb, &changed)
    }
}

impl Waiting {
    pub(super) async fn run(self, common: &Common, verb: &str) -> Result<()> {
        let (mut client, changed) = request(common, verb, self.to.fields()).await?;
        self.wait.follow(&mut client, common, verb, &changed).await
    }
}

impl Deploy {
    pub(super) async fn run(self, common: &Common) -> Result<()> {
        let fields = FirmwareDeploy {
            firmware: self.firmware.name,
            version: self.firmware.version,
            to: Selector::any(self.to.to),
            force: self.force,
            delta: !self.no_delta,
        };
        let (mut client, changed) = request(common, "deploy", fields).await?;
        self.wait.follow(&mut client, common, "deploy", &changed).await
    }
}

async fn request(common: &Common, verb: &str, fields: impl Serialize) -> Result<(Client, FirmwareChanged)> {
    let mut client = common.client().await?;
    let changed = client.request(&format!("firmware-{verb}"), &once(fields)).await?;
    Ok((client, changed))
}

fn announce(common: &Common, verb: &str, changed: &FirmwareChanged) -> Result<()> {
    if common.json {
        return output::json(changed);
    }
    let mut table = Table::new(["DEVICE", "FIRMWARE", "TO FETCH", "CHANGED"]);
    for device in &changed.devices {
        let named =
            device.firmware.map(|name| format!("{name} {}", device.version.as_deref().unwrap_or("?")));
        let patch = if device.patch { " (a patch)" } else { "" };
        table.row([
            device.id.to_string(),
            named.unwrap_or_else(|| "what runs".into()),
            if verb == "deploy" || verb == "clear" {
                format!("{}{patch}", output::bytes(device.transfer_bytes.into()))
            } else {
                "-".into()
            },
            if device.changed { "yes" } else { "no, it was so already" }.into(),
        ]);
    }
    output::text(table)?;
    output::line("watch it with `wasmbed firmware status --watch`")
}

impl Status {
    pub(super) async fn run(self, common: &Common) -> Result<()> {
        let mut client = common.client().await?;
        let of = FirmwareStatusOf { to: (!self.to.is_empty()).then(|| Selector::any(self.to)) };
        let mut live = Live::new();
        loop {
            let devices: Vec<FirmwareStatus> = client.request("firmware-status", &of).await?;
            match (self.watch, common.json) {
                (false, true) => return output::json(&devices),
                (false, false) if devices.is_empty() => return output::line("no devices"),
                (false, false) => return output::text(table(&devices)),
                (true, true) => output::line(serde_json::to_string(&devices)?)?,
                (true, false) => live.show(table(&devices).to_string(), gist(&devices))?,
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

fn table(devices: &[FirmwareStatus]) -> Table<6> {
    let mut table = Table::new(["DEVICE", "RUNS", "WANTED", "STATE", "PROGRESS", "OTHER SLOT"]);
    for device in devices {
        table.row([
            device.id.to_string(),
            device.running.as_ref().map_or_else(none, known),
            device.desired.as_ref().map_or_else(none, known),
            state(device),
            bar(device),
            device.other.as_ref().map_or_else(none, known),
        ]);
    }
    table
}

fn none() -> String {
    "-".to_owned()
}

fn known(image: &FirmwareKnown) -> String {
    match (&image.firmware, &image.version) {
        (Some(name), Some(version)) => format!("{name} {version}"),
        _ => short(&image.image),
    }
}

/// How far a device is, in words.
fn state(device: &FirmwareStatus) -> String {
    let reason = device.reason.map_or("", reason_text);
    match device.state {
        None if device.desired.is_some() => "waiting".to_owned(),
        None => none(),
        Some(FirmwareState::Checking) => "checking the manifest".to_owned(),
        Some(FirmwareState::Downloading) => "downloading".to_owned(),
        Some(FirmwareState::Patching) => "patching".to_owned(),
        Some(FirmwareState::Verifying) => "verifying".to_owned(),
        Some(FirmwareState::Staged) => "complete".to_owned(),
        Some(FirmwareState::Armed) => "restarting into it".to_owned(),
        Some(FirmwareState::Trial) => "running on trial".to_owned(),
        Some(FirmwareState::Confirmed) => "confirmed".to_owned(),
        Some(FirmwareState::Reverted) => format!("reverted: {reason}"),
        Some(FirmwareState::Refused) => format!("refused: {reason}"),
    }
}

/// How far a transfer is, as a picture.
fn bar(device: &FirmwareStatus) -> String {
    if device.transfer_bytes == 0 || device.state.is_none() {
        return none();
    }
    let percent = device.progress.min(100);
    let full = BAR * usize::from(percent) / 100;
    let (full, empty) = ("#".repeat(full), "-".repeat(BAR - full));
    let patch = if device.patch { " (a patch)" } else { "" };
    format!("[{full}{empty}] {percent:>3} % of {}{patch}", output::bytes(device.transfer_bytes.into()))
}

/// What of the devices changes seldom.
fn gist(devices: &[FirmwareStatus]) -> String {
    let line = |device: &FirmwareStatus| {
        format!("{} {} {}\n", device.id, state(device), device.progress / NEWS_PERCENT)
    };
    devices.iter().map(line).collect()
}

/// How it stands with what was asked of one device.
enum Stage {
    Pending,
    Done,
    Failed(String),
}

fn stage(wanted: &FirmwareChange, device: &FirmwareStatus) -> Stage {
    if device.desired.as_ref().map(|desired| desired.image) != wanted.image {
        return Stage::Failed("somebody asked for another firmware".into());
    }
    if device.revision.reported.is_none_or(|reported| reported < wanted.revision) {
        return Stage::Pending;
    }
    match device.state {
        Some(FirmwareState::Confirmed) => Stage::Done,
        Some(FirmwareState::Reverted | FirmwareState::Refused) => Stage::Failed(state(device)),
        _ => Stage::Pending,
    }
}

impl Wait {
    async fn follow(
        &self,
        client: &mut Client,
        common: &Common,
        verb: &str,
        changed: &FirmwareChanged,
    ) -> Result<()> {
        if !self.wait {
            return announce(common, verb, changed);
        }
        let ids = changed.devices.iter().map(|device| Selector::device(device.id));
        let of = FirmwareStatusOf { to: Some(Selector::any(ids)) };
        let deadline = Instant::now() + Duration::from_secs(self.timeout);
        let mut live = Live::new();
        loop {
            let devices: Vec<FirmwareStatus> = client.request("firmware-status", &of).await?;
            let stages: Vec<(DeviceId, String, Stage)> = devices
                .iter()
                .filter_map(|device| {
                    // A device of which nothing is wanted has nothing to wait for.
                    let wanted = changed.devices.iter().find(|wanted| wanted.id == device.id)?;
                    wanted.image.is_some().then(|| (device.id, state(device), stage(wanted, device)))
                })
                .collect();
            let is_over = stages.iter().all(|(.., stage)| !matches!(stage, Stage::Pending));
            let late = Instant::now() >= deadline;
            if !common.json {
                live.show(table(&devices).to_string(), gist(&devices))?;
            } else if is_over || late {
                output::json(&devices)?;
            }
            if is_over || late {
                return verdict(self.timeout, &stages);
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

fn verdict(timeout_s: u64, stages: &[(DeviceId, String, Stage)]) -> Result<()> {
    let left = stages.iter().filter_map(|(id, state, stage)| match stage {
        Stage::Done => None,
        Stage::Pending => Some(format!("{id}: still {state} after {timeout_s} s")),
        Stage::Failed(why) => Some(format!("{id}: {why}")),
    });
    let left: Vec<String> = left.collect();
    if left.is_empty() {
        return Ok(());
    }
    bail!(
        "not confirmed on {} of {}\n  {}\nsee `wasmbed events` and `wasmbed device logs ID`",
        left.len(),
        output::count(stages.len(), "device"),
        left.join("\n  ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(progress: u8, state: Option<FirmwareState>) -> FirmwareStatus {
        serde_json::from_value(serde_json::json!({
            "id": "pump", "board": "netduino2", "revision": { "desired": 4, "reported": 4 },
            "state": state, "progress": progress, "done_bytes": 0, "transfer_bytes": 400_000, "patch": true,
        }))
        .expect("a status")
    }

    #[test]
    fn a_bar_is_as_full_as_the_transfer() {
        let loading = Some(FirmwareState::Downloading);
        assert_eq!(bar(&status(0, loading)), "[--------------------]   0 % of 400 KB (a patch)");
        assert_eq!(bar(&status(52, loading)), "[##########----------]  52 % of 400 KB (a patch)");
        assert_eq!(bar(&status(255, loading)), "[####################] 100 % of 400 KB (a patch)");
        assert_eq!(bar(&status(0, None)), "-");
    }
}
