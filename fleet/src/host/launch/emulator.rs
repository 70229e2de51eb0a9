//! Whether an emulator is one that boards were tried with.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
};

use super::{PrepareError, find};

/// The oldest version that boards were tried with: Debian 12's.
pub(super) const LEAST: Version = Version { major: 7, minor: 2 };

/// Since this version a socket's pause before it connects again is in milliseconds, and soon after in nothing else.
const RECONNECTS_IN_MS: Version = Version { major: 9, minor: 2 };

/// The version of an emulator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    major: u32,
    minor: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl Version {
    /// Reads `QEMU emulator version 7.2.22 (Debian …)`, the first line of `--version`.
    fn read(said: &str) -> Option<Self> {
        let (_, rest) = said.lines().next()?.split_once("version ")?;
        let mut numbers = rest.split(|c: char| !c.is_ascii_digit()).map(str::parse);
        Some(Version { major: numbers.next()?.ok()?, minor: numbers.next()?.ok()? })
    }
}

/// Refuses a QEMU that is too old. A program that is not there, or says nothing of its version, is not for here.
pub(super) fn check(program: &str, package: &str) -> Result<(), PrepareError> {
    match find(Path::new(program)).and_then(version) {
        Some(found) if found < LEAST => {
            Err(PrepareError::OldEmulator { program: program.to_owned(), package: package.to_owned(), found })
        }
        _ => Ok(()),
    }
}

/// The arguments as this version of the program understands them; boards have those of [`LEAST`].
pub(super) fn translate(program: &str, arguments: &mut [String]) {
    if find(Path::new(program)).and_then(version).is_some_and(|found| found >= RECONNECTS_IN_MS) {
        for argument in arguments.iter_mut().filter(|argument| argument.starts_with("socket,")) {
            *argument = argument.replace(",reconnect=1", ",reconnect-ms=1000");
        }
    }
}

/// Each program is asked once.
fn version(path: PathBuf) -> Option<Version> {
    static KNOWN: Mutex<BTreeMap<PathBuf, Option<Version>>> = Mutex::new(BTreeMap::new());

    let is_qemu = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("qemu-system-"));
    if !is_qemu {
        return None;
    }
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    *known.entry(path).or_insert_with_key(|path| {
        let said = Command::new(path).arg("--version").output().ok()?;
        Version::read(&String::from_utf8_lossy(&said.stdout))
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn versions_are_read_and_compared() {
        let read = |text: &str| Version::read(text).map(|version| version.to_string());
        assert_eq!(read("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)\nCopyright"), Some("7.2".into()));
        assert_eq!(read("QEMU emulator version 10.0.2"), Some("10.0".into()));
        assert_eq!((read("usage: qemu"), read("")), (None, None));
        assert!(LEAST < Version { major: 10, minor: 0 } && Version { major: 7, minor: 1 } < LEAST);
    }

    #[test]
    fn newer_emulators_are_told_in_milliseconds_when_to_connect_again() {
        let dir = tempfile::tempdir().expect("a folder");
        for (version, expected) in [("7.2.22", "reconnect=1"), ("10.0.2", "reconnect-ms=1000")] {
            let path = dir.path().join(format!("qemu-system-{version}"));
            fs::write(&path, format!("#!/bin/sh\necho QEMU emulator version {version}\n")).expect("a file");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("a mode");
            let mut arguments = ["-chardev", "socket,id=link,path=/x,reconnect=1"].map(str::to_owned);
            translate(&path.to_string_lossy(), &mut arguments);
            assert_eq!(arguments, ["-chardev", &format!("socket,id=link,path=/x,{expected}")]);
        }
    }

    #[test]
    fn an_old_emulator_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("qemu-system-old");
        fs::write(&path, "#!/bin/sh\necho QEMU emulator version 6.1.0\n").expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("a mode");
        let refused = check(&path.to_string_lossy(), "qemu-system-misc").expect_err("it is old").to_string();
        let expected =
            "is version 6.1; boards are run by 7.2 or later: update the Debian package qemu-system-misc";
        assert!(refused.ends_with(expected), "{refused}");
    }
}
