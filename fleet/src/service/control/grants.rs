//! Verbs about what modules are granted.

use wasmbed_abi::{Capabilities, Capability};
use wasmbed_wire::{DeviceId, ModuleName};

use super::{Outcome, with};
use crate::{
    api::{Code, GrantChange, GrantList, Granted, Grants, Problem},
    service::{change::Change, fleet::Fleet},
    store::{DeviceRow, NewEvent, Severity},
};

impl Fleet {
    /// Everything a module is granted.
    pub(in crate::service) fn grants_of(&self, module: &ModuleName) -> &Grants {
        self.grants.get(module).unwrap_or(&self.options.grants)
    }

    /// Whether a module is granted what it needs.
    ///
    /// # Errors
    /// If not: what is missing, and how to grant it.
    pub(super) fn check_grants(&self, name: &ModuleName, needs: Capabilities) -> Result<(), Problem> {
        let missing = needs.without(self.grants_of(name).capabilities());
        let missing: Vec<Capability> = missing.beyond_base().collect();
        if missing.is_empty() {
            return Ok(());
        }
        let texts: Vec<&str> = missing.iter().map(|capability| capability.name()).collect();
        let forms: Vec<&str> =
            missing.iter().map(|capability| capability.pattern().unwrap_or(capability.name())).collect();
        Err(Problem::new(
            Code::Refused,
            format!("capability: {name} imports functions of {}; it is not granted that", texts.join(", ")),
        )
        .hint(format!(
            "`wasmbed module grant {name} {}`, or have the module import them from \"wasmbed-optional\"",
            forms.join(" ")
        )))
    }

    pub(super) fn module_grant(&self, change: &GrantChange) -> Result<Outcome, Problem> {
        self.set_grants(change.module, self.grants_of(&change.module).with(&change.grants))
    }

    pub(super) fn module_revoke(&self, change: &GrantChange) -> Result<Outcome, Problem> {
        let granted = self.grants_of(&change.module);
        if let Some(unknown) = granted.lacks(&change.grants).first() {
            return Err(Problem::new(Code::NotFound, format!("{} is not granted {unknown}", change.module))
                .hint(format!("it is granted: {granted}")));
        }
        self.set_grants(change.module, granted.without(&change.grants))
    }

    pub(super) fn grant_list(&self) -> GrantList {
        let granted = |(module, grants): (&ModuleName, &Grants)| Granted {
            module: *module,
            grants: grants.clone(),
            devices: Vec::new(),
        };
        GrantList { default: self.options.grants.clone(), modules: self.grants.iter().map(granted).collect() }
    }

    /// Grants just this from now on, and tells devices that should run the module.
    fn set_grants(&self, module: ModuleName, grants: Grants) -> Result<Outcome, Problem> {
        if grants == *self.grants_of(&module) {
            return with(Granted { module, grants, devices: Vec::new() }, Change::default());
        }
        let reason = format!("{module} is granted: {grants}");
        let event = NewEvent::new(Severity::Info, "module-grants", reason).module(module);
        let mut change =
            Change { grants: Some((module, grants.clone())), events: vec![event], ..Change::default() };
        let mut devices: Vec<DeviceId> = Vec::new();
        for record in self.records.values() {
            if record.modules.values().any(|wanted| wanted.module == module) {
                let revision = record.row.revision + 1;
                change.devices.insert(record.row.id, DeviceRow { revision, ..record.row.clone() });
                devices.push(record.row.id);
            }
        }
        with(Granted { module, grants, devices }, change)
    }
}
