//! `wasmbed rollout watch`: a rollout as it goes.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep};
use wasmbed_plan::rollout::{Counts, DeviceState, Hold, Phase};

use super::{firmware, length, look, word};
use crate::{
    api::{self, DeviceProgress},
    cli::{Common, live::Live, output, table::Table},
    client::{Client, ClientError},
    service::failure_text,
};

/// Time between two looks at the rollout.
const POLL: Duration = Duration::from_millis(300);
/// How long service and broker may be away.
const AWAY: Duration = Duration::from_secs(120);
/// Time between two attempts to reach them.
const RETRY: Duration = Duration::from_secs(1);
/// Progress is news at multiples of this where it cannot be drawn in place, in percent.
const NEWS_PERCENT: u8 = 10;
/// Failed devices shown while it goes on.
const MAX_FAILED: usize = 10;

/// Follows a rollout until it is done, rolled back by request, or in need of somebody.
pub(super) async fn run(common: &Common, client: Client, rollout: u64) -> Result<()> {
    let last = follow(common, client, rollout, true).await?;
    match last.progress.phase {
        Phase::RolledBack { why: None } => Ok(()),
        _ => verdict(&last),
    }
}

/// Follows a rollout that must be done in the end.
pub(super) async fn to_done(common: &Common, client: Client, rollout: u64) -> Result<()> {
    let last = follow(common, client, rollout, false).await?;
    if common.json {
        output::json(&last)?;
    }
    verdict(&last)
}

