//! What the devices' tasks tell about their devices, kept until the broker has it.
//!
//! [`Reporter`] is what tasks hold; `uplink` reads it. Levels replace each other, facts and lines are
//! bounded: a broker that is away costs the oldest of them, never memory.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use tokio::sync::{mpsc, watch};
use wasmbed_wire::{CommandId, DeviceId, message::LinkCounters};

use super::{orders, usage::Gauge};
use crate::{
    api::Answer,
    host_api::{Event, EventKind, ProcessStatus, Reported, ReportedDevice},
};

/// Facts kept while the broker is away.
const FACTS: usize = 256;
/// Console lines waiting to be sent.
const LINES: usize = 256;

/// Where tasks report to; clones share it.
#[derive(Debug, Clone)]
pub(super) struct Reporter {
    told: Arc<watch::Sender<Told>>,
    lines: mpsc::Sender<(DeviceId, String)>,
}

/// Something to be told once.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Fact {
    /// It happened to a device.
    Event(Event),
    /// It became of an order.
    Result(CommandId, Answer),
}

/// What was reported so far.
#[derive(Debug, Default)]
pub(super) struct Told {
    revision: u64,
    devices: BTreeMap<DeviceId, ReportedDevice>,
    facts: VecDeque<Fact>,
    /// Number of the first of `facts`.
    first: u64,
    is_connected: bool,
    /// Events since the start, by kind.
    events: BTreeMap<&'static str, u64>,
}

impl Told {
    /// The level to report now.
    pub(super) fn reported(&self) -> Reported {
        Reported { revision: self.revision, devices: self.devices.values().cloned().collect() }
    }

    /// The devices of the accepted revision.
    pub(super) fn devices(&self) -> impl Iterator<Item = &ReportedDevice> {
        self.devices.values()
    }

    /// Events since the start, by kind.
    pub(super) fn events(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.events.iter().map(|(kind, count)| (*kind, *count))
    }

    /// Whether the host is connected to the broker.
    pub(super) fn is_connected(&self) -> bool {
        self.is_connected
    }

    /// The oldest fact the broker does not have, and its number.
    pub(super) fn fact(&self) -> Option<(u64, &Fact)> {
        self.facts.front().map(|fact| (self.first, fact))
    }

    fn push(&mut self, fact: Fact) {
        if self.facts.len() >= FACTS {
            self.forget(self.first);
        }
        self.facts.push_back(fact);
    }

    fn forget(&mut self, number: u64) {
        // It may have made room for a newer one in the meantime.
        if number == self.first && self.facts.pop_front().is_some() {
            self.first += 1;
        }
    }
}

/// A reporter, and the console lines told to it.
pub(super) fn reporter() -> (Reporter, mpsc::Receiver<(DeviceId, String)>) {
    let (lines, line_reader) = mpsc::channel(LINES);
    (Reporter { told: Arc::new(watch::Sender::new(Told::default())), lines }, line_reader)
}

impl Reporter {
    /// Sees every change of what was reported.
    pub(super) fn subscribe(&self) -> watch::Receiver<Told> {
        self.told.subscribe()
    }

    /// Whether there is a connection to the broker; it wakes nobody.
    pub(super) fn connected(&self, is_connected: bool) {
        self.told.send_if_modified(|told| {
            told.is_connected = is_connected;
            false
        });
    }

    /// This revision is accepted, and these are its devices, all of them.
    pub(super) fn accept(&self, revision: u64, devices: impl Iterator<Item = DeviceId>) {
        self.told.send_modify(|told| {
            let mut known = std::mem::take(&mut told.devices);
            told.revision = revision;
            told.devices =
                devices.map(|id| (id, known.remove(&id).unwrap_or_else(|| unstarted(id)))).collect();
        });
    }

    /// The device is this now; nothing if it is none of the accepted revision any more.
    pub(super) fn report(&self, device: ReportedDevice) {
        self.told.send_if_modified(|told| {
            let Some(known) = told.devices.get_mut(&device.id) else {
                return false;
            };
            let link = device.link.or(known.link);
            let used = known.used.filter(|_| device.pid.is_some() && device.pid == known.pid);
            *known = ReportedDevice { link, used, ..device };
            true
        });
    }

    /// Counters of the device's link. They change all the time, so they wake nobody.
    pub(super) fn count(&self, device: DeviceId, counters: LinkCounters) {
        self.told.send_if_modified(|told| {
            if let Some(device) = told.devices.get_mut(&device) {
                device.link = Some(counters);
            }
            false
        });
    }

    /// Looks at what processes take. That changes all the time, so it wakes nobody.
    pub(super) fn measure(&self, gauge: &mut Gauge) {
        self.told.send_if_modified(|told| {
            let used = gauge.look(told.devices.values().filter_map(|device| device.pid));
            for device in told.devices.values_mut() {
                device.used = device.pid.and_then(|pid| used.get(&pid).copied());
            }
            false
        });
    }

    /// Something happened.
    pub(super) fn event(&self, device: DeviceId, kind: EventKind, reason: impl Into<String>) {
        let reason = reason.into();
        tracing::info!(%device, kind = kind.name(), reason, "device process");
        let event = Event { device, kind, reason, at_ms: unix_ms() };
        self.told.send_modify(|told| {
            *told.events.entry(kind.name()).or_default() += 1;
            told.push(Fact::Event(event));
        });
    }

    /// This became of an order.
    pub(super) fn result(&self, id: CommandId, outcome: orders::Answer) {
        self.told.send_modify(|told| told.push(Fact::Result(id, Answer::new(None, outcome))));
    }

    /// The broker has the fact with this number.
    pub(super) fn forget_fact(&self, number: u64) {
        self.told.send_modify(|told| told.forget(number));
    }

    /// The device printed a line.
    pub(super) fn line(&self, device: DeviceId, line: String) {
        // Beyond what can wait, the log has them.
        let _ = self.lines.try_send((device, line));
    }
}

fn unstarted(id: DeviceId) -> ReportedDevice {
    ReportedDevice {
        request: None,
        id,
        status: ProcessStatus::Stopped,
        pid: None,
        since_ms: unix_ms(),
        cycle: 0,
        restarts: 0,
        reason: None,
        group: None,
        link: None,
        used: None,
    }
}

/// Milliseconds of Unix time.
pub(super) fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_events_make_room_and_an_acknowledgement_hits_only_its_own() {
        let (reporter, _lines) = reporter();
        let told = reporter.subscribe();
        let device = "pump-7".parse().expect("a name");
        for n in 0..FACTS + 3 {
            reporter.event(device, EventKind::Exited, n.to_string());
        }
        let oldest = || match told.borrow().fact() {
            Some((number, Fact::Event(event))) => Some((number, event.reason.clone())),
            _ => None,
        };
        assert_eq!(oldest(), Some((3, "3".to_owned())));
        reporter.forget_fact(2);
        assert_eq!(oldest(), Some((3, "3".to_owned())));
        reporter.forget_fact(3);
        assert_eq!(oldest(), Some((4, "4".to_owned())));
    }
}
