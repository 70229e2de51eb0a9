//! Everything that one step changes, made durable in one transaction.

use std::collections::BTreeMap;

use wasmbed_plan::{Time, rollout::Owner};
use wasmbed_wire::{ArtifactId, CommandId, DeviceId, Digest, HostId, ModuleName, message::Verb};

use super::{Publish, fleet::Fleet, fleet::Record, fleet_topic, rollouts::DEPLOYMENT};
use crate::{
    api::Grants,
    store::{
        DeviceRow, Event, FirmwareWish, KeyRow, KeyringRow, ModuleRow, NewEvent, NewFirmware, NewModule,
        NewPatch, RolloutRow, StoreError,
    },
};

/// A set of changes; empty ones cost nothing.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// Devices to add or replace.
    pub(super) devices: BTreeMap<DeviceId, DeviceRow>,
    /// Devices to forget.
    pub(super) removed: Vec<DeviceId>,
    /// What devices should run from now on, or no longer.
    pub(super) desired: Vec<(DeviceId, Desired)>,
    /// Hosts whose desired state changes, each with a revision its new one must exceed.
    pub(super) hosts: BTreeMap<HostId, u64>,
    /// A module to store.
    pub(super) module: Option<NewModule>,
    /// What a module is granted from now on.
    pub(super) grants: Option<(ModuleName, Grants)>,
    /// A stored module of which further artifacts were made.
    pub(super) rebuilt: Option<NewModule>,
    /// A version to forget.
    pub(super) removed_module: Option<(ModuleName, String)>,
    /// A firmware to store.
    pub(super) firmware: Option<NewFirmware>,
    /// A firmware to forget.
    pub(super) removed_firmware: Option<ArtifactId>,
    /// A patch to store.
    pub(super) patch: Option<NewPatch>,
    /// All keys from now on, and the keyring that says so.
    pub(super) keys: Option<(Vec<KeyRow>, Option<KeyringRow>)>,
    /// The deployment of a firmware this is, if it is one.
    pub(super) deployment: Option<Owner>,
    /// A rollout to add or replace.
    pub(super) rollout: Option<RolloutRow>,
    /// What to ask of devices once.
    pub(super) commands: Vec<(DeviceId, Verb)>,
    /// What to record.
    pub(super) events: Vec<NewEvent>,
    /// The answer to remember for a request.
    pub(super) answer: Option<RememberedAnswer>,
}

/// A change of what one device should run.
#[derive(Debug)]
pub(super) enum Desired {
    Put(ModuleRow),
    Remove(ModuleName),
    Firmware(Option<FirmwareWish>),
}

/// What was answered to a request with an id.
#[derive(Debug)]
pub(super) struct RememberedAnswer {
    pub(super) id: CommandId,
    pub(super) request: Digest,
    pub(super) text: String,
}

/// What the store added.
struct Stored {
    hosts: Vec<(HostId, u64)>,
    commands: Vec<(DeviceId, Verb, u64)>,
    events: Vec<Event>,
}

impl Change {
    /// Whether nothing would change.
    pub(super) fn is_nothing(&self) -> bool {
        let Change {
            devices,
            removed,
            desired,
            hosts,
            module,
            grants,
            rebuilt,
            removed_module,
            firmware,
            removed_firmware,
            patch,
            keys,
            deployment,
            rollout,
            commands,
            events,
            answer,
        } = self;
        devices.is_empty()
            && removed.is_empty()
            && desired.is_empty()
            && hosts.is_empty()
            && module.is_none()
            && grants.is_none()
            && rebuilt.is_none()
            && removed_module.is_none()
            && firmware.is_none()
            && removed_firmware.is_none()
            && patch.is_none()
            && keys.is_none()
            && deployment.is_none()
            && rollout.is_none()
            && commands.is_empty()
            && events.is_empty()
            && answer.is_none()
    }

    /// Has a deployment take a device from those before it.
    pub(super) fn own(&mut self, record: &Record, owner: Owner) {
        self.deployment = Some(owner);
        self.devices.entry(record.row.id).or_insert_with(|| record.row.clone()).owner = owner;
    }

    /// Demands a new desired state of this host.
    pub(super) fn raise_host(&mut self, host: Option<HostId>) {
        if let Some(host) = host {
            self.hosts.entry(host).or_default();
        }
    }
}

