//! A simulated device under its agent. What survives a restart is shared with the world.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use wasmbed_core::{Facts, Layout, Platform, Slot, Store, StoreError, Vitals};
use wasmbed_wire::{
    BoardName, DeviceId, PublicKey,
    message::{Crash, ResetCause},
};

use crate::{
    artifact::{self, CLASS, CONTROLLER, RUNTIME, TRUSTED},
    firmware::BOARD,
    flash::{LAYOUT, Shared},
    rng::Rng,
};

/// Largest payload of a simulated device, in bytes.
const SLOT_BYTES: u32 = 64 * 1024;
/// Largest block of a simulated device, in bytes.
const MOST_BLOCK_BYTES: u16 = 1024;

/// Everything outside the agent that a device remembers.
#[derive(Debug, Default)]
pub(crate) struct Chip {
    pub(crate) slots: BTreeMap<Slot, Contents>,
    pub(crate) desired: Option<Vec<u8>>,
    pub(crate) boot: u32,
    pub(crate) crash: Option<String>,
    pub(crate) reset: Option<ResetCause>,
    /// Slots whose modules have not been released: writing to them would pull the rug away.
    pub(crate) in_use: Vec<Slot>,
    pub(crate) fail_writes: bool,
}

/// What one slot holds.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) payload: Vec<u8>,
    pub(crate) manifest: Option<Vec<u8>>,
}

pub(crate) struct Simulated {
    pub(crate) chip: Rc<RefCell<Chip>>,
    pub(crate) rng: Rng,
    id: DeviceId,
    board: BoardName,
    /// What `saved_desired` lends out.
    desired: Option<Vec<u8>>,
    /// `None` if its firmware cannot be replaced.
    pub(crate) flash: Option<Shared>,
    pub(crate) is_recovery: bool,
    pub(crate) is_fit: bool,
}

impl Simulated {
    pub(crate) fn new(id: DeviceId, chip: Rc<RefCell<Chip>>, rng: Rng) -> Self {
        let desired = chip.borrow().desired.clone();
        let board = BOARD.parse().expect("a board name");
        Simulated { chip, rng, id, board, desired, flash: None, is_recovery: false, is_fit: true }
    }

    /// Whether the power is there: what happens after it failed does not happen.
    fn is_powered(&self) -> bool {
        self.flash.as_ref().is_none_or(|flash| !flash.is_dead())
    }

    fn assert_unused(&self, slot: Slot, what: &str) {
        let in_use = self.chip.borrow().in_use.contains(&slot);
        assert!(!in_use, "slot {} {what} while its module is running", slot.0);
    }
}

impl Platform for Simulated {
    type Flash = Shared;

    fn firmware(&mut self) -> Option<(&mut Shared, Layout)> {
        self.flash.as_mut().map(|flash| (flash, LAYOUT))
    }

    fn device(&self) -> &DeviceId {
        &self.id
    }

    fn is_recovery(&self) -> bool {
        self.is_recovery
    }

    fn self_test(&mut self) -> bool {
        self.is_fit
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            board: self.board,
            class: CLASS,
            firmware: "1.2.3",
            runtime: RUNTIME,
            reset: self.chip.borrow().reset.unwrap_or(ResetCause::Power),
            slot_bytes: SLOT_BYTES,
            block_bytes: MOST_BLOCK_BYTES,
            heap_bytes: 0,
        }
    }

    fn vitals(&self) -> Vitals {
        Vitals::default()
    }

    fn trusted(&self, nth: usize) -> Option<PublicKey> {
        [TRUSTED, CONTROLLER].get(nth).copied().map(artifact::public_key)
    }

    fn next_boot(&mut self) -> u32 {
        let mut chip = self.chip.borrow_mut();
        chip.boot += u32::from(self.is_powered());
        chip.boot
    }

    fn crash(&self) -> Option<Crash<'_>> {
        let crash = Crash { boot: 1, message: "a simulated crash", pc: 0, uptime_ms: 5 };
        self.chip.borrow().crash.as_ref().map(|_| crash)
    }

    fn clear_crash(&mut self) {
        if self.is_powered() {
            self.chip.borrow_mut().crash = None;
        }
    }

    fn random(&mut self) -> u32 {
        self.rng.next() as u32
    }

    fn save_desired(&mut self, cbor: &[u8]) {
        if self.is_powered() {
            self.chip.borrow_mut().desired = Some(cbor.to_vec());
        }
    }

    fn saved_desired(&self) -> Option<&[u8]> {
        self.desired.as_deref()
    }
}

impl Store for Simulated {
    fn begin(&mut self, slot: Slot, size: u32) -> Result<(), StoreError> {
        self.assert_unused(slot, "erased");
        assert!(size <= SLOT_BYTES, "the agent checks sizes");
        let contents = Contents { payload: vec![0xff; size as usize], manifest: None };
        self.chip.borrow_mut().slots.insert(slot, contents);
        Ok(())
    }

    fn write(&mut self, slot: Slot, offset: u32, bytes: &[u8]) -> Result<(), StoreError> {
        self.assert_unused(slot, "written");
        let mut chip = self.chip.borrow_mut();
        if chip.fail_writes {
            return Err(StoreError);
        }
        let contents = chip.slots.get_mut(&slot).expect("only open slots are written");
        assert!(contents.manifest.is_none(), "a committed slot was written");
        let place = contents.payload.get_mut(offset as usize..offset as usize + bytes.len());
        let place = place.expect("blocks lie inside the payload");
        assert!(place.iter().all(|byte| *byte == 0xff), "a block was written twice");
        place.copy_from_slice(bytes);
        Ok(())
    }

    fn read(&mut self, slot: Slot, offset: u32, out: &mut [u8]) -> Result<(), StoreError> {
        let chip = self.chip.borrow();
        let payload = chip.slots.get(&slot).ok_or(StoreError)?.payload.get(offset as usize..);
        out.copy_from_slice(payload.and_then(|rest| rest.get(..out.len())).ok_or(StoreError)?);
        Ok(())
    }

    fn commit(&mut self, slot: Slot, manifest: &[u8]) -> Result<(), StoreError> {
        let mut chip = self.chip.borrow_mut();
        chip.slots.get_mut(&slot).ok_or(StoreError)?.manifest = Some(manifest.to_vec());
        Ok(())
    }

    fn discard(&mut self, slot: Slot) {
        self.assert_unused(slot, "discarded");
        self.chip.borrow_mut().slots.remove(&slot);
    }

    fn committed(&mut self, slot: Slot, out: &mut [u8]) -> Option<usize> {
        let chip = self.chip.borrow();
        let manifest = chip.slots.get(&slot)?.manifest.as_ref()?;
        out[..manifest.len()].copy_from_slice(manifest);
        Some(manifest.len())
    }
}
