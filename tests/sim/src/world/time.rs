//! Time goes from event to event.

use wasmbed_core::{Agent, ModuleEvent, Slot, Token};
use wasmbed_wire::{
    DeviceId,
    message::ResetCause,
    topic::{Down, Up},
};

use super::{Event, World};
use crate::{device::Device, network::Kind, trace::describe_down};

impl World {
    pub(super) fn next_time(&self) -> Option<u64> {
        let event = self.events.keys().next().map(|(at, _)| *at);
        let deadlines = self.devices.values().filter_map(Device::deadline);
        event.into_iter().chain(deadlines).min().map(|at| at.max(self.now))
    }

    pub(super) fn step(&mut self) {
        let Some(next) = self.next_time() else { return };
        self.now = next;
        if let Some(entry) = self.events.first_entry()
            && entry.key().0 <= next
        {
            let event = entry.remove();
            self.happen(event);
            return;
        }
        let due = |device: &&Device| device.deadline().is_some_and(|at| at <= next);
        let due: Vec<_> = self.devices.values().filter(due).map(|device| device.id).collect();
        for id in due {
            self.tell(id, Agent::on_deadline);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Connected { device, session } => self.connected(device, session),
            Event::Refused { device, session } if self.is_current(device, session) => {
                self.tell(device, Agent::on_disconnected);
            }
            Event::Up { device, session, topic, payload, token } => {
                self.arrive_up(device, session, topic, &payload, token);
            }
            Event::Acked { device, session, token } if self.is_current(device, session) => {
                self.tell(device, |agent, now| agent.on_acked(now, token));
            }
            Event::Down { device, session, topic, payload } if self.is_current(device, session) => {
                self.arrive_down(device, &topic, &payload);
            }
            Event::Module { device, life, slot, event } if self.devices[&device].life == life => {
                self.module_event(device, slot, event);
            }
            Event::Resume { device, life } if self.devices[&device].life == life => self.carry_out(device),
            Event::Dies { device, life, cause } if self.devices[&device].life == life => {
                if cause == ResetCause::Crash {
                    self.devices[&device].chip.borrow_mut().crash = Some("crash".into());
                }
                self.reset(device, cause);
            }
            // For a connection or a start that is over.
            _ => {}
        }
    }

    fn connected(&mut self, device: DeviceId, session: u32) {
        if !self.is_current(device, session) {
            return;
        }
        if !self.broker_up || self.devices[&device].is_mute {
            return self.happen(Event::Refused { device, session });
        }
        self.note(device, "connected");
        self.device_mut(device).online = true;
        for topic in [Down::Keys, Down::Desired].map(|topic| topic.to_string()) {
            if let Some(payload) = self.retained.get(&(device, topic.clone())).cloned() {
                self.send_down(device, topic, payload);
            }
        }
        self.tell(device, Agent::on_connected);
    }

    fn arrive_up(&mut self, device: DeviceId, session: u32, topic: Up, payload: &[u8], token: Token) {
        if !self.broker_up {
            return;
        }
        if topic.delivery().qos == 1 && self.is_current(device, session) {
            let lost = self.faults.judge(Kind::Get, &mut self.rng).drop;
            let delay = self.latency();
            if !lost {
                self.after(delay, Event::Acked { device, session, token });
            }
        }
        if topic.delivery().retain {
            self.retained.insert((device, topic.to_string()), payload.to_vec());
        }
        if self.fleet_up {
            self.fleet_hears(device, topic, payload);
        }
    }

    /// The fleet takes note, and publishes what follows.
    pub(super) fn fleet_hears(&mut self, device: DeviceId, topic: Up, payload: &[u8]) {
        for (topic, payload) in self.fleet.take(device, topic, payload) {
            self.publish(device, topic, payload);
        }
    }

    fn arrive_down(&mut self, device: DeviceId, topic: &str, payload: &[u8]) {
        let instant = self.devices[&device].instant(self.now);
        let Some(agent) = &mut self.device_mut(device).agent else { return };
        let result = agent.on_message(instant, topic, payload);
        let what = describe_down(topic, payload);
        match result {
            Ok(()) => self.note(device, &format!("<- {what}")),
            Err(rejected) => self.note(device, &format!("<- {what}: {rejected}")),
        }
        self.carry_out(device);
    }

    fn module_event(&mut self, id: DeviceId, slot: Slot, event: ModuleEvent) {
        if let ModuleEvent::Stopped { .. } | ModuleEvent::Halted = event {
            let device = self.device_mut(id);
            device.modules.remove(&slot);
            device.chip.borrow_mut().in_use.retain(|used| *used != slot);
        }
        if !matches!(event, ModuleEvent::Ran { .. }) {
            self.note(id, &format!("slot {} {event:?}", slot.0));
        }
        self.tell(id, |agent, now| agent.on_module(now, slot, event));
    }
}
