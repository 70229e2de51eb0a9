//! `wasmbed firmware push` and `sign`: from a linker's file to the registry.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use clap::Args;
use sha2::{Digest as _, Sha256};
use wasmbed_boards::{Board, Boards};
use wasmbed_wire::{BoardName, Digest, ModuleName, manifest::Trial};

use super::{all, signer};
use crate::{
    api,
    artifacts::{FirmwareFile, MAGIC, Metadata, Release, Signer, flat_image, sign_firmware},
    cli::{
        Common,
        module::{FIRST_VERSION, next_after},
        output,
    },
    client::Client,
};

/// What an image is released as.
#[derive(Debug, Clone, Args)]
struct As {
    /// Its name [default: that of the board]
    #[arg(long)]
    name: Option<ModuleName>,
    /// The board it is for [default: the board the file is named after]
    #[arg(long)]
    board: Option<BoardName>,
    /// Security counter: devices that have confirmed a higher one refuse it [default: 0]
    #[arg(long, value_name = "N")]
    counter: Option<u32>,
    /// What is new, for people
    #[arg(long, value_name = "TEXT")]
    notes: Option<String>,
    /// A fact about the build; may be repeated
    #[arg(long = "meta", value_name = "KEY=VALUE", value_parser = fact)]
    meta: Vec<(String, String)>,
    /// Starts it has to prove itself, 1 to 15 [default: 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=15))]
    tries: Option<u8>,
    /// Time it may be without a connection before it is given up, in seconds, 5 to 3600 [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u16).range(5..=3600))]
    confirm_s: Option<u16>,
}

