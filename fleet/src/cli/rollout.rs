//! `wasmbed rollout …`.

mod watch;

use std::{str::FromStr, time::Duration};

use anyhow::Result;
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;
use wasmbed_plan::rollout::{OnAbort, Step, Window};

use super::{Common, device::once, output, table::Table};
use crate::{
    api::{self, RolloutCreate, RolloutNamed, Selector},
    client::Client,
};

#[derive(Debug, Subcommand)]
pub(super) enum Rollout {
    /// Bring a firmware to devices in groups: a few first, the rest only if those succeed
    Create(Box<Create>),
    /// List rollouts
    List,
    /// Show where a rollout and each of its devices stand
    Show(Named),
    /// Follow a rollout to its end; fails if it is aborted, held or cancelled
    Watch(Named),
    /// Start no further device; those on their way go on
    Pause(Named),
    /// Go on, also with the next group although too few of one succeeded
    Resume(Named),
    /// End a rollout: devices on their way are called back, confirmed ones keep the firmware
    Cancel(Named),
    /// End a rollout, and have confirmed devices return to the firmware they had
    Rollback(Named),
}

#[derive(Debug, Args)]
pub(super) struct Named {
    /// Its number, see `wasmbed rollout list`
    rollout: u64,
}

/// A number of failures, or no limit.
#[derive(Debug, Clone, Copy)]
struct Limit(Option<u32>);

#[derive(Debug, Args)]
pub(super) struct Create {
    /// NAME, or NAME@VERSION; the last version pushed if none is given
    firmware: String,
    /// Which devices: all, ID, board=NAME, class=NAME, label=KEY:VALUE; + joins, , separates; may be
    /// repeated
    #[arg(long = "to", value_name = "SELECTOR", required = true)]
    to: Vec<Selector>,
    /// The groups, one after the other: canary:N (first only), P% of all so far, rest (last only)
    /// [default: canary:1,10%,rest]
    #[arg(long, value_name = "GROUPS", value_delimiter = ',')]
    groups: Vec<Step>,
    /// Share of a group that must be confirmed; below it the rollout waits for `resume` [default: 100]
    #[arg(long, value_name = "PERCENT")]
    success_percent: Option<u8>,
    /// Failures in the canary group that abort it, or none for no limit [default: 1]
    #[arg(long, value_name = "N|none")]
    abort_canary_failures: Option<Limit>,
    /// Failures that abort it [default: no limit]
    #[arg(long, value_name = "N")]
    abort_failures: Option<u32>,
    /// Failed share of the devices whose turn has come that aborts it [default: 20]
    #[arg(long, value_name = "PERCENT")]
    abort_percent: Option<u8>,
    /// What becomes of confirmed devices when it is aborted: stop (they keep the firmware) or rollback
    /// [default: stop]
    #[arg(long, value_name = "WHAT", value_parser = on_abort)]
    on_abort: Option<OnAbort>,
    /// Most devices updating at the same time [default: 10]
    #[arg(long, value_name = "N")]
    at_once: Option<u32>,
    /// How much may be asked for on average [default: no limit]
    #[arg(long, value_name = "BYTES")]
    bytes_per_second: Option<u64>,
    /// How long a group is watched before the next begins, in seconds [default: 30]
    #[arg(long, value_name = "SECONDS")]
    soak: Option<u64>,
    /// How long a device has until it is confirmed, in seconds [default: 3600]
    #[arg(long, value_name = "SECONDS")]
    device_timeout: Option<u64>,
    /// When devices may be started, in UTC: "mon-fri 22:00-04:00"; may be repeated [default: always]
    #[arg(long = "window", value_name = "WINDOW")]
    windows: Vec<Window>,
    /// Have groups wait for devices that are not connected; otherwise those follow when they come
    #[arg(long)]
    wait_offline: bool,
    /// Follow it to its end; fails if it is not done
    #[arg(long)]
    wait: bool,
}

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Limit(None)),
            _ => text.parse().map(|limit| Limit(Some(limit))).map_err(|_| "write a number or none".into()),
        }
    }
}

fn on_abort(text: &str) -> Result<OnAbort, String> {
    match text {
        "stop" => Ok(OnAbort::Stop),
        "rollback" => Ok(OnAbort::Rollback),
        _ => Err("write stop or rollback".into()),
    }
}

impl Rollout {
    pub(super) async fn run(self, common: &Common) -> Result<()> {
        match self {
            Rollout::Create(create) => create.run(common).await,
            Rollout::List => list(common).await,
            Rollout::Show(named) => show(common, named).await,
            Rollout::Watch(named) => watch::run(common, common.client().await?, named.rollout).await,
            Rollout::Pause(named) => steer(common, "pause", named).await,
            Rollout::Resume(named) => steer(common, "resume", named).await,
            Rollout::Cancel(named) => steer(common, "cancel", named).await,
            Rollout::Rollback(named) => steer(common, "rollback", named).await,
        }
    }
}

