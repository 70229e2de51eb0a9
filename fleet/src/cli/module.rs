//! `wasmbed module …`.

mod grants;
mod new;
mod run;

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use wasmbed_wire::{Digest, ModuleName, limits::MAX_MODULE_BYTES};

use super::{Common, device::once, output, table::Table};
use crate::{
    api::{self, ClassReport, ModuleRemove, Violation},
    artifacts::{self, Checked},
    client::Client,
};

/// The first version of what is pushed without one.
pub(super) const FIRST_VERSION: &str = "0.1.0";

#[derive(Debug, Subcommand)]
pub(super) enum Module {
    /// Write a project of your own that builds a module, in Rust, C or AssemblyScript
    New(new::New),
    /// Upload a WebAssembly file; it is checked, compiled and signed
    Push(Push),
    /// Say which device classes admit a WebAssembly file, without uploading it
    Check {
        /// The file
        file: PathBuf,
    },
    /// Run a WebAssembly file on this machine within the limits of a device class, without a fleet
    Run(run::Run),
    /// List modules and their versions
    List,
    /// Grant a module capabilities
    Grant(grants::Change),
    /// Take capabilities from a module
    Revoke(grants::Change),
    /// List what modules are granted
    Grants,
    /// Forget a version that no device should run
    Remove {
        /// NAME@VERSION
        module: Versioned,
    },
}

#[derive(Debug, Args)]
pub(super) struct Push {
    /// The file
    file: PathBuf,
    /// Its name [default: that of the file]
    #[arg(long)]
    name: Option<ModuleName>,
    /// Its version, such as 1.2.3 [default: the one after the last]
    #[arg(long = "version", value_name = "VERSION")]
    version: Option<String>,
}

/// `NAME@VERSION`.
#[derive(Debug, Clone)]
pub(super) struct Versioned {
    pub(super) name: ModuleName,
    pub(super) version: String,
}

impl std::str::FromStr for Versioned {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, version) = text.split_once('@').ok_or("write NAME@VERSION")?;
        let name = name.parse().map_err(|error: wasmbed_wire::id::NameError| error.to_string())?;
        Ok(Versioned { name, version: version.to_owned() })
    }
}

impl Module {
    pub(super) async fn run(self, common: &Common) -> Result<()> {
        match self {
            Module::New(new) => new.run(common),
            Module::Push(push) => push.run(common).await,
            Module::Check { file } => check(common, &file),
            Module::Run(run) => run.run(common),
            Module::List => list(common).await,
            Module::Grant(change) => change.run(common, "module-grant").await,
            Module::Revoke(change) => change.run(common, "module-revoke").await,
            Module::Grants => grants::list(common).await,
            Module::Remove { module } => remove(common, module).await,
        }
    }
}

impl Push {
    async fn run(self, common: &Common) -> Result<()> {
        let name = match self.name {
            Some(name) => name,
            None => name_of(&self.file)?,
        };
        let file = read(&self.file)?;
        let mut client = common.client().await?;
        let version = match self.version {
            Some(version) => version,
            None => next_version(&mut client, name, &file).await?,
        };
        let module: api::Module = client.put_module(name.as_str(), &version, file).await?;
        if common.json {
            return output::json(&module);
        }
        output::line(format_args!("{name} {version}: {}", output::bytes(module.wasm_bytes)))?;
        output::text(reports(&module.classes))?;
        output::line(format_args!("deploy it with `wasmbed deploy {name} --to all`"))
    }
}

fn name_of(file: &Path) -> Result<ModuleName> {
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().to_lowercase().replace('_', "-"));
    let stem = stem.unwrap_or_default();
    stem.parse().with_context(|| format!("{stem:?} cannot be a module's name; use --name NAME"))
}

/// Reads a file without ever holding more than may be uploaded.
fn read(path: &Path) -> Result<Vec<u8>> {
    let unreadable = || format!("cannot read {}", path.display());
    let file = File::open(path).with_context(unreadable)?;
    let size = file.metadata().with_context(unreadable)?.len();
    artifacts::check_size(size).map_err(refused)?;
    let mut bytes = Vec::new();
    file.take(u64::from(MAX_MODULE_BYTES) + 1).read_to_end(&mut bytes).with_context(unreadable)?;
    artifacts::check_size(bytes.len() as u64).map_err(refused)?;
    Ok(bytes)
}

fn refused(problem: api::Problem) -> anyhow::Error {
    crate::client::ClientError::Refused(Box::new(problem)).into()
}

/// The version these contents have already, or the one after the last.
async fn next_version(client: &mut Client, name: ModuleName, file: &[u8]) -> Result<String> {
    let mut modules: Vec<api::Module> = client.request("module-list", &json!({})).await?;
    modules.retain(|module| module.name == name);
    let digest = Digest(Sha256::digest(file).into());
    if let Some(same) = modules.iter().find(|module| module.digest == digest) {
        return Ok(same.version.clone());
    }
    let Some(last) = modules.pop() else { return Ok(FIRST_VERSION.to_owned()) };
    next_after(&last.version)
}

