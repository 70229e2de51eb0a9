//! A device and a fleet's signature, for tests of this crate.

use std::{collections::BTreeMap, string::String, vec, vec::Vec};

use ed25519_compact::{KeyPair, Seed};
use sha2::{Digest as _, Sha256};
use wasmbed_wire::{
    ArtifactId, DeviceId, Digest, KeyId, PublicKey, RuntimeId, Seq,
    limits::Class,
    manifest::{Classes, Kind, Manifest},
    message::{
        Block, Command, Crash, Desired, DesiredModule, HeardVehicle, LinkCounters, MAX_HEARD_VEHICLES,
        ResetCause, Verb,
    },
    sign1::{self, Audience, OVERHEAD_BYTES, Sign1},
    topic::Down,
};

use wasmbed_update::model::Nor;

use crate::{Agent, Config, Effect, Facts, Instant, Layout, Platform, Slot, Store, StoreError, Vitals};

pub(crate) const BLOCK_BYTES: u16 = 512;
pub(crate) const SLOT_BYTES: u32 = 4096;
/// When everything in these helpers happens.
const NOW: Instant = Instant(1);
pub(crate) const RUNTIME: RuntimeId = RuntimeId(*b"for-test");
pub(crate) const DEVICE: &str = "pump-7";
pub(crate) const BOARD: &str = "a-board-whose-name-has-all-32-by";
pub(crate) const LAYOUT: Layout = Layout::new(0, 0x1000, 0x4000, 0x2000);

/// Which device; `pump-7` unless a test is about another.
#[derive(Debug, Clone)]
pub(crate) struct Id(pub(crate) DeviceId);

impl Default for Id {
    fn default() -> Self {
        Id(DEVICE.parse().expect("a name"))
    }
}

/// A device whose store lasts.
#[derive(Debug, Default, Clone)]
pub(crate) struct Bench {
    pub(crate) slots: BTreeMap<Slot, (Vec<u8>, Option<Vec<u8>>)>,
    pub(crate) desired: Option<Vec<u8>>,
    pub(crate) firmware: String,
    pub(crate) crash: Option<String>,
    pub(crate) boot: u32,
    pub(crate) id: Id,
    pub(crate) trusts_nobody: bool,
    /// Where its firmware lies, if that can be replaced.
    pub(crate) nor: Option<Nor>,
}

impl Platform for Bench {
    type Flash = Nor;

    fn firmware(&mut self) -> Option<(&mut Nor, Layout)> {
        self.nor.as_mut().map(|nor| (nor, LAYOUT))
    }

    fn device(&self) -> &DeviceId {
        &self.id.0
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            board: BOARD.parse().expect("a name"),
            class: Class::Mcu,
            firmware: &self.firmware,
            runtime: RUNTIME,
            reset: ResetCause::Power,
            slot_bytes: SLOT_BYTES,
            block_bytes: BLOCK_BYTES,
            heap_bytes: u32::MAX,
        }
    }

    fn vehicles(&self, heard: &mut [HeardVehicle; MAX_HEARD_VEHICLES]) -> usize {
        let (battery, age_ms) = (Some(u8::MAX), u32::MAX);
        let most = HeardVehicle {
            system: u8::MAX,
            kind: u8::MAX,
            base_mode: u8::MAX,
            landed: u8::MAX,
            battery,
            age_ms,
        };
        *heard = [most; MAX_HEARD_VEHICLES];
        heard.len()
    }

    fn vitals(&self) -> Vitals {
        let link = LinkCounters { received: u32::MAX, sent: u32::MAX, resent: u32::MAX, corrupt: u32::MAX };
        Vitals { heap_used: u32::MAX, heap_peak: u32::MAX, stack_free: u32::MAX, link: Some(link) }
    }

    fn trusted(&self, nth: usize) -> Option<PublicKey> {
        // The second one, so that all are looked at.
        [9, 1].get(nth).filter(|_| !self.trusts_nobody).map(|seed| PublicKey(*keys(*seed).pk))
    }

    fn next_boot(&mut self) -> u32 {
        self.boot += 1;
        self.boot
    }

    fn crash(&self) -> Option<Crash<'_>> {
        let message = self.crash.as_deref()?;
        Some(Crash { boot: u32::MAX, message, pc: u32::MAX, uptime_ms: u64::MAX })
    }

    fn clear_crash(&mut self) {
        self.crash = None;
    }

    fn random(&mut self) -> u32 {
        0
    }

    fn save_desired(&mut self, cbor: &[u8]) {
        self.desired = Some(cbor.to_vec());
    }

    fn saved_desired(&self) -> Option<&[u8]> {
        self.desired.as_deref()
    }
}

impl Store for Bench {
    fn begin(&mut self, slot: Slot, size: u32) -> Result<(), StoreError> {
        self.slots.insert(slot, (vec![0xff; size as usize], None));
        Ok(())
    }

    fn write(&mut self, slot: Slot, offset: u32, bytes: &[u8]) -> Result<(), StoreError> {
        let (payload, _) = self.slots.get_mut(&slot).ok_or(StoreError)?;
        let end = offset as usize + bytes.len();
        payload.get_mut(offset as usize..end).ok_or(StoreError)?.copy_from_slice(bytes);
        Ok(())
    }

    fn read(&mut self, slot: Slot, offset: u32, out: &mut [u8]) -> Result<(), StoreError> {
        let (payload, _) = self.slots.get(&slot).ok_or(StoreError)?;
        let end = offset as usize + out.len();
        out.copy_from_slice(payload.get(offset as usize..end).ok_or(StoreError)?);
        Ok(())
    }

