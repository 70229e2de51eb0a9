//! Folders in which modules keep files, one for each module.
//!
//! A module's files stay when it is updated and when it is removed.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use wasmbed_abi::Errno;
use wasmbed_core::Owner;
use wasmbed_sandbox::Files;

use crate::files;

/// The folders of all modules of the device; clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Folders {
    dir: PathBuf,
    /// Those in use: what shares a folder shares its room.
    open: Arc<Mutex<BTreeMap<String, Files>>>,
}

impl Folders {
    /// Keeps them below the data folder.
    pub(crate) fn new(data_dir: &Path) -> Self {
        Folders { dir: data_dir.join("files"), open: Arc::default() }
    }

    /// The files of a module.
    ///
    /// # Errors
    /// [`Errno::Io`] if its folder cannot be made or opened.
    pub(crate) fn of(&self, owner: &Owner) -> Result<Files, Errno> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(files) = open.get(&owner.to_string()) {
            return Ok(files.clone());
        }
        let dir = self.dir.join(owner.to_string());
        let opened = files::private_dir(&dir).and_then(|()| Files::open(&dir));
        let files = opened.map_err(|error| {
            tracing::error!("{} cannot be used: {error}", dir.display());
            Errno::Io
        })?;
        open.insert(owner.to_string(), files.clone());
        Ok(files)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use wasmbed_abi::FilePath;

    use super::*;

    fn owner(name: &str) -> Owner {
        Owner::from(name.parse::<wasmbed_wire::ModuleName>().expect("a name"))
    }

    #[test]
    fn each_module_has_files_of_its_own_that_stay() {
        let dir = tempfile::tempdir().expect("a folder");
        let (pump, fan) = (owner("pump"), owner("fan"));
        let path = FilePath::parse(b"level").expect("a path");
        let folders = Folders::new(dir.path());
        let write = |owner: &Owner| {
            folders.of(owner).and_then(|files| files.write(path, 0, owner.to_string().as_bytes()))
        };
        assert_eq!((write(&pump), write(&fan)), (Ok(()), Ok(())));
        let folders = Folders::new(dir.path());
        let mut out = [0; 8];
        let read = folders.of(&pump).and_then(|files| files.read(path, 0, &mut out));
        assert_eq!((read, &out[..4]), (Ok(4), &b"pump"[..]));
        for (path, mode) in [("files", 0o700), ("files/pump", 0o700), ("files/pump/level", 0o600)] {
            let found = fs::metadata(dir.path().join(path)).expect("it exists").permissions().mode();
            assert_eq!(found & 0o777, mode, "{path}");
        }
    }
}
