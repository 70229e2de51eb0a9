//! `cargo xtask dist`: everything that container images and installations are made of, in one folder.
//!
//! `bin/` has the programs, `images/` what boards are started from, `modules/` the example modules.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use clap::Args;

use crate::{
    firmware, modules, paths,
    run::{run, step},
};

/// The programs people run.
const PROGRAMS: [&str; 3] = ["wasmbed", "wasmbed-agent", "wasmbed-broker"];

#[derive(Args)]
pub(crate) struct Options {
    /// Where to put it
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
}

pub(crate) fn dist(options: &Options) -> Result<()> {
    modules::build()?;
    firmware::build_all()?;
    collect(&options.output)
}

/// Collects what was built.
pub(crate) fn collect(output: &Path) -> Result<()> {
    step(&format!("programs, firmware and modules in {}", output.display()));
    let bin = output.join("bin");
    fs::create_dir_all(&bin).with_context(|| bin.display().to_string())?;
    for program in PROGRAMS {
        // Symbols are for people with the sources.
        let to = bin.join(program);
        run(Command::new("strip").arg("-o").arg(to).arg(paths::bin(program)))?;
    }
    for (from, to) in [(paths::images(), "images"), (paths::modules(), "modules")] {
        copy_files(&from, &output.join(to))?;
    }
    Ok(())
}

/// Copies the files of a folder, not those of folders in it.
fn copy_files(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| to.display().to_string())?;
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let path = entry?.path();
        if let Some(name) = path.file_name().filter(|_| path.is_file()) {
            fs::copy(&path, to.join(name)).with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}
