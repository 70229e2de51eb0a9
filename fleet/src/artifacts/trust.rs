//! Which keys are trusted with what, as devices judge it.

use ed25519_compact::{PublicKey as Ed25519, Signature};
use wasmbed_wire::{
    KeyId,
    keyring::{Role, TrustedKey},
    sign1::{Audience, Sign1, signed_head},
};

use super::key_id;

/// The keys trusted at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// The keys.
    pub keys: Vec<TrustedKey>,
    /// The moment, in seconds of Unix time.
    pub now_s: u32,
}

/// Why a signature is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    /// It is no signed message.
    #[error("it is not signed as COSE_Sign1 with Ed25519")]
    Malformed,
    /// The key is not trusted, or no longer.
    #[error("it names the key {0}, which is not trusted")]
    UnknownKey(KeyId),
    /// The key did not make the signature.
    #[error("the signature is not that of the key {0} which it names")]
    Forged(KeyId),
    /// The key must not sign this.
    #[error("the key {key} that signed it does not have the role {role}")]
    WrongRole {
        /// The key.
        key: KeyId,
        /// The role it needs.
        role: Role,
    },
    /// The key was good until some time ago.
    #[error("the key {key} that signed it expired at {not_after_s} s of Unix time")]
    Expired {
        /// The key.
        key: KeyId,
        /// The last second in which it was good.
        not_after_s: u32,
    },
}

impl Trust {
    /// What a trusted key signed that may sign this, and which key it was.
    ///
    /// # Errors
    /// If there is no such key, or the signature is not its.
    pub fn verify<'s>(&self, role: Role, signed: &'s [u8]) -> Result<(KeyId, &'s [u8]), Untrusted> {
        let signed = Sign1::decode(signed).map_err(|_| Untrusted::Malformed)?;
        let head = signed_head(Audience::Everyone, signed.payload.len()).map_err(|_| Untrusted::Malformed)?;
        let message = [head.as_ref(), signed.payload].concat();
        let key = signed.key;
        let known = self.keys.iter().find(|trusted| key_id(&trusted.key) == key);
        let trusted = known.ok_or(Untrusted::UnknownKey(key))?;
        Ed25519::new(trusted.key.0)
            .verify(message, &Signature::new(*signed.signature))
            .map_err(|_| Untrusted::Forged(key))?;
        self.check(trusted, role)?;
        Ok((key, signed.payload))
    }

    /// Whether this key may still sign what it signed before.
    ///
    /// # Errors
    /// If it is no longer trusted with it.
    pub fn permits(&self, role: Role, key: KeyId) -> Result<(), Untrusted> {
        let known = self.keys.iter().find(|trusted| key_id(&trusted.key) == key);
        self.check(known.ok_or(Untrusted::UnknownKey(key))?, role)
    }

    fn check(&self, trusted: &TrustedKey, role: Role) -> Result<(), Untrusted> {
        let key = key_id(&trusted.key);
        if !trusted.roles.contains(role) {
            return Err(Untrusted::WrongRole { key, role });
        }
        match trusted.not_after_s.filter(|last| self.now_s > *last) {
            Some(not_after_s) => Err(Untrusted::Expired { key, not_after_s }),
            None => Ok(()),
        }
    }
}
