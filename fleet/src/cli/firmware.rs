//! `wasmbed firmware …`.

pub(super) mod factory;
mod new;
mod push;
mod update;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use wasmbed_wire::ModuleName;

use super::{Common, device::once, module::Versioned, output, table::Table};
use crate::{
    api::{self, FirmwareNamed, FirmwareRemove, FirmwareVerified},
    client::Client,
};

/// Hexadecimal digits of a digest in a table.
const SHORT: usize = 12;

#[derive(Debug, Subcommand)]
pub(super) enum Firmware {
    /// Write a project of your own that builds firmware for a board
    New(new::New),
    /// Add a firmware to the registry: a signed file, or an ELF file or flat image for a board
    Push(push::Push),
    /// Sign an ELF file or flat image, without any fleet: the key may be on a machine of its own
    Sign(push::Sign),
    /// Sign the images that `cargo xtask fw` built, for hosts to flash devices with before their first start
    Factory(factory::Factory),
    /// List firmware and its versions
    List,
    /// Show everything about one version
    Show(Named),
    /// Hash the stored image again and check the signature
    Verify(Named),
    /// Forget a version that no device should run
    Remove {
        /// NAME@VERSION
        firmware: Versioned,
    },
    /// Have devices run a firmware
    Deploy(update::Deploy),
    /// Have devices keep, or go back to, the firmware they have confirmed
    Cancel(update::Targets),
    /// Have devices go back to the firmware in their other slot, without a download
    Rollback(update::Waiting),
    /// Have devices try again the firmware they refused or reverted
    Clear(update::Waiting),
    /// Show where devices stand with their firmware
    Status(update::Status),
}

#[derive(Debug, Args)]
pub(super) struct Named {
    /// NAME, or NAME@VERSION; the last version pushed if none is given
    firmware: Choice,
}

/// `NAME` or `NAME@VERSION`.
#[derive(Debug, Clone)]
struct Choice {
    name: ModuleName,
    version: Option<String>,
}

impl std::str::FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, version) = match text.split_once('@') {
            Some((name, version)) => (name, Some(version.to_owned())),
            None => (text, None),
        };
        let name = name.parse().map_err(|error: wasmbed_wire::id::NameError| error.to_string())?;
        Ok(Choice { name, version })
    }
}

impl Firmware {
    pub(super) async fn run(self, common: &Common) -> Result<()> {
        match self {
            Firmware::New(new) => new.run(common),
            Firmware::Push(push) => push.run(common).await,
            Firmware::Sign(sign) => sign.run(common),
            Firmware::Factory(factory) => factory.run(common).await,
            Firmware::List => list(common).await,
            Firmware::Show(named) => show(common, named).await,
            Firmware::Verify(named) => verify(common, named).await,
            Firmware::Remove { firmware } => remove(common, firmware).await,
            Firmware::Deploy(deploy) => deploy.run(common).await,
            Firmware::Cancel(targets) => targets.run(common, "cancel").await,
            Firmware::Rollback(waiting) => waiting.run(common, "rollback").await,
            Firmware::Clear(waiting) => waiting.run(common, "clear").await,
            Firmware::Status(status) => status.run(common).await,
        }
    }
}

impl Named {
    fn fields(self) -> FirmwareNamed {
        FirmwareNamed { firmware: self.firmware.name, version: self.firmware.version }
    }
}

/// Every version in the registry.
async fn all(client: &mut Client) -> Result<Vec<api::Firmware>> {
    Ok(client.request("firmware-list", &json!({})).await?)
}

/// Who signed, in words.
fn signer(firmware: &api::Firmware) -> String {
    firmware.key_name.as_ref().map_or_else(|| firmware.key.to_string(), |name| name.to_string())
}

/// The beginning of a digest, enough to tell images apart.
fn short(digest: &wasmbed_wire::Digest) -> String {
    let mut text = digest.to_string();
    text.truncate(SHORT);
    text
}

async fn list(common: &Common) -> Result<()> {
    let mut client = common.client().await?;
    let firmware = all(&mut client).await?;
    if common.json {
        return output::json(&firmware);
    }
    if firmware.is_empty() {
        return output::line("no firmware; push some with `wasmbed firmware push FILE`");
    }
    let head =
        ["FIRMWARE", "VERSION", "BOARD", "COUNTER", "SIZE", "SHA-256", "SIGNED BY", "PUSHED", "RUNS ON"];
    let mut table = Table::new(head);
    for row in firmware {
        let running: Vec<&str> = row.running.iter().map(|id| id.as_str()).collect();
        table.row([
            row.name.to_string(),
            row.version.clone(),
            row.board.to_string(),
            row.counter.to_string(),
            output::bytes(row.size_bytes.into()),
            short(&row.digest),
            signer(&row),
            output::ago(row.pushed_ms),
            if running.is_empty() { "-".into() } else { running.join(" ") },
        ]);
    }
    output::text(table)
}

async fn show(common: &Common, named: Named) -> Result<()> {
    let mut client = common.client().await?;
    let firmware: api::Firmware = client.request("firmware-show", &named.fields()).await?;
    if common.json {
        return output::json(&firmware);
    }
    let ids = |ids: &[wasmbed_wire::DeviceId]| {
        let ids: Vec<&str> = ids.iter().map(|id| id.as_str()).collect();
        if ids.is_empty() { "-".to_owned() } else { ids.join(" ") }
    };
    let mut table = Table::new(["FIRMWARE", firmware.name.as_str()]);
    let mut row = |name: &str, value: String| table.row([name.to_owned(), value]);
    row("version", firmware.version.clone());
    row("board", firmware.board.to_string());
    row("counter", firmware.counter.to_string());
    row("size", format!("{} B", firmware.size_bytes));
    row("sha256", firmware.digest.to_string());
    row("artifact", firmware.artifact.to_string());
    row("signed by", format!("{} ({})", signer(&firmware), firmware.key));
    row("pushed", output::utc(firmware.pushed_ms));
    for (key, value) in &firmware.build {
        row("build", format!("{key}={value}"));
    }
    row("wanted on", ids(&firmware.devices));
    row("runs on", ids(&firmware.running));
    for warning in &firmware.warnings {
        row("warning", warning.clone());
    }
    output::text(table)?;
    if firmware.notes.is_empty() { Ok(()) } else { output::line(format_args!("\n{}", firmware.notes)) }
}

async fn verify(common: &Common, named: Named) -> Result<()> {
    let mut client = common.client().await?;
    let found: FirmwareVerified = client.request("firmware-verify", &named.fields()).await?;
    let by = found.key_name.as_ref().map_or_else(String::new, |name| format!(" ({name})"));
    if common.json {
        output::json(&found)?;
    } else {
        output::line(format_args!(
            "{} {}: SHA-256 {}, {} B, signed by {}{by}",
            found.firmware, found.version, found.sha256, found.size_bytes, found.key
        ))?;
    }
    match found.problem {
        Some(problem) => bail!("{} {} is not good: {problem}", found.firmware, found.version),
        None if common.json => Ok(()),
        None => output::line("image, manifest and signature fit together, and the key is trusted"),
    }
}

async fn remove(common: &Common, firmware: Versioned) -> Result<()> {
    let Versioned { name, version } = firmware;
    let mut client = common.client().await?;
    let fields = FirmwareRemove { firmware: name, version: version.clone() };
    let removed: Value = client.request("firmware-remove", &once(fields)).await?;
    if common.json { output::json(&removed) } else { output::line(format_args!("{name} {version} removed")) }
}
