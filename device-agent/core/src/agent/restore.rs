//! What survived the reset.

use wasmbed_wire::limits::MAX_MANIFEST_BYTES;

use super::Agent;
use crate::{
    Platform, Slot,
    module::{Held, Place},
    trust,
};

impl<P: Platform, const SLOTS: usize, const SETTINGS: usize> Agent<P, SLOTS, SETTINGS> {
    /// Verifies what the store kept as if it had just arrived, then adopts the last desired state.
    pub(super) fn restore(&mut self) {
        for slot in self.tables.slots() {
            self.restore_slot(slot);
        }
        self.restore_desired();
    }

    fn restore_slot(&mut self, slot: Slot) {
        let mut manifest = [0; MAX_MANIFEST_BYTES];
        let Some(len) = self.platform.committed(slot, &mut manifest) else { return };
        let accepted = trust::accept(&self.platform, &self.ring, manifest.get(..len).unwrap_or_default());
        let verified = accepted.and_then(|accepted| {
            trust::verify_payload(&mut self.platform, slot, &accepted).map(|()| accepted.module)
        });
        match verified {
            Ok(module) => self.tables.put(slot, Place::Held(Held::new(module.name, module))),
            Err(_) => self.platform.discard(slot),
        }
    }
}
