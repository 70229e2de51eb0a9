//! Signing keys: the fleet's own, and those of people who release firmware.

use std::{
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use ed25519_compact::{KeyPair, Seed};
use wasmbed_update::{artifact_id, key_id};
use wasmbed_wire::{
    ArtifactId, DeviceId, KeyId, PublicKey,
    keyring::Keyring,
    limits::{MAX_KEYRING_BYTES, MAX_MANIFEST_BYTES},
    manifest::Manifest,
    sign1::{Audience, OVERHEAD_BYTES, Sign1, TooLarge, signed_head},
};

/// Signs manifests, keyrings and what devices are told with Ed25519 (RFC 8032); the same one always gets the same signature.
pub struct Signer {
    pair: KeyPair,
    id: KeyId,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file could not be read, created or written.
    #[error("cannot use the signing key file {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file holds something else.
    #[error(
        "the signing key file {path} does not hold 64 hexadecimal digits; restore it from a backup \
         (devices trust no other key), or remove it to start with a new one"
    )]
    Format {
        /// The file.
        path: PathBuf,
    },
}

impl Signer {
    /// The key at `path`; a new one is made there, readable for this user only, if there is none.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        match Self::load(path) {
            Err(KeyError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Self::create(path)
            }
            loaded => loaded,
        }
    }

    /// The key at `path`.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| KeyError::File { path: path.to_owned(), source })?;
        // The seed has the form of a digest: 32 bytes in hexadecimal.
        let seed: wasmbed_wire::Digest =
            text.trim().parse().map_err(|_| KeyError::Format { path: path.to_owned() })?;
        Ok(Self::from_seed(seed.0))
    }

    /// Makes a key at `path`, readable for this user only; a file that is there already stays.
    pub fn create(path: &Path) -> Result<Self, KeyError> {
        create(path).map(Self::from_seed).map_err(|source| KeyError::File { path: path.to_owned(), source })
    }

    /// The key made from these 32 random bytes.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let pair = KeyPair::from_seed(Seed::new(seed));
        let id = key_id(&PublicKey(*pair.pk));
        Signer { pair, id }
    }

    /// How signatures name this key.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The public half: devices that trust it run what this signs.
    pub fn public(&self) -> PublicKey {
        PublicKey(*self.pair.pk)
    }

    /// Encodes and signs a manifest.
    ///
    /// # Errors
    /// If it does not fit [`MAX_MANIFEST_BYTES`].
    pub fn sign(&self, manifest: &Manifest<'_>) -> Result<(ArtifactId, Bytes), TooLarge> {
        let payload = minicbor::to_vec(manifest).map_err(|_| TooLarge)?;
        let signed = self.sign_bytes(Audience::Everyone, &payload)?;
        Ok((artifact_id(&payload), within(signed, MAX_MANIFEST_BYTES)?))
    }

    /// Encodes and signs a keyring.
    ///
    /// # Errors
    /// If it does not fit [`MAX_KEYRING_BYTES`].
    pub fn sign_keyring(&self, keyring: &Keyring<'_>) -> Result<Bytes, TooLarge> {
        let payload = minicbor::to_vec(keyring).map_err(|_| TooLarge)?;
        within(self.sign_bytes(Audience::Everyone, &payload)?, MAX_KEYRING_BYTES)
    }

    /// Signs a desired state or a command for one device, on the topic it is published to.
    ///
    /// # Errors
    /// If the topic is none of a device.
    pub fn sign_order(&self, device: &DeviceId, topic: &str, payload: &[u8]) -> Result<Vec<u8>, TooLarge> {
        self.sign_bytes(Audience::Device { id: device, topic }, payload)
    }

    fn sign_bytes(&self, audience: Audience<'_>, payload: &[u8]) -> Result<Vec<u8>, TooLarge> {
        let head = signed_head(audience, payload.len())?;
        let signature = self.pair.sk.sign([head.as_ref(), payload].concat(), None);
        let mut out = vec![0; payload.len() + OVERHEAD_BYTES];
        let len = Sign1 { key: self.id, payload, signature: &signature }.encode(&mut out)?;
        out.truncate(len);
        Ok(out)
    }
}

fn within(signed: Vec<u8>, limit: usize) -> Result<Bytes, TooLarge> {
    if signed.len() <= limit { Ok(signed.into()) } else { Err(TooLarge) }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("id", &self.id).finish_non_exhaustive()
    }
}

fn create(path: &Path) -> io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(io::Error::other)?;
    let text = format!("{}\n", wasmbed_wire::Digest(seed));
    // Complete before it is visible under its name: a key cut in half would look like damage.
    let draft = path.with_extension("new");
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    // Unlike a renamed file, a link never takes the place of another key.
    let linked = std::fs::hard_link(&draft, path);
    std::fs::remove_file(&draft)?;
    linked.map(|()| seed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest as _, Sha256};
    use std::os::unix::fs::PermissionsExt;
    use wasmbed_wire::{
        Digest, RuntimeId,
        manifest::{Classes, Kind},
    };

    fn manifest() -> Manifest<'static> {
        Manifest {
            kind: Kind::Module,
            name: "blink".parse().expect("a name"),
            version: "1.2.3",
            classes: Classes::default(),
            runtime: RuntimeId([1; 8]),
            size: 5,
            digest: Digest([2; 32]),
            block_bytes: 512,
            board: None,
            counter: 0,
            patch: None,
            trial: None,
            capabilities: 0,
            stack_bytes: 0,
        }
    }

    #[test]
    fn a_signature_verifies_and_names_its_key() {
        let signer = Signer::from_seed([7; 32]);
        let (id, bytes) = signer.sign(&manifest()).expect("it fits");
        let signed = Sign1::decode(&bytes).expect("it reads back");
        let key = ed25519_compact::PublicKey::new(signer.public().0);
        let signature = ed25519_compact::Signature::new(*signed.signature);
        let head = signed_head(Audience::Everyone, signed.payload.len()).expect("it fits");
        let covered = [head.as_ref(), signed.payload].concat();
        assert!(key.verify(&covered, &signature).is_ok());
        assert!(key.verify([&covered[..], b"x"].concat(), &signature).is_err());
        assert_eq!(signed.key.0, Sha256::digest(signer.public().0)[..8]);
        assert_eq!(id.0, Sha256::digest(signed.payload)[..8]);
        assert_eq!(minicbor::decode::<Manifest<'_>>(signed.payload).ok(), Some(manifest()));
    }

    #[test]
    fn the_key_is_made_once_and_only_for_this_user() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("signing.key");
        let first = Signer::load_or_create(&path).expect("a new key");
        let again = Signer::load_or_create(&path).expect("the same key");
        assert_eq!(first.public(), again.public());
        let mode = std::fs::metadata(&path).expect("the file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(Signer::create(&path).is_err(), "a key never takes another one's place");
        assert_eq!(Signer::load(&path).expect("the same key").public(), first.public());
        std::fs::write(&path, "nonsense").expect("written");
        assert!(matches!(Signer::load_or_create(&path), Err(KeyError::Format { .. })));
    }
}
