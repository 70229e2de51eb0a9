//! What the service tells about itself and its fleet over HTTP.
//!
//! The fleet's thread writes the page between two things it does, so it is one moment of the fleet, and a thread that
//! hangs is noticed by its silence.

use std::{collections::BTreeMap, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use wasmbed_metrics::{Page, Source};
use wasmbed_plan::Presence;
use wasmbed_wire::message::ModuleState;

use super::{fleet::Fleet, worker::Input};
use crate::store::Severity;

/// How long the fleet's thread may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was counted since the service started.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Connects to the broker.
    pub(super) connects: u64,
    /// Messages of devices and hosts.
    pub(super) messages: u64,
    /// Commands sent to devices.
    pub(super) commands: u64,
    /// Changes that could not be stored.
    pub(super) store_failures: u64,
    /// Reports of devices that were told something they do not believe.
    pub(super) refusals: u64,
    requests: u64,
    refused: u64,
    infos: u64,
    warnings: u64,
    alerts: u64,
}

impl Tally {
    /// A request was carried out or refused.
    pub(super) fn answered(&mut self, is_done: bool) {
        *if is_done { &mut self.requests } else { &mut self.refused } += 1;
    }

    /// An event was recorded.
    pub(super) fn event(&mut self, severity: Severity) {
        *match severity {
            Severity::Info => &mut self.infos,
            Severity::Warning => &mut self.warnings,
            Severity::Alert => &mut self.alerts,
        } += 1;
    }
}

/// The fleet at one moment.
#[derive(Debug)]
pub(super) struct Look {
    is_connected: bool,
    page: Page,
}

/// The service as Prometheus and health checks see it.
pub(super) struct Metrics(pub(super) mpsc::WeakSender<Input>);

impl Metrics {
    async fn look(&self) -> Option<Look> {
        let (answer, answered) = oneshot::channel();
        let looked = async {
            self.0.upgrade()?.send(Input::Look(answer)).await.ok()?;
            answered.await.ok()
        };
        timeout(PATIENCE, looked).await.ok()?
    }
}

impl Source for Metrics {
    async fn health(&self) -> Result<(), String> {
        match self.look().await {
            Some(Look { is_connected: true, .. }) => Ok(()),
            Some(_) => Err("there is no connection to the broker".to_owned()),
            None => Err(format!("the fleet's thread has not answered for {} s", PATIENCE.as_secs())),
        }
    }

    async fn metrics(&self, page: &mut Page) {
        if let Some(look) = self.look().await {
            page.append(&look.page);
        }
    }
}

impl Fleet {
    /// How the fleet is now.
    pub(super) fn look(&self) -> Look {
        let mut page = Page::new();
        let is_connected = self.view.link.is_some();
        page.gauge("wasmbed_service_broker_connected", "Whether the service is connected to the broker.")
            .set(is_connected);
        self.write_devices(&mut page);
        self.write_work(&mut page);
        write_tally(&self.tally, &mut page);
        // Scraped again soon; a store that fails is counted where it is written.
        if let Ok(bytes) = self.store.size_bytes() {
            page.gauge("wasmbed_service_store_bytes", "Size of the data base.").set(bytes);
        }
        Look { is_connected, page }
    }

    fn write_devices(&self, page: &mut Page) {
        let views =
            || self.view.devices.values().filter_map(|view| Some((view, self.records.get(&view.id)?)));
        let devices =
            count(views().map(|(view, record)| (record.row.board.as_str(), presence(view.presence))));
        let mut family = page
            .gauge("wasmbed_service_devices", "Registered devices, by board and as they say of themselves.");
        for ((board, status), count) in devices {
            family.sample(&[("board", board), ("status", status)], count);
        }
        let mut family = page
            .gauge("wasmbed_service_devices_by_health", "Registered devices, as the service judges them.");
        for (stage, count) in count(views().map(|(view, _)| view.health.stage.name())) {
            family.sample(&[("health", stage)], count);
        }
        let mut family = page.gauge("wasmbed_service_device_online", "Whether a device is connected.");
        for (view, record) in views() {
            let labels = [("device", view.id.as_str()), ("board", record.row.board.as_str())];
            family.sample(&labels, view.presence == Presence::Online);
        }
        let behind = views().filter(|(view, _)| view.reported != Some(view.desired)).count();
        page.gauge("wasmbed_service_devices_behind", "Devices that have not reached their desired state.")
            .set(behind);
        page.gauge("wasmbed_service_devices_unclaimed", "Devices that speak and are not registered.")
            .set(self.unclaimed.len());
        let mut family = page.gauge("wasmbed_service_hosts", "Known hosts of emulated devices.");
        for (status, count) in count(self.view.hosts.values().map(|host| presence(host.presence))) {
            family.sample(&[("status", status)], count);
        }
    }

    fn write_work(&self, page: &mut Page) {
        let modules = self.records.values().flat_map(|record| &record.row.memory.modules);
        let mut family = page.gauge("wasmbed_service_modules", "Modules on devices, as these reported last.");
        for (state, count) in count(modules.map(|module| state(module.state))) {
            family.sample(&[("state", state)], count);
        }
        let phases = self.rollouts.values().map(|live| live.row.rollout.phase().name());
        let mut family = page.gauge("wasmbed_service_rollouts", "Rollouts of firmware that are not over.");
        for (phase, count) in count(phases) {
            family.sample(&[("phase", phase)], count);
        }
    }
}

fn write_tally(tally: &Tally, page: &mut Page) {
    let Tally {
        connects,
        messages,
        commands,
        store_failures,
        refusals,
        requests,
        refused,
        infos,
        warnings,
        alerts,
    } = *tally;
    page.counter("wasmbed_service_broker_connects_total", "Connections made to the broker.").set(connects);
    page.counter("wasmbed_service_messages_total", "Messages received from devices and hosts.").set(messages);
    page.counter("wasmbed_service_commands_total", "Commands sent to devices.").set(commands);
    page.counter(
        "wasmbed_service_device_refusals_total",
        "Reports of devices that were told something they do not believe; one a minute and device at most.",
    )
    .set(refusals);
    let mut family =
        page.counter("wasmbed_service_requests_total", "Requests of people and programs, by outcome.");
    family.sample(&[("outcome", "done")], requests);
    family.sample(&[("outcome", "refused")], refused);
    let mut family = page.counter("wasmbed_service_events_total", "Events recorded.");
    for (severity, count) in
        [(Severity::Info, infos), (Severity::Warning, warnings), (Severity::Alert, alerts)]
    {
        family.sample(&[("severity", severity.name())], count);
    }
    page.counter("wasmbed_service_store_failures_total", "Changes that the data base did not take.")
        .set(store_failures);
}

/// How often each occurs.
fn count<K: Ord>(all: impl Iterator<Item = K>) -> BTreeMap<K, u64> {
    let mut counts = BTreeMap::new();
    all.for_each(|one| *counts.entry(one).or_default() += 1);
    counts
}

const fn presence(presence: Presence) -> &'static str {
    match presence {
        Presence::Unknown => "unknown",
        Presence::Online => "online",
        Presence::Offline => "offline",
        Presence::Updating => "updating",
    }
}

const fn state(state: ModuleState) -> &'static str {
    match state {
        ModuleState::Downloading => "downloading",
        ModuleState::Starting => "starting",
        ModuleState::Running => "running",
        ModuleState::Backoff => "backoff",
        ModuleState::Failed => "failed",
        ModuleState::Refused => "refused",
    }
}
