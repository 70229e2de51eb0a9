//! Keys that sign, and the keyrings that say so to devices.

use std::{fmt, str::FromStr};

use bytes::Bytes;
use rusqlite::{Error, params};
use serde::{Deserialize, Serialize};
use wasmbed_wire::{
    KeyId, PublicKey,
    id::NameError,
    keyring::{Role, Roles, TrustedKey},
};

use super::{
    Store, StoreError, Write,
    devices::{from_json, json, parsed},
};

/// What people call a key: 1 to 32 of `a-z`, `0-9` and `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyName(String);

impl KeyName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for KeyName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        // Every name of this system is of the same kind.
        text.parse::<wasmbed_wire::CommandId>().map(|name| KeyName(name.as_str().to_owned()))
    }
}

impl TryFrom<String> for KeyName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<KeyName> for String {
    fn from(name: KeyName) -> Self {
        name.0
    }
}

/// One key, trusted or no longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// What people call it.
    pub name: KeyName,
    /// The key.
    pub key: PublicKey,
    /// What it may sign.
    pub roles: Roles,
    /// The last second of Unix time in which it is good.
    pub not_after_s: Option<u32>,
    /// Whether it is no longer trusted.
    pub retired: bool,
}

impl KeyRow {
    /// The key as a keyring has it, unless it is retired.
    pub fn trusted(&self) -> Option<TrustedKey> {
        let key = TrustedKey { key: self.key, roles: self.roles, not_after_s: self.not_after_s };
        (!self.retired).then_some(key)
    }
}

/// One keyring as devices get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyringRow {
    /// Its version.
    pub version: u32,
    /// When it was made, in seconds of Unix time.
    pub issued_s: u32,
    /// The key that signed it.
    pub key: KeyId,
    /// The signed keyring.
    pub signed: Bytes,
}

impl Store {
    /// Every key there ever was, by name.
    pub fn keys(&self) -> Result<Vec<KeyRow>, StoreError> {
        self.read(|db| {
            db.prepare_cached("SELECT * FROM keys ORDER BY name")?
                .query_map([], |row| {
                    let roles: Vec<Role> = from_json(row, "roles")?;
                    Ok(KeyRow {
                        name: parsed(row, "name")?,
                        key: PublicKey(row.get("key")?),
                        roles: roles.into_iter().collect(),
                        not_after_s: row.get("not_after_s")?,
                        retired: row.get("retired")?,
                    })
                })?
                .collect()
        })
    }

    /// Every keyring, oldest first.
    pub fn keyrings(&self) -> Result<Vec<KeyringRow>, StoreError> {
        self.read(|db| {
            db.prepare_cached("SELECT * FROM keyrings ORDER BY version")?
                .query_map([], |row| {
                    Ok(KeyringRow {
                        version: row.get("version")?,
                        issued_s: row.get("issued_s")?,
                        key: KeyId(row.get("key")?),
                        signed: row.get::<_, Vec<u8>>("signed")?.into(),
                    })
                })?
                .collect()
        })
    }
}

impl Write<'_> {
    /// Puts these keys in the place of all there were.
    pub fn put_keys<'k>(&self, keys: impl Iterator<Item = &'k KeyRow>) -> Result<(), Error> {
        self.tx.execute("DELETE FROM keys", [])?;
        for key in keys {
            let roles: Vec<Role> = key.roles.iter().collect();
            self.tx.execute(
                "INSERT INTO keys (name, key, roles, not_after_s, retired) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![key.name.as_str(), key.key.0, json(&roles)?, key.not_after_s, key.retired],
            )?;
        }
        Ok(())
    }

    /// Adds a keyring.
    pub fn put_keyring(&self, keyring: &KeyringRow) -> Result<(), Error> {
        self.tx.execute(
            "INSERT INTO keyrings (version, issued_s, key, signed) VALUES (?1, ?2, ?3, ?4)",
            params![keyring.version, keyring.issued_s, keyring.key.0, &keyring.signed[..]],
        )?;
        Ok(())
    }
}
