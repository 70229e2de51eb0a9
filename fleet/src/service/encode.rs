//! Desired states as devices and hosts read them.

use std::collections::BTreeMap;

use wasmbed_plan::Stage;
use wasmbed_wire::{
    DeviceId, HostId, Seq,
    message::{Desired, DesiredFirmware, DesiredModule, Setting},
    topic::Down,
};

use super::{Publish, fleet::Fleet, fleet::Record};
use crate::{
    host_api::{self, DesiredDevice, Power},
    store::DeviceRow,
};

impl Fleet {
    /// What the device should run, as it reads it.
    pub(super) fn desired_of_device(&self, id: &DeviceId) -> Option<Publish> {
        let record = self.records.get(id)?;
        self.signed(record, &Down::Desired, self.encode(record)?)
    }

    /// What the host should run, as it reads it.
    pub(super) fn desired_of_host(&self, id: &HostId) -> Option<Publish> {
        let revision = self.view.hosts.get(id)?.desired;
        let rows = self.records.values().map(|record| &record.row).filter(|row| row.host == Some(*id));
        let devices = rows.map(|row| self.desired_device(row)).collect();
        let topic = host_api::topic(&self.options.prefix, id, host_api::Down::Desired);
        let holder_ms = self.host_info.get(id).map_or(0, |facts| facts.holder_ms);
        Some(Publish::json(topic, &host_api::Desired { revision, devices, holder_ms }, true))
    }

    fn desired_device(&self, row: &DeviceRow) -> DesiredDevice {
        let is_on = row.power && row.health.stage != Stage::Quarantined;
        DesiredDevice {
            id: row.id,
            board: row.board,
            machine: row.machine.clone(),
            power: if is_on { Power::On } else { Power::Off },
            cycle: row.cycle,
            password: if self.ca.is_some() { String::new() } else { self.password(&row.id) },
            certificate: self.certificate_of(&row.id),
            trusted: vec![self.options.signer.public()],
        }
    }

    fn encode(&self, record: &Record) -> Option<Vec<u8>> {
        let granted: Vec<(u32, BTreeMap<String, String>)> = record
            .modules
            .values()
            .map(|module| {
                let grants = self.grants_of(&module.module);
                (grants.capabilities().bits(), grants.settings())
            })
            .collect();
        let settings: Vec<Vec<Setting<'_>>> = record
            .modules
            .values()
            .zip(&granted)
            .map(|(module, (_, allowed))| {
                module.settings.iter().chain(allowed).map(|(key, value)| Setting { key, value }).collect()
            })
            .collect();
        let modules: Vec<DesiredModule<'_>> = record
            .modules
            .values()
            .zip(&settings)
            .zip(&granted)
            .map(|((module, settings), (grants, _))| DesiredModule {
                name: module.name,
                artifact: module.artifact,
                settings: Seq::new(settings),
                generation: module.generation,
                grants: *grants,
            })
            .collect();
        let desired = Desired {
            revision: record.row.revision,
            modules: Seq::new(&modules),
            heartbeat_ms: Some(record.row.heartbeat_ms),
            firmware: record.firmware.as_ref().map(|wish| DesiredFirmware {
                artifact: wish.artifact,
                image: wish.image,
                patch: wish.patch.map(|patch| patch.artifact),
                generation: wish.generation,
                confirm: wish.confirm,
            }),
        };
        minicbor::to_vec(desired).ok()
    }
}
