//! Firmware, the patches between its images, and which firmware devices should run.

use std::collections::BTreeMap;

use bytes::Bytes;
use rusqlite::{Error, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};
use wasmbed_plan::Time;
use wasmbed_wire::{ArtifactId, BoardName, DeviceId, Digest, KeyId, ModuleName};

use super::{
    Store, StoreError, Write,
    devices::{from_json, json, parsed},
    payloads,
};

/// One version of a firmware, without its image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirmwareRow {
    /// Its artifact.
    pub artifact: ArtifactId,
    /// Its name.
    pub name: ModuleName,
    /// Its version.
    pub version: String,
    /// The board it runs on.
    pub board: BoardName,
    /// Its security counter.
    pub counter: u32,
    /// Size of the image, in bytes.
    pub size_bytes: u32,
    /// SHA-256 of the image.
    pub digest: Digest,
    /// Size of every block but the last, in bytes.
    pub block_bytes: u16,
    /// The key that signed it.
    pub key: KeyId,
    /// What is new, for people.
    pub notes: String,
    /// Facts about the build.
    pub build: BTreeMap<String, String>,
    /// How it came.
    pub source: Source,
    /// When it was pushed, in milliseconds of Unix time.
    pub at_ms: u64,
}

/// How a firmware came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// As a file that was signed elsewhere.
    Signed,
    /// As an image, which the service signed.
    Image,
}

/// A firmware about to be stored.
#[derive(Debug, Clone)]
pub struct NewFirmware {
    /// What is listed of it.
    pub row: FirmwareRow,
    /// The signed manifest.
    pub manifest: Bytes,
    /// The image.
    pub payload: Bytes,
}

/// A patch between two images, without its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PatchRow {
    /// Its artifact.
    pub artifact: ArtifactId,
    /// SHA-256 of the image it is applied to.
    pub base: Digest,
    /// SHA-256 of the image it makes.
    pub image: Digest,
    /// The key that signed it.
    pub key: KeyId,
    /// Its size, in bytes.
    pub size_bytes: u32,
}

/// A patch about to be stored.
#[derive(Debug, Clone)]
pub struct NewPatch {
    /// What is known of it.
    pub row: PatchRow,
    /// Size of every block but the last, in bytes.
    pub block_bytes: u16,
    /// The signed manifest.
    pub manifest: Bytes,
    /// The patch.
    pub payload: Bytes,
}

/// The firmware a device should run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirmwareWish {
    /// Its name.
    pub name: ModuleName,
    /// Its version.
    pub version: String,
    /// Its artifact.
    pub artifact: ArtifactId,
    /// SHA-256 of its image.
    pub image: Digest,
    /// Size of its image, in bytes.
    pub size_bytes: u32,
    /// A patch that makes it of what the device runs.
    pub patch: Option<PatchRow>,
    /// Rises whenever it should be tried again.
    pub generation: u32,
    /// The connect from which on the fleet has seen it running.
    pub confirm: Option<u32>,
}

impl FirmwareWish {
    /// What is sent for it, in bytes.
    pub fn transfer_bytes(&self) -> u32 {
        self.patch.map_or(self.size_bytes, |patch| patch.size_bytes)
    }
}

impl Store {
    /// Every version of every firmware, by name and time of upload.
    pub fn firmware(&self) -> Result<Vec<FirmwareRow>, StoreError> {
        self.read(|db| {
            db.prepare_cached("SELECT * FROM firmware ORDER BY name, at_ms, rowid")?
                .query_map([], firmware_row)?
                .collect()
        })
    }

    /// The signed manifest and the image of a firmware.
    pub fn firmware_file(&self, artifact: &ArtifactId) -> Result<Option<(Bytes, Bytes)>, StoreError> {
        self.read(|db| {
            let found = db
                .query_row("SELECT manifest, digest FROM firmware WHERE artifact = ?1", [artifact.0], |row| {
                    Ok((row.get::<_, Vec<u8>>(0)?, Digest(row.get(1)?)))
                })
                .optional()?;
            let Some((manifest, digest)) = found else { return Ok(None) };
            Ok(payloads::image(db, &digest)?.map(|image| (manifest.into(), image)))
        })
    }

    /// The patch from one image to another that this key signed.
    pub fn patch(&self, base: &Digest, image: &Digest, key: &KeyId) -> Result<Option<PatchRow>, StoreError> {
        self.read(|db| {
            db.query_row(
                "SELECT artifact, base, image, key, length(payload) FROM patches
                 WHERE base = ?1 AND image = ?2 AND key = ?3",
                [&base.0[..], &image.0[..], &key.0[..]],
                |row| patch_row(row, 0),
            )
            .optional()
        })
    }

