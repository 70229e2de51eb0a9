//! `wasmbed module new`: a project of the user's own that builds a module.
//!
//! It uses the guest SDK of a checkout of this repository, and what is written into it is taken from there
//! too: the program is one of the examples, the compiler's switches are those the examples are built with. So
//! a project fits the SDK it was made from.
//!
//! Everything is read and checked before the first file is written.

mod project;

use std::{
    env,
    path::{PathBuf, absolute},
};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use serde_json::json;
use wasmbed_wire::ModuleName;

use self::project::Project;
use crate::cli::{
    Common,
    checkout::{self, Checkout},
    output,
};

/// Names that Cargo takes for no package, or that crates of the module have.
const TAKEN: [&str; 6] = ["alloc", "core", "proc-macro", "std", "test", "wasmbed-guest"];

#[derive(Debug, Args)]
pub(in crate::cli) struct New {
    /// The folder to write it to; new or empty
    dir: PathBuf,
    /// The language
    #[arg(long, value_enum)]
    lang: Lang,
    /// Its name [default: that of the folder]
    #[arg(long)]
    name: Option<ModuleName>,
    /// The checkout of wasmbed whose guest SDK it uses [default: the nearest one above]
    #[arg(long, value_name = "PATH")]
    sdk: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Lang {
    /// Rust, with Cargo
    Rust,
    /// C, with clang and make
    C,
    /// AssemblyScript, with npm
    As,
}

impl New {
    pub(super) fn run(self, common: &Common) -> Result<()> {
        let dir = absolute(&self.dir)?;
        checkout::check_empty(&dir)?;
        let sdk = match &self.sdk {
            Some(path) => Checkout::at(path)?,
            None => Checkout::above(&[&env::current_dir()?, &dir])?,
        };
        let name = match self.name {
            Some(name) => name,
            None => checkout::name_of(&dir, "module")?,
        };
        check_name(name.as_str(), self.lang)?;
        let project = Project::new(&sdk, self.lang, name.as_str())?;
        project.write(&dir)?;
        if common.json {
            return output::json(&json!({
                "name": name, "dir": dir, "sdk": sdk.root(), "build": project.build, "wasm": project.wasm,
            }));
        }
        output::line(format_args!(
            "{}: module {name}; build it there with `{}`, README.md says how to try it and have devices run it",
            self.dir.display(),
            project.build
        ))
    }
}

/// Checks what Cargo or the compiler would stumble over.
fn check_name(name: &str, lang: Lang) -> Result<()> {
    if lang != Lang::Rust {
        return Ok(());
    }
    if !name.starts_with(|first: char| first.is_ascii_lowercase()) {
        bail!("Cargo takes no package called {name}; use a --name that begins with a letter");
    }
    if TAKEN.contains(&name) {
        bail!("{name} is the name of a crate that the module uses; use another --name");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
