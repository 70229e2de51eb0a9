//! One simulated device: its agent, what survives restarts, and its modules.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use sha2::{Digest as _, Sha256};
use wasmbed_core::{Agent, Assignment, Config, Instant, Slot};
use wasmbed_wire::{DeviceId, Digest, message::ResetCause};

use crate::{
    flash::Shared,
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
    /// `None` while nothing that could talk runs.
    pub(crate) agent: Option<Box<Agent<Simulated, SLOTS>>>,
    pub(crate) chip: Rc<RefCell<Chip>>,
    /// Where its firmware lies, if that can be replaced.
    pub(crate) flash: Option<Shared>,
    /// The image that runs; `None` in recovery.
    pub(crate) image: Option<Digest>,
    /// It never reaches the broker.
    pub(crate) is_mute: bool,
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
    /// How often the power failed in the middle of a flash operation.
    pub(crate) power_cuts: usize,
    memory: Memory,
}

/// A module that runs or is being started.
#[derive(Debug, Clone)]
pub(crate) struct Running {
    pub(crate) assignment: Assignment,
    pub(crate) ticks: u32,
}

impl Device {
    /// A device that is switched off.
    pub(crate) fn new(id: DeviceId, memory: Memory, flash: Option<Shared>) -> Self {
        Device {
            id,
            agent: None,
            chip: Rc::default(),
            flash,
            image: None,
            is_mute: false,
            started: 0,
            life: 0,
            session: 0,
            online: false,
            will: Vec::new(),
            last_arrival: 0,
            modules: BTreeMap::new(),
            power_cuts: 0,
            memory,
        }
    }

    /// Everything at work is lost; the next start has this cause.
    pub(crate) fn halt(&mut self, cause: ResetCause) {
        let mut chip = self.chip.borrow_mut();
        chip.in_use.clear();
        chip.reset = Some(cause);
        if self.memory == Memory::Volatile {
            chip.slots.clear();
            chip.desired = None;
        }
        drop(chip);
        self.agent = None;
        self.life += 1;
        self.session += 1;
        self.online = false;
        self.modules.clear();
    }

    /// An agent begins to work.
    pub(crate) fn boot(&mut self, now: u64, rng: Rng, is_recovery: bool, is_fit: bool) {
        self.started = now;
        let mut platform = Simulated::new(self.id, Rc::clone(&self.chip), rng);
        platform.flash = self.flash.clone();
        platform.is_recovery = is_recovery;
        platform.is_fit = is_fit;
        self.agent = Some(Box::new(Agent::new(platform, Config::default())));
    }

    /// Whether the power failed in the middle of a flash operation.
    pub(crate) fn has_lost_power(&self) -> bool {
        self.flash.as_ref().is_some_and(Shared::is_dead)
    }

    /// The agent's time.
    pub(crate) fn instant(&self, now: u64) -> Instant {
        Instant(now - self.started)
    }

    /// When the agent wants to be asked next, in the world's time.
    pub(crate) fn deadline(&self) -> Option<u64> {
        self.agent.as_ref()?.next_deadline().map(|deadline| deadline.0 + self.started)
    }

    pub(crate) fn payload_digest(&self, slot: Slot) -> Option<Digest> {
        let chip = self.chip.borrow();
        chip.slots.get(&slot).map(|contents| Digest(Sha256::digest(&contents.payload).into()))
    }

    pub(crate) fn runs(&self, name: &str) -> bool {
        self.modules.values().any(|running| running.assignment.instance.as_str() == name)
    }
}
