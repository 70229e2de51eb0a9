//! Verbs that set what devices should run.

use std::collections::BTreeMap;

use wasmbed_abi::MAX_KEY_BYTES;
use wasmbed_runtime::Target;
use wasmbed_wire::{ModuleName, message::ModuleState};

use super::{Outcome, internal, with};
use crate::{
    api::{ALLOW, Code, Deploy, Deployed, DeployedDevice, Problem, Undeploy},
    service::{
        change::{Change, Desired},
        fleet::{Fleet, Record},
    },
    store::{ArtifactRow, DeviceRow, ModuleRow, ModuleVersion, NewEvent, Severity},
};

/// Settings of one module on one device, keys and values together, in bytes: a desired state has to fit
/// a small board's receive buffer.
const MAX_SETTINGS_BYTES: usize = 256;

impl Fleet {
    pub(super) fn deploy(&self, deploy: &Deploy) -> Result<Outcome, Problem> {
        check_settings(&deploy.settings)?;
        let module = self.version(deploy)?;
        self.check_grants(&module.name, module.needs)?;
        let instance = deploy.instance.unwrap_or(module.name);
        let mut change = Change::default();
        let mut devices = Vec::new();
        let mut unfit = Vec::new();
        for record in self.select(&deploy.to)? {
            match fitting(&module, instance, record) {
                Ok(artifact) => {
                    let wanted = row(deploy, instance, &module, artifact);
                    devices.push(deploy_to(&mut change, record, wanted));
                }
                Err(why) => unfit.push(format!("{}: {why}", record.row.id)),
            }
        }
        if !unfit.is_empty() {
            return Err(Problem::new(
                Code::Conflict,
                format!(
                    "{} {} cannot run on every selected device\n  {}",
                    module.name,
                    module.version,
                    unfit.join("\n  ")
                ),
            )
            .hint("nothing was deployed; select only devices that can run it (for example class=NAME)"));
        }
        with(Deployed { module: instance, version: Some(module.version), devices }, change)
    }

    pub(super) fn undeploy(&self, undeploy: &Undeploy) -> Result<Outcome, Problem> {
        let mut change = Change::default();
        let mut devices = Vec::new();
        for record in self.select(&undeploy.to)? {
            let id = record.row.id;
            let changed = record.modules.contains_key(&undeploy.module);
            let mut revision = record.row.revision;
            if changed {
                revision += 1;
                change.devices.insert(id, DeviceRow { revision, ..record.row.clone() });
                change.desired.push((id, Desired::Remove(undeploy.module)));
                let event = NewEvent::new(Severity::Info, "undeployed", "it was requested not to run");
                change.events.push(event.device(id).module(undeploy.module));
            }
            devices.push(DeployedDevice { id, revision, changed });
        }
        if devices.iter().all(|device| !device.changed) {
            let wanted_anywhere =
                self.records.values().any(|record| record.modules.contains_key(&undeploy.module));
            if !wanted_anywhere && !self.is_module(&undeploy.module)? {
                return Err(no_such(&undeploy.module));
            }
        }
        with(Deployed { module: undeploy.module, version: None, devices }, change)
    }

    fn is_module(&self, name: &ModuleName) -> Result<bool, Problem> {
        Ok(self.store.modules().map_err(internal)?.iter().any(|module| module.name == *name))
    }

    /// The version that is meant.
    fn version(&self, deploy: &Deploy) -> Result<ModuleVersion, Problem> {
        let mut versions = self.store.modules().map_err(internal)?;
        versions.retain(|module| module.name == deploy.module);
        let known: Vec<String> = versions.iter().map(|module| module.version.clone()).collect();
        if known.is_empty() {
            return Err(no_such(&deploy.module));
        }
        let found = match &deploy.version {
            None => versions.pop(),
            Some(version) => versions.into_iter().find(|module| module.version == *version),
        };
        found.ok_or_else(|| {
            let wanted = deploy.version.as_deref().unwrap_or_default();
            Problem::new(Code::NotFound, format!("there is no version {wanted:?} of {}", deploy.module))
                .hint(format!("versions are: {}", known.join(", ")))
        })
    }
}

fn no_such(name: &ModuleName) -> Problem {
    Problem::new(Code::NotFound, format!("there is no module {:?}", name.as_str()))
        .hint("see `wasmbed module list`, or push it with `wasmbed module push`")
}

