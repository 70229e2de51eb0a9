//! Whom this device believes, and which firmware it takes.
//!
//! The signature comes first: nothing in a manifest is believed before a key has vouched for it that is
//! trusted with this kind of artifact and has not expired.

use sha2::{Digest as _, Sha256};
use wasmbed_wire::{
    ArtifactId, BoardName, Digest, KeyId, PublicKey,
    keyring::{self, Role, Roles, TrustedKey},
    limits::{MAX_KEYRING_BYTES, MAX_KEYS},
    manifest::{Kind, Manifest, Trial},
    message::{Reason, Refusal},
    sign1::{Audience, Sign1},
};

use crate::{Fault, Flash, Layout, Log, ed25519::is_signed_by};

/// The keys in use: those the device was provisioned with, or those of the last keyring it accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keyring {
    keys: [Option<TrustedKey>; MAX_KEYS],
    version: Option<u32>,
    /// It is no earlier, in seconds of Unix time.
    now_s: u32,
}

impl Keyring {
    /// The keys a device was provisioned with, trusted with everything, at a time that is no earlier than
    /// `now_s`, in seconds of Unix time.
    pub fn provisioned(keys: impl Iterator<Item = PublicKey>, now_s: u32) -> Self {
        let trusted = |key| TrustedKey { key, roles: Roles::ALL, not_after_s: None };
        let mut ring = Keyring { keys: [None; MAX_KEYS], version: None, now_s };
        ring.fill(keys.map(trusted));
        ring
    }

    /// The last keyring that was accepted, or these keys if there is none.
    ///
    /// # Errors
    /// Those of reading.
    pub fn load(self, flash: &mut impl Flash, layout: &Layout) -> Result<Self, Fault> {
        let mut bytes = [0; MAX_KEYRING_BYTES];
        let Some(len) = log(layout).last(flash, &mut bytes)? else { return Ok(self) };
        let stored = bytes.get(..len).and_then(|cbor| minicbor::decode(cbor).ok());
        Ok(stored.map_or(self, |stored| self.replaced(&stored)))
    }

    /// The keys in use after this signed keyring.
    ///
    /// # Errors
    /// [`Refusal::Malformed`] if it cannot be read or names too many keys, [`Refusal::Stale`] if it is not
    /// above the one in use, and those of [`Keyring::verify`] with [`Role::Root`]; the signature comes last.
    #[inline(never)]
    pub fn successor(&self, signed: &[u8]) -> Result<Self, Refusal> {
        let envelope = Sign1::decode(signed).map_err(|_| Refusal::Malformed)?;
        let new: keyring::Keyring<'_> = minicbor::decode(envelope.payload).map_err(|_| Refusal::Malformed)?;
        if new.keys.is_empty() || new.keys.len() > MAX_KEYS {
            return Err(Refusal::Malformed);
        }
        if self.version.is_some_and(|version| new.version <= version) {
            return Err(Refusal::Stale);
        }
        self.verify(Role::Root, Audience::Everyone, &envelope)?;
        Ok(self.replaced(&new))
    }

    /// Keeps a signed keyring whose [`Keyring::successor`] is in use from now on.
    ///
    /// # Errors
    /// Those of writing; [`Fault::Failed`] if it is no COSE_Sign1.
    pub fn keep(signed: &[u8], flash: &mut impl Flash, layout: &Layout) -> Result<(), Fault> {
        let signed = Sign1::decode(signed).map_err(|_| Fault::Failed)?;
        log(layout).append(flash, signed.payload)
    }

    /// Version of the keyring in use; `None` while it is the provisioned one.
    pub fn version(&self) -> Option<u32> {
        self.version
    }

    /// Whether a key that is named may sign this. It is the cheap half of [`Keyring::verify`]: no signature is looked
    /// at.
    ///
    /// # Errors
    /// [`Refusal::UnknownKey`] if it is not in use, [`Refusal::WrongRole`] or [`Refusal::KeyExpired`] if it must not.
    pub fn permits(&self, role: Role, key: &KeyId) -> Result<&PublicKey, Refusal> {
        self.permits_at(self.now_s, role, key)
    }

