//! Answers already given, so that a request sent twice is carried out once.

use rusqlite::{Error, OptionalExtension, params};
use wasmbed_plan::Time;
use wasmbed_wire::Digest;

use super::{Store, StoreError, Write};

/// How long an answer is remembered, in milliseconds.
const KEPT_MS: u64 = 24 * 3600 * 1000;

impl Store {
    /// What was answered to the request with this id, and the digest of that request.
    pub fn answer(&self, id: &str) -> Result<Option<(Digest, String)>, StoreError> {
        self.read(|db| {
            db.query_row("SELECT digest, answer FROM requests WHERE id = ?1", [id], |row| {
                Ok((Digest(row.get(0)?), row.get(1)?))
            })
            .optional()
        })
    }
}

impl Write<'_> {
    /// Remembers an answer, and forgets those that are too old to be asked for again.
    pub fn put_answer(&self, now: Time, id: &str, digest: &Digest, answer: &str) -> Result<(), Error> {
        self.tx.execute("DELETE FROM requests WHERE at_ms < ?1", [now.0.saturating_sub(KEPT_MS)])?;
        self.tx.execute(
            "INSERT OR REPLACE INTO requests (id, digest, answer, at_ms) VALUES (?1, ?2, ?3, ?4)",
            params![id, digest.0, answer, now.0],
        )?;
        Ok(())
    }
}
