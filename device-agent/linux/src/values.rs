//! Values that modules store, each in a file of its own.
//!
//! Files are named by the digits of the key, so that no key is a path. A module's values stay when it is updated and
//! when it is removed.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use wasmbed_abi::{Errno, STORE_BYTES, STORE_VALUES};
use wasmbed_core::Owner;

use crate::files;

/// The values of all modules of the device; clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Values {
    dir: PathBuf,
}

impl Values {
    /// Keeps them below the data folder.
    pub(crate) fn new(data_dir: &Path) -> Self {
        Values { dir: data_dir.join("values") }
    }

    /// Copies a value to the start of `out` and returns its length.
    ///
    /// # Errors
    /// [`Errno::NotFound`], [`Errno::NoSpace`] if it does not fit, [`Errno::Io`].
    pub(crate) fn get(&self, owner: &Owner, key: &str, out: &mut [u8]) -> Result<usize, Errno> {
        let path = self.path(owner, key);
        let value = files::read(&path).map_err(|error| failed(&path, &error))?.ok_or(Errno::NotFound)?;
        out.get_mut(..value.len()).ok_or(Errno::NoSpace)?.copy_from_slice(&value);
        Ok(value.len())
    }

    /// Stores a value, durably.
    ///
    /// # Errors
    /// [`Errno::NoSpace`] if it is too much together with the others, [`Errno::Io`].
    pub(crate) fn set(&self, owner: &Owner, key: &str, value: &[u8]) -> Result<(), Errno> {
        let (path, dir) = (self.path(owner, key), self.dir.join(owner.to_string()));
        files::private_dir(&dir).map_err(|error| failed(&dir, &error))?;
        let (others, bytes) = usage(&dir, &path).map_err(|error| failed(&dir, &error))?;
        if others >= STORE_VALUES || bytes + (key.len() + value.len()) as u64 > STORE_BYTES as u64 {
            return Err(Errno::NoSpace);
        }
        files::replace(&path, value).map_err(|error| match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Errno::NoSpace,
            _ => failed(&path, &error),
        })
    }

    /// Forgets a value.
    ///
    /// # Errors
    /// [`Errno::NotFound`], [`Errno::Io`].
    pub(crate) fn remove(&self, owner: &Owner, key: &str) -> Result<(), Errno> {
        let path = self.path(owner, key);
        if !path.exists() {
            return Err(Errno::NotFound);
        }
        files::remove(&path).map_err(|error| failed(&path, &error))
    }

    fn path(&self, owner: &Owner, key: &str) -> PathBuf {
        let digits: String = key.bytes().map(|byte| format!("{byte:02x}")).collect();
        self.dir.join(owner.to_string()).join(digits)
    }
}

/// How many values besides this one there are, and their bytes with their keys.
fn usage(dir: &Path, but: &Path) -> io::Result<(usize, u64)> {
    let (mut count, mut bytes) = (0, 0);
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        // What a power cut left unfinished has an extension, and is replaced when its key is set again.
        if entry.path() != but && entry.path().extension().is_none() {
            count += 1;
            bytes += entry.metadata()?.len() + entry.file_name().len() as u64 / 2;
        }
    }
    Ok((count, bytes))
}

fn failed(path: &Path, why: &dyn std::fmt::Display) -> Errno {
    tracing::error!("{} cannot be used: {why}", path.display());
    Errno::Io
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(name: &str) -> Owner {
        Owner::from(name.parse::<wasmbed_wire::ModuleName>().expect("a name"))
    }

    fn get(values: &Values, owner: &Owner, key: &str) -> Result<Vec<u8>, Errno> {
        let mut out = [0; 16];
        values.get(owner, key, &mut out).map(|len| out[..len].to_vec())
    }

    #[test]
    fn values_are_each_modules_own_and_stay() {
        let dir = tempfile::tempdir().expect("a folder");
        let (pump, fan) = (module("pump"), module("fan"));
        let values = Values::new(dir.path());
        assert_eq!(values.set(&pump, "level", b"3"), Ok(()));
        assert_eq!(values.set(&pump, "level", b"45"), Ok(()));
        let values = Values::new(dir.path());
        assert_eq!(get(&values, &pump, "level"), Ok(b"45".to_vec()));
        assert_eq!(get(&values, &fan, "level"), Err(Errno::NotFound));
        assert_eq!(values.get(&pump, "level", &mut [0; 1]), Err(Errno::NoSpace));
        assert_eq!(values.remove(&fan, "level"), Err(Errno::NotFound));
        assert_eq!(values.remove(&pump, "level"), Ok(()));
        assert_eq!(get(&values, &pump, "level"), Err(Errno::NotFound));
    }

    #[test]
    fn no_key_is_a_path() {
        let dir = tempfile::tempdir().expect("a folder");
        let (values, pump) = (Values::new(dir.path()), module("pump"));
        for key in ["../fan/level", "/etc/passwd", ".", "a/b", "level.new", "\0"] {
            assert_eq!(values.set(&pump, key, key.as_bytes()), Ok(()), "{key:?}");
            assert_eq!(get(&values, &pump, key), Ok(key.as_bytes().to_vec()), "{key:?}");
        }
        let kept = fs::read_dir(dir.path().join("values/pump")).expect("a folder").count();
        assert_eq!(kept, 6);
        assert_eq!(fs::read_dir(dir.path().join("values")).expect("a folder").count(), 1);
    }

    #[test]
    fn a_module_stores_so_much_and_no_more() {
        let dir = tempfile::tempdir().expect("a folder");
        let (values, pump) = (Values::new(dir.path()), module("pump"));
        let (key, value) = (|nth: usize| format!("key-{nth:04}"), [7; 4088]);
        for nth in 0..64 {
            assert_eq!(values.set(&pump, &key(nth), &value), Ok(()), "{nth}");
        }
        assert_eq!(values.set(&pump, "more", b""), Err(Errno::NoSpace));
        assert_eq!(values.set(&pump, &key(0), &value), Ok(()), "in place of the one before");
        for nth in 0..STORE_VALUES {
            assert_eq!(values.set(&module("fan"), &key(nth), b""), Ok(()), "{nth}");
        }
        assert_eq!(values.set(&module("fan"), "more", b""), Err(Errno::NoSpace));
    }
}
