//! The firmware crates of a checkout, as projects use them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use toml::{Table, Value};
use wasmbed_boards::Boards;

use crate::cli::checkout::Checkout;

pub(super) struct Sdk {
    checkout: Checkout,
    /// `firmware/Cargo.toml`.
    workspace: Table,
}

/// A package of the firmware workspace.
pub(super) struct Package {
    /// Its folder in the checkout.
    pub(super) folder: PathBuf,
    manifest: Table,
}

impl Sdk {
    pub(super) fn at(path: &Path) -> Result<Self> {
        Sdk::of(Checkout::at(path)?)
    }

    /// The nearest one that holds one of these folders, which need not exist.
    pub(super) fn above(dirs: &[&Path]) -> Result<Self> {
        Sdk::of(Checkout::above(dirs)?)
    }

    fn of(checkout: Checkout) -> Result<Self> {
        Ok(Sdk { workspace: checkout.table("firmware/Cargo.toml")?, checkout })
    }

    pub(super) fn checkout(&self) -> &Checkout {
        &self.checkout
    }

    pub(super) fn root(&self) -> &Path {
        self.checkout.root()
    }

    pub(super) fn boards(&self) -> Result<Boards> {
        Ok(Boards::with_overrides(&self.root().join("boards"))?)
    }

    /// Reads a file of the checkout.
    pub(super) fn read(&self, path: impl AsRef<Path>) -> Result<String> {
        self.checkout.read(path)
    }

    /// Reads a TOML file of the checkout.
    pub(super) fn table(&self, path: impl AsRef<Path>) -> Result<Table> {
        self.checkout.table(path)
    }

    /// A table of `firmware/Cargo.toml`, empty if there is none.
    pub(super) fn workspace(&self, keys: &[&str]) -> Table {
        let inner = keys.iter().try_fold(&self.workspace, |table, key| table.get(*key)?.as_table());
        inner.cloned().unwrap_or_default()
    }

    /// The package of this name in the firmware workspace.
    pub(super) fn package(&self, name: &str) -> Result<Package> {
        let workspace = self.workspace(&["workspace"]);
        let members = workspace.get("members").and_then(Value::as_array);
        for member in members.into_iter().flatten().filter_map(Value::as_str) {
            let folder = Path::new("firmware").join(member);
            let manifest = self.table(folder.join("Cargo.toml"))?;
            let found = manifest.get("package").and_then(|package| package.get("name"));
            if found.and_then(Value::as_str) == Some(name) {
                return Ok(Package { folder, manifest });
            }
        }
        bail!("the firmware workspace of {} has no package {name}", self.root().display())
    }

    /// What `package` depends on, as a manifest outside the workspace says it.
    pub(super) fn dependencies(&self, package: &Package, kind: &str) -> Result<Table> {
        let inherited = self.workspace(&["workspace", "dependencies"]);
        let mut found = Table::new();
        for (name, spec) in package.manifest.get(kind).and_then(Value::as_table).into_iter().flatten() {
            let spec = full(spec);
            if spec.get("optional").and_then(Value::as_bool) == Some(true) {
                continue;
            }
            let spec = match spec.get("workspace") {
                Some(_) => {
                    let base = inherited.get(name).with_context(|| {
                        format!(
                            "{} has no dependency {name}",
                            self.root().join("firmware/Cargo.toml").display()
                        )
                    })?;
                    self.located(merged(full(base), &spec), Path::new("firmware"))?
                }
                None => self.located(spec, &package.folder)?,
            };
            found.insert(name.clone(), Value::Table(spec));
        }
        Ok(found)
    }

    /// A dependency on a package of the checkout.
    pub(super) fn dependency(&self, folder: &Path) -> Result<Table> {
        self.located(Table::from_iter([("path".to_owned(), Value::from("."))]), folder)
    }

    /// The dependency with its path, which starts at `folder` of the checkout, made absolute.
    fn located(&self, mut spec: Table, folder: &Path) -> Result<Table> {
        if let Some(Value::String(path)) = spec.get_mut("path") {
            *path = self.checkout.located(folder.join(&*path))?;
        }
        Ok(spec)
    }
}

/// A dependency in the long form.
fn full(spec: &Value) -> Table {
    match spec {
        Value::Table(table) => table.clone(),
        version => Table::from_iter([("version".to_owned(), version.clone())]),
    }
}

/// What a member's dependency adds to that of its workspace: features.
fn merged(mut base: Table, member: &Table) -> Table {
    let Some(Value::Array(more)) = member.get("features") else { return base };
    match base.get_mut("features") {
        Some(Value::Array(features)) => features.extend(more.iter().cloned()),
        _ => drop(base.insert("features".to_owned(), Value::Array(more.clone()))),
    }
    base
}