impl Fleet {
    /// Makes a change durable, then true here, then says what is to be said about it.
    pub(super) fn commit(&mut self, now: Time, change: Change) -> Result<(), StoreError> {
        if change.is_nothing() {
            return Ok(());
        }
        let stored = self.write(now, &change)?;
        let before = self.gists(&change);
        self.apply(now, change, &stored.hosts);
        for (id, before) in before {
            self.note_for_rollouts(now, &id, before);
        }
        for event in &stored.events {
            self.tally.event(event.severity);
            self.publish(Publish::json(fleet_topic(&self.options.prefix, "events"), event, false));
        }
        for (device, verb, number) in stored.commands {
            self.send_command(device, verb, number);
        }
        Ok(())
    }

    fn write(&mut self, now: Time, change: &Change) -> Result<Stored, StoreError> {
        self.store.write(|store| {
            let mut stored = Stored { hosts: Vec::new(), commands: Vec::new(), events: Vec::new() };
            for (host, floor) in &change.hosts {
                stored.hosts.push((*host, store.raise_host(host, *floor)?));
            }
            for device in change.devices.values() {
                store.put_device(device)?;
            }
            if let Some(module) = &change.module {
                store.put_module(now, module)?;
            }
            if let Some((module, grants)) = &change.grants {
                store.put_grants(module, grants)?;
            }
            if let Some(module) = &change.rebuilt {
                store.put_rebuilt(module)?;
            }
            if let Some(firmware) = &change.firmware {
                store.put_firmware(now, firmware)?;
            }
            if let Some(patch) = &change.patch {
                store.put_patch(patch)?;
            }
            for (device, desired) in &change.desired {
                match desired {
                    Desired::Put(module) => store.put_desired(device, module)?,
                    Desired::Remove(name) => store.remove_desired(device, name)?,
                    Desired::Firmware(Some(wish)) => store.put_desired_firmware(device, wish)?,
                    Desired::Firmware(None) => store.remove_desired_firmware(device)?,
                }
            }
            for device in &change.removed {
                store.remove_device(device)?;
            }
            if let Some((name, version)) = &change.removed_module {
                store.remove_module(name, version)?;
            }
            if let Some(artifact) = &change.removed_firmware {
                store.remove_firmware(artifact)?;
            }
            if let Some((keys, keyring)) = &change.keys {
                store.put_keys(keys.iter())?;
                keyring.iter().try_for_each(|keyring| store.put_keyring(keyring))?;
            }
            if let Some(owner) = change.deployment {
                store.used(DEPLOYMENT, owner.0)?;
            }
            if let Some(rollout) = &change.rollout {
                store.put_rollout(rollout)?;
            }
            for (device, verb) in &change.commands {
                stored.commands.push((*device, *verb, store.next("command")?));
            }
            for event in &change.events {
                stored.events.push(store.event(now, event.clone())?);
            }
            if let Some(answer) = &change.answer {
                store.put_answer(now, answer.id.as_str(), &answer.request, &answer.text)?;
            }
            Ok(stored)
        })
    }

    fn apply(&mut self, now: Time, change: Change, hosts: &[(HostId, u64)]) {
        for (host, revision) in hosts {
            self.host_view(host).desired = *revision;
        }
        self.grants.extend(change.grants);
        for (id, row) in change.devices {
            self.sync_view(now, &row);
            match self.records.get_mut(&id) {
                Some(record) => {
                    record.row = row;
                    record.dirty = false;
                }
                None => {
                    self.records.insert(id, Record::new(row));
                    self.unclaimed.remove(&id);
                    self.claim(&id, true);
                }
            }
        }
        for (id, desired) in change.desired {
            let Some(record) = self.records.get_mut(&id) else { continue };
            match desired {
                Desired::Put(module) => drop(record.modules.insert(module.name, module)),
                Desired::Remove(name) => drop(record.modules.remove(&name)),
                Desired::Firmware(wish) => record.firmware = wish,
            }
        }
        if let Some((keys, keyring)) = change.keys {
            self.keys = keys;
            self.keyrings.extend(keyring);
            self.publish_keys();
        }
        if let Some(owner) = change.deployment {
            self.deployments = owner;
        }
        if let Some(row) = change.rollout {
            self.keep_rollout(now, row);
        }
        for id in change.removed {
            self.records.remove(&id);
            self.view.devices.remove(&id);
            self.claim(&id, false);
            self.release_certificate(&id);
        }
    }
}
