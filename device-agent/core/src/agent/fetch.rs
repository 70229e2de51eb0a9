//! Bringing one artifact after the other into the store.
//!
//! The manifest comes first and is judged completely before anything is erased. The module that runs
//! under the same name keeps running meanwhile, unless its slot is the only one there is.

use wasmbed_update::SignedManifest;
use wasmbed_wire::{
    ArtifactId, ModuleName,
    message::{Block, Reason},
};

use super::{Agent, PROGRESS_MS};
use crate::{
    Instant, Platform, Rejected, Slot, StoreError,
    module::{Held, Identity, Life, Place},
    trust::{self, Accepted},
    window::Window,
};

/// The transfer that is going on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fetch {
    pub(super) identity: Identity,
    pub(super) window: Window,
    manifest: SignedManifest,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Manifest,
    /// The manifest is good; a slot has to become free.
    Waiting(Accepted),
    Payload(Accepted, Slot),
}

impl Fetch {
    fn new(identity: Identity, credit: u8) -> Self {
        let window = Window::new(credit);
        Fetch { identity, window, manifest: SignedManifest::EMPTY, stage: Stage::Manifest }
    }

    fn slot(&self) -> Option<Slot> {
        match self.stage {
            Stage::Manifest | Stage::Waiting(_) => None,
            Stage::Payload(_, slot) => Some(slot),
        }
    }

    /// Whether blocks may be asked for: what comes must have a place to go.
    pub(super) fn may_ask(&self) -> bool {
        !matches!(self.stage, Stage::Waiting(_))
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.window.deadline()
    }
}

impl<P: Platform, const SLOTS: usize, const SETTINGS: usize> Agent<P, SLOTS, SETTINGS> {
    #[inline(never)]
    pub(super) fn on_block(&mut self, artifact: ArtifactId, payload: &[u8]) -> Result<(), Rejected> {
        if self.update.as_mut().is_some_and(|update| update.expects(artifact)) {
            let block = minicbor::decode(payload).map_err(|_| Rejected::Malformed)?;
            return self.on_firmware_block(&block);
        }
        let Some(fetch) = self.fetch.as_mut().filter(|fetch| fetch.identity.artifact == artifact) else {
            return Err(Rejected::Unasked);
        };
        let block: Block<'_> = minicbor::decode(payload).map_err(|_| Rejected::Malformed)?;
        if !fetch.window.expects(block.index) {
            return Err(Rejected::Unasked);
        }
        match fetch.stage {
            Stage::Manifest if block.index == 0 => self.take_manifest(block.bytes),
            Stage::Payload(accepted, slot) => return self.take_payload(&accepted, slot, &block),
            // Overtook the manifest; it is asked for again.
            Stage::Manifest | Stage::Waiting(_) => return Err(Rejected::Unasked),
        }
        Ok(())
    }

    fn take_manifest(&mut self, bytes: &[u8]) {
        let accepted = trust::accept(&self.platform, &self.ring, bytes);
        let Some(fetch) = &mut self.fetch else { return };
        let fits = fetch.manifest.set(bytes).ok_or(Reason::BadManifest);
        let wanted = fetch.identity;
        let accepted = fits.and(accepted).and_then(|accepted| {
            if accepted.module.artifact == wanted.artifact {
                Ok(accepted)
            } else {
                Err(Reason::WrongArtifact)
            }
        });
        match accepted {
            Ok(accepted) => {
                let blocks = accepted.module.size.div_ceil(u32::from(accepted.block_bytes).max(1));
                fetch.window.set_total(1 + blocks);
                fetch.window.take(self.now, 0);
                fetch.stage = Stage::Waiting(accepted);
            }
            Err(reason) => self.fail_fetch(reason),
        }
    }

    fn take_payload(&mut self, accepted: &Accepted, slot: Slot, block: &Block<'_>) -> Result<(), Rejected> {
        let offset = place_of(block, accepted.module.size, accepted.block_bytes)?;
        if self.platform.write(slot, offset, block.bytes).is_err() {
            self.fail_fetch(Reason::StoreFailed);
            return Ok(());
        }
        let Some(fetch) = &mut self.fetch else { return Ok(()) };
        fetch.window.take(self.now, block.index);
        if fetch.window.is_complete() {
            self.finish_fetch(accepted, slot);
        } else if self.now >= self.next_progress {
            self.next_progress = self.now.after(PROGRESS_MS);
            self.reported.post();
        }
        Ok(())
    }

