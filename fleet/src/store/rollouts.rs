//! Rollouts of firmware, whole: each is one row.

use rusqlite::{Error, OptionalExtension, Row, params};
use wasmbed_plan::rollout::Rollout;

use super::{
    Store, StoreError, Write,
    devices::{from_json, json},
};

/// One rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloutRow {
    /// How it was written and where it stands.
    pub rollout: Rollout,
    /// The selector of its devices, as it was written.
    pub target: String,
    /// The last progress told, in percent.
    pub told: u8,
    /// When it was made, in milliseconds of Unix time.
    pub at_ms: u64,
}

impl RolloutRow {
    /// Its id: its number among all deployments of firmware.
    pub const fn number(&self) -> u64 {
        self.rollout.owner().0
    }
}

impl Store {
    /// Every rollout, oldest first.
    pub fn rollouts(&self) -> Result<Vec<RolloutRow>, StoreError> {
        self.read(|db| {
            db.prepare_cached("SELECT * FROM rollouts ORDER BY number")?.query_map([], rollout_row)?.collect()
        })
    }

    /// The rollouts that are not over, oldest first.
    pub fn live_rollouts(&self) -> Result<Vec<RolloutRow>, StoreError> {
        self.read(|db| {
            db.prepare_cached("SELECT * FROM rollouts WHERE NOT over ORDER BY number")?
                .query_map([], rollout_row)?
                .collect()
        })
    }

    /// One rollout.
    pub fn rollout(&self, number: u64) -> Result<Option<RolloutRow>, StoreError> {
        self.read(|db| {
            db.query_row("SELECT * FROM rollouts WHERE number = ?1", [number], rollout_row).optional()
        })
    }
}

impl Write<'_> {
    /// Adds or replaces a rollout.
    pub fn put_rollout(&self, row: &RolloutRow) -> Result<(), Error> {
        self.tx
            .prepare_cached(
                "INSERT OR REPLACE INTO rollouts (number, rollout, target, told, over, at_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                row.number(),
                json(&row.rollout)?,
                row.target,
                row.told,
                row.rollout.is_over(),
                row.at_ms,
            ])?;
        Ok(())
    }
}

fn rollout_row(row: &Row<'_>) -> Result<RolloutRow, Error> {
    Ok(RolloutRow {
        rollout: from_json(row, "rollout")?,
        target: row.get("target")?,
        told: row.get("told")?,
        at_ms: row.get("at_ms")?,
    })
}
