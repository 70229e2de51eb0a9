//! Taking in a new desired state.

use wasmbed_update::Keyring;
use wasmbed_wire::message::{Desired, Refusal, Subject};

use super::{Agent, HEARTBEATS_MS, control::Heard};
use crate::{Platform, Rejected};

impl<P: Platform, const SLOTS: usize, const SETTINGS: usize> Agent<P, SLOTS, SETTINGS> {
    pub(super) fn on_desired(&mut self, topic: &str, signed: &[u8]) -> Result<(), Rejected> {
        match self.judge_desired(topic, signed) {
            Ok(Heard::News(payload)) => self.adopt(payload),
            Ok(Heard::Again) => {
                self.reported.post();
                Ok(())
            }
            Err(refusal) => self.disbelieve(Subject::Desired, refusal),
        }
    }

    /// Takes in a desired state that is to be believed.
    #[inline(never)]
    fn adopt(&mut self, payload: &[u8]) -> Result<(), Rejected> {
        let desired: Desired<'_> = minicbor::decode(payload).map_err(|_| Rejected::Malformed)?;
        if names_a_module_twice(&desired) {
            return Err(Rejected::DuplicateModule);
        }
        if desired.revision > self.revision {
            self.platform.save_desired(payload);
        }
        self.tables.adopt(&desired);
        if let Some(update) = &mut self.update {
            update.tell(desired.firmware);
        }
        self.adopted(desired.revision, desired.heartbeat_ms);
        Ok(())
    }

    /// A signed keyring: it takes the place of the keys in use, or changes nothing. One that would leave the
    /// image that runs without a key is refused: the device would not start again.
    #[inline(never)]
    pub(super) fn on_keys(&mut self, signed: &[u8]) -> Result<(), Rejected> {
        let judged = self.control.may_check(self.now).and_then(|()| self.ring.successor(signed));
        // By reference: a small stack has no room for a second one below a verification.
        let ring = match &judged {
            Ok(ring) => ring,
            // The broker repeats it with every connect.
            Err(Refusal::Stale) => return Ok(()),
            Err(refusal) => return self.disbelieve(Subject::Keys, *refusal),
        };
        if !self.would_start(ring) {
            return Err(Rejected::Orphaning);
        }
        if let Some((flash, layout)) = self.platform.firmware() {
            Keyring::keep(signed, flash, &layout).map_err(|_| Rejected::NotKept)?;
        }
        self.ring = *ring;
        if let Some(update) = &mut self.update {
            update.trust_changed();
        }
        self.reported.post();
        Ok(())
    }

    /// Takes up the last desired state of the previous start.
    pub(super) fn restore_desired(&mut self) {
        let saved = self.platform.saved_desired().unwrap_or_default();
        let Ok(desired) = minicbor::decode::<Desired<'_>>(saved) else { return };
        self.tables.adopt(&desired);
        let (revision, heartbeat_ms, firmware) = (desired.revision, desired.heartbeat_ms, desired.firmware);
        if let Some(update) = &mut self.update {
            update.recall(firmware);
        }
        self.adopted(revision, heartbeat_ms);
    }

    fn adopted(&mut self, revision: u64, heartbeat_ms: Option<u32>) {
        self.revision = revision;
        self.raise_floor(revision);
        let heartbeat_ms = heartbeat_ms.unwrap_or(self.config.heartbeat_ms);
        self.heartbeat_ms = heartbeat_ms.clamp(*HEARTBEATS_MS.start(), *HEARTBEATS_MS.end());
        self.next_heartbeat = self.next_heartbeat.min(self.now.after(self.heartbeat_ms.into()));
        self.reported.post();
    }
}

fn names_a_module_twice(desired: &Desired<'_>) -> bool {
    let names = || desired.modules.iter().map(|module| module.name);
    names().enumerate().any(|(at, name)| names().take(at).any(|earlier| earlier == name))
}
