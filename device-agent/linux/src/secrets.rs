//! Secrets of modules: what their keys are made from.
//!
//! Each module has a file of 32 random bytes, made when it first asks. An update of the module keeps it, and so
//! does its removal: what it sealed can be opened when it comes back.

use std::path::{Path, PathBuf};

use wasmbed_abi::Errno;
use wasmbed_core::Owner;

use crate::files;

/// The secrets of all modules of the device; clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Secrets {
    dir: PathBuf,
}

impl Secrets {
    /// Keeps them below the data folder.
    pub(crate) fn new(data_dir: &Path) -> Self {
        Secrets { dir: data_dir.join("secrets") }
    }

    /// The secret of a module.
    ///
    /// # Errors
    /// [`Errno::Io`] if it cannot be read or made. A damaged one stays as it is: a new one would lose
    /// everything that was sealed with it.
    pub(crate) fn of(&self, owner: &Owner) -> Result<[u8; 32], Errno> {
        let path = self.dir.join(owner.to_string());
        let found = files::read(&path).map_err(|error| failed(&path, &error))?;
        match found {
            Some(found) => found.try_into().map_err(|_| failed(&path, &"it is not 32 bytes long")),
            None => self.make(&path),
        }
    }

    fn make(&self, path: &Path) -> Result<[u8; 32], Errno> {
        let mut secret = [0; 32];
        random(&mut secret)?;
        let kept = files::private_dir(&self.dir).and_then(|()| files::replace(path, &secret));
        kept.map_err(|error| failed(path, &error))?;
        Ok(secret)
    }
}

/// Fills `out` from the machine's source of randomness.
///
/// # Errors
/// [`Errno::Io`] if it has none.
pub(crate) fn random(out: &mut [u8]) -> Result<(), Errno> {
    getrandom::fill(out).map_err(|error| {
        tracing::error!("this machine has no randomness: {error}");
        Errno::Io
    })
}

fn failed(path: &Path, why: &dyn std::fmt::Display) -> Errno {
    tracing::error!("the secret {} cannot be used: {why}", path.display());
    Errno::Io
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    fn owner(name: &str) -> Owner {
        Owner::from(name.parse::<wasmbed_wire::ModuleName>().expect("a name"))
    }

    #[test]
    fn each_module_has_a_secret_of_its_own_that_stays() {
        let dir = tempfile::tempdir().expect("a folder");
        let (pump, fan) = (owner("pump"), owner("fan"));
        let secret = Secrets::new(dir.path()).of(&pump);
        assert!(secret.is_ok_and(|secret| secret != [0; 32]));
        assert_eq!(Secrets::new(dir.path()).of(&pump), secret);
        assert_ne!(Secrets::new(dir.path()).of(&fan), secret);
        for (path, mode) in [("secrets", 0o700), ("secrets/pump", 0o600)] {
            let found = fs::metadata(dir.path().join(path)).expect("it exists").permissions().mode();
            assert_eq!(found & 0o777, mode, "{path}");
        }
    }

    #[test]
    fn a_damaged_secret_is_not_replaced() {
        let dir = tempfile::tempdir().expect("a folder");
        let (secrets, pump) = (Secrets::new(dir.path()), owner("pump"));
        secrets.of(&pump).expect("a secret");
        let path = dir.path().join("secrets/pump");
        fs::write(&path, [1; 31]).expect("a file");
        assert_eq!(secrets.of(&pump), Err(Errno::Io));
        assert_eq!(fs::read(&path).expect("a file"), [1; 31]);
    }
}
