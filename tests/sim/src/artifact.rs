//! Artifacts, properly signed, and what their modules do.

use ed25519_compact::{KeyPair, Seed};
use sha2::{Digest as _, Sha256};
use wasmbed_wire::{
    ArtifactId, Digest, KeyId, PublicKey, RuntimeId,
    limits::Class,
    manifest::{Classes, Kind, Manifest},
    message::Reason,
    sign1::{Audience, OVERHEAD_BYTES, Sign1, signed_head},
};

/// Size of every block but the last of a payload.
pub const BLOCK_BYTES: u16 = 256;
/// The runtime of every simulated device.
pub(crate) const RUNTIME: RuntimeId = RuntimeId(*b"simulate");
/// The class of every simulated device.
pub(crate) const CLASS: Class = Class::Mcu;

/// What a module does once it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Ticks for ever.
    Steady,
    /// Traps on its `n`th tick, counted from 1.
    TrapsAtTick(u32),
    /// Never gets through its start.
    FailsToStart(Reason),
}

/// A signed artifact as the fleet keeps it.
#[derive(Debug, Clone)]
pub(crate) struct Artifact {
    pub(crate) id: ArtifactId,
    /// Block 0 is the signed manifest.
    pub(crate) blocks: Vec<Vec<u8>>,
    pub(crate) digest: Digest,
    pub(crate) behaviour: Behaviour,
}

impl Artifact {
    /// Signs a manifest and cuts the payload that is served with it into blocks.
    pub(crate) fn new(manifest: &Manifest<'_>, key: u8, payload: &[u8]) -> Self {
        let block_bytes = usize::from(manifest.block_bytes.max(1));
        let digest = manifest.digest;
        let manifest = minicbor::to_vec(manifest).expect("a vector takes everything");
        let id = ArtifactId::from_manifest_digest(&Sha256::digest(&manifest).into());
        let mut blocks = vec![sign(&manifest, key)];
        blocks.extend(payload.chunks(block_bytes).map(<[u8]>::to_vec));
        Artifact { id, blocks, digest, behaviour: Behaviour::Steady }
    }

    /// Everything after the manifest.
    pub(crate) fn payload(&self) -> Vec<u8> {
        self.blocks[1..].concat()
    }
}

/// Describes an artifact; what is not said is as it should be.
#[derive(Debug, Clone)]
pub struct Maker {
    name: &'static str,
    version: &'static str,
    payload: Vec<u8>,
    behaviour: Behaviour,
    classes: Classes,
    runtime: RuntimeId,
    key: u8,
    spoilt: bool,
}

impl Maker {
    /// A module of this name and size in bytes that ticks for ever.
    pub fn new(name: &'static str, version: &'static str, size: usize) -> Self {
        // Different in every block, so that a mixed-up one is noticed.
        let seed = Sha256::digest(format!("{name} {version}"));
        let payload = (0..size).map(|at| seed[at % 32] ^ (at / usize::from(BLOCK_BYTES)) as u8).collect();
        Maker {
            name,
            version,
            payload,
            behaviour: Behaviour::Steady,
            classes: Classes::default().with(CLASS),
            runtime: RUNTIME,
            key: TRUSTED,
            spoilt: false,
        }
    }

    /// What its module does.
    #[must_use]
    pub fn behaving(self, behaviour: Behaviour) -> Self {
        Maker { behaviour, ..self }
    }

    /// Made for another class.
    #[must_use]
    pub fn for_class(self, class: Class) -> Self {
        Maker { classes: Classes::default().with(class), ..self }
    }

    /// Made for another runtime.
    #[must_use]
    pub fn for_runtime(self, runtime: RuntimeId) -> Self {
        Maker { runtime, ..self }
    }

    /// Signed with a key that no device trusts.
    #[must_use]
    pub fn signed_by_stranger(self) -> Self {
        Maker { key: TRUSTED + 1, ..self }
    }

    /// The payload served is not the one that was signed.
    #[must_use]
    pub fn with_spoilt_payload(self) -> Self {
        Maker { spoilt: true, ..self }
    }

    pub(crate) fn make(&self) -> Artifact {
        let digest = Digest(Sha256::digest(&self.payload).into());
        let manifest = Manifest {
            kind: Kind::Module,
            name: self.name.parse().expect("a module name"),
            version: self.version,
            classes: self.classes,
            runtime: self.runtime,
            size: self.payload.len() as u32,
            digest,
            block_bytes: BLOCK_BYTES,
            board: None,
            counter: 0,
            patch: None,
            trial: None,
            capabilities: 0,
            stack_bytes: 0,
        };
        let mut payload = self.payload.clone();
        if self.spoilt {
            payload[0] ^= 1;
        }
        Artifact { behaviour: self.behaviour, ..Artifact::new(&manifest, self.key, &payload) }
    }
}

/// The key every simulated device trusts.
pub const TRUSTED: u8 = 1;
/// The key of the fleet that signs desired states and commands, and nothing else.
pub const CONTROLLER: u8 = 200;

/// The key with this number.
pub(crate) fn public_key(key: u8) -> PublicKey {
    PublicKey(*keys(key).pk)
}

fn keys(key: u8) -> KeyPair {
    KeyPair::from_seed(Seed::new([key; 32]))
}

pub(crate) fn sign(manifest: &[u8], key: u8) -> Vec<u8> {
    sign_for(Audience::Everyone, manifest, key)
}

pub(crate) fn sign_for(audience: Audience<'_>, payload: &[u8], key: u8) -> Vec<u8> {
    let keys = keys(key);
    let head = signed_head(audience, payload.len()).expect("it fits");
    let signature = keys.sk.sign([head.as_ref(), payload].concat(), None);
    let mut id = [0; 8];
    id.copy_from_slice(&Sha256::digest(keys.pk.as_ref())[..8]);
    let mut out = vec![0; payload.len() + OVERHEAD_BYTES];
    let signed = Sign1 { key: KeyId(id), payload, signature: &signature };
    let len = signed.encode(&mut out).expect("it fits");
    out.truncate(len);
    out
}