    fn finish_fetch(&mut self, accepted: &Accepted, slot: Slot) {
        if let Err(reason) = self.keep_payload(accepted, slot) {
            return self.fail_fetch(reason);
        }
        let Some(Fetch { identity, .. }) = self.fetch.take() else { return };
        self.tables.put(slot, Place::Held(Held::new(identity.name, accepted.module)));
        if let Some(wanted) = self.tables.find_wanted_mut(identity) {
            wanted.life = Life::Ready;
        }
        self.reported.post();
    }

    fn keep_payload(&mut self, accepted: &Accepted, slot: Slot) -> Result<(), Reason> {
        trust::verify_payload(&mut self.platform, slot, accepted)?;
        let Some(fetch) = &self.fetch else { return Err(Reason::StoreFailed) };
        self.platform.commit(slot, fetch.manifest.as_ref()).map_err(|StoreError| Reason::StoreFailed)
    }

    fn fail_fetch(&mut self, reason: Reason) {
        let Some(fetch) = self.fetch.take() else { return };
        self.release(fetch.slot());
        let Some(wanted) = self.tables.find_wanted_mut(fetch.identity) else { return };
        if may_be_transfer(reason) && !wanted.spoiled {
            wanted.spoiled = true;
            return;
        }
        wanted.refuse(reason);
        self.reported.post();
    }

    fn release(&mut self, slot: Option<Slot>) {
        let Some(slot) = slot else { return };
        self.platform.discard(slot);
        self.tables.put(slot, Place::Empty);
    }

    /// Ends a transfer that nobody wants any more.
    pub(super) fn abandon_fetch(&mut self) {
        let Some(fetch) = &self.fetch else { return };
        let (identity, slot) = (fetch.identity, fetch.slot());
        if self.tables.find_wanted(identity).is_none_or(|wanted| wanted.life != Life::Fetching) {
            self.fetch = None;
            self.release(slot);
        }
    }

    /// Begins the next transfer, or finds a slot for the one that needs it.
    pub(super) fn advance_fetch(&mut self) {
        if !self.is_connected() {
            return;
        }
        if self.fetch.is_none() {
            let credit = self.config.window_blocks;
            let next = self.tables.wanted.iter().flatten().find(|wanted| wanted.life == Life::Fetching);
            self.fetch = next.map(|wanted| Fetch::new(wanted.identity, credit));
        }
        let Some(Fetch { stage: Stage::Waiting(accepted), identity, .. }) = &self.fetch else { return };
        let (accepted, instance) = (*accepted, identity.name);
        match self.tables.empty_slot() {
            Some(slot) => self.open_slot(accepted, slot),
            None => self.end_predecessor(instance),
        }
    }

    fn open_slot(&mut self, accepted: Accepted, slot: Slot) {
        if self.platform.begin(slot, accepted.module.size).is_err() {
            return self.fail_fetch(Reason::StoreFailed);
        }
        self.tables.put(slot, Place::Open);
        if let Some(fetch) = &mut self.fetch {
            fetch.stage = Stage::Payload(accepted, slot);
        }
    }

    fn end_predecessor(&mut self, name: ModuleName) {
        let held = self.tables.places.iter_mut().filter_map(Place::held_mut);
        for held in held.filter(|held| held.instance == name) {
            held.end();
        }
        // Nothing can be taken in until it has ended.
        if let Some(fetch) = &mut self.fetch {
            fetch.window.forget_asked();
        }
    }
}

/// Where the bytes of a block go in a payload of this size, in blocks of `block_bytes` with the manifest
/// before them.
pub(super) fn place_of(block: &Block<'_>, size: u32, block_bytes: u16) -> Result<u32, Rejected> {
    let block_bytes = u32::from(block_bytes);
    let nth = block.index.checked_sub(1).ok_or(Rejected::Unasked)?;
    let offset = nth.saturating_mul(block_bytes);
    let expected = size.saturating_sub(offset).min(block_bytes);
    if block.bytes.len() == expected as usize { Ok(offset) } else { Err(Rejected::WrongLength { expected }) }
}

/// Whether either the artifact or its transfer is bad: a second transfer tells which.
pub(super) const fn may_be_transfer(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::BadManifest | Reason::BadSignature | Reason::WrongArtifact | Reason::DigestMismatch
    )
}
