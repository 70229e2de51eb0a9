//! `wasmbed keys …`.

use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde_json::json;
use wasmbed_wire::{
    PublicKey, Seq,
    keyring::{Keyring, Role, Roles, TrustedKey},
};

use super::{Common, device::once, output, table::Table};
use crate::{
    api::{self, KeyAdd, KeyName, KeyRetire, KeyState, KeyringImport},
    artifacts::{Signer, key_id},
};

#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    /// Make a private key, on whatever machine it is to be kept
    Create {
        /// What it will be called
        name: KeyName,
        /// Where to write it, readable for you only [default: NAME.key]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Print the public key that belongs to a private one
    Public {
        /// File with the private key
        file: PathBuf,
    },
    /// List keys and what they may sign
    List,
    /// Trust a key, or change what it may sign and until when
    Add(Add),
    /// Trust a key no longer
    Retire {
        /// Its name
        name: KeyName,
    },
    /// Make a keyring where a root key is, for a service that may not sign one itself
    Keyring(MakeKeyring),
    /// Have the service take over a keyring
    Import {
        /// The file that `keys keyring` wrote
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(super) struct Add {
    /// What to call it
    name: KeyName,
    /// The public key in hexadecimal, or a file with it
    #[arg(value_parser = public_key)]
    key: PublicKey,
    /// What it may sign: root (keyrings), firmware, module, patch, control (desired states and commands)
    #[arg(long, value_name = "ROLE,…", value_delimiter = ',', required = true)]
    roles: Vec<Role>,
    /// The last day on which it is good, as YYYY-MM-DD, or the last second of Unix time
    #[arg(long, value_name = "DATE", value_parser = moment)]
    not_after: Option<u32>,
}

#[derive(Debug, Args)]
pub(super) struct MakeKeyring {
    /// File with the private root key
    #[arg(long, value_name = "FILE")]
    sign: PathBuf,
    /// Its version, above that of the last one (see `wasmbed keys list`)
    #[arg(long = "version", value_name = "N")]
    version: u32,
    /// A key to trust: PUBLICKEY:ROLE[+ROLE…][:DATE], the public key in hexadecimal or a file with it; repeat
    /// for each. Keys left out are retired
    #[arg(long = "key", value_name = "KEY", value_parser = trusted, required = true)]
    keys: Vec<TrustedKey>,
    /// Where to write it
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

/// A public key, or the file it is in.
fn public_key(text: &str) -> Result<PublicKey, String> {
    let read = |text: &str| text.trim().parse::<PublicKey>().map_err(|error| error.to_string());
    read(text).or_else(|error| {
        let file =
            fs::read_to_string(text).map_err(|_| format!("neither a public key ({error}) nor a file"))?;
        read(&file).map_err(|error| format!("{text} does not hold a public key: {error}"))
    })
}

fn trusted(text: &str) -> Result<TrustedKey, String> {
    let mut parts = text.split(':');
    let (Some(key), Some(roles), until, None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err("write PUBLICKEY:ROLE[+ROLE…][:DATE]".into());
    };
    let roles: Result<Roles, _> = roles.split('+').map(str::parse::<Role>).collect();
    Ok(TrustedKey {
        key: public_key(key)?,
        roles: roles.map_err(|error| error.to_string())?,
        not_after_s: until.map(moment).transpose()?,
    })
}

/// A day's last second, or a second of Unix time.
fn moment(text: &str) -> Result<u32, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(seconds);
    }
    let bad = || "write YYYY-MM-DD, or a second of Unix time".to_owned();
    let numbers: Result<Vec<u32>, _> = text.split('-').map(str::parse).collect();
    let Ok([year @ 1970..=2105, month @ 1..=12, day @ 1..=31]) = numbers.as_deref().map_err(|_| bad()) else {
        return Err(bad());
    };
    // Months from March on, so that leap days come last.
    let (years, months) = (u64::from(*year) - u64::from(*month < 3), u64::from((*month + 9) % 12));
    let days =
        years * 365 + years / 4 - years / 100 + years / 400 + (months * 153 + 2) / 5 + u64::from(*day) - 1;
    let second = (days - 719_468 + 1) * 86_400 - 1;
    if output::utc(second * 1000).get(..10) != Some(text) {
        return Err(bad());
    }
    u32::try_from(second).map_err(|_| bad())
}

impl Keys {
    pub(super) async fn run(self, common: &Common) -> Result<()> {
        match self {
            Keys::Create { name, out } => create(common, &name, out),
            Keys::Public { file } => public(common, &file),
            Keys::List => list(common).await,
            Keys::Add(add) => add.run(common).await,
            Keys::Retire { name } => change(common, "key-retire", KeyRetire { name }).await,
            Keys::Keyring(keyring) => keyring.run(common),
            Keys::Import { file } => import(common, &file).await,
        }
    }
}

fn create(common: &Common, name: &KeyName, out: Option<PathBuf>) -> Result<()> {
    let path = out.unwrap_or_else(|| PathBuf::from(format!("{name}.key")));
    let key = Signer::create(&path)?;
    if common.json {
        return output::json(&json!({ "file": path, "key": key.public(), "id": key.id() }));
    }
    output::line(format_args!(
        "{}: private key {}, readable for you only; there is no other copy\ntrust it with `wasmbed keys add {name} {} \
         --roles firmware`",
        path.display(),
        key.id(),
        key.public()
    ))
}

fn public(common: &Common, file: &Path) -> Result<()> {
    let key = Signer::load(file)?;
    if common.json {
        return output::json(&json!({ "key": key.public(), "id": key.id() }));
    }
    output::line(key.public())
}

impl Add {
    async fn run(self, common: &Common) -> Result<()> {
        let Add { name, key, roles, not_after } = self;
        change(common, "key-add", KeyAdd { name, key, roles, not_after }).await
    }
}

async fn change(common: &Common, verb: &str, fields: impl serde::Serialize) -> Result<()> {
    let mut client = common.client().await?;
    let keys: api::Keys = client.request(verb, &once(fields)).await?;
    show(common, &keys)
}

async fn list(common: &Common) -> Result<()> {
    let mut client = common.client().await?;
    let keys: api::Keys = client.request("key-list", &json!({})).await?;
    show(common, &keys)
}

fn show(common: &Common, keys: &api::Keys) -> Result<()> {
    if common.json {
        return output::json(keys);
    }
    let mut table = Table::new(["NAME", "ID", "STATE", "ROLES", "UNTIL", "PUBLIC KEY"]);
    for key in &keys.keys {
        let roles: Vec<&str> = key.roles.iter().map(|role| role.name()).collect();
        let state = match key.state {
            KeyState::Trusted => "trusted",
            KeyState::Expired => "expired",
            KeyState::Retired => "retired",
        };
        table.row([
            key.name.to_string(),
            key.id.to_string(),
            state.to_owned(),
            roles.join(" "),
            key.not_after.map_or_else(|| "-".into(), |until| output::utc(u64::from(until) * 1000)),
            key.key.to_string(),
        ]);
    }
    output::text(table)?;
    match keys.version {
        Some(version) => output::line(format_args!("keyring {version} says so to devices")),
        None => {
            output::line("devices use the keys they were provisioned with; the first change makes a keyring")
        }
    }
}

impl MakeKeyring {
    fn run(self, common: &Common) -> Result<()> {
        let root = Signer::load(&self.sign)?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let issued_s = u32::try_from(now.as_secs()).context("this machine's clock is wrong")?;
        let keyring = Keyring { version: self.version, issued_s, keys: Seq::new(&self.keys) };
        let signed = root.sign_keyring(&keyring)?;
        let text: String = signed.iter().map(|byte| format!("{byte:02x}")).collect();
        fs::write(&self.output, text + "\n")
            .with_context(|| format!("cannot write {}", self.output.display()))?;
        if common.json {
            let keys: Vec<String> = self.keys.iter().map(|key| key_id(&key.key).to_string()).collect();
            return output::json(&json!({
                "file": self.output, "version": self.version, "issued_s": issued_s, "keys": keys,
                "signed_by": root.id(),
            }));
        }
        output::line(format_args!(
            "{}: keyring {} with {}, signed by {}; import it with `wasmbed keys import {}`",
            self.output.display(),
            self.version,
            output::count(self.keys.len(), "key"),
            root.id(),
            self.output.display()
        ))
    }
}

async fn import(common: &Common, file: &Path) -> Result<()> {
    let keyring = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    change(common, "keyring-import", KeyringImport { keyring }).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_good_to_the_last_second_of_its_day() {
        for (text, second) in [("2000-02-29", 951_868_799), ("2026-12-31", 1_798_761_599), ("17", 17)] {
            assert_eq!(moment(text), Ok(second), "{text}");
        }
        for text in ["", "2026-13-01", "2026-02-30", "2026-2-3", "tomorrow", "2200-01-01"] {
            assert!(moment(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_trusted_key_is_written_with_its_roles_and_end() {
        let key = Signer::from_seed([1; 32]).public();
        let read = trusted(&format!("{key}:root+firmware:2026-12-31"));
        let roles = Roles::default().with(Role::Root).with(Role::Firmware);
        assert_eq!(read, Ok(TrustedKey { key, roles, not_after_s: Some(1_798_761_599) }));
        for bad in ["12:root".to_owned(), key.to_string(), format!("{key}:king"), format!("{key}:root:1:2")] {
            assert!(trusted(&bad).is_err(), "{bad}");
        }
    }
}