    /// The firmware every device should run.
    pub fn desired_firmware(&self) -> Result<Vec<(DeviceId, FirmwareWish)>, StoreError> {
        self.read(|db| {
            db.prepare_cached(
                "SELECT device, firmware.name, firmware.version, desired.artifact, firmware.digest,
                        firmware.size_bytes, generation, confirm, patches.artifact, patches.base, patches.image,
                        patches.key, length(patches.payload)
                 FROM desired_firmware AS desired
                 JOIN firmware ON firmware.artifact = desired.artifact
                 LEFT JOIN patches ON patches.artifact = desired.patch
                 ORDER BY device",
            )?
            .query_map([], |row| Ok((parsed(row, "device")?, wish_row(row)?)))?
            .collect()
        })
    }
}

impl Write<'_> {
    /// Stores a firmware; its image only if no other version has the same.
    pub fn put_firmware(&self, now: Time, firmware: &NewFirmware) -> Result<(), Error> {
        let FirmwareRow {
            artifact,
            name,
            version,
            board,
            counter,
            size_bytes,
            digest,
            block_bytes,
            key,
            notes,
            build,
            source,
            at_ms: _,
        } = &firmware.row;
        self.tx.execute(
            "INSERT OR IGNORE INTO images (digest, payload) VALUES (?1, ?2)",
            params![digest.0, &firmware.payload[..]],
        )?;
        self.tx.execute(
            "INSERT INTO firmware (artifact, name, version, board, counter, size_bytes, digest, block_bytes,
                                   key, notes, build, source, manifest, at_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
            params![
                artifact.0,
                name.as_str(),
                version,
                board.as_str(),
                counter,
                size_bytes,
                digest.0,
                block_bytes,
                key.0,
                notes,
                json(build)?,
                json(source)?,
                &firmware.manifest[..],
                now.0,
            ],
        )?;
        Ok(())
    }

    /// Forgets a firmware, and its image and patches if no other version has the same; refused by the data
    /// base while a device should run it.
    pub fn remove_firmware(&self, artifact: &ArtifactId) -> Result<(), Error> {
        self.tx.execute("DELETE FROM firmware WHERE artifact = ?1", [artifact.0])?;
        // Patches go with either of their images.
        self.tx.execute("DELETE FROM images WHERE digest NOT IN (SELECT digest FROM firmware)", [])?;
        Ok(())
    }

    /// Stores a patch between two stored images; one that is there already stays.
    pub fn put_patch(&self, patch: &NewPatch) -> Result<(), Error> {
        let PatchRow { artifact, base, image, key, .. } = &patch.row;
        self.tx.execute(
            "INSERT OR IGNORE INTO patches (artifact, base, image, key, block_bytes, manifest, payload)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                artifact.0,
                base.0,
                image.0,
                key.0,
                patch.block_bytes,
                &patch.manifest[..],
                &patch.payload[..]
            ],
        )?;
        Ok(())
    }

    /// Sets the firmware a device should run.
    pub fn put_desired_firmware(&self, device: &DeviceId, wish: &FirmwareWish) -> Result<(), Error> {
        self.tx
            .prepare_cached(
                "INSERT OR REPLACE INTO desired_firmware (device, artifact, patch, generation, confirm)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                device.as_str(),
                wish.artifact.0,
                wish.patch.map(|patch| patch.artifact.0),
                wish.generation,
                wish.confirm,
            ])?;
        Ok(())
    }

    /// A device may run whatever it runs.
    pub fn remove_desired_firmware(&self, device: &DeviceId) -> Result<(), Error> {
        self.tx.execute("DELETE FROM desired_firmware WHERE device = ?1", [device.as_str()])?;
        Ok(())
    }
}

fn firmware_row(row: &Row<'_>) -> Result<FirmwareRow, Error> {
    Ok(FirmwareRow {
        artifact: ArtifactId(row.get("artifact")?),
        name: parsed(row, "name")?,
        version: row.get("version")?,
        board: parsed(row, "board")?,
        counter: row.get("counter")?,
        size_bytes: row.get("size_bytes")?,
        digest: Digest(row.get("digest")?),
        block_bytes: row.get("block_bytes")?,
        key: KeyId(row.get("key")?),
        notes: row.get("notes")?,
        build: from_json(row, "build")?,
        source: from_json(row, "source")?,
        at_ms: row.get("at_ms")?,
    })
}

/// A patch whose columns begin at `first`.
fn patch_row(row: &Row<'_>, first: usize) -> Result<PatchRow, Error> {
    Ok(PatchRow {
        artifact: ArtifactId(row.get(first)?),
        base: Digest(row.get(first + 1)?),
        image: Digest(row.get(first + 2)?),
        key: KeyId(row.get(first + 3)?),
        size_bytes: row.get(first + 4)?,
    })
}

fn wish_row(row: &Row<'_>) -> Result<FirmwareWish, Error> {
    const PATCH: usize = 8;
    let has_patch = row.get::<_, Option<Vec<u8>>>(PATCH)?.is_some();
    Ok(FirmwareWish {
        name: parsed(row, "name")?,
        version: row.get("version")?,
        artifact: ArtifactId(row.get(3)?),
        image: Digest(row.get(4)?),
        size_bytes: row.get("size_bytes")?,
        patch: has_patch.then(|| patch_row(row, PATCH)).transpose()?,
        generation: row.get("generation")?,
        confirm: row.get("confirm")?,
    })
}
