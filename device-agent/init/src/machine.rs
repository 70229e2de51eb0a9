//! File systems, drivers, the disk, and what the host hands over.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    os::unix::fs::{OpenOptionsExt, chown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail};
use nix::{
    kmod::{ModuleInitFlags, finit_module},
    mount::{MsFlags, mount},
};

use crate::agent;

/// Drivers, named so that their order is that in which they are loaded.
const DRIVERS: &str = "/lib/modules";
/// What QEMU was given with `-fw_cfg name=opt/wasmbed/agent.toml,…`.
const HANDED_OVER: &str = "/sys/firmware/qemu_fw_cfg/by_name/opt/wasmbed/agent.toml/raw";
const DEV: &str = "/dev";
const DISK: &str = "/dev/vda";
const MKE2FS: &str = "/sbin/mke2fs";
/// Where the disk is mounted.
pub(crate) const DATA: &str = "/data";

/// Where the superblock of ext4 has its magic number, and what it is (`s_magic`, Documentation/filesystems/ext4).
const MAGIC_OFFSET: u64 = 1024 + 0x38;
const MAGIC: [u8; 2] = 0xef53_u16.to_le_bytes();

/// Mounts what the kernel offers, and memory for what need not last.
pub(crate) fn mount_system() -> anyhow::Result<()> {
    let strict = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    for (kind, place, flags, options) in [
        ("proc", "/proc", strict, None),
        ("sysfs", "/sys", strict, None),
        ("devtmpfs", "/dev", MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC, None),
        ("tmpfs", "/run", strict, Some("mode=0755")),
        ("tmpfs", "/tmp", strict, Some("mode=1777")),
    ] {
        mount(Some(kind), place, Some(kind), flags, options)
            .with_context(|| format!("cannot mount {place}"))?;
    }
    Ok(())
}

/// Loads every driver there is.
pub(crate) fn load_drivers() -> anyhow::Result<()> {
    let entries = fs::read_dir(DRIVERS)?.collect::<Result<Vec<_>, _>>().context(DRIVERS)?;
    let mut drivers: Vec<PathBuf> = entries.iter().map(fs::DirEntry::path).collect();
    drivers.sort();
    for driver in drivers {
        let load = || anyhow::Ok(finit_module(File::open(&driver)?, c"", ModuleInitFlags::empty())?);
        load().with_context(|| format!("cannot load {}", driver.display()))?;
    }
    Ok(())
}

/// Gives the agent what it may open of the machine: GPIO chips.
pub(crate) fn give_devices() -> anyhow::Result<()> {
    for entry in fs::read_dir(DEV).context(DEV)? {
        let path = entry.context(DEV)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("gpiochip") {
            chown(&path, Some(agent::USER), Some(agent::USER))
                .with_context(|| format!("cannot give away {}", path.display()))?;
        }
    }
    Ok(())
}

/// Copies the agent's configuration to where only the agent reads it, and returns its path.
pub(crate) fn take_config() -> anyhow::Result<&'static Path> {
    let path = Path::new("/run/agent.toml");
    let config = fs::read(HANDED_OVER).context("the host handed over no configuration for the agent")?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o400).open(path)?;
    file.write_all(&config)?;
    chown(path, Some(agent::USER), Some(agent::USER))?;
    Ok(path)
}

/// Mounts the disk for the agent; one that was never used is formatted first.
pub(crate) fn mount_data() -> anyhow::Result<()> {
    if !is_formatted().with_context(|| format!("cannot read the disk {DISK}"))? {
        format()?;
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOATIME;
    mount(Some(DISK), DATA, Some("ext4"), flags, Some("errors=remount-ro")).with_context(|| {
        format!("cannot mount {DISK}; it holds what the device keeps, so it stays as it is")
    })?;
    chown(DATA, Some(agent::USER), Some(agent::USER)).with_context(|| format!("cannot give away {DATA}"))
}

fn is_formatted() -> std::io::Result<bool> {
    let mut disk = File::open(DISK)?;
    let mut found = [0; MAGIC.len()];
    disk.seek(SeekFrom::Start(MAGIC_OFFSET))?;
    disk.read_exact(&mut found)?;
    Ok(found == MAGIC)
}

/// Makes the file system. The superblock is written last, past the page cache: after a power cut in between, the
/// disk still counts as unused.
fn format() -> anyhow::Result<()> {
    let arguments = ["-q", "-F", "-D", "-t", "ext4", "-m", "0", DISK];
    let status = Command::new(MKE2FS).args(arguments).stdin(Stdio::null()).status().context(MKE2FS)?;
    match status.success() {
        true => Ok(()),
        false => bail!("{MKE2FS} ended with {status}"),
    }
}
