//! Signs the firmware that `cargo xtask fw` built, for the host to flash devices with at the factory and for
//! the registry to know: what runs can then be told, patched and rolled back to.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::Args;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use wasmbed_boards::{Board, Boards, Firmware};
use wasmbed_wire::{Digest, ModuleName};

use super::{super::Common, push::own_key};
use crate::{
    api,
    artifacts::{Metadata, Release, Signer, flat_image, sign_firmware},
    client::{Client, ClientError},
};

/// The version of images of this workspace.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Hexadecimal digits of the digest in the version of an image that was built again.
const DIGITS: usize = 8;

#[derive(Debug, Args)]
pub(crate) struct Factory {
    /// Folder of images and bootloaders
    images: PathBuf,
    /// Where to put what hosts need; `wasmbed host --images` takes it
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// File with the key that devices are provisioned to trust [default: the fleet's, in the data directory]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

impl Factory {
    pub(super) async fn run(self, common: &Common) -> Result<()> {
        let key = match &self.key {
            Some(file) => Signer::load(file)?,
            None => own_key(common)?,
        };
        let mut client = common.client().await?;
        prepare(&mut client, &key, &common.boards()?, &self.images, &self.output).await
    }
}

/// Signs every board's image in `from` into `to`, lays its bootloader beside it, and has the registry know it.
///
/// # Errors
/// If a file cannot be read or written, is no image for its board, or the service cannot be asked.
pub(in crate::cli) async fn prepare(
    client: &mut Client,
    signer: &Signer,
    boards: &Boards,
    from: &Path,
    to: &Path,
) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot create {}", to.display()))?;
    let known: Vec<api::Firmware> = client.request("firmware-list", &json!({})).await?;
    for board in boards.iter() {
        // What machines with an operating system start from is not signed: nobody can replace it from afar.
        for (_, file) in board.system_files() {
            if let Some(contents) = read(&from.join(&file))? {
                write(&to.join(&file), &contents)?;
            }
        }
        let Some(firmware) = &board.firmware else { continue };
        let elf = from.join(format!("{}.elf", board.name));
        let Some(file) = read(&elf)? else { continue };
        let image = flat_image(board, &file)
            .with_context(|| format!("{} is no firmware for {}", elf.display(), board.name))?;
        let release = release(board, firmware, &image, &known)?;
        let (name, version) = (release.name, release.version.clone());
        let signed = sign_firmware(signer, board, release, image)?.to_bytes();
        write(&to.join(format!("{}.wbfw", board.name)), &signed)?;
        let boot = format!("{}-boot.elf", board.name);
        if let Some(bootloader) = read(&from.join(&boot))? {
            write(&to.join(&boot), &bootloader)?;
        }
        match client.put_firmware::<api::Firmware>(name.as_str(), &version, signed.to_vec()).await {
            Ok(_) => {}
            // The devices run it all the same: they trust the key they are provisioned with.
            Err(ClientError::Refused(problem)) => {
                tracing::warn!(%name, version, %problem, "the registry does not take an image that devices run");
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn release(board: &Board, firmware: &Firmware, image: &Bytes, known: &[api::Firmware]) -> Result<Release> {
    let name: ModuleName = board.name.as_str().parse()?;
    let digest = Digest(Sha256::digest(image).into());
    let facts = [("package", &firmware.package), ("binary", &firmware.binary), ("target", &firmware.target)];
    let build: BTreeMap<String, String> =
        facts.into_iter().map(|(key, value)| (key.to_owned(), value.clone())).collect();
    let metadata = Metadata { build, ..Metadata::default() };
    Ok(Release { metadata, ..Release::new(name, version(&name, &digest, known)) })
}

/// The version an image has already, that of the workspace, or, where that is taken because the image was
/// built again, one of its own.
fn version(name: &ModuleName, digest: &Digest, known: &[api::Firmware]) -> String {
    let mut versions = known.iter().filter(|firmware| firmware.name == *name);
    if let Some(same) = versions.clone().find(|firmware| firmware.digest == *digest) {
        return same.version.clone();
    }
    if versions.all(|firmware| firmware.version != VERSION) {
        return VERSION.to_owned();
    }
    let digits = digest.to_string();
    format!("{VERSION}-dev.{}", digits.get(..DIGITS).unwrap_or(&digits))
}

fn read(path: &Path) -> Result<Option<Bytes>> {
    match fs::read(path) {
        Ok(file) => Ok(Some(file.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Writes a file whole or not at all; one that holds just this is left alone.
fn write(path: &Path, contents: &Bytes) -> Result<()> {
    if read(path)?.is_some_and(|present| present == *contents) {
        return Ok(());
    }
    let draft: PathBuf = path.with_extension("new");
    let write = || {
        fs::write(&draft, contents)?;
        fs::rename(&draft, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(version: &str, digest: u8) -> api::Firmware {
        serde_json::from_value(json!({
            "name": "netduino2", "version": version, "board": "netduino2", "counter": 0, "size_bytes": 1,
            "digest": Digest([digest; 32]), "artifact": "0000000000000000", "key": "0000000000000000",
            "source": "signed", "pushed_ms": 0, "devices": [], "running": [],
        }))
        .expect("a firmware")
    }

    #[test]
    fn an_image_that_was_built_again_gets_a_version_of_its_own() {
        let name = "netduino2".parse().expect("a name");
        let first = [known(VERSION, 1)];
        let both = [known(VERSION, 1), known("0.1.0-dev.02020202", 2)];
        assert_eq!(version(&name, &Digest([1; 32]), &[]), VERSION);
        assert_eq!(version(&name, &Digest([1; 32]), &first), VERSION);
        assert_eq!(version(&name, &Digest([2; 32]), &first), format!("{VERSION}-dev.02020202"));
        assert_eq!(version(&name, &Digest([2; 32]), &both), "0.1.0-dev.02020202");
    }
}
