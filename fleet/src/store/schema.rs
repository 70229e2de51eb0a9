//! The tables, and how older files become current ones.

use std::path::Path;

use rusqlite::Connection;

use super::StoreError;

/// Step `n` leads from version `n` to `n + 1`. Steps are only ever added.
const STEPS: &[&str] = &[
    "
CREATE TABLE counters (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT;

CREATE TABLE hosts (
    id TEXT PRIMARY KEY,
    revision INTEGER NOT NULL
) STRICT;

CREATE TABLE devices (
    id TEXT PRIMARY KEY,
    board TEXT NOT NULL,
    class TEXT NOT NULL,
    host TEXT REFERENCES hosts (id),
    labels TEXT NOT NULL,
    power INTEGER NOT NULL,
    cycle INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    heartbeat_ms INTEGER NOT NULL,
    health TEXT NOT NULL,
    memory TEXT NOT NULL
) STRICT;

CREATE TABLE modules (
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    digest BLOB NOT NULL,
    wasm BLOB NOT NULL,
    report TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (name, version)
) STRICT;

CREATE TABLE artifacts (
    id BLOB PRIMARY KEY,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    classes INTEGER NOT NULL,
    runtime BLOB NOT NULL,
    block_bytes INTEGER NOT NULL,
    manifest BLOB NOT NULL,
    payload BLOB NOT NULL,
    FOREIGN KEY (name, version) REFERENCES modules (name, version) ON DELETE CASCADE
) STRICT;
CREATE INDEX artifacts_of_module ON artifacts (name, version);

CREATE TABLE desired_modules (
    device TEXT NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    artifact BLOB NOT NULL REFERENCES artifacts (id),
    settings TEXT NOT NULL,
    generation INTEGER NOT NULL,
    PRIMARY KEY (device, name)
) STRICT;
CREATE INDEX devices_of_artifact ON desired_modules (artifact);

CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms INTEGER NOT NULL,
    severity TEXT NOT NULL,
    kind TEXT NOT NULL,
    device TEXT,
    host TEXT,
    module TEXT,
    reason TEXT NOT NULL
) STRICT;
CREATE INDEX events_of_device ON events (device, id);

CREATE TABLE requests (
    id TEXT PRIMARY KEY,
    digest BLOB NOT NULL,
    answer TEXT NOT NULL,
    at_ms INTEGER NOT NULL
) STRICT;
",
    "
CREATE TABLE images (
    digest BLOB PRIMARY KEY,
    payload BLOB NOT NULL
) STRICT;

CREATE TABLE firmware (
    artifact BLOB PRIMARY KEY,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    board TEXT NOT NULL,
    counter INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL,
    digest BLOB NOT NULL REFERENCES images (digest),
    block_bytes INTEGER NOT NULL,
    key BLOB NOT NULL,
    notes TEXT NOT NULL,
    build TEXT NOT NULL,
    source TEXT NOT NULL,
    manifest BLOB NOT NULL,
    at_ms INTEGER NOT NULL,
    UNIQUE (name, version)
) STRICT;
CREATE INDEX firmware_of_image ON firmware (digest);

CREATE TABLE patches (
    artifact BLOB PRIMARY KEY,
    base BLOB NOT NULL REFERENCES images (digest) ON DELETE CASCADE,
    image BLOB NOT NULL REFERENCES images (digest) ON DELETE CASCADE,
    key BLOB NOT NULL,
    block_bytes INTEGER NOT NULL,
    manifest BLOB NOT NULL,
    payload BLOB NOT NULL
) STRICT;
CREATE INDEX patches_between ON patches (base, image);
CREATE INDEX patches_of_image ON patches (image);

CREATE TABLE desired_firmware (
    device TEXT PRIMARY KEY REFERENCES devices (id) ON DELETE CASCADE,
    artifact BLOB NOT NULL REFERENCES firmware (artifact),
    patch BLOB REFERENCES patches (artifact),
    generation INTEGER NOT NULL,
    confirm INTEGER
) STRICT;
CREATE INDEX devices_of_firmware ON desired_firmware (artifact);
CREATE INDEX devices_of_patch ON desired_firmware (patch);

CREATE TABLE keys (
    name TEXT PRIMARY KEY,
    key BLOB NOT NULL UNIQUE,
    roles TEXT NOT NULL,
    not_after_s INTEGER,
    retired INTEGER NOT NULL
) STRICT;

CREATE TABLE keyrings (
    version INTEGER PRIMARY KEY,
    issued_s INTEGER NOT NULL,
    key BLOB NOT NULL,
    signed BLOB NOT NULL
) STRICT;

ALTER TABLE events ADD COLUMN firmware TEXT;
",
    "
CREATE TABLE rollouts (
    number INTEGER PRIMARY KEY,
    rollout TEXT NOT NULL,
    target TEXT NOT NULL,
    told INTEGER NOT NULL,
    over INTEGER NOT NULL,
    at_ms INTEGER NOT NULL
) STRICT;

ALTER TABLE devices ADD COLUMN owner INTEGER NOT NULL DEFAULT 0;
ALTER TABLE events ADD COLUMN rollout INTEGER;
",
    "
CREATE TABLE grants (
    module TEXT PRIMARY KEY,
    grants TEXT NOT NULL
) STRICT;

ALTER TABLE modules ADD COLUMN needs INTEGER NOT NULL DEFAULT 0;
ALTER TABLE modules ADD COLUMN uses INTEGER NOT NULL DEFAULT 0;
ALTER TABLE desired_modules ADD COLUMN module TEXT NOT NULL DEFAULT '';
UPDATE desired_modules SET module = name;
",
    "
ALTER TABLE devices ADD COLUMN machine TEXT NOT NULL DEFAULT '{}';
",
];

/// Brings a file to the current version.
pub(super) fn migrate(db: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let failed = |source| StoreError::Sqlite { path: path.to_owned(), source };
    let found: u32 = db.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
    let known = STEPS.len() as u32;
    if found > known {
        return Err(StoreError::Newer { path: path.to_owned(), found, known });
    }
    for (version, step) in (1u32..).zip(STEPS).skip(found as usize) {
        let run = |db: &mut Connection| {
            let transaction = db.transaction()?;
            transaction.execute_batch(step)?;
            transaction.pragma_update(None, "user_version", version)?;
            transaction.commit()
        };
        run(db).map_err(failed)?;
    }
    Ok(())
}
