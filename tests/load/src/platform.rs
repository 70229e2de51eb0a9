//! A simulated device under its agent.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use wasmbed_core::{Agent, Config, Facts, Layout, Platform, Slot, Store, StoreError, Vitals};
use wasmbed_update::{
    Fault, Keyring, Record, Region, boot,
    boot::{Boot, Place},
    model::Nor,
    read_header,
};
use wasmbed_wire::{
    DeviceId, Digest, PublicKey, RuntimeId,
    manifest::Manifest,
    message::{Crash, ResetCause},
    sign1::Sign1,
};

use crate::Kind;

/// Modules it says it has room for.
pub(crate) const SLOTS: usize = 2;
const HEARTBEAT_MS: u32 = 10_000;
const KEEP_ALIVE_S: u16 = 20;

pub(crate) type SimulatedAgent = Agent<Simulated, SLOTS>;

/// What an agent always holds for updates on a 64-bit machine, in bytes; on a smaller one it is no more.
pub const UPDATE_BYTES: usize = SimulatedAgent::UPDATE_BYTES;

/// What survives a restart.
pub(crate) struct Memory {
    pub(crate) flash: Nor,
    pub(crate) boot: u32,
    pub(crate) random: u32,
    pub(crate) desired: Option<Vec<u8>>,
}

/// Between two restarts.
pub(crate) struct Simulated {
    id: DeviceId,
    kind: Kind,
    trusted: Arc<[PublicKey]>,
    memory: Memory,
    version: String,
    runtime: RuntimeId,
    is_recovery: bool,
    cause: ResetCause,
}

/// Starts a device: its bootloader decides, and the agent of the image that was chosen begins.
///
/// # Errors
/// Those of the flash.
pub(crate) fn start(
    id: DeviceId,
    kind: Kind,
    trusted: &Arc<[PublicKey]>,
    mut memory: Memory,
    cause: ResetCause,
) -> anyhow::Result<Box<SimulatedAgent>> {
    let is_recovery = choose(&kind, trusted, &mut memory.flash, cause).map_err(failed)? == Boot::Recovery;
    let (version, runtime) = match is_recovery {
        true => ("recovery".to_owned(), RuntimeId([0; 8])),
        false => running(&kind, &mut memory.flash)?,
    };
    let trusted = Arc::clone(trusted);
    let platform = Simulated { id, kind, trusted, memory, version, runtime, is_recovery, cause };
    let config =
        Config { heartbeat_ms: HEARTBEAT_MS, keep_alive_s: KEEP_ALIVE_S, window_blocks: kind.window_blocks };
    Ok(Box::new(Agent::new(platform, config)))
}

fn choose(kind: &Kind, trusted: &[PublicKey], flash: &mut Nor, cause: ResetCause) -> Result<Boot, Fault> {
    let layout = &kind.layout;
    let provisioned = Keyring::provisioned(trusted.iter().copied(), 0);
    let keys = wasmbed_update::BootKeys::new(provisioned.load(flash, layout)?, provisioned);
    boot::decide(flash, &boot::Device { layout, board: kind.board, keys: &keys, cause }, &mut InPlace)
}

/// Version and runtime of the image that was chosen.
fn running(kind: &Kind, flash: &mut Nor) -> anyhow::Result<(String, RuntimeId)> {
    let record = Record::load(flash, &kind.layout).map_err(failed)?;
    let slot = record.running().ok_or_else(|| anyhow::anyhow!("no slot was chosen"))?;
    let header = read_header(flash, &kind.layout, slot).map_err(failed)?;
    let header = header.ok_or_else(|| anyhow::anyhow!("the chosen slot is empty"))?;
    let signed = Sign1::decode(header.as_ref()).map_err(|error| anyhow::anyhow!("{error}"))?;
    let manifest: Manifest<'_> = minicbor::decode(signed.payload)?;
    Ok((manifest.version.to_owned(), manifest.runtime))
}

pub(crate) fn failed(fault: Fault) -> anyhow::Error {
    anyhow::anyhow!("the simulated flash failed: {fault:?}")
}

/// Images run where they lie.
struct InPlace;

impl Place<Nor> for InPlace {
    fn place(&mut self, flash: &mut Nor, region: Region, bytes: u32) -> Result<Digest, Fault> {
        let start = region.origin as usize;
        let image = flash.bytes().get(start..start + bytes.min(region.bytes) as usize);
        Ok(Digest(Sha256::digest(image.ok_or(Fault::OutOfRange)?).into()))
    }
}

impl Simulated {
    /// What is left when it is switched off.
    pub(crate) fn switch_off(&mut self) -> Memory {
        let nothing =
            Memory { flash: Nor::new(0, self.kind.layout.sector_bytes), boot: 0, random: 0, desired: None };
        std::mem::replace(&mut self.memory, nothing)
    }
}

impl Platform for Simulated {
    type Flash = Nor;

    fn firmware(&mut self) -> Option<(&mut Nor, Layout)> {
        Some((&mut self.memory.flash, self.kind.layout))
    }

    fn device(&self) -> &DeviceId {
        &self.id
    }

    fn is_recovery(&self) -> bool {
        self.is_recovery
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            board: self.kind.board,
            class: self.kind.class,
            firmware: &self.version,
            runtime: self.runtime,
            reset: self.cause,
            slot_bytes: 0,
            block_bytes: self.kind.block_bytes,
            heap_bytes: 0,
        }
    }

    fn vitals(&self) -> Vitals {
        Vitals::default()
    }

    fn trusted(&self, nth: usize) -> Option<PublicKey> {
        self.trusted.get(nth).copied()
    }

    fn next_boot(&mut self) -> u32 {
        self.memory.boot = self.memory.boot.saturating_add(1);
        self.memory.boot
    }

    fn crash(&self) -> Option<Crash<'_>> {
        None
    }

    fn clear_crash(&mut self) {}

    fn random(&mut self) -> u32 {
        // A linear congruential generator; its high bits are the good ones.
        self.memory.random = self.memory.random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.memory.random.rotate_left(16)
    }

    fn save_desired(&mut self, cbor: &[u8]) {
        self.memory.desired = Some(cbor.to_vec());
    }

    fn saved_desired(&self) -> Option<&[u8]> {
        self.memory.desired.as_deref()
    }
}

/// There is no room for modules.
impl Store for Simulated {
    fn begin(&mut self, _: Slot, _: u32) -> Result<(), StoreError> {
        Err(StoreError)
    }

    fn write(&mut self, _: Slot, _: u32, _: &[u8]) -> Result<(), StoreError> {
        Err(StoreError)
    }

    fn read(&mut self, _: Slot, _: u32, _: &mut [u8]) -> Result<(), StoreError> {
        Err(StoreError)
    }

    fn commit(&mut self, _: Slot, _: &[u8]) -> Result<(), StoreError> {
        Err(StoreError)
    }

    fn discard(&mut self, _: Slot) {}
}
