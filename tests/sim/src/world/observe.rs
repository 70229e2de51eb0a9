//! What tests see of devices and modules.

use wasmbed_wire::{
    ArtifactId, DeviceId,
    message::{ModuleReport, ModuleState, ModuleUse, Outcome, Reason, Refused, Status},
};

use super::World;
use crate::fleet::WishedModule;

impl World {
    /// The last report about a module.
    pub fn report(&self, device: DeviceId, name: &str) -> Option<ModuleReport> {
        let modules = &self.fleet.seen(device).modules;
        modules.iter().copied().find(|module| module.name.as_str() == name)
    }

    /// All reports about modules of this name, oldest wish first.
    pub fn reports(&self, device: DeviceId, name: &str) -> Vec<(ArtifactId, ModuleState)> {
        let modules = self.fleet.seen(device).modules.iter();
        modules.filter(|m| m.name.as_str() == name).map(|m| (m.artifact, m.state)).collect()
    }

    /// Answers to commands so far.
    pub fn outcomes(&self, device: DeviceId) -> Vec<Outcome> {
        self.fleet.seen(device).outcomes.clone()
    }

    /// What the device said last about what it does not believe.
    pub fn refused(&self, device: DeviceId) -> Option<Refused> {
        self.fleet.seen(device).refused
    }

    /// Crash records that arrived so far.
    pub fn crashes(&self, device: DeviceId) -> usize {
        self.fleet.seen(device).crashes
    }

    /// Heartbeats that arrived so far.
    pub fn heartbeats(&self, device: DeviceId) -> usize {
        self.fleet.seen(device).heartbeats
    }

    /// What modules used, as of the last heartbeat.
    pub fn used(&self, device: DeviceId) -> Vec<ModuleUse> {
        self.fleet.seen(device).used.clone()
    }

    /// How often a module of the device stopped by itself, as it last said.
    pub fn traps(&self, device: DeviceId) -> u32 {
        self.fleet.seen(device).traps
    }

    /// Whether the device was last known to be online.
    pub fn is_online(&self, device: DeviceId) -> bool {
        self.fleet.seen(device).state.is_some_and(|state| state.status == Status::Online)
    }

    /// Whether the module runs, whatever was reported.
    pub fn runs(&self, device: DeviceId, name: &str) -> bool {
        self.devices[&device].runs(name)
    }

    /// Whether the device reports exactly what it should run, all of it running.
    pub fn is_converged(&mut self, device: DeviceId) -> bool {
        let wish = self.fleet.wish(device).clone();
        let seen = self.fleet.seen(device).clone();
        let running = |wished: &WishedModule| {
            seen.modules.iter().any(|report| {
                (report.name, report.artifact) == (wished.name, wished.artifact)
                    && report.state == ModuleState::Running
            })
        };
        self.is_online(device)
            && seen.revision == wish.revision
            && seen.modules.len() == wish.modules.len()
            && wish.modules.iter().all(running)
    }

    /// Runs until the device is as it should be.
    ///
    /// # Panics
    /// If it is not within `limit_ms`.
    pub fn converge(&mut self, device: DeviceId, limit_ms: u64) {
        self.run_until(limit_ms, "converged", |world| world.is_converged(device));
    }

    /// Runs until a module is in this state.
    ///
    /// # Panics
    /// If it is not within `limit_ms`.
    pub fn run_until_state(&mut self, device: DeviceId, name: &str, state: ModuleState, limit_ms: u64) {
        let reached = |world: &mut World| world.report(device, name).is_some_and(|m| m.state == state);
        self.run_until(limit_ms, &format!("{name} {state:?}"), reached);
    }

    /// Runs until the module is refused for this reason.
    ///
    /// # Panics
    /// If it is not within `limit_ms`.
    pub fn run_until_refused(&mut self, device: DeviceId, name: &str, reason: Reason, limit_ms: u64) {
        let refused = |world: &mut World| {
            let report = world.report(device, name).filter(|m| m.state == ModuleState::Refused);
            report.is_some_and(|m| m.reason == Some(reason))
        };
        self.run_until(limit_ms, &format!("{name} refused for {reason:?}"), refused);
    }
}
