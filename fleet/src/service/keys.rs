//! Whom the fleet trusts, and how its devices come to do the same.
//!
//! A device takes a keyring only from a key it trusts at that moment. One that was away while the root
//! key changed is led there: it gets the newest keyring it can accept, and the next once it has that.

use std::collections::BTreeSet;

use bytes::Bytes;
use wasmbed_plan::Time;
use wasmbed_wire::{
    DeviceId, KeyId, keyring,
    keyring::{Role, Roles},
    sign1::Sign1,
    topic::Down,
};

use super::{
    Publish,
    change::Change,
    fleet::{Fleet, Record},
};
use crate::{
    artifacts::{Trust, Untrusted, key_id},
    store::{KeyName, KeyRow, KeyringRow, StoreError},
};

/// What the service's own key is called.
const OWN: &str = "service";

impl Fleet {
    /// Reads the keys; the service's own is the first.
    pub(super) fn load_keys(&mut self, now: Time) -> Result<(), StoreError> {
        (self.keys, self.keyrings) = (self.store.keys()?, self.store.keyrings()?);
        let own = self.options.signer.public();
        if !self.keyrings.is_empty() {
            if let Err(error) = self.may_control(&self.keys, now) {
                tracing::warn!("devices take no desired state and no command from this service: {error}");
            }
            return Ok(());
        }
        // Devices without a keyring trust whatever they are provisioned with, and that is this key: also with roles
        // that there were not when the row was written.
        let Ok(name) = OWN.parse::<KeyName>() else { return Ok(()) };
        let row = KeyRow { name, key: own, roles: Roles::ALL, not_after_s: None, retired: false };
        if self.keys.contains(&row) {
            return Ok(());
        }
        let keys = Some((vec![row], None));
        self.commit(now, Change { keys, ..Change::default() })
    }

    /// Whether devices that trust these keys take desired states and commands from this service.
    pub(super) fn may_control(&self, keys: &[KeyRow], now: Time) -> Result<(), Untrusted> {
        let trust = Trust { keys: keys.iter().filter_map(KeyRow::trusted).collect(), now_s: seconds(now) };
        trust.permits(Role::Control, self.options.signer.id())
    }

    /// The keys trusted now.
    pub(super) fn trust(&self, now: Time) -> Trust {
        Trust { keys: self.keys.iter().filter_map(KeyRow::trusted).collect(), now_s: seconds(now) }
    }

    /// What a key is called.
    pub(super) fn key_name(&self, id: KeyId) -> Option<&KeyName> {
        self.keys.iter().find(|key| key_id(&key.key) == id).map(|key| &key.name)
    }

    /// The keyring a device should take next, as it reads it; none while it should keep what it was
    /// provisioned with.
    pub(super) fn keys_of_device(&self, id: &DeviceId) -> Option<Publish> {
        let keyring = self.next_keyring(self.records.get(id)?)?;
        let topic = self.device_topic(id, &Down::Keys);
        Some(Publish::cbor(topic, keyring.signed.to_vec(), Down::Keys.delivery()))
    }

    fn next_keyring(&self, record: &Record) -> Option<&KeyringRow> {
        let has = record.row.memory.keyring;
        let roots = match has {
            None => Some(BTreeSet::from([self.options.signer.id()])),
            Some(version) => self.keyrings.iter().find(|keyring| keyring.version == version).map(roots),
        };
        let is_above = |keyring: &&KeyringRow| has.is_none_or(|version| keyring.version > version);
        let believes =
            |keyring: &&KeyringRow| roots.as_ref().is_none_or(|roots| roots.contains(&keyring.key));
        let newest = self.keyrings.last();
        self.keyrings.iter().rev().filter(is_above).find(believes).or(newest)
    }

    /// Tells every device about its keyring, if there is anybody to tell.
    pub(super) fn publish_keys(&mut self) {
        if self.view.link.is_none() {
            return;
        }
        let ids: Vec<DeviceId> = self.records.keys().copied().collect();
        for id in ids {
            if let Some(message) = self.keys_of_device(&id) {
                self.publish(message);
            }
        }
    }
}

/// The keys that may sign the keyring after this one.
fn roots(keyring: &KeyringRow) -> BTreeSet<KeyId> {
    let Some(read) = read_keyring(&keyring.signed) else { return BTreeSet::new() };
    let is_root = |key: &keyring::TrustedKey| key.roles.contains(Role::Root);
    read.keys.iter().filter(is_root).map(|key| key_id(&key.key)).collect()
}

/// A keyring in its signature, which is not looked at.
pub(super) fn read_keyring(signed: &Bytes) -> Option<keyring::Keyring<'_>> {
    minicbor::decode(Sign1::decode(signed).ok()?.payload).ok()
}

/// A moment as keyrings have it.
pub(super) fn seconds(now: Time) -> u32 {
    u32::try_from(now.0 / 1000).unwrap_or(u32::MAX)
}
