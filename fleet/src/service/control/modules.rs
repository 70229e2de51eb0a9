//! Verbs about modules, and uploads.

use bytes::Bytes;
use serde_json::json;
use wasmbed_abi::Capabilities;
use wasmbed_plan::Time;
use wasmbed_runtime::Target;
use wasmbed_wire::{DeviceId, Digest, ModuleName, limits::Class};

use super::{Outcome, internal, with};
use crate::{
    api::{self, Answer, Code, ModuleRemove, Problem},
    service::{
        change::{Change, Desired},
        fleet::{Fleet, Record},
        uploads::Built,
    },
    store::{
        ArtifactRow, DeviceRow, ModuleRow, ModuleVersion, NewEvent, NewModule, Severity, StoreError,
        StoredArtifact,
    },
};

impl Fleet {
    pub(super) fn module_list(&self) -> Result<Vec<api::Module>, Problem> {
        let versions = self.store.modules().map_err(internal)?;
        Ok(versions.into_iter().map(|module| self.module(module)).collect())
    }

    pub(super) fn module_remove(&self, remove: &ModuleRemove) -> Result<Outcome, Problem> {
        let ModuleRemove { module: name, version } = remove;
        let Some(found) = self.find(name, version)? else {
            return Err(Problem::new(Code::NotFound, format!("there is no version {version:?} of {name}"))
                .hint("see `wasmbed module list`"));
        };
        let users = self.users(&found);
        if !users.is_empty() {
            let users: Vec<&str> = users.iter().map(|id| id.as_str()).collect();
            return Err(Problem::new(
                Code::Conflict,
                format!("{name} {version} should run on: {}", users.join(", ")),
            )
            .hint(format!("undeploy it first: `wasmbed undeploy {name} --to {}`", users.join(","))));
        }
        let event = NewEvent::new(Severity::Info, "module-deleted", format!("version {version}"));
        let change = Change {
            removed_module: Some((*name, version.clone())),
            events: vec![event.module(*name)],
            ..Change::default()
        };
        with(json!({ "removed": { "module": name, "version": version } }), change)
    }

    /// What an upload of this file comes to without building anything: the module if it is here
    /// already, a problem if the version is taken, nothing if it is new.
    fn uploaded(
        &self,
        name: &ModuleName,
        version: &str,
        digest: &Digest,
    ) -> Result<Option<api::Module>, Problem> {
        match self.find(name, version)? {
            None => Ok(None),
            Some(found) if found.digest == *digest => Ok(Some(self.module(found))),
            Some(_) => Err(Problem::new(
                Code::Conflict,
                format!("{name} {version} exists with other contents; a version never changes"),
            )
            .hint("push under a new version")),
        }
    }

    /// Stores what was built of an upload, and answers it.
    pub fn on_built(&mut self, now: Time, built: Result<Built, Problem>) -> Answer {
        fn shown(stored: Result<impl serde::Serialize, Problem>) -> Result<serde_json::Value, Problem> {
            serde_json::to_value(stored?).map_err(|error| Problem::new(Code::Internal, error.to_string()))
        }
        let stored = match built {
            Ok(Built::Module(module)) => shown(self.store_module(now, module)),
            Ok(Built::Firmware(firmware)) => shown(self.store_firmware(now, firmware)),
            Err(problem) => Err(problem),
        };
        self.on_tick(now);
        Answer::new(None, stored)
    }

    fn store_module(&mut self, now: Time, module: NewModule) -> Result<api::Module, Problem> {
        let (name, version, digest) = (module.name, module.version.clone(), module.digest);
        if let Some(found) = self.uploaded(&name, &version, &digest)? {
            return self.add_artifacts(now, found, module);
        }
        self.check_grants(&name, module.needs)?;
        let admitted: Vec<&str> =
            module.report.iter().filter(|report| report.admitted).map(|report| report.class.name()).collect();
        let reason = format!("version {version} for {}", admitted.join(", "));
        let event = NewEvent::new(Severity::Info, "module-pushed", reason).module(name);
        let change = Change { module: Some(module), events: vec![event], ..Change::default() };
        self.commit(now, change).map_err(internal)?;
        self.uploaded(&name, &version, &digest)?
            .ok_or_else(|| Problem::new(Code::Internal, "the module was stored but cannot be found"))
    }

