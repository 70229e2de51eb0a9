//! Which modules this device accepts.
//!
//! The signature comes first: nothing in a manifest is believed before a trusted key has vouched for it.

use sha2::{Digest as _, Sha256};
use wasmbed_update::{Keyring, artifact_id};
use wasmbed_wire::{
    Digest,
    keyring::Role,
    limits::{BLOCK_BYTES, MAX_PAYLOAD_BYTES},
    manifest::{Kind, Manifest},
    message::Reason,
};

use crate::{ModuleInfo, Platform, Slot, StoreError};

/// Bytes hashed at a time when a payload is read back.
const CHUNK_BYTES: usize = 256;

/// A module that this device may run, once its payload has the digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) module: ModuleInfo,
    pub(crate) digest: Digest,
    pub(crate) block_bytes: u16,
}

/// Checks a signed manifest against keys, class, runtime and sizes of this device.
pub(crate) fn accept<P: Platform>(platform: &P, ring: &Keyring, signed: &[u8]) -> Result<Accepted, Reason> {
    let payload = ring.manifest(Role::Module, signed)?;
    let manifest: Manifest<'_> = minicbor::decode(payload).map_err(|_| Reason::BadManifest)?;
    check_manifest(platform, &manifest)?;
    Ok(Accepted {
        module: ModuleInfo {
            name: manifest.name,
            artifact: artifact_id(payload),
            size: manifest.size,
            capabilities: manifest.capabilities,
            stack_bytes: manifest.stack_bytes,
        },
        digest: manifest.digest,
        block_bytes: manifest.block_bytes,
    })
}

fn check_manifest<P: Platform>(platform: &P, manifest: &Manifest<'_>) -> Result<(), Reason> {
    let facts = platform.facts();
    if manifest.kind != Kind::Module {
        return Err(Reason::WrongArtifact);
    }
    if !manifest.classes.contains(facts.class) {
        return Err(Reason::WrongClass);
    }
    if manifest.runtime != facts.runtime {
        return Err(Reason::WrongRuntime);
    }
    if manifest.size == 0 || !BLOCK_BYTES.contains(&u32::from(manifest.block_bytes)) {
        return Err(Reason::BadManifest);
    }
    if manifest.size > facts.slot_bytes.min(MAX_PAYLOAD_BYTES) || manifest.block_bytes > facts.block_bytes {
        return Err(Reason::TooLarge);
    }
    Ok(())
}

/// Reads the payload back from the slot and checks its digest.
pub(crate) fn verify_payload<P: Platform>(
    platform: &mut P,
    slot: Slot,
    accepted: &Accepted,
) -> Result<(), Reason> {
    let digest = hash(platform, slot, accepted.module.size).map_err(|StoreError| Reason::StoreFailed)?;
    if digest == accepted.digest { Ok(()) } else { Err(Reason::DigestMismatch) }
}

fn hash<P: Platform>(platform: &mut P, slot: Slot, size: u32) -> Result<Digest, StoreError> {
    let mut hasher = Sha256::new();
    let mut chunk = [0; CHUNK_BYTES];
    let mut at = 0;
    while at < size {
        let len = (size - at).min(CHUNK_BYTES as u32);
        let piece = &mut chunk[..len as usize];
        platform.read(slot, at, piece)?;
        hasher.update(piece);
        at += len;
    }
    Ok(Digest(hasher.finalize().into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, Bench, SLOT_BYTES, make, manifest};
    use wasmbed_wire::{RuntimeId, limits::Class, manifest::Classes};

    const PAYLOAD: &[u8] = b"a module";

    fn ring() -> Keyring {
        let bench = Bench::default();
        Keyring::provisioned((0..).map_while(|nth| bench.trusted(nth)), 0)
    }

    fn judge(change: impl FnOnce(&mut Manifest<'_>)) -> Result<Accepted, Reason> {
        let mut manifest = manifest(PAYLOAD);
        change(&mut manifest);
        accept(&Bench::default(), &ring(), &make(&manifest, PAYLOAD, 1).signed)
    }

    #[test]
    fn a_manifest_for_this_device_is_accepted_and_named_by_its_digest() {
        let made = make(&manifest(PAYLOAD), PAYLOAD, 1);
        let accepted = accept(&Bench::default(), &ring(), &made.signed);
        assert_eq!(accepted.map(|accepted| accepted.module.artifact), Ok(made.id));
    }

    #[test]
    fn every_changed_bit_of_a_signed_manifest_is_noticed() {
        let signed = make(&manifest(PAYLOAD), PAYLOAD, 1).signed;
        for bit in 0..signed.len() * 8 {
            let mut changed = signed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let judged = accept(&Bench::default(), &ring(), &changed);
            assert!(
                matches!(judged, Err(Reason::BadManifest | Reason::BadSignature)),
                "bit {bit}: {judged:?}"
            );
        }
    }

    #[test]
    fn a_key_nobody_trusts_signs_nothing() {
        let made = make(&manifest(PAYLOAD), PAYLOAD, 2);
        assert_eq!(accept(&Bench::default(), &ring(), &made.signed), Err(Reason::BadSignature));
    }

    #[test]
    fn what_was_made_for_others_is_refused() {
        let riscv = Classes::default().with(Class::Riscv);
        assert_eq!(judge(|manifest| manifest.classes = riscv), Err(Reason::WrongClass));
        assert_eq!(judge(|manifest| manifest.runtime = RuntimeId([0; 8])), Err(Reason::WrongRuntime));
        assert_eq!(judge(|manifest| manifest.size = SLOT_BYTES + 1), Err(Reason::TooLarge));
        assert_eq!(judge(|manifest| manifest.size = u32::MAX), Err(Reason::TooLarge));
        assert_eq!(judge(|manifest| manifest.size = 0), Err(Reason::BadManifest));
        assert_eq!(judge(|manifest| manifest.block_bytes = 0), Err(Reason::BadManifest));
        assert_eq!(judge(|manifest| manifest.block_bytes = 1024), Err(Reason::TooLarge));
    }

    #[test]
    fn a_signature_says_nothing_about_what_it_does_not_cover() {
        let signed = testing::sign(b"not a manifest", 1);
        assert_eq!(accept(&Bench::default(), &ring(), &signed), Err(Reason::BadManifest));
        assert_eq!(accept(&Bench::default(), &ring(), b""), Err(Reason::BadManifest));
    }
}
