//! The fleet's memory: one SQLite file. The broker may forget everything; this may not.
//!
//! Every write is one transaction that is durable when the method returns, so that whatever the
//! service says or publishes afterwards survives its death at any instant. One thread owns a [`Store`];
//! [`Payloads`] is a second, read-only way to artifacts for whoever serves blocks.
//!
//! Not here: what the rows mean for devices (`service`), and live facts such as heartbeats, which are
//! heard again soon enough.

mod devices;
mod events;
mod firmware;
mod grants;
mod keys;
mod modules;
mod payloads;
mod requests;
mod rollouts;
mod schema;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior};

pub use devices::{DeviceRow, Memory, ModuleRow, Told};
pub use events::{Event, EventFilter, NewEvent, Severity};
pub use firmware::{FirmwareRow, FirmwareWish, NewFirmware, NewPatch, PatchRow, Source};
pub use keys::{KeyName, KeyRow, KeyringRow};
pub use modules::{ArtifactRow, ModuleVersion, NewModule, StoredArtifact};
pub use payloads::{Payloads, Served};
pub use rollouts::RolloutRow;

/// How long a statement waits for another connection's lock.
const BUSY: Duration = Duration::from_secs(10);

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite failed.
    #[error("the fleet's data base {path} failed")]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// The file was written by a newer version of this program.
    #[error(
        "the data base {path} has schema version {found}, this program knows versions up to {known}; \
         use the newer program that wrote it, or another data directory"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest known version.
        known: u32,
    },
    /// The folder of the file could not be made.
    #[error("cannot create the data directory {path}")]
    Directory {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// The store; see the module's documentation.
#[derive(Debug)]
pub struct Store {
    db: Connection,
    path: PathBuf,
}

impl Store {
    /// Opens the store at `path`, creating or migrating it as needed.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)
                .map_err(|source| StoreError::Directory { path: folder.to_owned(), source })?;
        }
        let failed = |source| StoreError::Sqlite { path: path.to_owned(), source };
        let mut db = Connection::open(path).map_err(failed)?;
        db.busy_timeout(BUSY).map_err(failed)?;
        db.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
        // Durable also across a power cut: writes are rare, answers promise that they happened.
        db.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
        db.pragma_update(None, "foreign_keys", true).map_err(failed)?;
        schema::migrate(&mut db, path)?;
        Ok(Store { db, path: path.to_owned() })
    }

    /// A second, read-only connection for serving payloads.
    pub fn payloads(&self) -> Result<Payloads, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let failed = |source| StoreError::Sqlite { path: self.path.clone(), source };
        let db = Connection::open_with_flags(&self.path, flags).map_err(failed)?;
        db.busy_timeout(BUSY).map_err(failed)?;
        Ok(Payloads::new(db, self.path.clone()))
    }

    /// Lets the file grow no larger than this; what does not fit is refused as if the disk were full.
    pub fn limit_bytes(&self, bytes: u64) -> Result<(), StoreError> {
        self.read(|db| {
            let page: u64 = db.pragma_query_value(None, "page_size", |row| row.get(0))?;
            let pages = i64::try_from((bytes / page.max(1)).max(1)).unwrap_or(i64::MAX);
            // Answers the limit that holds now: never below what the file has already.
            db.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
        })
    }

    /// What the file holds, in bytes.
    pub fn size_bytes(&self) -> Result<u64, StoreError> {
        self.read(|db| {
            let page: u64 = db.pragma_query_value(None, "page_size", |row| row.get(0))?;
            let pages: u64 = db.pragma_query_value(None, "page_count", |row| row.get(0))?;
            Ok(page.saturating_mul(pages))
        })
    }

    /// Runs `work` in one transaction: all of it is durable afterwards, or none of it happened.
    pub fn write<T>(
        &mut self,
        work: impl FnOnce(&Write<'_>) -> Result<T, rusqlite::Error>,
    ) -> Result<T, StoreError> {
        let run = || {
            let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let write = Write { tx: transaction };
            let done = work(&write)?;
            write.tx.commit()?;
            Ok(done)
        };
        run().map_err(|source| StoreError::Sqlite { path: self.path.clone(), source })
    }

    /// The last number of a counter that was used; 0 before the first.
    pub fn counter(&self, name: &str) -> Result<u64, StoreError> {
        self.read(|db| {
            let found = db.query_row("SELECT value FROM counters WHERE name = ?1", [name], |row| row.get(0));
            Ok(found.optional()?.unwrap_or(0))
        })
    }

    fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T, rusqlite::Error>) -> Result<T, StoreError> {
        work(&self.db).map_err(|source| StoreError::Sqlite { path: self.path.clone(), source })
    }
}