/// The artifact for a device, or why there is none.
fn fitting<'m>(
    module: &'m ModuleVersion,
    instance: ModuleName,
    record: &Record,
) -> Result<&'m ArtifactRow, String> {
    let class = record.row.class;
    let runtime = record.row.memory.info.as_ref().map(|info| info.runtime);
    let for_class = || module.artifacts.iter().filter(|artifact| artifact.runs_on(class));
    // A device that has not said what it loads gets what this program makes.
    let wanted = runtime.unwrap_or_else(|| Target::of(class).runtime_id());
    let exact = for_class().find(|artifact| artifact.runtime == wanted);
    let artifact = exact.or_else(|| for_class().next()).ok_or_else(|| {
        let report = module.report.iter().find(|report| report.class == class);
        let why = report.and_then(|report| report.violations.first());
        let why = why.map_or(String::new(), |why| format!(": {}: {}; {}", why.rule, why.found, why.limit));
        format!("class {class} does not admit it{why}")
    })?;
    let Some(info) = &record.row.memory.info else { return Ok(artifact) };
    if info.slots == 0 {
        return Err(format!("board {} has no memory for modules", info.board));
    }
    if artifact.payload_bytes > u64::from(info.slot_bytes) {
        return Err(format!(
            "its artifact has {} bytes, a slot holds {}",
            artifact.payload_bytes, info.slot_bytes
        ));
    }
    let another = |wanted: &&ModuleRow| wanted.name == instance && wanted.module != module.name;
    if let Some(other) = record.modules.values().find(another) {
        return Err(format!("{instance} is an instance of {} there; undeploy it first", other.module));
    }
    let others = record.modules.keys().filter(|name| **name != instance).count();
    if others >= usize::from(info.slots) {
        return Err(format!("all {} slots are taken; undeploy a module first", info.slots));
    }
    Ok(artifact)
}

fn row(deploy: &Deploy, instance: ModuleName, module: &ModuleVersion, artifact: &ArtifactRow) -> ModuleRow {
    ModuleRow {
        name: instance,
        module: module.name,
        version: module.version.clone(),
        artifact: artifact.id,
        settings: deploy.settings.clone(),
        generation: 0,
    }
}

fn deploy_to(change: &mut Change, record: &Record, mut wanted: ModuleRow) -> DeployedDevice {
    let id = record.row.id;
    if is_settled(record, &wanted) {
        return DeployedDevice { id, revision: record.row.revision, changed: false };
    }
    let revision = record.row.revision + 1;
    // Revisions only rise, so this is higher than every generation before.
    wanted.generation = u32::try_from(revision).unwrap_or(u32::MAX);
    let reason = format!("version {} was requested to run", wanted.version);
    let event = NewEvent::new(Severity::Info, "deployed", reason).device(id).module(wanted.name);
    change.events.push(event);
    change.devices.insert(id, DeviceRow { revision, ..record.row.clone() });
    change.desired.push((id, Desired::Put(wanted)));
    DeployedDevice { id, revision, changed: true }
}

/// Whether the device is told to run just this already and has not given up on it: deploying the same
/// again is also how to try again.
fn is_settled(record: &Record, wanted: &ModuleRow) -> bool {
    let Some(current) = record.modules.get(&wanted.name) else { return false };
    let same = ModuleRow { generation: current.generation, ..wanted.clone() } == *current;
    let gave_up = record.row.memory.modules.iter().any(|report| {
        report.name == wanted.name && matches!(report.state, ModuleState::Failed | ModuleState::Refused)
    });
    same && !gave_up
}

fn check_settings(settings: &BTreeMap<String, String>) -> Result<(), Problem> {
    if let Some(key) = settings.keys().find(|key| key.is_empty() || key.len() > MAX_KEY_BYTES) {
        return Err(Problem::new(Code::BadRequest, format!("the setting {key:?} cannot be used"))
            .hint(format!("keys have 1 to {MAX_KEY_BYTES} bytes")));
    }
    if let Some(key) = settings.keys().find(|key| key.starts_with(ALLOW)) {
        return Err(Problem::new(Code::BadRequest, format!("the setting {key:?} cannot be used"))
            .hint(format!("{ALLOW}… are set by `wasmbed module grant`")));
    }
    let bytes: usize = settings.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > MAX_SETTINGS_BYTES {
        return Err(Problem::new(Code::BadRequest, format!("the settings have {bytes} bytes"))
            .hint(format!("at most {MAX_SETTINGS_BYTES} bytes, keys and values together")));
    }
    Ok(())
}
