//! Debian's kernels: downloaded once, unpacked, and never installed.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    paths,
    run::{exists, output, run, step},
};

/// What the machine has, and what its configuration is read through; others come with them.
const DRIVERS: [&str; 4] = ["virtio_pci", "virtio_blk", "virtio_net", "qemu_fw_cfg"];

/// A kernel of Debian's that machines can start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flavour {
    /// The package that depends on the current one.
    package: &'static str,
    /// Where it is unpacked, below the build's folder.
    dir: &'static str,
    /// Drivers that it needs besides [`DRIVERS`].
    drivers: &'static [&'static str],
}

/// For virtual machines: what devices run. It knows no GPIO.
pub(super) const CLOUD: Flavour = Flavour { package: "linux-image-cloud-amd64", dir: "kernel", drivers: &[] };
/// For any machine, with drivers for GPIO controllers; it takes three times the download and twice the time to start.
/// The file system asks for its checksum by name only.
pub(super) const GENERIC: Flavour =
    Flavour { package: "linux-image-amd64", dir: "kernel-generic", drivers: &["crc32c_generic", "ext4"] };

/// A kernel and its modules.
pub(super) struct Kernel {
    /// The image QEMU loads.
    pub(super) image: PathBuf,
    modules: PathBuf,
    flavour: Flavour,
}

impl Kernel {
    /// The kernel that was fetched, now or earlier.
    pub(super) fn fetched(flavour: Flavour) -> Result<Self> {
        ensure!(
            cfg!(target_arch = "x86_64"),
            "the agent built here runs on x86-64 machines only if this is one"
        );
        let dir = paths::target().join(flavour.dir);
        if !dir.is_dir() {
            fetch(flavour.package, &dir)?;
        }
        let image = only(&dir.join("boot"), "vmlinuz-")?;
        Ok(Kernel { image, modules: only(&dir.join("lib/modules"), "")?, flavour })
    }

    /// The modules it needs and those they depend on, each after its own.
    pub(super) fn drivers(&self) -> Result<Vec<PathBuf>> {
        let mut all = HashMap::new();
        index(&self.modules, &mut all)?;
        let mut loaded = Vec::new();
        for driver in DRIVERS.iter().chain(self.flavour.drivers) {
            load(driver, &all, &mut loaded)?;
        }
        Ok(loaded)
    }
}

/// Appends a module after those it depends on.
fn load(name: &str, all: &HashMap<String, PathBuf>, loaded: &mut Vec<PathBuf>) -> Result<()> {
    let path = all.get(name).with_context(|| format!("the kernel has no module {name}"))?;
    if loaded.contains(path) {
        return Ok(());
    }
    let module = fs::read(path).with_context(|| path.display().to_string())?;
    for other in dependencies(&module).split(',').filter(|other| !other.is_empty()) {
        load(other, all, loaded)?;
    }
    loaded.push(path.clone());
    Ok(())
}

/// The field `depends` of the section .modinfo, whose entries end with a zero byte.
fn dependencies(module: &[u8]) -> &str {
    let mut entries = module.split(|byte| *byte == 0);
    let list = entries.find_map(|entry| entry.strip_prefix(b"depends="));
    list.and_then(|list| str::from_utf8(list).ok()).unwrap_or_default()
}

/// Files of modules by name, in which a file may have `-` for `_`.
fn index(dir: &Path, all: &mut HashMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            index(&path, all)?;
        } else if let Some(name) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".ko")) {
            all.insert(name.replace('-', "_"), path);
        }
    }
    Ok(())
}

fn only(dir: &Path, prefix: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(dir).with_context(|| dir.display().to_string())?;
    let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let found =
        paths.find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)));
    found.with_context(|| format!("nothing in {} is called {prefix}…; remove its folder", dir.display()))
}

/// Downloads the package that this one depends on and unpacks it to `dir`, whole or not at all.
fn fetch(package: &str, dir: &Path) -> Result<()> {
    ensure!(exists("apt-get"), "its kernel comes from Debian's {package}, and there is no apt-get here");
    let package = current(package)?;
    step(&format!("downloading {package}"));
    let unfinished = dir.with_extension("new");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    fs::create_dir_all(&unfinished)?;
    // Into a folder where apt's own user may not write.
    let mut apt = Command::new("apt-get");
    apt.args(["download", "-qq", "-o", "APT::Sandbox::User=root", &package]);
    run(apt.current_dir(&unfinished).stdout(Stdio::null()))?;
    let archive = only(&unfinished, &package)?;
    run(Command::new("dpkg-deb").arg("--extract").arg(&archive).arg(&unfinished))?;
    fs::remove_file(archive)?;
    Ok(fs::rename(unfinished, dir)?)
}

/// The name of the package with the current kernel.
fn current(package: &str) -> Result<String> {
    let listed = output(Command::new("apt-cache").args(["depends", "--important", package]))?;
    let depends = listed.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
    match depends {
        Some(package) => Ok(package.to_owned()),
        None => bail!("apt knows no {package}, which Debian has; on Debian, run `sudo apt-get update`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_say_what_they_depend_on() {
        assert_eq!(
            dependencies(b"x\0license=GPL\0depends=virtio,virtio_ring\0name=n\0"),
            "virtio,virtio_ring"
        );
        assert_eq!(dependencies(b"license=GPL\0depends=\0"), "");
        assert_eq!(dependencies(b""), "");
    }
}