/// One transaction; its methods are the store's writes.
pub struct Write<'a> {
    tx: Transaction<'a>,
}

impl Write<'_> {
    /// Takes the next number of a named counter; the first is 1. A number is never given out twice, not
    /// even if the service dies right after.
    pub fn next(&self, counter: &str) -> Result<u64, rusqlite::Error> {
        self.tx.query_row(
            "INSERT INTO counters (name, value) VALUES (?1, 1)
             ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value",
            [counter],
            |row| row.get(0),
        )
    }

    /// Notes that numbers of a counter were used up to this one.
    pub fn used(&self, counter: &str, number: u64) -> Result<(), rusqlite::Error> {
        self.tx.execute(
            "INSERT INTO counters (name, value) VALUES (?1, ?2)
             ON CONFLICT (name) DO UPDATE SET value = max(value, ?2)",
            rusqlite::params![counter, number],
        )?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmbed_plan::Time;

    fn event() -> NewEvent {
        NewEvent::new(Severity::Info, "test", "it was tested")
    }

    #[test]
    fn what_was_written_is_there_after_a_death_and_half_a_write_is_not() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("data/fleet.db");
        let mut store = Store::open(&path).expect("a new store");
        store.write(|store| store.event(Time(1), event())).expect("written");
        let failed = store.write(|store| {
            store.event(Time(2), event())?;
            store.next("command")?;
            Err::<(), _>(rusqlite::Error::InvalidQuery)
        });
        assert!(failed.is_err());
        // As a killed process does: nothing is closed.
        std::mem::forget(store);

        let mut store = Store::open(&path).expect("the same store");
        let events = store.events(&EventFilter::default()).expect("readable");
        assert_eq!(events.iter().map(|event| event.at_ms).collect::<Vec<_>>(), [1]);
        assert_eq!(store.write(|store| store.next("command")).ok(), Some(1));
        assert_eq!(store.write(|store| store.next("command")).ok(), Some(2));
    }

    #[test]
    fn a_file_of_a_newer_program_is_left_alone() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("fleet.db");
        let store = Store::open(&path).expect("a new store");
        store.db.pragma_update(None, "user_version", 99).expect("set");
        drop(store);
        let error = Store::open(&path).expect_err("too new");
        assert!(matches!(error, StoreError::Newer { found: 99, .. }), "{error}");
    }

    #[test]
    fn something_else_than_a_data_base_is_not_overwritten() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("fleet.db");
        std::fs::write(&path, "precious notes of somebody else, long enough to be one page".repeat(100))
            .expect("written");
        assert!(matches!(Store::open(&path), Err(StoreError::Sqlite { .. })));
        assert!(std::fs::read_to_string(&path).expect("readable").starts_with("precious"));
    }

    #[test]
    fn a_host_s_revision_rises_above_what_is_asked_for() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut store = Store::open(&dir.path().join("fleet.db")).expect("a new store");
        let host = "lab".parse().expect("a name");
        let mut raise = |floor| store.write(|store| store.raise_host(&host, floor)).ok();
        assert_eq!([raise(0), raise(0), raise(40), raise(5)], [Some(1), Some(2), Some(41), Some(42)]);
    }
}
