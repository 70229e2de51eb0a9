//! Time, events, and what must hold at every instant.

mod boot;
mod effects;
mod firmware;
mod observe;
mod time;
mod transmit;

use std::{collections::BTreeMap, fmt::Write};

use wasmbed_core::{Agent, Instant, ModuleEvent, Slot, Token};
use wasmbed_wire::{
    ArtifactId, CommandId, DeviceId,
    message::{Command, ResetCause, Verb},
    topic::{Down, Up},
};

use crate::{
    artifact::Maker,
    device::{Device, Memory, SLOTS},
    fleet::{Fleet, WishedModule},
    network::{Faults, Harm},
    platform::Simulated,
    rng::Rng,
};

/// Between two ticks of every simulated module, in milliseconds.
const PERIOD_MS: u32 = 1_000;
/// Steps without an end are a livelock.
const MAX_STEPS: u32 = 2_000_000;

/// Devices, a broker and a fleet in virtual time.
pub struct World {
    seed: u64,
    now: u64,
    rng: Rng,
    devices: BTreeMap<DeviceId, Device>,
    fleet: Fleet,
    /// Whether blocks are served and reports are heard.
    fleet_up: bool,
    broker_up: bool,
    /// What the broker keeps for devices and of them, by topic.
    retained: BTreeMap<(DeviceId, String), Vec<u8>>,
    /// Signed keyrings the fleet publishes.
    keyrings: BTreeMap<DeviceId, Vec<u8>>,
    /// By time, then in the order they were made.
    events: BTreeMap<(u64, u64), Event>,
    /// Numbers of commands.
    commands: BTreeMap<CommandId, u64>,
    made: u64,
    faults: Faults,
    /// Blocks that come to harm once.
    harmed_blocks: Vec<(DeviceId, u32, Harm)>,
    trace: String,
}

#[derive(Debug, Clone)]
enum Event {
    Connected {
        device: DeviceId,
        session: u32,
    },
    Refused {
        device: DeviceId,
        session: u32,
    },
    Up {
        device: DeviceId,
        session: u32,
        topic: Up,
        payload: Vec<u8>,
        token: Token,
    },
    Acked {
        device: DeviceId,
        session: u32,
        token: Token,
    },
    Down {
        device: DeviceId,
        session: u32,
        topic: String,
        payload: Vec<u8>,
    },
    Module {
        device: DeviceId,
        life: u32,
        slot: Slot,
        event: ModuleEvent,
    },
    /// A piece of longer work is done.
    Resume {
        device: DeviceId,
        life: u32,
    },
    /// The image that runs comes to this end.
    Dies {
        device: DeviceId,
        life: u32,
        cause: ResetCause,
    },
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("world of seed {}, last events:", self.seed);
            let lines: Vec<&str> = self.trace.lines().collect();
            lines.iter().rev().take(60).rev().for_each(|line| eprintln!("{line}"));
        }
    }
}

impl World {
    /// An empty world; everything random in it comes from the seed.
    pub fn seeded(seed: u64) -> Self {
        World {
            seed,
            now: 0,
            rng: Rng::seeded(seed),
            devices: BTreeMap::new(),
            fleet: Fleet::default(),
            fleet_up: true,
            broker_up: true,
            retained: BTreeMap::new(),
            keyrings: BTreeMap::new(),
            events: BTreeMap::new(),
            commands: BTreeMap::new(),
            made: 0,
            faults: Faults::NONE,
            harmed_blocks: Vec::new(),
            trace: String::new(),
        }
    }

    /// Adds a device and switches it on.
    pub fn device(&mut self, name: &str, memory: Memory) -> DeviceId {
        let id: DeviceId = name.parse().expect("a device name");
        self.devices.insert(id, Device::new(id, memory, None));
        self.start(id, ResetCause::Power);
        id
    }

    /// A number below `end`, for tests that vary.
    pub fn below(&mut self, end: u64) -> u64 {
        self.rng.below(end)
    }

    /// Makes an artifact known to the fleet.
    pub fn artifact(&mut self, maker: &Maker) -> ArtifactId {
        self.fleet.keep(maker.make())
    }

