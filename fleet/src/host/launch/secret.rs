//! A board's secret: made when the board is first provisioned, and the same at each start from then on.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use wasmbed_wire::provision::DeviceSecret;

use super::{PrepareError, at};

/// The file, in the device's folder.
const SECRET: &str = "secret";

/// The secret of the device in `dir`. A damaged one is not replaced: what was sealed with it would be lost.
pub(super) fn of(dir: &Path) -> Result<DeviceSecret, PrepareError> {
    let path = dir.join(SECRET);
    let secret = match fs::read(&path) {
        Ok(bytes) => bytes.try_into().map(DeviceSecret).map_err(|bytes: Vec<u8>| {
            io::Error::other(format!(
                "it holds {} bytes instead of 32; restore it, or remove it and lose what the device sealed",
                bytes.len()
            ))
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(&path),
        Err(error) => Err(error),
    };
    secret.map_err(at(&path))
}

fn make(path: &Path) -> io::Result<DeviceSecret> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(io::Error::other)?;
    let unfinished = path.with_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(&secret)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    Ok(DeviceSecret(secret))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_device_keeps_its_secret_which_nobody_else_reads() {
        let (one, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let secret = of(one.path()).expect("made");
        assert_eq!(of(one.path()).expect("read"), secret);
        assert_ne!(of(other.path()).expect("made"), secret);
        let mode = fs::metadata(one.path().join(SECRET)).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_secret_is_told_and_stays() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join(SECRET), [1; 31]).expect("a file");
        let error = of(dir.path()).expect_err("it is damaged").to_string();
        assert!(error.contains("secret: it holds 31 bytes instead of 32"), "{error}");
        assert_eq!(fs::read(dir.path().join(SECRET)).expect("a file"), [1; 31]);
    }
}
