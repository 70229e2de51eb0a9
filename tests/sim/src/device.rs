//! One simulated device: its agent, what survives restarts, and its modules.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use sha2::{Digest as _, Sha256};
use wasmbed_core::{Agent, Config, Instant, ModuleInfo, Slot};
use wasmbed_wire::{DeviceId, Digest, message::ResetCause};

use crate::{
    platform::{Chip, Simulated},
    rng::Rng,
};

/// Slots of a simulated device.
pub(crate) const SLOTS: usize = 3;

/// What survives a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// Slots and desired state: Linux, or a board with flash.
    Lasting,
    /// Only the number of the connect: a board with RAM slots.
    Volatile,
}

pub(crate) struct Device {
    pub(crate) id: DeviceId,
    pub(crate) agent: Box<Agent<Simulated, SLOTS>>,
    pub(crate) chip: Rc<RefCell<Chip>>,
    /// Of the world, when this start began.
    pub(crate) started: u64,
    /// Rises with every start: what was under way to the last one is lost.
    pub(crate) life: u32,
    /// Rises with every connect: what was under way to the last one is lost.
    pub(crate) session: u32,
    pub(crate) online: bool,
    pub(crate) will: Vec<u8>,
    /// When the last message in order arrives here.
    pub(crate) last_arrival: u64,
    pub(crate) modules: BTreeMap<Slot, Running>,
    memory: Memory,
}

/// A module that runs or is being started.
#[derive(Debug, Clone)]
pub(crate) struct Running {
    pub(crate) module: ModuleInfo,
    pub(crate) ticks: u32,
}

impl Device {
    pub(crate) fn new(id: DeviceId, memory: Memory, now: u64, rng: Rng) -> Self {
        let chip = Rc::<RefCell<Chip>>::default();
        Device {
            id,
            agent: boot(&chip, rng),
            chip,
            started: now,
            life: 0,
            session: 0,
            online: false,
            will: Vec::new(),
            last_arrival: 0,
            modules: BTreeMap::new(),
            memory,
        }
    }

    /// The power goes and comes back; everything at work is lost.
    pub(crate) fn restart(&mut self, now: u64, cause: ResetCause, rng: Rng) {
        let mut chip = self.chip.borrow_mut();
        chip.in_use.clear();
        chip.reset = Some(cause);
        if self.memory == Memory::Volatile {
            chip.slots.clear();
            chip.desired = None;
        }
        drop(chip);
        self.agent = boot(&self.chip, rng);
        self.started = now;
        self.life += 1;
        self.session += 1;
        self.online = false;
        self.modules.clear();
    }

    /// The agent's time.
    pub(crate) fn instant(&self, now: u64) -> Instant {
        Instant(now - self.started)
    }

    /// When the agent wants to be asked next, in the world's time.
    pub(crate) fn deadline(&self) -> Option<u64> {
        self.agent.next_deadline().map(|deadline| deadline.0 + self.started)
    }

    pub(crate) fn payload_digest(&self, slot: Slot) -> Option<Digest> {
        let chip = self.chip.borrow();
        chip.slots.get(&slot).map(|contents| Digest(Sha256::digest(&contents.payload).into()))
    }

    pub(crate) fn runs(&self, name: &str) -> bool {
        self.modules.values().any(|running| running.module.name.as_str() == name)
    }
}

fn boot(chip: &Rc<RefCell<Chip>>, rng: Rng) -> Box<Agent<Simulated, SLOTS>> {
    Box::new(Agent::new(Simulated::new(Rc::clone(chip), rng), Config::default()))
}
