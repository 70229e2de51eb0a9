//! What the agent needs of the device it runs on.

use wasmbed_wire::{
    BoardName, DeviceId, PublicKey, RuntimeId,
    limits::Class,
    message::{Crash, HeardVehicle, LinkCounters, MAX_HEARD_VEHICLES, ResetCause},
};

use wasmbed_update::{Flash, Layout};

use crate::Slot;

/// The device under the agent. Calls are synchronous and short; nothing here may call the agent.
pub trait Platform: Store {
    /// Where its firmware lies; [`NoFlash`](wasmbed_update::NoFlash) if that cannot be replaced.
    type Flash: Flash;

    /// The flash with the firmware slots, and what lies where; `None` if the firmware cannot be replaced.
    fn firmware(&mut self) -> Option<(&mut Self::Flash, Layout)>;

    /// Which device this is: it believes what is signed for this one.
    fn device(&self) -> &DeviceId;

    /// Whether this is a bootloader's recovery: no image runs, and any will do.
    fn is_recovery(&self) -> bool {
        false
    }

    /// It is no earlier than this, in seconds of Unix time; 0 if nothing is known.
    fn earliest_s(&self) -> u32 {
        0
    }

    /// Whether the device works as far as it can tell; a firmware in trial that does not is given up.
    fn self_test(&mut self) -> bool {
        true
    }

    /// What the device is; constant while it runs, but for the reset cause.
    fn facts(&self) -> Facts<'_>;

    /// What the device measures, at this moment.
    fn vitals(&self) -> Vitals;

    /// Writes the vehicles that the device hears to the start of `heard` and returns how many there are.
    fn vehicles(&self, heard: &mut [HeardVehicle; MAX_HEARD_VEHICLES]) -> usize {
        let _ = heard;
        0
    }

    /// The `nth` key whose artifacts this device runs, counted from 0; `None` after the last.
    fn trusted(&self, nth: usize) -> Option<PublicKey>;

    /// A number larger than any that was returned before, also before the last reset, and made durable
    /// before it is returned. Called once for every attempt to connect.
    fn next_boot(&mut self) -> u32;

    /// The crash that ended the previous start, until [`Platform::clear_crash`].
    fn crash(&self) -> Option<Crash<'_>>;

    /// Forgets the crash: the broker has it.
    fn clear_crash(&mut self);

    /// Any number, for jitter; need not be secret.
    fn random(&mut self) -> u32;

    /// Keeps a desired state (CBOR, replaces the last one) for the next start. Best effort: a device
    /// without such memory waits for the broker to repeat it.
    fn save_desired(&mut self, cbor: &[u8]) {
        let _ = cbor;
    }

    /// What [`Platform::save_desired`] last kept.
    fn saved_desired(&self) -> Option<&[u8]> {
        None
    }
}

/// Where module payloads lie: one payload per slot.
///
/// A slot is empty, open (between [`Store::begin`] and [`Store::commit`]) or committed. A power cut at
/// any instant leaves every slot either as it was before or empty.
pub trait Store {
    /// Empties the slot and opens it for a payload of `size` bytes, at most [`Facts::slot_bytes`].
    fn begin(&mut self, slot: Slot, size: u32) -> Result<(), StoreError>;

    /// Writes a piece of the payload into the open slot. Pieces come in any order, each once, and
    /// never overlap.
    fn write(&mut self, slot: Slot, offset: u32, bytes: &[u8]) -> Result<(), StoreError>;

    /// Reads the payload back from where it will be run, filling `out`. The slot is open or committed.
    fn read(&mut self, slot: Slot, offset: u32, out: &mut [u8]) -> Result<(), StoreError>;

    /// The payload is complete and verified: keeps it with its signed manifest, atomically.
    fn commit(&mut self, slot: Slot, manifest: &[u8]) -> Result<(), StoreError>;

    /// Empties the slot.
    fn discard(&mut self, slot: Slot);

    /// Copies the signed manifest of a slot committed before the last reset to the start of `out` and
    /// returns its length. `None` if the slot is empty, or everywhere if nothing survives a reset.
    fn committed(&mut self, slot: Slot, out: &mut [u8]) -> Option<usize> {
        let _ = (slot, out);
        None
    }
}

/// The store did not do what it was asked; the platform has logged why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreError;

/// What a device is, as `up/info` tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts<'a> {
    /// The board.
    pub board: BoardName,
    /// The class of its limits.
    pub class: Class,
    /// Version of the running firmware, at most 64 bytes.
    pub firmware: &'a str,
    /// The only runtime ABI this device loads.
    pub runtime: RuntimeId,
    /// Why it last started.
    pub reset: ResetCause,
    /// Largest module payload, in bytes.
    pub slot_bytes: u32,
    /// Largest block it accepts, in bytes.
    pub block_bytes: u16,
    /// RAM for modules and agent together, in bytes; 0 where it is not fixed.
    pub heap_bytes: u32,
}

/// What a device measures, as the heartbeat tells it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Vitals {
    /// Memory in use, in bytes.
    pub heap_used: u32,
    /// Most memory that was ever in use, in bytes.
    pub heap_peak: u32,
    /// Stack never touched so far, in bytes; 0 where it is not measured.
    pub stack_free: u32,
    /// Serial link counters; absent on other links.
    pub link: Option<LinkCounters>,
}