    fn commit(&mut self, slot: Slot, manifest: &[u8]) -> Result<(), StoreError> {
        self.slots.get_mut(&slot).ok_or(StoreError)?.1 = Some(manifest.to_vec());
        Ok(())
    }

    fn discard(&mut self, slot: Slot) {
        self.slots.remove(&slot);
    }

    fn committed(&mut self, slot: Slot, out: &mut [u8]) -> Option<usize> {
        let (_, manifest) = self.slots.get(&slot)?;
        let manifest = manifest.as_ref()?;
        out.get_mut(..manifest.len())?.copy_from_slice(manifest);
        Some(manifest.len())
    }
}

/// An artifact, signed by the key of this number; 1 is trusted.
pub(crate) struct Made {
    pub(crate) id: ArtifactId,
    pub(crate) signed: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

pub(crate) fn manifest(payload: &[u8]) -> Manifest<'static> {
    Manifest {
        kind: Kind::Module,
        name: "flow".parse().expect("a name"),
        version: "1.0.0",
        classes: Classes::default().with(Class::Mcu),
        runtime: RUNTIME,
        size: payload.len() as u32,
        digest: Digest(Sha256::digest(payload).into()),
        block_bytes: BLOCK_BYTES,
        board: None,
        counter: 0,
        patch: None,
        trial: None,
        capabilities: 0,
        stack_bytes: 0,
    }
}

pub(crate) fn make(manifest: &Manifest<'_>, payload: &[u8], key: u8) -> Made {
    let manifest = encoded(manifest);
    let id = ArtifactId::from_manifest_digest(&Sha256::digest(&manifest).into());
    Made { id, signed: sign(&manifest, key), payload: payload.to_vec() }
}

pub(crate) fn sign(manifest: &[u8], key: u8) -> Vec<u8> {
    sign_for(Audience::Everyone, manifest, key)
}

/// What the fleet says to the device on this topic.
pub(crate) fn told(topic: &str, message: &impl minicbor::Encode<()>) -> Vec<u8> {
    let id = DEVICE.parse().expect("a name");
    sign_for(Audience::Device { id: &id, topic }, &encoded(message), 1)
}

/// A command of the current connect of a device that has connected once.
pub(crate) fn command(topic: &str, verb: Verb, number: u64) -> Vec<u8> {
    told(topic, &Command { verb, boot: 1, number })
}

pub(crate) fn sign_for(audience: Audience<'_>, payload: &[u8], key: u8) -> Vec<u8> {
    let keys = keys(key);
    let mut id = [0; 8];
    id.copy_from_slice(&Sha256::digest(keys.pk.as_ref())[..8]);
    let head = sign1::signed_head(audience, payload.len()).expect("it fits");
    let signature = keys.sk.sign([head.as_ref(), payload].concat(), None);
    let mut out = vec![0; payload.len() + OVERHEAD_BYTES];
    let signed = Sign1 { key: KeyId(id), payload, signature: &signature };
    let len = signed.encode(&mut out).expect("it fits");
    out.truncate(len);
    out
}

pub(crate) fn keys(seed: u8) -> KeyPair {
    KeyPair::from_seed(Seed::new([seed; 32]))
}

pub(crate) fn encoded(message: &impl minicbor::Encode<()>) -> Vec<u8> {
    let mut buffer = vec![0; 64 * 1024];
    let mut rest = &mut buffer[..];
    minicbor::encode(message, &mut rest).expect("it fits");
    let left = rest.len();
    buffer.truncate(buffer.len() - left);
    buffer
}

/// A desired state with one module, `flow`.
pub(crate) fn desired(revision: u64, artifact: ArtifactId) -> Vec<u8> {
    let name = "flow".parse().expect("a name");
    let modules = [DesiredModule { name, artifact, settings: Seq::default(), generation: 0, grants: 0 }];
    told("dn/desired", &Desired { revision, modules: Seq::new(&modules), heartbeat_ms: None, firmware: None })
}

/// An agent that is online, with everything it had to say acknowledged.
pub(crate) fn online<const SLOTS: usize>(bench: Bench) -> Agent<Bench, SLOTS> {
    let mut agent = Agent::new(bench, Config::default());
    agent.on_deadline(Instant(0));
    settle(&mut agent);
    agent.on_connected(Instant(0));
    settle(&mut agent);
    agent
}

/// Takes all effects and acknowledges what is to be acknowledged. Returns topics and payloads.
pub(crate) fn settle<const SLOTS: usize>(agent: &mut Agent<Bench, SLOTS>) -> Vec<(String, Vec<u8>)> {
    use std::string::ToString;
    let mut said = Vec::new();
    for _ in 0..1_000 {
        match agent.poll_effect() {
            Some(Effect::Publish { topic, payload, token }) => {
                said.push((topic.to_string(), payload.to_vec()));
                let now = NOW;
                agent.on_acked(now, token);
            }
            Some(_) => {}
            None => return said,
        }
    }
    panic!("effects without an end");
}

/// Delivers all blocks of an artifact, settling after each.
pub(crate) fn serve<const SLOTS: usize>(agent: &mut Agent<Bench, SLOTS>, made: &Made) {
    let topic = std::format!("{}", Down::Block(made.id));
    let blocks = core::iter::once(&made.signed[..]).chain(made.payload.chunks(BLOCK_BYTES.into()));
    for (index, bytes) in blocks.enumerate() {
        settle(agent);
        let block = Block { index: index as u32, bytes };
        let now = NOW;
        // Refusals are part of what is tested.
        let _ = agent.on_message(now, &topic, &encoded(&block));
    }
    settle(agent);
}
