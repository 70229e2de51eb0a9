//! Artifacts as they are served: module, firmware or patch, it is all blocks.

use std::path::PathBuf;

use bytes::Bytes;
use rusqlite::{Connection, Error, OptionalExtension};
use wasmbed_wire::{ArtifactId, Digest};

use super::StoreError;

/// Read-only access to artifacts; see [`Store::payloads`](super::Store::payloads).
#[derive(Debug)]
pub struct Payloads {
    db: Connection,
    path: PathBuf,
}

/// One artifact with everything a device asks for.
#[derive(Debug, Clone)]
pub struct Served {
    /// Its id.
    pub id: ArtifactId,
    /// Size of every block but the last, in bytes.
    pub block_bytes: u16,
    /// The signed manifest.
    pub manifest: Bytes,
    /// The payload.
    pub payload: Bytes,
}

impl Payloads {
    pub(super) fn new(db: Connection, path: PathBuf) -> Self {
        Payloads { db, path }
    }

    /// The artifact with this id.
    pub fn artifact(&self, id: &ArtifactId) -> Result<Option<Served>, StoreError> {
        let read = self.db.prepare_cached(
            "SELECT block_bytes, manifest, payload FROM artifacts WHERE id = ?1
             UNION ALL
             SELECT block_bytes, manifest, payload FROM firmware JOIN images USING (digest) WHERE artifact = ?1
             UNION ALL
             SELECT block_bytes, manifest, payload FROM patches WHERE artifact = ?1
             LIMIT 1",
        );
        let found = read.and_then(|mut read| {
            let served = |row: &rusqlite::Row<'_>| {
                Ok(Served {
                    id: *id,
                    block_bytes: row.get(0)?,
                    manifest: row.get::<_, Vec<u8>>(1)?.into(),
                    payload: row.get::<_, Vec<u8>>(2)?.into(),
                })
            };
            read.query_row([id.0], served).optional()
        });
        found.map_err(|source| self.failed(source))
    }

    /// The firmware image with this SHA-256.
    pub fn image(&self, digest: &Digest) -> Result<Option<Bytes>, StoreError> {
        image(&self.db, digest).map_err(|source| self.failed(source))
    }

    fn failed(&self, source: Error) -> StoreError {
        StoreError::Sqlite { path: self.path.clone(), source }
    }
}

pub(super) fn image(db: &Connection, digest: &Digest) -> Result<Option<Bytes>, Error> {
    db.query_row("SELECT payload FROM images WHERE digest = ?1", [digest.0], |row| {
        row.get::<_, Vec<u8>>(0).map(Bytes::from)
    })
    .optional()
}