    /// Whether a key in use that may signed this for this audience.
    ///
    /// # Errors
    /// Those of [`Keyring::permits`], and [`Refusal::Forged`] if the key that is named did not.
    pub fn verify(&self, role: Role, audience: Audience<'_>, signed: &Sign1<'_>) -> Result<(), Refusal> {
        let key = self.permits(role, &signed.key)?;
        if is_signed_by(key, signed, audience) { Ok(()) } else { Err(Refusal::Forged) }
    }

    /// The manifest that a key in use signed which may sign this kind.
    ///
    /// # Errors
    /// [`Reason::BadManifest`] if it is no COSE_Sign1, and what [`Keyring::verify`] says as the reason of an artifact.
    pub fn manifest<'s>(&self, role: Role, signed: &'s [u8]) -> Result<&'s [u8], Reason> {
        self.manifest_at(self.now_s, role, signed)
    }

    /// The same at another time than now.
    fn manifest_at<'s>(&self, now_s: u32, role: Role, signed: &'s [u8]) -> Result<&'s [u8], Reason> {
        let signed = Sign1::decode(signed).map_err(|_| Reason::BadManifest)?;
        let key = self.permits_at(now_s, role, &signed.key).map_err(reason)?;
        if !is_signed_by(key, &signed, Audience::Everyone) {
            return Err(Reason::BadSignature);
        }
        Ok(signed.payload)
    }

    fn permits_at(&self, now_s: u32, role: Role, key: &KeyId) -> Result<&PublicKey, Refusal> {
        let trusted = self.find(key).ok_or(Refusal::UnknownKey)?;
        if !trusted.roles.contains(role) {
            return Err(Refusal::WrongRole);
        }
        if trusted.not_after_s.is_some_and(|last| now_s > last) {
            return Err(Refusal::KeyExpired);
        }
        Ok(&trusted.key)
    }

    #[inline(never)]
    fn find(&self, name: &KeyId) -> Option<&TrustedKey> {
        self.keys.iter().flatten().find(|trusted| key_id(&trusted.key) == *name)
    }

    fn replaced(&self, by: &keyring::Keyring<'_>) -> Self {
        let mut ring =
            Keyring { keys: [None; MAX_KEYS], version: Some(by.version), now_s: self.now_s.max(by.issued_s) };
        ring.fill(by.keys.iter());
        ring
    }

    fn fill(&mut self, keys: impl Iterator<Item = TrustedKey>) {
        for (place, key) in self.keys.iter_mut().zip(keys) {
            *place = Some(key);
        }
    }
}

/// Whom a device believes about an image that is installed: the image was accepted once, so keys that have
/// expired since still count, and so do those the device was provisioned with. Otherwise a new keyring could
/// leave a device without any image to start.
#[derive(Debug, Clone, Copy)]
pub struct BootKeys {
    current: Keyring,
    provisioned: Keyring,
}

impl BootKeys {
    /// Those of the keyring in use, and those the device was provisioned with.
    pub fn new(current: Keyring, provisioned: Keyring) -> Self {
        BootKeys { current, provisioned }
    }

    /// Those the device was provisioned with, until [`BootKeys::load`].
    #[inline(never)]
    pub fn provisioned(keys: impl Iterator<Item = PublicKey>, now_s: u32) -> Self {
        let provisioned = Keyring::provisioned(keys, now_s);
        BootKeys { current: provisioned, provisioned }
    }

    /// Takes up the last keyring that was accepted, if there is one.
    ///
    /// # Errors
    /// Those of reading.
    #[inline(never)]
    pub fn load(&mut self, flash: &mut impl Flash, layout: &Layout) -> Result<(), Fault> {
        self.current = self.provisioned.load(flash, layout)?;
        Ok(())
    }

    /// Judges the signed manifest of an installed image.
    ///
    /// # Errors
    /// Those of [`judge_firmware`].
    pub fn judge(&self, target: &Target, signed: &[u8]) -> Result<Firmware, Reason> {
        judge_installed(&self.current, || self.provisioned, target, signed)
    }
}

