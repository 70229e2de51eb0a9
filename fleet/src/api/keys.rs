//! What is asked and answered about keys.

use serde::{Deserialize, Serialize};
use wasmbed_wire::{KeyId, PublicKey, keyring::Role};

pub use crate::store::KeyName;

/// A key to trust. Adding it again changes what it may sign and for how long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyAdd {
    /// What to call it.
    pub name: KeyName,
    /// The public key, in hexadecimal.
    pub key: PublicKey,
    /// What it may sign.
    pub roles: Vec<Role>,
    /// The last second of Unix time in which it is good; for ever if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<u32>,
}

/// A key to trust no longer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRetire {
    /// Its name.
    pub name: KeyName,
}

/// A keyring that was signed elsewhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyringImport {
    /// The signed keyring, in hexadecimal or base64.
    pub keyring: String,
}

/// Every key, and the keyring devices get.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Keys {
    /// Version of the newest keyring; absent while devices use the keys they were provisioned with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// When it was made, in seconds of Unix time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued_s: Option<u32>,
    /// Whether the service's own key may sign the next one.
    pub can_sign: bool,
    /// The keys.
    pub keys: Vec<Key>,
}

/// One key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Key {
    /// What it is called.
    pub name: KeyName,
    /// How signatures name it.
    pub id: KeyId,
    /// The public key.
    pub key: PublicKey,
    /// What it may sign.
    pub roles: Vec<Role>,
    /// The last second of Unix time in which it is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<u32>,
    /// `trusted`, `expired` or `retired`.
    pub state: KeyState,
    /// Whether it is the service's own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub own: bool,
}

/// Whether a key is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// It is.
    Trusted,
    /// It was until some time ago.
    Expired,
    /// It is in no keyring any more.
    Retired,
}
