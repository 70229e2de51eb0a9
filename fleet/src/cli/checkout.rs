//! A checkout of this repository, as projects that are written use it, and what they have in common.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use toml::{Table, Value};
use wasmbed_wire::ModuleName;

/// A file that only a checkout has.
const MARK: &str = "firmware/common/Cargo.toml";

pub(super) struct Checkout {
    root: PathBuf,
}

impl Checkout {
    pub(super) fn at(path: &Path) -> Result<Self> {
        if !path.join(MARK).is_file() {
            bail!("{} is not a checkout of wasmbed: it has no {MARK}", path.display());
        }
        Ok(Checkout { root: path.canonicalize()? })
    }

    /// The nearest one that holds one of these folders, which need not exist.
    pub(super) fn above(dirs: &[&Path]) -> Result<Self> {
        let mut above = dirs.iter().flat_map(|dir| dir.ancestors());
        match above.find(|dir| dir.join(MARK).is_file()) {
            Some(root) => Checkout::at(root),
            None => {
                bail!("no checkout of wasmbed is at or above this folder; say where one is with --sdk PATH")
            }
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Reads a file of the checkout.
    pub(super) fn read(&self, path: impl AsRef<Path>) -> Result<String> {
        let path = self.root.join(path);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// Reads a TOML file of the checkout.
    pub(super) fn table(&self, path: impl AsRef<Path>) -> Result<Table> {
        let path = path.as_ref();
        self.read(path)?.parse().with_context(|| format!("in {}", self.root.join(path).display()))
    }

    /// The absolute path of a file or folder of the checkout.
    pub(super) fn located(&self, path: impl AsRef<Path>) -> Result<String> {
        let path = self.root.join(path);
        let found = path.canonicalize().with_context(|| format!("cannot find {}", path.display()))?;
        let text = found.to_str().with_context(|| format!("{} is not UTF-8", found.display()))?;
        Ok(text.to_owned())
    }

    /// `rust-toolchain.toml` of a project for one target.
    pub(super) fn toolchain(&self, target: &str) -> Result<String> {
        let mut file = self.table("rust-toolchain.toml")?;
        let toolchain = file.get_mut("toolchain").and_then(Value::as_table_mut);
        let toolchain = toolchain.context("rust-toolchain.toml of the SDK names no toolchain")?;
        toolchain.insert("targets".into(), Value::Array(vec![target.into()]));
        Ok(file.to_string())
    }
}

/// Writes the files of a project, each with its path in `dir`.
pub(super) fn write<'f>(dir: &Path, files: impl IntoIterator<Item = (&'f str, &'f [u8])>) -> Result<()> {
    for (name, contents) in files {
        let path = dir.join(name);
        let unwritable = || format!("cannot write {}", path.display());
        fs::create_dir_all(path.parent().unwrap_or(dir)).with_context(unwritable)?;
        fs::write(&path, contents).with_context(unwritable)?;
    }
    Ok(())
}

/// Refuses a folder that holds something already.
pub(super) fn check_empty(dir: &Path) -> Result<()> {
    let unreadable = || format!("cannot read {}", dir.display());
    match fs::read_dir(dir) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(Ok(_)) => bail!("{} is not empty; name a new folder", dir.display()),
            Some(Err(error)) => Err(error).with_context(unreadable),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(unreadable),
    }
}

/// What a project in this folder is called; `what` it is for the message.
pub(super) fn name_of(dir: &Path, what: &str) -> Result<ModuleName> {
    let last = dir.file_name().map(|name| name.to_string_lossy().to_lowercase().replace('_', "-"));
    let last = last.unwrap_or_default();
    last.parse().with_context(|| format!("{last:?} cannot be a {what}'s name; use --name NAME"))
}
