//! Verbs about the registry of firmware, and uploads to it.

use serde_json::json;
use sha2::{Digest as _, Sha256};
use wasmbed_plan::Time;
use wasmbed_wire::{DeviceId, Digest, ModuleName, keyring::Role, manifest::Manifest};

use super::{Outcome, internal, with};
use crate::{
    api::{self, Code, FirmwareNamed, FirmwareRemove, FirmwareVerified, Problem},
    artifacts::{Trust, Untrusted, refuse_firmware, violation},
    service::{change::Change, fleet::Fleet, fleet::Record},
    store::{FirmwareRow, NewEvent, NewFirmware, Severity, Source},
};

impl Fleet {
    pub(super) fn firmware_list(&self, now: Time) -> Result<Vec<api::Firmware>, Problem> {
        let all = self.store.firmware().map_err(internal)?;
        let trust = self.trust(now);
        Ok(all.iter().map(|row| self.firmware(&trust, &all, row)).collect())
    }

    pub(super) fn firmware_show(&self, now: Time, named: &FirmwareNamed) -> Result<api::Firmware, Problem> {
        let row = self.named(&named.firmware, named.version.as_deref())?;
        let all = self.store.firmware().map_err(internal)?;
        Ok(self.firmware(&self.trust(now), &all, &row))
    }

    pub(super) fn firmware_verify(
        &self,
        now: Time,
        named: &FirmwareNamed,
    ) -> Result<FirmwareVerified, Problem> {
        let row = self.named(&named.firmware, named.version.as_deref())?;
        let stored = self.store.firmware_file(&row.artifact).map_err(internal)?;
        let (manifest, image) = stored.ok_or_else(|| {
            Problem::new(Code::Internal, "the firmware is listed but its image is not there")
        })?;
        let sha256 = Digest(Sha256::digest(&image).into());
        let problem = match self.trust(now).verify(Role::Firmware, &manifest) {
            Err(error) => Some(error.to_string()),
            Ok((_, signed)) => mismatch(signed, &row, &sha256, image.len()),
        };
        Ok(FirmwareVerified {
            firmware: row.name,
            version: row.version,
            sha256,
            size_bytes: u32::try_from(image.len()).unwrap_or(u32::MAX),
            key: row.key,
            key_name: self.key_name(row.key).cloned(),
            ok: problem.is_none(),
            problem,
        })
    }

    pub(super) fn firmware_remove(&self, remove: &FirmwareRemove) -> Result<Outcome, Problem> {
        let FirmwareRemove { firmware: name, version } = remove;
        let row = self.named(name, Some(version))?;
        let all = self.store.firmware().map_err(internal)?;
        let is_last = all.iter().filter(|other| other.digest == row.digest).count() == 1;
        let uses = |record: &&Record| {
            record.firmware.as_ref().is_some_and(|wish| {
                let is_base = wish.patch.is_some_and(|patch| patch.base == row.digest);
                wish.artifact == row.artifact || (is_last && is_base)
            })
        };
        let users: Vec<&str> =
            self.records.values().filter(uses).map(|record| record.row.id.as_str()).collect();
        if !users.is_empty() {
            return Err(Problem::new(
                Code::Conflict,
                format!("{name} {version} should run on, or is being patched on: {}", users.join(", ")),
            )
            .hint("deploy another version there first, or `wasmbed firmware cancel`"));
        }
        let mut rolled = self.rollouts.iter().filter(|(_, live)| live.needs(&row, is_last));
        if let Some((number, _)) = rolled.next() {
            return Err(Problem::new(
                Code::Conflict,
                format!("rollout {number} brings {name} {version} to devices, or may bring them back to it"),
            )
            .hint(format!("end it first with `wasmbed rollout cancel {number}`")));
        }
        let event = NewEvent::new(Severity::Info, "firmware-deleted", format!("version {version}"));
        let change = Change {
            removed_firmware: Some(row.artifact),
            events: vec![event.firmware(*name)],
            ..Change::default()
        };
        with(json!({ "removed": { "firmware": name, "version": version } }), change)
    }

    /// Stores an admitted firmware if a trusted key signed it.
    pub(super) fn store_firmware(&mut self, now: Time, new: NewFirmware) -> Result<api::Firmware, Problem> {
        let trust = self.trust(now);
        let verified = trust.verify(Role::Firmware, &new.manifest);
        verified.map_err(|error| refusal(&error, new.row.source))?;
        let all = self.store.firmware().map_err(internal)?;
        let known = all.iter().find(|row| row.name == new.row.name && row.version == new.row.version);
        if let Some(known) = known {
            if known.artifact == new.row.artifact && known.key == new.row.key {
                return Ok(self.firmware(&trust, &all, known));
            }
            return Err(Problem::new(
                Code::Conflict,
                format!(
                    "{} {} exists with other contents (SHA-256 {}, signed by {}); a version never changes",
                    known.name, known.version, known.digest, known.key
                ),
            )
            .hint("push under a new version"));
        }
        let row = FirmwareRow { at_ms: now.0, ..new.row.clone() };
        let warnings = warnings(&trust, &all, &row);
        let severity = if warnings.is_empty() { Severity::Info } else { Severity::Warning };
        let mut reason = format!("version {} for {}, SHA-256 {}", row.version, row.board, row.digest);
        warnings.iter().for_each(|warning| reason.push_str(&format!("; {warning}")));
        let event = NewEvent::new(severity, "firmware-pushed", reason).firmware(row.name);
        let change = Change { firmware: Some(new), events: vec![event], ..Change::default() };
        self.commit(now, change).map_err(internal)?;
        // Whoever pushes deploys next, and does not want to wait for them.
        self.forget_useless(&row.digest);
        let ids: Vec<DeviceId> = self.records.keys().copied().collect();
        self.order_patches(now, &row, &ids);
        Ok(self.firmware(&trust, &all, &row))
    }

