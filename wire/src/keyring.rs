//! Whom a device trusts with what, and for how long.
//!
//! A device is provisioned with keys it trusts with everything. A [`Keyring`] in COSE_Sign1
//! ([`crate::sign1`]), signed by a key that may ([`Role::Root`]), takes their place for good: a key that
//! is not in it is retired. Versions only rise, so an old keyring cannot come back.
//!
//! Not here: checking signatures (`wasmbed-update`) and making them (the fleet service).

use minicbor::{Decode, Encode};

use crate::{PublicKey, Seq};

/// The keys a device trusts from now on; `dn/keys` carries it signed.
#[derive(Debug, Clone, Copy, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Keyring<'a> {
    /// Rises with every change; a device refuses one that is not above its own.
    #[n(0)]
    pub version: u32,
    /// When it was made, in seconds of Unix time: it is no earlier now, which is how a device without a
    /// clock learns that a key has expired.
    #[n(1)]
    pub issued_s: u32,
    /// The keys, at most [`MAX_KEYS`](crate::limits::MAX_KEYS).
    #[b(2)]
    pub keys: Seq<'a, TrustedKey>,
}

/// One key and what it may sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct TrustedKey {
    /// The key.
    #[n(0)]
    pub key: PublicKey,
    /// What it may sign.
    #[n(1)]
    pub roles: Roles,
    /// The last second of Unix time in which it is good; for ever if absent.
    #[n(2)]
    pub not_after_s: Option<u32>,
}

/// What a key may sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum Role {
    /// Keyrings.
    Root = 0,
    /// Firmware.
    Firmware = 1,
    /// Modules.
    Module = 2,
    /// Patches between signed firmware images.
    Patch = 3,
    /// Desired states and commands.
    Control = 4,
}

impl Role {
    /// Every role, in the order of their bits.
    pub const ALL: [Role; 5] = [Role::Root, Role::Firmware, Role::Module, Role::Patch, Role::Control];

    /// The name used in files and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Root => "root",
            Role::Firmware => "firmware",
            Role::Module => "module",
            Role::Patch => "patch",
            Role::Control => "control",
        }
    }
}

impl core::fmt::Display for Role {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(self.name())
    }
}

/// The text names no role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownRole;

impl core::fmt::Display for UnknownRole {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("not a role of a key; use root, firmware, module, patch or control")
    }
}

impl core::error::Error for UnknownRole {}

impl core::str::FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        Role::ALL.into_iter().find(|role| role.name() == text).ok_or(UnknownRole)
    }
}

/// A set of roles, one bit each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Roles(#[n(0)] u8);

impl Roles {
    /// Every role of this version.
    pub const ALL: Roles = Roles(0b1_1111);

    /// With this role added.
    #[must_use]
    pub const fn with(self, role: Role) -> Self {
        Roles(self.0 | 1 << role as u8)
    }

    /// Whether the role is in the set.
    pub const fn contains(self, role: Role) -> bool {
        self.0 & 1 << role as u8 != 0
    }

    /// The roles in the set.
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.contains(*role))
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        roles.into_iter().fold(Roles::default(), Roles::with)
    }
}