    /// From now on the device should run this artifact as the module `name`.
    pub fn deploy(&mut self, device: DeviceId, name: &str, artifact: ArtifactId) {
        self.change(device, name, |module| module.artifact = artifact, Some(artifact));
    }

    /// From now on the module should have another setting.
    pub fn set_unit(&mut self, device: DeviceId, name: &str, unit: &'static str) {
        self.change(device, name, |module| module.unit = unit, None);
    }

    /// The module should start afresh.
    pub fn renew(&mut self, device: DeviceId, name: &str) {
        self.change(device, name, |module| module.generation += 1, None);
    }

    fn change(
        &mut self,
        device: DeviceId,
        name: &str,
        change: impl FnOnce(&mut WishedModule),
        new: Option<ArtifactId>,
    ) {
        let name = name.parse().expect("a module name");
        let wish = self.fleet.wish(device);
        match wish.modules.iter_mut().find(|module| module.name == name) {
            Some(module) => change(module),
            None => wish.modules.extend(new.map(|artifact| WishedModule {
                name,
                artifact,
                generation: 0,
                unit: "C",
            })),
        }
        wish.revision += 1;
        self.publish_desired(device);
    }

    /// From now on the device should not run this module.
    pub fn undeploy(&mut self, device: DeviceId, name: &str) {
        let wish = self.fleet.wish(device);
        wish.modules.retain(|module| module.name.as_str() != name);
        wish.revision += 1;
        self.publish_desired(device);
    }

    fn publish_desired(&mut self, device: DeviceId) {
        let payload = self.fleet.desired(device);
        self.publish(device, Down::Desired, payload);
    }

    /// The bytes of the desired state as it is now, to be replayed with [`World::replay_desired`].
    pub fn desired(&self, device: DeviceId) -> Vec<u8> {
        self.fleet.desired(device)
    }

    /// Delivers an old desired state once more.
    pub fn replay_desired(&mut self, device: DeviceId, payload: Vec<u8>) {
        self.inject(device, Down::Desired, payload);
    }

    /// Delivers what nobody of the fleet said, or not to this device now.
    pub fn inject(&mut self, device: DeviceId, topic: Down, payload: Vec<u8>) {
        let session = self.devices[&device].session;
        self.after(5, Event::Down { device, session, topic: topic.to_string(), payload });
    }

    /// The broker keeps this as the desired state of the device.
    pub fn retain_instead(&mut self, device: DeviceId, payload: Vec<u8>) {
        self.retained.insert((device, Down::Desired.to_string()), payload);
    }

    /// The key that signs desired states and commands from now on.
    pub fn sign_orders_with(&mut self, key: u8) {
        self.fleet.key = key;
    }

    /// Sends a command.
    pub fn command(&mut self, device: DeviceId, id: &str, verb: Verb) {
        let (topic, payload) = self.command_bytes(device, id, verb);
        self.publish(device, topic, payload);
    }

    /// A command as it is sent in the device's connect of this moment. The same id is the same command.
    pub fn command_bytes(&mut self, device: DeviceId, id: &str, verb: Verb) -> (Down, Vec<u8>) {
        let id: CommandId = id.parse().expect("a command id");
        let next = self.commands.len() as u64 + 1;
        let number = *self.commands.entry(id).or_insert(next);
        let topic = Down::Command(id);
        let boot = self.devices[&device].chip.borrow().boot;
        (topic, self.fleet.command(device, &topic, &Command { verb, boot, number }))
    }

    /// How bad the network is from now on.
    pub fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    /// Loses the next block with this number on its way to the device.
    pub fn drop_block(&mut self, device: DeviceId, index: u32) {
        self.harm_block(device, index, Harm::Lost);
    }

    /// The next block with this number on its way to the device comes to harm.
    pub fn harm_block(&mut self, device: DeviceId, index: u32, harm: Harm) {
        self.harmed_blocks.push((device, index, harm));
    }

    /// Nothing of [`World::harm_block`] happens any more.
    pub fn forget_harm(&mut self) {
        self.harmed_blocks.clear();
    }

    /// The device's writes fail from now on, or work again.
    pub fn fail_writes(&mut self, device: DeviceId, fail: bool) {
        self.devices[&device].chip.borrow_mut().fail_writes = fail;
    }