impl Create {
    async fn run(self, common: &Common) -> Result<()> {
        let wait = self.wait;
        let fields = self.fields()?;
        let mut client = common.client().await?;
        let made: api::Rollout = client.request("rollout-create", &once(fields)).await?;
        if wait {
            return watch::to_done(common, client, made.rollout).await;
        }
        if common.json {
            return output::json(&made);
        }
        announce(&made)?;
        output::line(format_args!("watch it with `wasmbed rollout watch {}`", made.rollout))
    }

    fn fields(self) -> Result<RolloutCreate> {
        let (name, version) = match self.firmware.split_once('@') {
            Some((name, version)) => (name, Some(version.to_owned())),
            None => (self.firmware.as_str(), None),
        };
        let ms = |seconds: u64| seconds.saturating_mul(1_000);
        Ok(RolloutCreate {
            groups: (!self.groups.is_empty()).then_some(self.groups),
            success_percent: self.success_percent,
            abort_canary_failures: self.abort_canary_failures.map(|Limit(limit)| limit),
            abort_failures: self.abort_failures,
            abort_percent: self.abort_percent,
            on_abort: self.on_abort,
            at_once: self.at_once,
            bytes_per_second: self.bytes_per_second,
            soak_ms: self.soak.map(ms),
            device_timeout_ms: self.device_timeout.map(ms),
            windows: self.windows,
            wait_offline: self.wait_offline,
            ..RolloutCreate::new(name.parse()?, version, Selector::any(self.to))
        })
    }
}

async fn steer(common: &Common, verb: &str, Named { rollout }: Named) -> Result<()> {
    let mut client = common.client().await?;
    let now: api::Rollout =
        client.request(&format!("rollout-{verb}"), &once(RolloutNamed { rollout })).await?;
    if common.json { output::json(&now) } else { announce(&now) }
}

async fn list(common: &Common) -> Result<()> {
    let mut client = common.client().await?;
    let rollouts: Vec<api::Rollout> = client.request("rollout-list", &json!({})).await?;
    if common.json {
        return output::json(&rollouts);
    }
    if rollouts.is_empty() {
        return output::line("no rollouts");
    }
    let mut table = Table::new(["ROLLOUT", "FIRMWARE", "TO", "CREATED", "CONFIRMED", "PROGRESS", "STATE"]);
    for rollout in &rollouts {
        let counts = rollout.progress.counts;
        table.row([
            rollout.rollout.to_string(),
            firmware(rollout),
            rollout.to.clone(),
            output::ago(rollout.created_ms),
            format!("{} of {}", counts.confirmed, watch::total(&counts)),
            output::bar(rollout.progress.percent),
            rollout.summary.clone(),
        ]);
    }
    output::text(table)
}

async fn show(common: &Common, Named { rollout }: Named) -> Result<()> {
    let shown = look(&mut common.client().await?, rollout).await?;
    if common.json {
        return output::json(&shown);
    }
    output::text(watch::text(&shown, watch::Lines::All))?;
    let spec = &shown.spec;
    let optional = |limit: Option<u64>| limit.map_or("none".to_owned(), |limit| limit.to_string());
    let mut table = Table::new(["OPTION", "VALUE"]);
    let mut row = |name: &str, value: String| table.row([name.to_owned(), value]);
    row("to", shown.to.clone());
    row("success", format!("{} %", spec.success_percent));
    row("abort at canary failures", optional(spec.abort_canary_failures.map(u64::from)));
    row("abort at failures", optional(spec.abort_failures.map(u64::from)));
    row("abort at share", format!("{} %", spec.abort_percent));
    row("on abort", word(&spec.on_abort));
    row("at once", spec.at_once.to_string());
    row("bytes per second", optional(spec.bytes_per_second));
    row("soak", length(spec.soak_ms));
    row("time for a device", length(spec.device_timeout_ms));
    let windows: Vec<String> = spec.windows.iter().map(ToString::to_string).collect();
    row("windows", if windows.is_empty() { "always".into() } else { windows.join("; ") });
    row("offline devices", if spec.wait_offline { "waited for" } else { "follow when they come" }.into());
    output::text(format_args!("\n{table}"))
}

async fn look(client: &mut Client, rollout: u64) -> Result<api::Rollout, crate::client::ClientError> {
    client.request("rollout-show", &RolloutNamed { rollout }).await
}

fn announce(rollout: &api::Rollout) -> Result<()> {
    output::line(format_args!(
        "rollout {}: {} to {}, {}",
        rollout.rollout,
        firmware(rollout),
        output::count(watch::total(&rollout.progress.counts) as usize, "device"),
        rollout.summary
    ))
}

fn firmware(rollout: &api::Rollout) -> String {
    format!("{} {}", rollout.spec.firmware.name, rollout.spec.firmware.version)
}

fn length(ms: u64) -> String {
    output::length(Duration::from_millis(ms))
}

/// A value that is one word in JSON.
fn word(value: &impl Serialize) -> String {
    let text = serde_json::to_value(value).ok();
    text.and_then(|text| text.as_str().map(str::to_owned)).unwrap_or_default()
}