    /// The same file again: what was made of it is new only after the runtime changed.
    fn add_artifacts(
        &mut self,
        now: Time,
        found: api::Module,
        module: NewModule,
    ) -> Result<api::Module, Problem> {
        let is_new = |artifact: &StoredArtifact| found.artifacts.iter().all(|known| known.id != artifact.id);
        let (name, version) = (module.name, module.version.clone());
        if !module.artifacts.iter().any(is_new) {
            return Ok(found);
        }
        let reason = format!("version {version} for this program's runtime");
        let event = NewEvent::new(Severity::Info, "module-rebuilt", reason).module(name);
        self.commit(now, Change { rebuilt: Some(module), events: vec![event], ..Change::default() })
            .map_err(internal)?;
        for id in found.devices {
            self.follow_runtime(now, &id);
        }
        let updated = self.find(&name, &version)?.map(|module| self.module(module));
        updated.ok_or_else(|| Problem::new(Code::Internal, "the module was stored but cannot be found"))
    }

    /// Gives a device the artifacts for the runtime it has, where it should run others.
    pub(in crate::service) fn follow_runtime(&mut self, now: Time, id: &DeviceId) {
        let Some(record) = self.records.get(id) else { return };
        let Some(runtime) = record.row.memory.info.as_ref().map(|info| info.runtime) else { return };
        let versions = match self.store.modules() {
            Ok(versions) => versions,
            Err(error) => return drop(internal(error)),
        };
        let mut change = Change::default();
        let revision = record.row.revision + 1;
        for wanted in record.modules.values() {
            let is_meant =
                |module: &&ModuleVersion| module.name == wanted.module && module.version == wanted.version;
            let Some(module) = versions.iter().find(is_meant) else { continue };
            let fits =
                |artifact: &&ArtifactRow| artifact.runtime == runtime && artifact.runs_on(record.row.class);
            if let Some(artifact) = module.artifacts.iter().find(fits)
                && artifact.id != wanted.artifact
            {
                let generation = u32::try_from(revision).unwrap_or(u32::MAX);
                let wanted = ModuleRow { artifact: artifact.id, generation, ..wanted.clone() };
                change.desired.push((*id, Desired::Put(wanted)));
            }
        }
        if !change.desired.is_empty() {
            change.devices.insert(*id, DeviceRow { revision, ..record.row.clone() });
            self.commit_or_log(now, change);
        }
    }

    /// Files of modules that have no artifacts for this program's runtime.
    pub(in crate::service) fn outdated(&self) -> Result<Vec<(ModuleName, String, Bytes)>, StoreError> {
        let mut files = Vec::new();
        for module in self.store.modules()? {
            let admitted = module.report.iter().filter(|report| report.admitted);
            let mut wanted = admitted.map(|report| Target::of(report.class).runtime_id());
            let lacks = |id| module.artifacts.iter().all(|artifact| artifact.runtime != id);
            if wanted.any(lacks)
                && let Some(file) = self.store.wasm(&module.name, &module.version)?
            {
                files.push((module.name, module.version, file));
            }
        }
        Ok(files)
    }

    fn find(&self, name: &ModuleName, version: &str) -> Result<Option<ModuleVersion>, Problem> {
        let mut versions = self.store.modules().map_err(internal)?;
        versions.retain(|module| module.name == *name && module.version == version);
        Ok(versions.pop())
    }

    fn module(&self, module: ModuleVersion) -> api::Module {
        let devices = self.users(&module);
        let artifacts = module
            .artifacts
            .iter()
            .map(|artifact| api::Artifact {
                id: artifact.id,
                classes: Class::ALL.into_iter().filter(|class| artifact.runs_on(*class)).collect(),
                runtime: artifact.runtime,
                payload_bytes: artifact.payload_bytes,
            })
            .collect();
        api::Module {
            name: module.name,
            version: module.version,
            digest: module.digest,
            wasm_bytes: module.wasm_bytes,
            pushed_ms: module.at_ms,
            classes: module.report,
            needs: beyond_base(module.needs),
            uses: beyond_base(module.uses),
            artifacts,
            devices,
        }
    }

    /// Devices that should run this version.
    fn users(&self, module: &ModuleVersion) -> Vec<DeviceId> {
        let is_it = |wanted: &ModuleRow| wanted.module == module.name && wanted.version == module.version;
        let uses = |record: &&Record| record.modules.values().any(is_it);
        self.records.values().filter(uses).map(|record| record.row.id).collect()
    }
}

/// What must be granted, by name.
fn beyond_base(capabilities: Capabilities) -> Vec<String> {
    capabilities.beyond_base().map(|capability| capability.to_string()).collect()
}
