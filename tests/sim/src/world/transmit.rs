//! Messages on their way.

use wasmbed_core::Token;
use wasmbed_wire::{
    DeviceId,
    message::Block,
    topic::{Down, Up},
};

use super::{Event, World};
use crate::{
    network::{Harm, Kind},
    trace::{describe_down, describe_up},
};

impl World {
    pub(super) fn send_up(&mut self, id: DeviceId, topic: Up, payload: Vec<u8>, token: Token) {
        if !self.devices[&id].online {
            return;
        }
        self.note(id, &format!("-> {}", describe_up(&topic, &payload)));
        let session = self.devices[&id].session;
        let event = Event::Up { device: id, session, topic, payload, token };
        self.transmit(id, Kind::of_up(&topic), event);
    }

    pub(super) fn publish(&mut self, device: DeviceId, topic: Down, payload: Vec<u8>) {
        if !self.broker_up {
            return;
        }
        if topic.delivery().retain {
            self.retained.insert((device, topic.to_string()), payload.clone());
        }
        self.send_down(device, topic.to_string(), payload);
    }

    pub(super) fn send_down(&mut self, device: DeviceId, topic: String, payload: Vec<u8>) {
        if !self.devices[&device].online {
            return;
        }
        let kind = Kind::of_down(&topic);
        let session = self.devices[&device].session;
        self.transmit(device, kind, Event::Down { device, session, topic, payload });
    }

    fn transmit(&mut self, device: DeviceId, kind: Kind, mut event: Event) {
        let fate = self.faults.judge(kind, &mut self.rng);
        if self.is_harmed(device, &mut event) {
            return;
        }
        if fate.disconnect {
            let session = self.devices[&device].session;
            // Seen by both sides a little later.
            self.break_session_later(device, session);
            return;
        }
        if fate.drop {
            return self.note(device, &format!("{kind:?} lost"));
        }
        if let (true, Event::Down { payload, .. }) = (fate.corrupt, &mut event) {
            let at = self.rng.below(payload.len() as u64) as usize;
            payload[at] ^= 1 << self.rng.below(8);
        }
        if let Some(again_ms) = fate.again_ms {
            self.after(again_ms, event.clone());
        }
        let earliest = self.now + self.latency();
        let place = self.device_mut(device);
        let at = if fate.late_ms > 0 { earliest + fate.late_ms } else { earliest.max(place.last_arrival) };
        if fate.late_ms == 0 {
            place.last_arrival = at;
        }
        self.at(at, event);
    }

    /// Does to a block what was asked for; whether it is lost.
    fn is_harmed(&mut self, device: DeviceId, event: &mut Event) -> bool {
        let Event::Down { topic, payload, .. } = event else { return false };
        let text = describe_down(topic, payload);
        let harmed =
            |(to, index, _): &(DeviceId, u32, Harm)| *to == device && text == format!("block {index}");
        let Some(at) = self.harmed_blocks.iter().position(harmed) else { return false };
        let (_, _, harm) = self.harmed_blocks.remove(at);
        self.note(device, &format!("{text} is {}", format!("{harm:?}").to_lowercase()));
        let Block { index, bytes } = minicbor::decode(payload).expect("a block");
        let mut bytes = bytes.to_vec();
        match harm {
            Harm::Lost => return true,
            Harm::Short => drop(bytes.pop()),
            Harm::Corrupt => *bytes.last_mut().expect("a block is not empty") ^= 1,
        }
        *payload = minicbor::to_vec(Block { index, bytes: &bytes }).expect("a vector takes everything");
        false
    }

    fn break_session_later(&mut self, device: DeviceId, session: u32) {
        let will = self.devices[&device].will.clone();
        if self.fleet_up {
            self.fleet.take(device, Up::State, &will);
        }
        self.device_mut(device).online = false;
        self.after(10, Event::Refused { device, session });
    }
}