/// [`BootKeys::judge`] for a device whose stack has no room for two keyrings: those it was provisioned with are
/// made only if they are needed.
///
/// # Errors
/// Those of [`judge_firmware`].
pub fn judge_installed(
    current: &Keyring,
    provisioned: impl FnOnce() -> Keyring,
    target: &Target,
    signed: &[u8],
) -> Result<Firmware, Reason> {
    judge_at(0, current, target, signed)
        .or_else(|reason| judge_once_more(provisioned, target, signed).map_err(|_| reason))
}

#[inline(never)]
fn judge_once_more(
    provisioned: impl FnOnce() -> Keyring,
    target: &Target,
    signed: &[u8],
) -> Result<Firmware, Reason> {
    judge_at(0, &provisioned(), target, signed)
}

/// A refusal in the words for artifacts.
const fn reason(refusal: Refusal) -> Reason {
    match refusal {
        Refusal::Malformed => Reason::BadManifest,
        Refusal::WrongRole => Reason::WrongRole,
        Refusal::KeyExpired => Reason::KeyExpired,
        Refusal::Stale => Reason::Downgrade,
        Refusal::UnknownKey | Refusal::Forged | Refusal::Unchecked => Reason::BadSignature,
    }
}

const fn log(layout: &Layout) -> Log {
    Log::new(layout.keyrings, layout.sector_bytes)
}

/// The name of a key: the first 8 bytes of its SHA-256.
pub fn key_id(key: &PublicKey) -> KeyId {
    let mut id = [0; 8];
    id.copy_from_slice(&Sha256::digest(key.0)[..8]);
    KeyId(id)
}

/// The name of the artifact with this manifest, without its signature.
pub fn artifact_id(manifest: &[u8]) -> ArtifactId {
    ArtifactId::from_manifest_digest(&Sha256::digest(manifest).into())
}

/// What a firmware must be to run here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// The board.
    pub board: BoardName,
    /// The highest security counter that was confirmed.
    pub counter: u32,
    /// Largest image, in bytes.
    pub image_bytes: u32,
}

/// A firmware this device may run, once its image has the digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Firmware {
    /// Its artifact.
    pub artifact: ArtifactId,
    /// SHA-256 of the image.
    pub image: Digest,
    /// Size of the image, in bytes.
    pub size: u32,
    /// Size of every block but the last, in bytes.
    pub block_bytes: u16,
    /// Its security counter.
    pub counter: u32,
    /// How it proves itself.
    pub trial: Trial,
}

/// Judges a signed manifest as that of a firmware: signature, kind, board, counter and size, in this order.
///
/// # Errors
/// Those of [`Keyring::manifest`], [`Reason::WrongArtifact`], [`Reason::WrongBoard`], [`Reason::Downgrade`],
/// [`Reason::TooLarge`], and [`Reason::BadManifest`] for what cannot be read.
pub fn judge_firmware(keys: &Keyring, target: &Target, signed: &[u8]) -> Result<Firmware, Reason> {
    judge_at(keys.now_s, keys, target, signed)
}

fn judge_at(now_s: u32, keys: &Keyring, target: &Target, signed: &[u8]) -> Result<Firmware, Reason> {
    read_firmware(target, keys.manifest_at(now_s, Role::Firmware, signed)?)
}

/// Not inlined: what it needs of a small stack must not lie below what verifying does.
#[inline(never)]
fn read_firmware(target: &Target, payload: &[u8]) -> Result<Firmware, Reason> {
    let manifest: Manifest<'_> = minicbor::decode(payload).map_err(|_| Reason::BadManifest)?;
    if manifest.kind != Kind::Firmware {
        return Err(Reason::WrongArtifact);
    }
    if manifest.board != Some(target.board) {
        return Err(Reason::WrongBoard);
    }
    if manifest.counter < target.counter {
        return Err(Reason::Downgrade);
    }
    if manifest.size > target.image_bytes {
        return Err(Reason::TooLarge);
    }
    if manifest.size == 0 || manifest.block_bytes == 0 {
        return Err(Reason::BadManifest);
    }
    Ok(Firmware {
        artifact: artifact_id(payload),
        image: manifest.digest,
        size: manifest.size,
        block_bytes: manifest.block_bytes,
        counter: manifest.counter,
        trial: manifest.trial.unwrap_or(Trial::DEFAULT).clamped(),
    })
}
