//! What an artifact is, in the words that are signed.
//!
//! An artifact is a manifest in COSE_Sign1 ([`crate::sign1`]) and a payload. A device checks the
//! signature first, then everything the manifest says against itself, then the payload's digest.

use minicbor::{Decode, Encode};

use crate::{ArtifactId, BoardName, Digest, ModuleName, RuntimeId, limits::Class};

/// The signed description of one artifact. `wire/manifest.cddl` says the same for other tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Manifest<'a> {
    /// What the payload is.
    #[n(0)]
    pub kind: Kind,
    /// Its name; a patch has that of the firmware it makes.
    #[n(1)]
    pub name: ModuleName,
    /// Its version, semantic versioning 2.0.
    #[b(2)]
    pub version: &'a str,
    /// Classes it may run on.
    #[n(3)]
    pub classes: Classes,
    /// The runtime ABI a module was compiled for, or the one a firmware brings.
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
    /// The only board a firmware runs on; absent for modules.
    #[n(8)]
    pub board: Option<BoardName>,
    /// Security counter of a firmware: a device refuses what is below the highest it has confirmed.
    #[n(9)]
    #[cbor(default)]
    pub counter: u32,
    /// What a patch is applied to and what it makes; absent for everything else.
    #[n(10)]
    pub patch: Option<Patch>,
    /// How a firmware proves itself; a device has defaults.
    #[n(11)]
    pub trial: Option<Trial>,
    /// What a module asks to be granted, bit `n` for the capability with number `n` in the guest ABI; it gets
    /// nothing else, whatever it is granted. 0 for firmware.
    #[n(12)]
    #[cbor(default, skip_if = "crate::manifest::is_zero")]
    pub capabilities: u32,
    /// Stack that a call into a module takes at most, in bytes; a device gives each instance no more. 0 where that is
    /// not known, which gets all that the class allows; 0 for native code and for firmware.
    #[n(13)]
    #[cbor(default, skip_if = "crate::manifest::is_zero")]
    pub stack_bytes: u32,
}

/// From which firmware image to which, each named by its SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Patch {
    /// The image it is applied to.
    #[n(0)]
    pub base: Digest,
    /// The image it makes.
    #[n(1)]
    pub image: Digest,
}

/// What a new firmware is given to prove itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Trial {
    /// Starts it has, 1 to 15.
    #[n(0)]
    pub tries: u8,
    /// Time from a start until the fleet has confirmed it, in seconds, 5 to 3600.
    #[n(1)]
    pub confirm_s: u16,
}

impl Trial {
    /// What a firmware has that says nothing about it.
    pub const DEFAULT: Trial = Trial { tries: 3, confirm_s: 60 };

    /// With both numbers in range.
    #[must_use]
    pub const fn clamped(self) -> Self {
        let tries = match self.tries {
            0 => 1,
            1..=15 => self.tries,
            _ => 15,
        };
        let confirm_s = match self.confirm_s {
            0..5 => 5,
            5..=3600 => self.confirm_s,
            _ => 3600,
        };
        Trial { tries, confirm_s }
    }
}

/// Whether a number says the same as its absence.
pub(crate) const fn is_zero(number: &u32) -> bool {
    *number == 0
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
    /// A firmware image.
    #[n(1)]
    Firmware,
    /// What turns one firmware image into another: detools' sequential format.
    #[n(2)]
    Patch,
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
