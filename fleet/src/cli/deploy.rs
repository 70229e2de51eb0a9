//! `wasmbed deploy` and `wasmbed undeploy`.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Result, bail};
use clap::Args;
use tokio::time::Instant;
use wasmbed_wire::{DeviceId, ModuleName, message::ModuleState};

use super::{Common, device::once, live::Live, output, table::Table};
use crate::{
    api::{self, Deployed, DeviceList, Selector},
    client::Client,
    service::reason_text,
};

/// Time between two looks at the devices.
const POLL: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
pub(super) struct Deploy {
    /// NAME, or NAME@VERSION; the last version pushed if none is given
    module: String,
    /// Which devices: all, ID, board=NAME, class=NAME, label=KEY:VALUE; + joins, , separates; may be
    /// repeated
    #[arg(long = "to", value_name = "SELECTOR", required = true)]
    to: Vec<Selector>,
    /// Name to run it under, so that several instances run side by side [default: the module's name]
    #[arg(long = "as", value_name = "NAME")]
    instance: Option<ModuleName>,
    /// What the module reads with config_get; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
    #[command(flatten)]
    wait: Wait,
}

#[derive(Debug, Args)]
pub(super) struct Undeploy {
    /// The module, or the name it was deployed as
    module: ModuleName,
    /// Which devices, as for deploy
    #[arg(long = "to", value_name = "SELECTOR", required = true)]
    to: Vec<Selector>,
    #[command(flatten)]
    wait: Wait,
}

#[derive(Debug, Args)]
struct Wait {
    /// Wait until it is so on every device; fails if it fails on one
    #[arg(long)]
    wait: bool,
    /// How long to wait, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,
}

/// `KEY=VALUE`.
pub(super) fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("a setting is KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

impl Deploy {
    pub(super) async fn run(self, common: &Common) -> Result<()> {
        let (name, version) = match self.module.split_once('@') {
            Some((name, version)) => (name, Some(version.to_owned())),
            None => (self.module.as_str(), None),
        };
        let settings: BTreeMap<String, String> = self.set.into_iter().collect();
        let (module, to) = (name.parse()?, Selector::any(self.to));
        let fields = api::Deploy { module, instance: self.instance, version, to, settings };
        let mut client = common.client().await?;
        let deployed: Deployed = client.request("deploy", &once(fields)).await?;
        self.wait.follow(&mut client, common, &deployed).await
    }
}

impl Undeploy {
    pub(super) async fn run(self, common: &Common) -> Result<()> {
        let mut client = common.client().await?;
        let fields = api::Undeploy { module: self.module, to: Selector::any(self.to) };
        let deployed: Deployed = client.request("undeploy", &once(fields)).await?;
        self.wait.follow(&mut client, common, &deployed).await
    }
}

/// How far one device is.
enum Stage {
    Pending(String),
    Done(String),
    Failed(String),
}

impl Wait {
    async fn follow(&self, client: &mut Client, common: &Common, deployed: &Deployed) -> Result<()> {
        if !self.wait {
            return announce(common, deployed);
        }
        let ids = deployed.devices.iter().map(|device| Selector::device(device.id));
        let list = DeviceList { to: Some(Selector::any(ids)) };
        let deadline = Instant::now() + Duration::from_secs(self.timeout);
        let mut live = Live::new();
        loop {
            let devices: Vec<api::Device> = client.request("device-list", &list).await?;
            let stages: Vec<(DeviceId, Stage)> =
                devices.iter().map(|device| (device.id, stage(deployed, device))).collect();
            let is_over = stages.iter().all(|(_, stage)| !matches!(stage, Stage::Pending(_)));
            let late = Instant::now() >= deadline;
            if !common.json {
                let text = progress(&stages);
                live.show(text.clone(), text)?;
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

fn announce(common: &Common, deployed: &Deployed) -> Result<()> {
    if common.json {
        return output::json(deployed);
    }
    let version = deployed.version.as_deref().unwrap_or("is to be removed");
    let changed = deployed.devices.iter().filter(|device| device.changed).count();
    let same = deployed.devices.len() - changed;
    let note = if same > 0 { format!(" ({same} had it so already)") } else { String::new() };
    output::line(format_args!(
        "{} {version}: {}{note}; watch it with `wasmbed device watch`",
        deployed.module,
        output::count(deployed.devices.len(), "device")
    ))
}

/// How far a device is with what was deployed.
fn stage(deployed: &Deployed, device: &api::Device) -> Stage {
    if device.health.stage == wasmbed_plan::Stage::Quarantined {
        return Stage::Failed("quarantined; end that with `wasmbed device clear`".into());
    }
    let wanted = deployed.devices.iter().find(|wanted| wanted.id == device.id);
    let revision = wanted.map_or(0, |wanted| wanted.revision);
    if device.revision.reported.is_none_or(|reported| reported < revision) {
        return Stage::Pending(format!("not told yet ({})", output::status(device)));
    }
    let module = device.modules.iter().find(|module| module.name == deployed.module);
    let Some(module) = module else {
        return match deployed.version {
            None => Stage::Done("removed".into()),
            Some(_) => Stage::Failed("somebody undeployed it".into()),
        };
    };
    if deployed.version.is_none() {
        return Stage::Pending("leaving".into());
    }
    let reason = module.reason.map_or("", reason_text);
    match module.state {
        None => Stage::Pending("waiting".into()),
        Some(ModuleState::Downloading) => Stage::Pending(format!("downloading, {} %", module.progress)),
        Some(ModuleState::Starting) => Stage::Pending("starting".into()),
        Some(ModuleState::Running) if output::status(device) == "online" => Stage::Done("running".into()),
        Some(ModuleState::Running) => Stage::Pending(format!("running, but {}", output::status(device))),
        Some(ModuleState::Backoff) => Stage::Pending(format!("stopped, will be started again: {reason}")),
        Some(ModuleState::Failed) => Stage::Failed(format!("failed: {reason}")),
        Some(ModuleState::Refused) => Stage::Failed(format!("refused: {reason}")),
    }
}

fn progress(stages: &[(DeviceId, Stage)]) -> String {
    let mut table = Table::new(["DEVICE", "STATE"]);
    for (id, stage) in stages {
        let (Stage::Pending(text) | Stage::Done(text) | Stage::Failed(text)) = stage;
        table.row([id.to_string(), text.clone()]);
    }
    table.to_string()
}

fn verdict(timeout_s: u64, stages: &[(DeviceId, Stage)]) -> Result<()> {
    let left = stages.iter().filter_map(|(id, stage)| match stage {
        Stage::Done(_) => None,
        Stage::Pending(text) => Some(format!("{id}: still {text} after {timeout_s} s")),
        Stage::Failed(text) => Some(format!("{id}: {text}")),
    });
    let left: Vec<String> = left.collect();
    if left.is_empty() {
        return Ok(());
    }
    bail!(
        "not so on {} of {}\n  {}\nsee `wasmbed events` and `wasmbed device logs ID`",
        left.len(),
        output::count(stages.len(), "device"),
        left.join("\n  ")
    )
}
