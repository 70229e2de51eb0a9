//! What the host tells about itself and its devices' processes over HTTP.
//!
//! What processes take is what was measured last, for the service: some seconds old, and nothing without a broker.

use wasmbed_metrics::{Page, Source};
use wasmbed_wire::message::LinkCounters;

use super::{memory, reporter::Reporter};
use crate::host_api::{ProcessStatus, ReportedDevice};

/// The host as Prometheus and health checks see it.
pub(super) struct Metrics(pub(super) Reporter);

impl Source for Metrics {
    async fn health(&self) -> Result<(), String> {
        match self.0.subscribe().borrow().is_connected() {
            true => Ok(()),
            false => Err("there is no connection to the broker".to_owned()),
        }
    }

    async fn metrics(&self, page: &mut Page) {
        let told = self.0.subscribe();
        let told = told.borrow();
        page.gauge("wasmbed_host_broker_connected", "Whether the host is connected to the broker.")
            .set(told.is_connected());
        page.gauge("wasmbed_host_free_memory_bytes", "Memory left for more devices.")
            .set(memory::free_bytes());
        let mut events = page.counter("wasmbed_host_events_total", "What happened to devices' processes.");
        for (kind, count) in told.events() {
            events.sample(&[("kind", kind)], count);
        }
        write_devices(page, told.devices());
    }
}

fn write_devices<'d>(page: &mut Page, devices: impl Iterator<Item = &'d ReportedDevice>) {
    let devices: Vec<&ReportedDevice> = devices.collect();
    let mut by_status =
        page.gauge("wasmbed_host_devices", "Devices of this host, by what their processes do.");
    for status in STATUSES {
        let count = devices.iter().filter(|device| device.status == status).count();
        by_status.sample(&[("status", name(status))], count);
    }
    let mut restarts = page.counter(
        "wasmbed_host_device_restarts_total",
        "How often a device's process was started again by itself.",
    );
    for device in &devices {
        restarts.sample(&[("device", device.id.as_str())], device.restarts);
    }
    let used = || devices.iter().filter_map(|device| Some((device.id.as_str(), device.used?)));
    let mut memory = page.gauge("wasmbed_host_device_memory_bytes", "Memory in RAM of a device's process.");
    for (id, used) in used() {
        memory.sample(&[("device", id)], used.memory_bytes);
    }
    let mut cpu =
        page.gauge("wasmbed_host_device_cpu_cores", "Processor cores that a device's process keeps busy.");
    for (id, used) in used() {
        cpu.sample(&[("device", id)], f64::from(used.cpu_permille) / 1000.0);
    }
    for (name, help, count) in LINKS {
        let mut family = page.counter(name, help);
        for (id, link) in devices.iter().filter_map(|device| Some((device.id.as_str(), device.link?))) {
            family.sample(&[("device", id)], count(&link));
        }
    }
}

type Count = fn(&LinkCounters) -> u32;

/// The counters of a serial link, as the host counts at its end.
const LINKS: [(&str, &str, Count); 4] = [
    ("wasmbed_host_link_received_total", "Datagrams received in order from a device.", |link| link.received),
    ("wasmbed_host_link_sent_total", "Datagrams sent to a device for the first time.", |link| link.sent),
    ("wasmbed_host_link_resent_total", "Datagrams sent to a device again.", |link| link.resent),
    ("wasmbed_host_link_corrupt_total", "Frames of a device dropped because their check failed.", |link| {
        link.corrupt
    }),
];

const STATUSES: [ProcessStatus; 6] = [
    ProcessStatus::Starting,
    ProcessStatus::Running,
    ProcessStatus::Stopping,
    ProcessStatus::Stopped,
    ProcessStatus::Backoff,
    ProcessStatus::Error,
];

const fn name(status: ProcessStatus) -> &'static str {
    match status {
        ProcessStatus::Starting => "starting",
        ProcessStatus::Running => "running",
        ProcessStatus::Stopping => "stopping",
        ProcessStatus::Stopped => "stopped",
        ProcessStatus::Backoff => "backoff",
        ProcessStatus::Error => "error",
    }
}
