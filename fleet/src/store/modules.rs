//! Modules as uploaded, and the artifacts made of them.

use bytes::Bytes;
use rusqlite::{Connection, Error, OptionalExtension, params};
use wasmbed_abi::Capabilities;
use wasmbed_plan::Time;
use wasmbed_wire::{ArtifactId, Digest, ModuleName, RuntimeId, limits::Class};

use super::{
    Store, StoreError, Write,
    devices::{from_json, json, parsed},
};
use crate::api;

/// One version of a module.
#[derive(Debug, Clone, PartialEq)]
pub struct ModuleVersion {
    /// Its name.
    pub name: ModuleName,
    /// Its version.
    pub version: String,
    /// SHA-256 of the uploaded file.
    pub digest: Digest,
    /// Size of the uploaded file, in bytes.
    pub wasm_bytes: u64,
    /// What each class says to it.
    pub report: Vec<api::ClassReport>,
    /// What it must be granted.
    pub needs: Capabilities,
    /// What it has a use for, with what it needs.
    pub uses: Capabilities,
    /// When it was uploaded, in milliseconds of Unix time.
    pub at_ms: u64,
    /// What was made of it.
    pub artifacts: Vec<ArtifactRow>,
}

/// One artifact without its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactRow {
    /// Its id.
    pub id: ArtifactId,
    /// Classes it may run on, as the manifest's bits.
    pub classes: u8,
    /// The runtime it was made for.
    pub runtime: RuntimeId,
    /// Size of its payload, in bytes.
    pub payload_bytes: u64,
}

impl ArtifactRow {
    /// Whether it may run on this class.
    pub const fn runs_on(&self, class: Class) -> bool {
        self.classes & 1 << class as u8 != 0
    }
}

/// One artifact of a module, with its bytes.
#[derive(Debug, Clone)]
pub struct StoredArtifact {
    /// Its id.
    pub id: ArtifactId,
    /// Classes it may run on, as the manifest's bits.
    pub classes: u8,
    /// The runtime it was made for.
    pub runtime: RuntimeId,
    /// Size of every block but the last, in bytes.
    pub block_bytes: u16,
    /// The signed manifest.
    pub manifest: Bytes,
    /// The payload.
    pub payload: Bytes,
}

/// A module about to be stored.
#[derive(Debug, Clone)]
pub struct NewModule {
    /// Its name.
    pub name: ModuleName,
    /// Its version.
    pub version: String,
    /// SHA-256 of the file.
    pub digest: Digest,
    /// The file.
    pub wasm: Bytes,
    /// What each class says to it.
    pub report: Vec<api::ClassReport>,
    /// What it must be granted.
    pub needs: Capabilities,
    /// What it has a use for, with what it needs.
    pub uses: Capabilities,
    /// What was made of it.
    pub artifacts: Vec<StoredArtifact>,
}

impl Store {
    /// Every version of every module, by name and time of upload.
    pub fn modules(&self) -> Result<Vec<ModuleVersion>, StoreError> {
        self.read(|db| {
            let mut modules: Vec<ModuleVersion> = db
                .prepare_cached(
                    "SELECT name, version, digest, length(wasm) AS size, report, needs, uses, at_ms
                     FROM modules ORDER BY name, at_ms, rowid",
                )?
                .query_map([], |row| {
                    Ok(ModuleVersion {
                        name: parsed(row, "name")?,
                        version: row.get("version")?,
                        digest: Digest(row.get("digest")?),
                        wasm_bytes: row.get("size")?,
                        report: from_json(row, "report")?,
                        needs: Capabilities::from_bits(row.get("needs")?),
                        uses: Capabilities::from_bits(row.get("uses")?),
                        at_ms: row.get("at_ms")?,
                        artifacts: Vec::new(),
                    })
                })?
                .collect::<Result<_, _>>()?;
            for module in &mut modules {
                module.artifacts = artifacts(db, module)?;
            }
            Ok(modules)
        })
    }

    /// The uploaded file of one version.
    pub fn wasm(&self, name: &ModuleName, version: &str) -> Result<Option<Bytes>, StoreError> {
        self.read(|db| {
            db.query_row(
                "SELECT wasm FROM modules WHERE name = ?1 AND version = ?2",
                [name.as_str(), version],
                |row| row.get::<_, Vec<u8>>(0).map(Bytes::from),
            )
            .optional()
        })
    }
}

fn artifacts(db: &Connection, module: &ModuleVersion) -> Result<Vec<ArtifactRow>, Error> {
    db.prepare_cached(
        "SELECT id, classes, runtime, length(payload) AS size FROM artifacts
         WHERE name = ?1 AND version = ?2 ORDER BY classes",
    )?
    .query_map([module.name.as_str(), &module.version], |row| {
        Ok(ArtifactRow {
            id: ArtifactId(row.get("id")?),
            classes: row.get("classes")?,
            runtime: RuntimeId(row.get("runtime")?),
            payload_bytes: row.get("size")?,
        })
    })?
    .collect()
}

impl Write<'_> {
    /// Stores a module and its artifacts.
    pub fn put_module(&self, now: Time, module: &NewModule) -> Result<(), Error> {
        self.tx.execute(
            "INSERT INTO modules (name, version, digest, wasm, report, needs, uses, at_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                module.name.as_str(),
                module.version,
                module.digest.0,
                &module.wasm[..],
                json(&module.report)?,
                module.needs.bits(),
                module.uses.bits(),
                now.0,
            ],
        )?;
        for artifact in &module.artifacts {
            self.put_artifact(&module.name, &module.version, artifact)?;
        }
        Ok(())
    }

    /// Stores what was made anew of a stored module; artifacts that are there already stay.
    pub fn put_rebuilt(&self, module: &NewModule) -> Result<(), Error> {
        self.tx.execute(
            "UPDATE modules SET report = ?3, needs = ?4, uses = ?5 WHERE name = ?1 AND version = ?2",
            params![
                module.name.as_str(),
                module.version,
                json(&module.report)?,
                module.needs.bits(),
                module.uses.bits(),
            ],
        )?;
        for artifact in &module.artifacts {
            self.put_artifact(&module.name, &module.version, artifact)?;
        }
        Ok(())
    }

    fn put_artifact(&self, name: &ModuleName, version: &str, artifact: &StoredArtifact) -> Result<(), Error> {
        self.tx.execute(
            "INSERT OR IGNORE INTO artifacts
             (id, name, version, classes, runtime, block_bytes, manifest, payload)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                artifact.id.0,
                name.as_str(),
                version,
                artifact.classes,
                artifact.runtime.0,
                artifact.block_bytes,
                &artifact.manifest[..],
                &artifact.payload[..],
            ],
        )?;
        Ok(())
    }

    /// Forgets a version and its artifacts; refused by the data base while a device should run it.
    pub fn remove_module(&self, name: &ModuleName, version: &str) -> Result<(), Error> {
        self.tx.execute("DELETE FROM modules WHERE name = ?1 AND version = ?2", [name.as_str(), version])?;
        Ok(())
    }
}
