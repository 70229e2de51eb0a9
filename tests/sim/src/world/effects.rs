//! What agents ask for.

use wasmbed_core::{Assignment, Effect, ModuleEvent, Slot, Token, Used};
use wasmbed_wire::{
    Backtrace, DeviceId,
    message::{Reason, ResetCause},
    topic::Up,
};

use super::{Event, MAX_STEPS, PERIOD_MS, World};
use crate::{artifact::Behaviour, device::Running};

impl World {
    /// Carries out all effects of a device.
    pub(super) fn carry_out(&mut self, id: DeviceId) {
        for _ in 0..MAX_STEPS {
            let Some(mut device) = self.devices.remove(&id) else { return };
            let effect = device.agent.as_mut().and_then(|agent| agent.poll_effect().map(Owned::from));
            let has_lost_power = device.has_lost_power();
            let life = device.life;
            self.devices.insert(id, device);
            if has_lost_power {
                return self.power_lost(id);
            }
            match effect {
                // Everything else is looked after before it goes on.
                Some(Owned::Work) => return self.after(1, Event::Resume { device: id, life }),
                Some(effect) => self.perform(id, effect),
                None => return,
            }
        }
        panic!("effects without an end (seed {})", self.seed);
    }

    fn perform(&mut self, id: DeviceId, effect: Owned) {
        match effect {
            Owned::Connect { will } => {
                self.break_session(id);
                let delay = self.latency();
                let device = self.device_mut(id);
                device.session += 1;
                device.will = will;
                let session = device.session;
                self.after(delay, Event::Connected { device: id, session });
            }
            Owned::Publish { topic, payload, token } => self.send_up(id, topic, payload, token),
            Owned::Start { slot, running } => self.start_module(id, slot, running),
            Owned::Tick { slot } => self.tick(id, slot),
            Owned::Stop { slot } => {
                self.note(id, &format!("stop slot {}", slot.0));
                self.module_soon(id, slot, ModuleEvent::Halted);
            }
            Owned::Work => {}
            Owned::Restart => self.reset(id, ResetCause::Command),
            Owned::Disconnect => self.break_session(id),
        }
    }

    fn start_module(&mut self, id: DeviceId, slot: Slot, running: Running) {
        let Assignment { instance, module, .. } = running.assignment;
        let device = &self.devices[&id];
        let digest = device.payload_digest(slot);
        assert_eq!(
            digest,
            Some(self.fleet.signed_digest(module.artifact)),
            "something else than was signed starts"
        );
        assert!(!device.runs(instance.as_str()), "{instance} would run twice");
        assert!(!device.modules.contains_key(&slot), "two modules in slot {}", slot.0);
        self.note(id, &format!("start {instance} in slot {}", slot.0));
        let device = self.device_mut(id);
        device.modules.insert(slot, running);
        device.chip.borrow_mut().in_use.push(slot);
        let event = match self.fleet.behaviour(module.artifact) {
            Behaviour::FailsToStart(reason) => stopped(reason),
            Behaviour::Steady | Behaviour::TrapsAtTick(_) => {
                ModuleEvent::Started { period_ms: PERIOD_MS, used: USED }
            }
        };
        self.module_soon(id, slot, event);
    }

    fn tick(&mut self, id: DeviceId, slot: Slot) {
        let running = self.device_mut(id).modules.get_mut(&slot).expect("only running modules are ticked");
        running.ticks += 1;
        let (ticks, artifact) = (running.ticks, running.assignment.module.artifact);
        let event = match self.fleet.behaviour(artifact) {
            Behaviour::TrapsAtTick(at) if ticks >= at => stopped(Reason::Trapped),
            _ => ModuleEvent::Ran { period_ms: PERIOD_MS, used: USED },
        };
        self.module_soon(id, slot, event);
    }

    fn module_soon(&mut self, device: DeviceId, slot: Slot, event: ModuleEvent) {
        let life = self.devices[&device].life;
        self.after(3, Event::Module { device, life, slot, event });
    }

    /// Closes the connection, if there is one; the broker publishes the will.
    pub(super) fn break_session(&mut self, id: DeviceId) {
        let device = self.device_mut(id);
        device.session += 1;
        if std::mem::replace(&mut device.online, false) {
            let will = std::mem::take(&mut device.will);
            self.note(id, "connection lost");
            if self.broker_up && self.fleet_up {
                self.fleet.take(id, Up::State, &will);
            }
        }
    }
}

/// An effect that outlives the agent's borrow.
enum Owned {
    Connect { will: Vec<u8> },
    Publish { topic: Up, payload: Vec<u8>, token: Token },
    Start { slot: Slot, running: Running },
    Tick { slot: Slot },
    Stop { slot: Slot },
    Work,
    Restart,
    Disconnect,
}

impl From<Effect<'_>> for Owned {
    fn from(effect: Effect<'_>) -> Self {
        match effect {
            Effect::Connect { will, .. } => Owned::Connect { will: will.to_vec() },
            Effect::Publish { topic, payload, token } => {
                Owned::Publish { topic, payload: payload.to_vec(), token }
            }
            Effect::Start { slot, assignment, .. } => {
                Owned::Start { slot, running: Running { assignment, ticks: 0 } }
            }
            Effect::Tick { slot } => Owned::Tick { slot },
            Effect::Stop { slot } => Owned::Stop { slot },
            Effect::Work => Owned::Work,
            Effect::Restart => Owned::Restart,
            Effect::Disconnect => Owned::Disconnect,
        }
    }
}

/// What every call of a module uses.
const USED: Used = Used { took_us: 100, fuel: 1_000, memory_bytes: 4_096 };

fn stopped(reason: Reason) -> ModuleEvent {
    ModuleEvent::Stopped { reason, used: USED, backtrace: Backtrace::default() }
}
