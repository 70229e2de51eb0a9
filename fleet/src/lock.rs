//! One process per data directory.

use std::{fs::File, path::Path};

use anyhow::{Context, Result, anyhow};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

/// Held as long as the directory is in use; the system lets go of it when the process ends.
pub(crate) type DirLock = Flock<File>;

/// Creates the directory if need be and claims it for `who`, whose file is named after it.
pub(crate) fn lock(dir: &Path, who: &str) -> Result<DirLock> {
    std::fs::create_dir_all(dir)
        .with_context(|| format!("cannot create the data directory {}", dir.display()))?;
    let path = dir.join(format!("{who}.lock"));
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        Errno::EWOULDBLOCK => anyhow!(
            "another `wasmbed {who}` uses the data directory {}; stop it, or choose another one with --data-dir",
            dir.display()
        ),
        errno => anyhow!("cannot lock {}: {errno}", path.display()),
    })
}
