//! What machines with an operating system are started from: Debian's kernel, and an initramfs with the agent and
//! nothing it does not need.
//!
//! Programs come as they were built here, with the shared libraries they name, stripped. The same inputs make the
//! same bytes, and files that would not change are not written.
//!
//! Not here: what the first process does (`wasmbed-init`), and how the machine is started (`boards/linux-x86-64`).

mod cpio;
mod kernel;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use wasmbed_boards::{Board, Boards, Place};

use crate::{
    paths,
    run::{output, run, step},
};
use cpio::Archive;
use kernel::{CLOUD, Flavour, GENERIC, Kernel};

/// What `wasmbed-init` runs, where it expects it.
const PROGRAMS: [(&str, &str); 2] = [("wasmbed-init", "init"), ("wasmbed-agent", "bin/wasmbed-agent")];
/// Formats the disk at the first start; from e2fsprogs, which every Debian has.
const MKE2FS: [&str; 2] = ["/usr/sbin/mke2fs", "/sbin/mke2fs"];
/// What is mounted over, in the order of the alphabet.
const FOLDERS: [&str; 6] = ["data", "dev", "proc", "run", "sys", "tmp"];
/// QEMU's `-netdev user` resolves names at this address.
const TEXTS: [(&str, &str); 2] =
    [("etc/hosts", "127.0.0.1 localhost\n"), ("etc/resolv.conf", "nameserver 10.0.2.3\n")];

/// Makes the files of every board that has such and is wanted. Where no kernel can be had, such boards are left out,
/// with the reason.
pub(crate) fn build(boards: &Boards, wanted: impl Fn(&Board) -> bool) -> Result<()> {
    build_with(CLOUD, boards, wanted, |name| paths::images().join(name))
}

/// The same with a kernel that knows GPIO, for tests: `variants/<board>-gpio.…`.
pub(crate) fn build_variants(boards: &Boards, wanted: impl Fn(&Board) -> bool) -> Result<()> {
    let variant = |name: &str| paths::images().join("variants").join(name.replacen('.', "-gpio.", 1));
    build_with(GENERIC, boards, wanted, variant)
}

fn build_with(
    flavour: Flavour,
    boards: &Boards,
    wanted: impl Fn(&Board) -> bool,
    path: impl Fn(&str) -> PathBuf,
) -> Result<()> {
    for board in boards.iter().filter(|board| wanted(board) && board.system_files().next().is_some()) {
        step(&format!("kernel and initramfs for {}", board.title));
        match Kernel::fetched(flavour) {
            Ok(kernel) => write_files(board, &kernel, &path)?,
            Err(error) => step(&format!("{} is left out: {error:#}", board.name)),
        }
    }
    Ok(())
}

fn write_files(board: &Board, kernel: &Kernel, path: impl Fn(&str) -> PathBuf) -> Result<()> {
    for (place, name) in board.system_files() {
        let path = path(&name);
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        let contents = match place {
            Place::Kernel => read(&kernel.image)?,
            _ => initramfs(kernel)?,
        };
        write(&path, &contents)?;
    }
    Ok(())
}

fn initramfs(kernel: &Kernel) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    FOLDERS.iter().for_each(|folder| archive.folder(folder));
    // The kernel opens it before there is a /dev.
    archive.device("dev/console", (5, 1));
    for (path, text) in TEXTS {
        archive.file(path, 0o644, text.into());
    }
    for (index, driver) in kernel.drivers()?.iter().enumerate() {
        let name = driver.file_name().unwrap_or_default().to_string_lossy();
        archive.file(&format!("lib/modules/{index:02}-{name}"), 0o644, read(driver)?);
    }
    let mut libraries = BTreeSet::new();
    for (program, path) in PROGRAMS {
        let program = paths::bin(program);
        libraries.extend(libraries_of(&program)?);
        archive.file(path, 0o755, stripped(&program)?);
    }
    let mke2fs = MKE2FS.map(Path::new).into_iter().find(|path| path.is_file());
    let mke2fs = mke2fs.context("there is no mke2fs; install the package e2fsprogs")?;
    libraries.extend(libraries_of(mke2fs)?);
    archive.file("sbin/mke2fs", 0o755, read(mke2fs)?);
    for library in libraries {
        archive.file(&library.to_string_lossy(), 0o755, read(&library)?);
    }
    Ok(archive.to_bytes())
}

/// Paths of the libraries, and the loader, that a program names.
fn libraries_of(program: &Path) -> Result<Vec<PathBuf>> {
    let listed = output(Command::new("ldd").arg(program))?;
    let paths = listed.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    Ok(paths.map(PathBuf::from).collect())
}

fn stripped(program: &Path) -> Result<Vec<u8>> {
    let out = program.with_extension("stripped");
    run(Command::new("strip").arg("--strip-all").arg("-o").arg(&out).arg(program))?;
    let contents = read(&out)?;
    fs::remove_file(&out)?;
    Ok(contents)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Writes a file whole or not at all; one that holds just this is left alone.
fn write(path: &Path, contents: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|present| present == contents) {
        return Ok(());
    }
    let unfinished = path.with_extension("new");
    let written = fs::write(&unfinished, contents).and_then(|()| fs::rename(&unfinished, path));
    written.with_context(|| format!("cannot write {}", path.display()))
}
