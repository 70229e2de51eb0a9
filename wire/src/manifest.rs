//! What an artifact is, in the words that are signed.
//!
//! An artifact is a manifest in COSE_Sign1 ([`crate::sign1`]) and a payload. A device checks the
//! signature first, then everything the manifest says against itself, then the payload's digest.

use minicbor::{Decode, Encode};

use crate::{ArtifactId, Digest, ModuleName, RuntimeId, limits::Class};

/// The signed description of one artifact. `wire/manifest.cddl` says the same for other tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Manifest<'a> {
    /// What the payload is.
    #[n(0)]
    pub kind: Kind,
    /// Its name.
    #[n(1)]
    pub name: ModuleName,
    /// Its version, semantic versioning 2.0.
    #[b(2)]
    pub version: &'a str,
    /// Classes it may run on.
    #[n(3)]
    pub classes: Classes,
    /// The runtime ABI it was compiled for.
    #[n(4)]
    pub runtime: RuntimeId,
    /// Size of the payload, in bytes.
    #[n(5)]
    pub size: u32,
    /// SHA-256 of the payload.
    #[n(6)]
    pub digest: Digest,
    /// Size of every block of the payload but the last, in bytes.
    #[n(7)]
    pub block_bytes: u16,
}

impl Manifest<'_> {
    /// How many blocks the payload has; they are numbered from 1, block 0 being the manifest.
    pub const fn payload_blocks(&self) -> u32 {
        self.size.div_ceil(if self.block_bytes == 0 { 1 } else { self.block_bytes as u32 })
    }
}

/// What a payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Kind {
    /// A WebAssembly module.
    #[n(0)]
    Module,
}

/// A set of classes, one bit each, bit 0 for the class with number 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Classes(#[n(0)] u8);

impl Classes {
    /// With this class added.
    #[must_use]
    pub const fn with(self, class: Class) -> Self {
        Classes(self.0 | 1 << class as u8)
    }

    /// Whether the class is in the set.
    pub const fn contains(self, class: Class) -> bool {
        self.0 & 1 << class as u8 != 0
    }

    /// Whether no class is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The classes in the set.
    pub fn iter(self) -> impl Iterator<Item = Class> {
        Class::ALL.into_iter().filter(move |class| self.contains(*class))
    }
}

impl FromIterator<Class> for Classes {
    fn from_iter<I: IntoIterator<Item = Class>>(classes: I) -> Self {
        classes.into_iter().fold(Classes::default(), Classes::with)
    }
}

impl ArtifactId {
    /// The id of the artifact whose manifest has this SHA-256.
    pub fn from_manifest_digest(digest: &[u8; 32]) -> Self {
        let mut id = [0; 8];
        id.copy_from_slice(&digest[..8]);
        ArtifactId(id)
    }
}