    /// Cuts the device's power and gives it back.
    pub fn restart(&mut self, device: DeviceId) {
        self.reset(device, ResetCause::Power);
    }

    /// Makes the device crash and start again.
    pub fn crash(&mut self, device: DeviceId) {
        self.devices[&device].chip.borrow_mut().crash = Some("crash".into());
        self.reset(device, ResetCause::Crash);
    }

    fn reset(&mut self, device: DeviceId, cause: ResetCause) {
        self.note(device, &format!("restarts: {cause:?}"));
        self.break_session(device);
        self.start(device, cause);
    }

    /// Breaks the device's connection.
    pub fn disconnect(&mut self, device: DeviceId) {
        if self.devices[&device].online {
            self.break_session(device);
            self.tell(device, Agent::on_disconnected);
        }
    }

    /// The broker ends and forgets everything.
    pub fn stop_broker(&mut self) {
        self.broker_up = false;
        self.retained.clear();
        let devices: Vec<_> = self.devices.keys().copied().collect();
        devices.into_iter().for_each(|device| self.disconnect(device));
    }

    /// The broker is back.
    pub fn start_broker(&mut self) {
        self.broker_up = true;
        let devices: Vec<_> = self.devices.keys().copied().collect();
        for device in devices {
            self.publish_desired(device);
            self.publish_keyring(device);
        }
    }

    /// Whether the fleet hears and serves.
    pub fn set_fleet_up(&mut self, up: bool) {
        self.fleet_up = up;
        let kept: Vec<_> =
            self.retained.iter().filter(|_| up).map(|(at, kept)| (at.clone(), kept.clone())).collect();
        for ((device, topic), payload) in kept {
            if let Some(topic) = Up::parse(&topic) {
                self.fleet_hears(device, topic, &payload);
            }
        }
    }

    /// Milliseconds since the world began.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Everything that happened since [`World::take_trace`], one line each.
    pub fn trace(&self) -> &str {
        &self.trace
    }

    /// Everything that happened since it was last asked, one line each.
    pub fn take_trace(&mut self) -> String {
        std::mem::take(&mut self.trace)
    }

    /// Runs until `done`.
    ///
    /// # Panics
    /// If it is not within `limit_ms`, or if something that must hold does not.
    pub fn run_until(&mut self, limit_ms: u64, what: &str, mut done: impl FnMut(&mut World) -> bool) {
        let end = self.now + limit_ms;
        for _ in 0..MAX_STEPS {
            if done(self) {
                return;
            }
            let next = self.next_time();
            assert!(
                next.is_some_and(|next| next <= end),
                "not {what} within {limit_ms} ms (seed {})",
                self.seed
            );
            self.step();
        }
        panic!("not {what} within {MAX_STEPS} steps (seed {}): a livelock", self.seed);
    }

    /// Lets this much time pass.
    pub fn run_for(&mut self, ms: u64) {
        let end = self.now + ms;
        for _ in 0..MAX_STEPS {
            if self.next_time().is_none_or(|next| next > end) {
                self.now = end;
                return;
            }
            self.step();
        }
        panic!("a livelock (seed {})", self.seed);
    }

    /// Gives an agent something to think about, if there is one, and does what it wants then.
    fn tell(&mut self, device: DeviceId, input: impl FnOnce(&mut Agent<Simulated, SLOTS>, Instant)) {
        let instant = self.devices[&device].instant(self.now);
        if let Some(agent) = &mut self.device_mut(device).agent {
            input(agent, instant);
        }
        self.carry_out(device);
    }

    fn is_current(&self, device: DeviceId, session: u32) -> bool {
        self.devices[&device].session == session
    }

    fn latency(&mut self) -> u64 {
        2 + self.rng.below(8)
    }

    fn after(&mut self, ms: u64, event: Event) {
        self.at(self.now + ms, event);
    }

    fn at(&mut self, at: u64, event: Event) {
        self.made += 1;
        self.events.insert((at, self.made), event);
    }

    fn device_mut(&mut self, id: DeviceId) -> &mut Device {
        self.devices.get_mut(&id).expect("devices are never removed")
    }

    fn note(&mut self, device: DeviceId, what: &str) {
        let _ = writeln!(self.trace, "{:>7} {device} {what}", self.now);
    }
}
