//! What modules are granted, where it differs from the default.

use std::collections::BTreeMap;

use rusqlite::Error;
use wasmbed_wire::ModuleName;

use super::{
    Store, StoreError, Write,
    devices::{from_json, json, parsed},
};
use crate::api::Grants;

impl Store {
    /// Every module with grants of its own.
    pub fn grants(&self) -> Result<BTreeMap<ModuleName, Grants>, StoreError> {
        self.read(|db| {
            db.prepare_cached("SELECT * FROM grants")?
                .query_map([], |row| Ok((parsed(row, "module")?, from_json(row, "grants")?)))?
                .collect()
        })
    }
}

impl Write<'_> {
    /// Grants a module just this from now on.
    pub fn put_grants(&self, module: &ModuleName, grants: &Grants) -> Result<(), Error> {
        self.tx.execute(
            "INSERT OR REPLACE INTO grants (module, grants) VALUES (?1, ?2)",
            [module.as_str(), &json(grants)?],
        )?;
        Ok(())
    }
}
