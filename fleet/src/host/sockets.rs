//! Where sockets lie: in the devices' folders, unless that would make their paths longer than the kernel allows.
//!
//! Then they lie in a folder with a short path, to which a link in the data folder points, so that a later host finds
//! what runs.

use std::{
    env, fs, io,
    os::unix::fs::{MetadataExt, symlink},
    path::{Path, PathBuf},
};

use nix::unistd::geteuid;
use wasmbed_wire::{DeviceId, id::MAX_NAME_BYTES};

use super::launch::make_private;

/// A device's sockets.
pub(super) const LINK: &str = "link.sock";
pub(super) const QMP: &str = "qmp.sock";
pub(super) const CONSOLE: &str = "tty.sock";
pub(super) const NOR: &str = "nor.sock";
/// The host's own.
const KEEPER: &str = "keeper.sock";
/// The link in the data folder.
const APART: &str = "sockets";
/// Longest path of a socket, in bytes, with its end.
const PATH_BYTES: usize = 108;

/// The folders of sockets.
#[derive(Debug, Clone)]
pub(super) struct Sockets {
    data_dir: PathBuf,
    /// The folder with a short path, if one is needed.
    apart: Option<PathBuf>,
}

impl Sockets {
    /// Those of the host with this data folder, as an earlier one left them.
    ///
    /// # Errors
    /// If no path is short enough, or the folder cannot be made.
    pub(super) fn choose(data_dir: &Path) -> io::Result<Self> {
        let data_dir = data_dir.to_owned();
        if is_short_enough(&data_dir.join("devices")) {
            return Ok(Sockets { data_dir, apart: None });
        }
        let link = data_dir.join(APART);
        if let Some(known) = fs::read_link(&link).ok().filter(|dir| is_ours(dir)) {
            return Ok(Sockets { data_dir, apart: Some(known) });
        }
        let runtime = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_dir());
        let parent =
            runtime.filter(|dir| is_short_enough(&dir.join("wasmbed-XXXXXX"))).unwrap_or_else(env::temp_dir);
        let dir = tempfile::Builder::new().prefix("wasmbed-").tempdir_in(&parent)?;
        if !is_short_enough(dir.path()) {
            return Err(io::Error::other(format!(
                "neither {} nor {} leaves room for the path of a socket, {PATH_BYTES} bytes in all; \
                 use a data folder or a TMPDIR with a shorter path",
                data_dir.display(),
                parent.display()
            )));
        }
        make_private(dir.path())?;
        match fs::remove_file(&link) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => symlink(dir.path(), &link)?,
        }
        Ok(Sockets { data_dir, apart: Some(dir.keep()) })
    }

    /// The folder with the sockets of a device, whose own folder is `dir`.
    pub(super) fn for_device(&self, device: &DeviceId, dir: &Path) -> PathBuf {
        self.apart.as_ref().map_or_else(|| dir.to_owned(), |apart| apart.join(device.as_str()))
    }

    /// The socket of the keeper.
    pub(super) fn keeper(&self) -> PathBuf {
        self.apart.as_ref().unwrap_or(&self.data_dir).join(KEEPER)
    }

    /// Removes what lies apart, once nothing runs any more.
    pub(super) fn remove(&self) {
        let Some(apart) = &self.apart else {
            return;
        };
        let removed = fs::remove_dir_all(apart).and_then(|()| fs::remove_file(self.data_dir.join(APART)));
        if let Err(error) = removed {
            tracing::warn!(dir = %apart.display(), %error, "could not remove the folder of sockets");
        }
    }
}

/// Whether nobody else can have put anything there: folders for temporary files are everybody's.
fn is_ours(dir: &Path) -> bool {
    fs::symlink_metadata(dir)
        .is_ok_and(|found| found.is_dir() && found.uid() == geteuid().as_raw() && found.mode() & 0o077 == 0)
}

/// Whether a socket of any device fits in its folder in `base`.
fn is_short_enough(base: &Path) -> bool {
    let longest = [LINK, QMP, CONSOLE, NOR, KEEPER].map(str::len).into_iter().max().unwrap_or_default();
    base.as_os_str().len() + 1 + MAX_NAME_BYTES + 1 + longest < PATH_BYTES
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn sockets_that_lie_apart_are_found_again_and_go_when_told() {
        let dir = tempfile::tempdir().expect("a folder");
        let data = dir.path().join("x".repeat(120));
        fs::create_dir(&data).expect("a folder");
        let sockets = Sockets::choose(&data).expect("sockets");
        assert!(sockets.keeper().as_os_str().len() < PATH_BYTES);
        let again = Sockets::choose(&data).expect("sockets");
        assert_eq!(again.keeper(), sockets.keeper());
        // Somebody else could write there: it is not used again.
        let apart = again.apart.clone().expect("apart");
        fs::set_permissions(&apart, fs::Permissions::from_mode(0o777)).expect("a mode");
        let other = Sockets::choose(&data).expect("sockets");
        assert_ne!(other.keeper(), sockets.keeper());
        fs::remove_dir_all(&apart).expect("a folder");
        other.remove();
        assert!(!other.keeper().parent().expect("a folder").exists());
        assert!(fs::read_link(data.join(APART)).is_err());
    }
}
