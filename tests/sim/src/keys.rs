//! Keyrings, properly signed.

use wasmbed_wire::{
    Seq,
    keyring::{Keyring, Role, Roles, TrustedKey},
};

use crate::artifact::{CONTROLLER, TRUSTED, public_key, sign};

/// Describes a keyring; keys are known by their numbers. One that names any keys leaves [`CONTROLLER`] its role.
#[derive(Debug, Clone)]
pub struct Ring {
    version: u32,
    issued_s: u32,
    keys: Vec<TrustedKey>,
    signer: u8,
}

impl Ring {
    /// A keyring without keys, signed by the key every device was provisioned with.
    pub fn new(version: u32, issued_s: u32) -> Self {
        Ring { version, issued_s, keys: Vec::new(), signer: TRUSTED }
    }

    /// With a key for these roles, for ever.
    #[must_use]
    pub fn key(self, key: u8, roles: &[Role]) -> Self {
        self.with(key, roles, None)
    }

    /// With a key for these roles that is good until then, in seconds of Unix time.
    #[must_use]
    pub fn key_until(self, key: u8, roles: &[Role], not_after_s: u32) -> Self {
        self.with(key, roles, Some(not_after_s))
    }

    /// Signed by this key.
    #[must_use]
    pub fn signed_by(self, signer: u8) -> Self {
        Ring { signer, ..self }
    }

    fn with(mut self, key: u8, roles: &[Role], not_after_s: Option<u32>) -> Self {
        let roles: Roles = roles.iter().copied().collect();
        self.keys.push(TrustedKey { key: public_key(key), roles, not_after_s });
        self
    }

    pub(crate) fn make(&self) -> Vec<u8> {
        let roles = Roles::default().with(Role::Control);
        let control = TrustedKey { key: public_key(CONTROLLER), roles, not_after_s: None };
        let mut keys = self.keys.clone();
        keys.extend(self.keys.first().map(|_| control));
        let ring = Keyring { version: self.version, issued_s: self.issued_s, keys: Seq::new(&keys) };
        sign(&minicbor::to_vec(ring).expect("a vector takes everything"), self.signer)
    }
}