    /// One version, the last one pushed if none is said.
    pub(in crate::service) fn named(
        &self,
        name: &ModuleName,
        version: Option<&str>,
    ) -> Result<FirmwareRow, Problem> {
        let mut versions = self.store.firmware().map_err(internal)?;
        versions.retain(|row| row.name == *name);
        let known: Vec<String> = versions.iter().map(|row| row.version.clone()).collect();
        if known.is_empty() {
            return Err(Problem::new(Code::NotFound, format!("there is no firmware {:?}", name.as_str()))
                .hint("see `wasmbed firmware list`, or push it with `wasmbed firmware push`"));
        }
        let found = match version {
            None => versions.pop(),
            Some(version) => versions.into_iter().find(|row| row.version == version),
        };
        found.ok_or_else(|| {
            let wanted = version.unwrap_or_default();
            Problem::new(Code::NotFound, format!("there is no version {wanted:?} of {name}"))
                .hint(format!("versions are: {}", known.join(", ")))
        })
    }

    /// A version as it is shown.
    fn firmware(&self, trust: &Trust, all: &[FirmwareRow], row: &FirmwareRow) -> api::Firmware {
        let ids = |is_meant: &dyn Fn(&Record) -> bool| -> Vec<DeviceId> {
            self.records.values().filter(|record| is_meant(record)).map(|record| record.row.id).collect()
        };
        api::Firmware {
            name: row.name,
            version: row.version.clone(),
            board: row.board,
            counter: row.counter,
            size_bytes: row.size_bytes,
            digest: row.digest,
            artifact: row.artifact,
            key: row.key,
            key_name: self.key_name(row.key).cloned(),
            source: row.source,
            notes: row.notes.clone(),
            build: row.build.clone(),
            pushed_ms: row.at_ms,
            devices: ids(&|record| {
                record.firmware.as_ref().is_some_and(|wish| wish.artifact == row.artifact)
            }),
            running: ids(&|record| {
                record.firmware_slots().and_then(|slots| slots.running) == Some(row.digest)
            }),
            warnings: warnings(trust, all, row),
        }
    }
}

/// What may be in the way of deploying a version.
fn warnings(trust: &Trust, all: &[FirmwareRow], row: &FirmwareRow) -> Vec<String> {
    let mut warnings = Vec::new();
    let same = all.iter().filter(|other| other.name == row.name && other.board == row.board);
    if let Some(highest) = same.max_by_key(|other| other.counter).filter(|other| other.counter > row.counter)
    {
        warnings.push(format!(
            "its security counter {} is below {} of version {}: devices that confirmed that refuse it",
            row.counter, highest.counter, highest.version
        ));
    }
    if let Err(error) = trust.permits(Role::Firmware, row.key) {
        warnings.push(format!("devices refuse it: {error}"));
    }
    warnings
}

/// How a stored firmware differs from its manifest.
fn mismatch(signed: &[u8], row: &FirmwareRow, sha256: &Digest, size: usize) -> Option<String> {
    let Ok(manifest) = minicbor::decode::<Manifest<'_>>(signed) else {
        return Some("its manifest cannot be read".to_owned());
    };
    if manifest.name != row.name || manifest.version != row.version || manifest.board != Some(row.board) {
        return Some(format!("its manifest is that of {} {}", manifest.name, manifest.version));
    }
    (manifest.digest != *sha256 || manifest.size as usize != size).then(|| {
        format!(
            "the stored image has {size} bytes and SHA-256 {sha256}; {} bytes and {} were signed",
            manifest.size, manifest.digest
        )
    })
}

fn refusal(error: &Untrusted, source: Source) -> Problem {
    let (rule, limit) = match error {
        Untrusted::Malformed | Untrusted::Forged(_) => ("signature", "a trusted key must have signed it"),
        Untrusted::UnknownKey(_) => ("key", "sign it with a trusted key, see `wasmbed keys list`"),
        Untrusted::WrongRole { .. } => ("role", "sign it with a key that has the role firmware"),
        Untrusted::Expired { .. } => ("expired", "sign it with a key that is still good"),
    };
    let problem = refuse_firmware(violation(rule, error.to_string(), limit));
    match source {
        Source::Signed => problem,
        Source::Image => problem.hint(
            "the service may not sign firmware here; sign the image with `wasmbed firmware sign` and push the \
             signed file",
        ),
    }
}