/// Shows a rollout until it is settled; in JSON only if `every` look is asked for.
async fn follow(common: &Common, mut client: Client, rollout: u64, every: bool) -> Result<api::Rollout> {
    let mut live = Live::new();
    let mut printed = String::new();
    loop {
        let now = match look(&mut client, rollout).await {
            Ok(now) => now,
            Err(error) if is_away(&error) => {
                if !common.json {
                    let text = format!("rollout {rollout}: suspended, waiting for the fleet service\n");
                    live.show(text.clone(), text)?;
                }
                client = again(common, error).await?;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if common.json && every {
            let line = serde_json::to_string(&now)?;
            if line != printed {
                output::line(&line)?;
                printed = line;
            }
        } else if !common.json {
            live.show(text(&now, Lines::AtWork), gist(&now))?;
        }
        if is_settled(&now) {
            return Ok(now);
        }
        sleep(POLL).await;
    }
}

/// Whether the service is there no longer, which is no reason to give up: the rollout waits as well.
const fn is_away(error: &ClientError) -> bool {
    matches!(error, ClientError::Broker { .. } | ClientError::ServiceOffline | ClientError::NoAnswer(_))
}

/// Another connection to the same service.
async fn again(common: &Common, why: ClientError) -> Result<Client> {
    let deadline = Instant::now() + AWAY;
    loop {
        sleep(RETRY).await;
        match common.client().await {
            Ok(client) => return Ok(client),
            Err(_) if Instant::now() < deadline => {}
            Err(_) => return Err(why.into()),
        }
    }
}

/// Whether nothing more happens before somebody asks for it, or devices come that are not connected.
fn is_settled(rollout: &api::Rollout) -> bool {
    match rollout.progress.phase {
        Phase::Running { .. } | Phase::Soaking { .. } => {
            matches!(rollout.progress.hold, Some(Hold::Group { .. }))
        }
        Phase::RollingBack { .. } => false,
        Phase::Done | Phase::Aborted { .. } | Phase::Cancelled | Phase::RolledBack { .. } => {
            rollout.progress.counts.started == 0
        }
    }
}

fn verdict(rollout: &api::Rollout) -> Result<()> {
    if rollout.progress.phase == Phase::Done {
        return Ok(());
    }
    let failed = rollout.devices.iter().flatten().filter_map(|device| match device.member.state {
        DeviceState::Failed { failure, .. } => {
            Some(format!("\n  {}: {}", device.device, failure_text(&failure)))
        }
        _ => None,
    });
    let what_now = match rollout.progress.hold {
        Some(_) => {
            format!("\ngo on with `wasmbed rollout resume {}`, or cancel or rollback", rollout.rollout)
        }
        None => String::new(),
    };
    bail!("rollout {} is {}{}{what_now}", rollout.rollout, rollout.summary, failed.collect::<String>())
}

/// Which devices get a line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Lines {
    All,
    AtWork,
}

/// A rollout for people: the whole, its groups, its devices.
pub(super) fn text(rollout: &api::Rollout, lines: Lines) -> String {
    let progress = &rollout.progress;
    let counts = &progress.counts;
    let mut text = format!("rollout {}: {}, {}\n", rollout.rollout, firmware(rollout), rollout.summary);
    text.push_str(&format!("{}  {}", output::bar(progress.percent), tally(counts)));
    if let Some(ms) = progress.eta_ms.filter(|ms| *ms > 0) {
        text.push_str(&format!("; about {} left", length(ms)));
    }
    text.push('\n');
    let mut groups = Table::new(["GROUP", "DEVICES", "CONFIRMED", "FAILED", "PROGRESS"]);
    for group in &progress.groups {
        groups.row([
            group.step.to_string(),
            total(&group.counts).to_string(),
            group.counts.confirmed.to_string(),
            group.counts.failed.to_string(),
            output::bar(group.percent),
        ]);
    }
    text.push_str(&groups.to_string());
    let shown: Vec<&DeviceProgress> = chosen(rollout, lines);
    if shown.is_empty() {
        return text;
    }
    let mut devices = Table::new(["DEVICE", "GROUP", "PROGRESS", "STATE"]);
    for device in shown {
        let is_moving = device.member.state.is_updating();
        let progress = if is_moving { output::bar(device.percent) } else { "-".into() };
        let group = progress_step(rollout, device.member.group);
        devices.row([device.device.to_string(), group, progress, state(device)]);
    }
    text.push_str(&devices.to_string());
    text
}

fn chosen(rollout: &api::Rollout, lines: Lines) -> Vec<&DeviceProgress> {
    let devices = rollout.devices.iter().flatten();
    if lines == Lines::All {
        return devices.collect();
    }
    let is_failed = |device: &&DeviceProgress| matches!(device.member.state, DeviceState::Failed { .. });
    let failed = devices.clone().filter(is_failed).take(MAX_FAILED);
    devices.filter(|device| device.member.state.is_updating()).chain(failed).collect()
}

fn progress_step(rollout: &api::Rollout, group: usize) -> String {
    rollout.progress.groups.get(group).map_or_else(|| (group + 1).to_string(), |group| group.step.to_string())
}

/// How many devices a rollout or group has.
pub(super) const fn total(counts: &Counts) -> u32 {
    let Counts {
        pending,
        absent: _,
        started,
        confirmed,
        failed,
        skipped,
        withdrawn,
        rolling_back,
        rolled_back,
    } = counts;
    *pending + *started + *confirmed + *failed + *skipped + *withdrawn + *rolling_back + *rolled_back
}

/// How many devices are where, without what is nobody.
fn tally(counts: &Counts) -> String {
    let mut words = vec![format!("{} of {} confirmed", counts.confirmed, total(counts))];
    for (number, what) in [
        (counts.started, "updating"),
        (counts.rolling_back, "returning"),
        (counts.rolled_back, "returned"),
        (counts.failed, "failed"),
        (counts.withdrawn, "called back"),
        (counts.skipped, "left out"),
        (counts.absent, "not connected"),
    ] {
        if number > 0 {
            words.push(format!("{number} {what}"));
        }
    }
    words.join(", ")
}

/// Where a device stands, in words.
fn state(device: &DeviceProgress) -> String {
    let says = || device.firmware.map_or("waiting".to_owned(), |state| word(&state));
    match device.member.state {
        DeviceState::Pending => "its turn has not come".into(),
        DeviceState::Started { .. } => says(),
        DeviceState::RollingBack { .. } => format!("returning: {}", says()),
        DeviceState::Confirmed { took_ms: None, .. } => "had it already".into(),
        DeviceState::Confirmed { took_ms: Some(ms), .. } => format!("confirmed after {}", length(ms)),
        DeviceState::Failed { failure, .. } => format!("failed: {}", failure_text(&failure)),
        DeviceState::Skipped { why } => format!("left out: {why}"),
        DeviceState::Withdrawn { .. } => "called back".into(),
        DeviceState::RolledBack { .. } => "returned to what it had".into(),
    }
}

/// What of a rollout changes seldom.
fn gist(rollout: &api::Rollout) -> String {
    let devices = chosen(rollout, Lines::AtWork);
    let lines = devices
        .iter()
        .map(|device| format!("{} {} {}\n", device.device, state(device), device.percent / NEWS_PERCENT));
    format!("{} {}\n{}", rollout.summary, tally(&rollout.progress.counts), lines.collect::<String>())
}
