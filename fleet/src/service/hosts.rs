//! What hosts say.

use wasmbed_plan::{Presence, Time};
use wasmbed_wire::{DeviceId, HostId, message::Status};

use super::{change::Change, fleet::Fleet};
use crate::{
    host_api::{Event, EventKind, ProcessStatus, Reported, ReportedDevice, State, Up},
    store::{NewEvent, Severity},
};

impl Fleet {
    pub(super) fn on_host(&mut self, now: Time, id: HostId, up: Up, payload: &[u8], retained: bool) {
        match up {
            Up::State => parsed(payload, |state| self.on_host_state(now, id, state, retained)),
            Up::Reported => parsed(payload, |reported| self.on_host_reported(now, id, reported, retained)),
            Up::Event => parsed(payload, |event| self.on_host_event(now, id, event)),
            Up::Result(number) => parsed(payload, |answer| self.on_result(now, id, number, answer)),
            Up::Console(device) => {
                if self.is_on(&device, &id) {
                    self.on_log(now, &device, "console", payload);
                }
            }
            Up::Info => parsed(payload, |info| self.host_info.entry(id).or_default().info = Some(info)),
        }
    }

    fn on_host_state(&mut self, now: Time, id: HostId, state: State, retained: bool) {
        let facts = self.host_info.entry(id).or_default();
        if state.status == Status::Offline && state.boot < facts.boot {
            return;
        }
        facts.boot = state.boot;
        if state.status != Status::Offline && state.started_ms != facts.holder_ms {
            self.on_host_started(now, id, state.started_ms);
        }
        let presence = if state.status == Status::Offline { Presence::Offline } else { Presence::Online };
        let host = self.host_view(&id);
        let before = std::mem::replace(&mut host.presence, presence);
        if before == presence {
            return;
        }
        host.since = now;
        let event = match presence {
            Presence::Online => NewEvent::new(Severity::Info, "host-online", "it connected"),
            _ => NewEvent::new(Severity::Warning, "host-offline", "its connection to the broker ended"),
        };
        // What the broker had kept was told when it happened.
        let events = if retained { Vec::new() } else { vec![event.host(id)] };
        self.commit_or_log(now, Change { events, ..Change::default() });
        self.on_tick(now);
    }

    /// Two processes of one id would run the same devices twice: the one that started last does, and what is desired
    /// of the host says so to the other one.
    fn on_host_started(&mut self, now: Time, id: HostId, started_ms: u64) {
        let facts = self.host_info.entry(id).or_default();
        let mut change = Change::default();
        if started_ms > facts.holder_ms {
            facts.holder_ms = started_ms;
        } else {
            let reason = "a second process with this id connected; it is told to stop".to_owned();
            change.events.push(NewEvent::new(Severity::Alert, "host-conflict", reason).host(id));
        }
        change.raise_host(Some(id));
        self.commit_or_log(now, change);
        self.on_tick(now);
    }

    fn on_host_reported(&mut self, now: Time, id: HostId, reported: Reported, retained: bool) {
        let host = self.host_view(&id);
        host.reported = Some(reported.revision);
        // A broker need not have kept what it said when it connected.
        if host.presence == Presence::Unknown && !retained {
            host.presence = Presence::Online;
            host.since = now;
        }
        for device in reported.devices {
            if self.is_on(&device.id, &id) {
                if let Some(request) = &device.request {
                    self.on_certificate_request(now, id, device.id, request);
                }
                self.on_process(device);
            }
        }
        self.on_tick(now);
    }

    fn on_process(&mut self, process: ReportedDevice) {
        if let Some(device) = self.view.devices.get_mut(&process.id) {
            device.started = Some(Time(process.since_ms));
            // Who waits for a certificate is started by no host.
            let is_held = process.request.is_some();
            device.is_waiting =
                process.status == ProcessStatus::Starting && process.pid.is_none() && !is_held;
        }
        if let Some(record) = self.records.get_mut(&process.id) {
            record.process = Some(process);
        }
    }

    fn on_host_event(&mut self, now: Time, id: HostId, event: Event) {
        let facts = self.host_info.entry(id).or_default();
        // Delivered at least once.
        if facts.last_event.as_ref() == Some(&event) || !self.is_on(&event.device, &id) {
            return;
        }
        let (severity, kind) = match event.kind {
            EventKind::Started => (Severity::Info, "process-started"),
            EventKind::Exited => (Severity::Warning, "process-exited"),
            EventKind::Restarted => (Severity::Info, "process-restarted"),
            EventKind::Adopted => (Severity::Info, "process-adopted"),
            EventKind::Stopped => (Severity::Info, "process-stopped"),
            EventKind::StartFailed => (Severity::Alert, "process-start-failed"),
            EventKind::BudgetExhausted => (Severity::Alert, "process-budget-exhausted"),
            EventKind::Remapped => (Severity::Info, "process-remapped"),
            EventKind::Watchdog => (Severity::Warning, "process-watchdog"),
            EventKind::Ordered => (Severity::Info, "process-ordered"),
        };
        let new = NewEvent::new(severity, kind, event.reason.clone()).device(event.device).host(id);
        if let Some(facts) = self.host_info.get_mut(&id) {
            facts.last_event = Some(event);
        }
        self.commit_or_log(now, Change { events: vec![new], ..Change::default() });
    }

    /// A host speaks for its own devices only.
    fn is_on(&self, device: &DeviceId, host: &HostId) -> bool {
        self.records.get(device).is_some_and(|record| record.row.host == Some(*host))
    }
}

fn parsed<T: serde::de::DeserializeOwned>(payload: &[u8], then: impl FnOnce(T)) {
    match serde_json::from_slice(payload) {
        Ok(message) => then(message),
        Err(error) => tracing::debug!(%error, "dropped a host's message that cannot be read"),
    }
}