/// A signed file is pushed as it is. An image needs a signature: with --key that of this key; with
/// --name, --counter, --notes, --meta, --tries or --confirm-s that of the fleet's own key, if it is in the data
/// directory here; otherwise the service signs it.
#[derive(Debug, Args)]
pub(in crate::cli) struct Push {
    /// The file
    file: PathBuf,
    /// Its version, such as 1.2.3 [default: the one after the last]
    #[arg(long = "version", value_name = "VERSION")]
    version: Option<String>,
    #[command(flatten)]
    release: As,
    /// File with the private key to sign with, see `wasmbed keys create`
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Sign {
    /// The ELF file or flat image
    file: PathBuf,
    /// Its version, such as 1.2.3
    #[arg(long = "version", value_name = "VERSION")]
    version: String,
    #[command(flatten)]
    release: As,
    /// File with the private key to sign with, see `wasmbed keys create`
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Where to write the signed file
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

fn fact(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("a fact is KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

impl As {
    /// Whether a plain image under the name of its board says all there is.
    fn is_plain(&self) -> bool {
        let As { name, board: _, counter, notes, meta, tries, confirm_s } = self;
        name.is_none()
            && counter.is_none()
            && notes.is_none()
            && meta.is_empty()
            && tries.is_none()
            && confirm_s.is_none()
    }

    fn name(&self, board: &Board) -> Result<ModuleName> {
        match self.name {
            Some(name) => Ok(name),
            None => Ok(board.name.as_str().parse()?),
        }
    }

    fn release(self, board: &Board, version: String) -> Result<Release> {
        let trial = (self.tries.is_some() || self.confirm_s.is_some()).then(|| Trial {
            tries: self.tries.unwrap_or(Trial::DEFAULT.tries),
            confirm_s: self.confirm_s.unwrap_or(Trial::DEFAULT.confirm_s),
        });
        Ok(Release {
            name: self.name(board)?,
            version,
            counter: self.counter.unwrap_or(0),
            trial,
            metadata: Metadata {
                notes: self.notes.unwrap_or_default(),
                build: self.meta.into_iter().collect(),
            },
        })
    }

    fn board<'b>(&self, boards: &'b Boards, file: &Path) -> Result<&'b Board> {
        let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let name = self.board.or_else(|| stem.parse().ok());
        let known = || {
            let names: Vec<&str> = boards.iter().map(|board| board.name.as_str()).collect();
            names.join(", ")
        };
        name.and_then(|name| boards.get(&name)).with_context(|| match self.board {
            Some(board) => format!("there is no board {board}; boards are: {}", known()),
            None => {
                format!("{} is not named after a board; use --board with one of: {}", file.display(), known())
            }
        })
    }
}

impl Push {
    pub(super) async fn run(self, common: &Common) -> Result<()> {
        let file: Bytes = read(&self.file)?.into();
        let mut client = common.client().await?;
        let pushed = if file.starts_with(&MAGIC) {
            self.push_signed(&mut client, file).await?
        } else {
            self.push_image(common, &mut client, file).await?
        };
        if common.json {
            return output::json(&pushed);
        }
        output::line(format_args!(
            "{} {}: {} for {}, SHA-256 {}, signed by {}",
            pushed.name,
            pushed.version,
            output::bytes(pushed.size_bytes.into()),
            pushed.board,
            pushed.digest,
            signer(&pushed),
        ))?;
        for warning in &pushed.warnings {
            output::line(format_args!("warning: {warning}"))?;
        }
        output::line(format_args!(
            "deploy it with `wasmbed firmware deploy {}@{} --to board={}`",
            pushed.name, pushed.version, pushed.board
        ))
    }

    async fn push_signed(self, client: &mut Client, file: Bytes) -> Result<api::Firmware> {
        if !self.release.is_plain()
            || self.key.is_some()
            || self.version.is_some()
            || self.release.board.is_some()
        {
            bail!(
                "{} is signed: what it is was said when it was signed; leave the options out",
                self.file.display()
            );
        }
        let unusable = || format!("cannot push {}", self.file.display());
        let parsed = FirmwareFile::parse(file.clone()).with_context(unusable)?;
        let manifest = parsed.manifest().with_context(unusable)?;
        Ok(client.put_firmware(manifest.name.as_str(), manifest.version, file.to_vec()).await?)
    }

    async fn push_image(self, common: &Common, client: &mut Client, file: Bytes) -> Result<api::Firmware> {
        let boards = common.boards()?;
        let board = self.release.board(&boards, &self.file)?;
        let image = flatten(board, &self.file, &file)?;
        let name = self.release.name(board)?;
        let version = match self.version {
            Some(version) => version,
            None => next_version(client, name, &Digest(Sha256::digest(&image).into())).await?,
        };
        let key = match &self.key {
            Some(path) => Some(Signer::load(path)?),
            None if self.release.is_plain() => None,
            None => Some(own_key(common).context(
                "the service signs plain images only; use --key FILE, or leave out --name, --counter, --notes, \
                 --meta, --tries and --confirm-s",
            )?),
        };
        let Some(key) = key else {
            return Ok(client.put_firmware(name.as_str(), &version, file.to_vec()).await?);
        };
        let release = self.release.release(board, version.clone())?;
        let signed = sign_firmware(&key, board, release, image)?;
        Ok(client.put_firmware(name.as_str(), &version, signed.to_bytes().to_vec()).await?)
    }
}

impl Sign {
    pub(super) fn run(self, common: &Common) -> Result<()> {
        let file: Bytes = read(&self.file)?.into();
        if file.starts_with(&MAGIC) {
            bail!("{} is signed already; sign the image it was made of", self.file.display());
        }
        let boards = common.boards()?;
        let board = self.release.board(&boards, &self.file)?;
        let image = flatten(board, &self.file, &file)?;
        let key = Signer::load(&self.key)?;
        let release = self.release.release(board, self.version.clone())?;
        let name = release.name;
        let signed = sign_firmware(&key, board, release, image)?;
        let unwritable = || format!("cannot write {}", self.output.display());
        fs::write(&self.output, signed.to_bytes()).with_context(unwritable)?;
        let digest = signed.manifest()?.digest;
        if common.json {
            return output::json(&serde_json::json!({
                "file": self.output, "name": name, "version": self.version, "board": board.name,
                "sha256": digest, "key": key.id(),
            }));
        }
        output::line(format_args!(
            "{}: {name} {} for {}, SHA-256 {digest}, signed by {}",
            self.output.display(),
            self.version,
            board.name,
            key.id()
        ))
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn flatten(board: &Board, path: &Path, file: &Bytes) -> Result<Bytes> {
    flat_image(board, file).with_context(|| format!("{} is no firmware for {}", path.display(), board.name))
}

/// The fleet's own key, if its data directory is here.
pub(super) fn own_key(common: &Common) -> Result<Signer> {
    let path = common.load()?.data_dir().join(crate::service::KEY_FILE);
    Signer::load(&path)
        .with_context(|| format!("the fleet's key is not at {}; use --key FILE", path.display()))
}

/// The version this image has already, or the one after the last.
async fn next_version(client: &mut Client, name: ModuleName, digest: &Digest) -> Result<String> {
    let mut versions = all(client).await?;
    versions.retain(|firmware| firmware.name == name);
    if let Some(same) = versions.iter().find(|firmware| firmware.digest == *digest) {
        return Ok(same.version.clone());
    }
    let Some(last) = versions.pop() else { return Ok(FIRST_VERSION.to_owned()) };
    next_after(&last.version)
}
