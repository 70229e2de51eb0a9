//! Where modules stopped by themselves, in words.

use wasmbed_plan::Time;
use wasmbed_wire::{ArtifactId, DeviceId, message::Trap};

use super::{change::Change, devices::reason_text, fleet::Fleet};
use crate::{
    artifacts::function_names,
    store::{NewEvent, Severity},
};

/// How an instance last stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LastTrap {
    boot: u32,
    stops: u32,
    /// The functions it was in, innermost first.
    pub(super) functions: Vec<String>,
}

impl Fleet {
    pub(super) fn on_trap(&mut self, now: Time, id: &DeviceId, trap: &Trap<'_>) {
        let is_known = |last: &LastTrap| (last.boot, last.stops) == (trap.boot, trap.stops);
        let Some(record) = self.records.get(id) else { return };
        // Delivered at least once.
        if record.traps.get(&trap.name).is_some_and(is_known) {
            return;
        }
        let frames: Vec<u32> = trap.frames.iter().map(|frame| frame.function).collect();
        let functions = self.functions(&trap.artifact, &frames);
        let mut reason = reason_text(trap.reason).to_owned();
        if !functions.is_empty() {
            reason.push_str(&format!(", in {}", functions.join(", called by ")));
        }
        let event = NewEvent::new(Severity::Warning, "module-trapped", reason).device(*id).module(trap.name);
        if let Some(record) = self.records.get_mut(id) {
            let last = LastTrap { boot: trap.boot, stops: trap.stops, functions };
            record.traps.insert(trap.name, last);
        }
        self.commit_or_log(now, Change { events: vec![event], ..Change::default() });
    }

    /// Names of an artifact's functions, or their numbers.
    fn functions(&self, artifact: &ArtifactId, indices: &[u32]) -> Vec<String> {
        if indices.is_empty() {
            return Vec::new();
        }
        let modules = self.store.modules().unwrap_or_default();
        let is_it = |module: &&crate::store::ModuleVersion| {
            module.artifacts.iter().any(|known| known.id == *artifact)
        };
        let module = modules.iter().find(is_it);
        let wasm = module.and_then(|module| self.store.wasm(&module.name, &module.version).ok().flatten());
        let names = wasm.map(|wasm| function_names(&wasm, indices)).unwrap_or_default();
        if names.is_empty() {
            return indices.iter().map(|index| format!("function {index}")).collect();
        }
        names
    }
}