/// The version after this one.
pub(super) fn next_after(last: &str) -> Result<String> {
    let core = last.split('-').next().unwrap_or_default();
    let next = core.rsplit_once('.').and_then(|(front, patch)| {
        let patch: u32 = patch.parse().ok()?;
        Some(format!("{front}.{}", patch.checked_add(1)?))
    });
    next.with_context(|| format!("what comes after version {last} is not clear; use --version"))
}

fn check(common: &Common, path: &Path) -> Result<()> {
    #[derive(Serialize)]
    struct Line<'r> {
        #[serde(flatten)]
        report: &'r ClassReport,
        /// What a call takes at most of the stack that instances of bytecode have.
        #[serde(skip_serializing_if = "Option::is_none")]
        stack_bytes: Option<u32>,
    }
    let Checked { classes: report, stack_bytes, .. } = artifacts::check(&read(path)?);
    if common.json {
        let line = |report| Line { report, stack_bytes };
        output::json(&report.iter().map(line).collect::<Vec<_>>())?;
    } else {
        output::text(reports(&report))?;
    }
    if report.iter().all(|class| !class.admitted) {
        bail!("no device class admits {}", path.display());
    }
    Ok(())
}

/// What each class says; what all of them warn of is said once.
fn reports(classes: &[ClassReport]) -> String {
    let mut table = Table::new(["CLASS", "VERDICT"]);
    let text = |verdict: &str, Violation { rule, found, limit }: &Violation| {
        format!("{verdict}: {rule}: {found}; {limit}")
    };
    let is_common = |warning: &Violation| classes.iter().all(|report| report.warnings.contains(warning));
    for report in classes {
        if report.admitted {
            table.row([report.class.to_string(), "admitted".into()]);
        }
        for violation in &report.violations {
            table.row([report.class.to_string(), text("refused", violation)]);
        }
        for warning in report.warnings.iter().filter(|warning| !is_common(warning)) {
            table.row([report.class.to_string(), text("warning", warning)]);
        }
    }
    let common = classes.first().into_iter().flat_map(|report| &report.warnings);
    for warning in common.filter(|warning| is_common(warning)) {
        table.row(["all".into(), text("warning", warning)]);
    }
    table.to_string()
}

async fn list(common: &Common) -> Result<()> {
    let mut client = common.client().await?;
    let modules: Vec<api::Module> = client.request("module-list", &json!({})).await?;
    if common.json {
        return output::json(&modules);
    }
    if modules.is_empty() {
        return output::line("no modules; push one with `wasmbed module push FILE`");
    }
    let mut table = Table::new(["MODULE", "VERSION", "SIZE", "PUSHED", "CLASSES", "DEVICES"]);
    for module in modules {
        let classes: Vec<&str> = module
            .classes
            .iter()
            .filter(|report| report.admitted)
            .map(|report| report.class.name())
            .collect();
        let devices: Vec<&str> = module.devices.iter().map(|id| id.as_str()).collect();
        table.row([
            module.name.to_string(),
            module.version,
            output::bytes(module.wasm_bytes),
            output::ago(module.pushed_ms),
            classes.join(" "),
            if devices.is_empty() { "-".into() } else { devices.join(" ") },
        ]);
    }
    output::text(table)
}

async fn remove(common: &Common, module: Versioned) -> Result<()> {
    let Versioned { name, version } = module;
    let mut client = common.client().await?;
    let fields = ModuleRemove { module: name, version: version.clone() };
    let removed: Value = client.request("module-remove", &once(fields)).await?;
    if common.json { output::json(&removed) } else { output::line(format_args!("{name} {version} removed")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmbed_wire::limits::Class;

    #[test]
    fn what_every_class_warns_of_is_said_once() {
        let of = |rule: &str, limit: &str| Violation {
            rule: rule.into(),
            found: "9 of them".into(),
            limit: limit.into(),
        };
        let report = |class, violations: Vec<Violation>, warnings| ClassReport {
            class,
            admitted: violations.is_empty(),
            violations,
            warnings,
        };
        let text = reports(&[
            report(Class::Mpu, vec![], vec![of("debug", "none")]),
            report(
                Class::Mcu,
                vec![of("memory", "at most 5")],
                vec![of("stack", "8 bytes"), of("debug", "none")],
            ),
        ]);
        assert_eq!(
            text,
            "CLASS  VERDICT\n\
             mpu    admitted\n\
             mcu    refused: memory: 9 of them; at most 5\n\
             mcu    warning: stack: 9 of them; 8 bytes\n\
             all    warning: debug: 9 of them; none\n"
        );
    }
}
