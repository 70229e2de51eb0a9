//! Modules and instances: how long they take to make, and what an idle one takes.

use std::{env, fs, path::Path, process::Command};

use nix::unistd::{SysconfVar, sysconf};
use wasmbed_engines::{Machine as _, Wasmi, start};
use wasmbed_figures::{line, plain_ratio};
use wasmtime::{Result, bail, ensure, error::Context as _};

use crate::{
    Module,
    machine::{board, bytecode, linux, load},
    race::Times,
};

/// Instances at a time, to see what one takes: as many as a Linux device may have.
const INSTANCES: usize = 100;
const SUBJECTS: [&str; 3] = ["linux", "pulley", "wasmi"];

pub(crate) fn print(module: &Module, folder: &Path) -> Result<()> {
    let (linux, board, engine) = (linux()?, board()?, Wasmi::engine(false));
    let for_board = bytecode(&module.boards)?;
    let loads = Times::of(vec![
        ("linux", Box::new(|| Ok(linux.load_wasm(&module.linux).map(drop)?))),
        ("pulley", Box::new(|| load(&board, &for_board).map(drop))),
        ("wasmi", Box::new(|| Ok(wasmi::Module::new(&engine, &module.boards).map(drop)?))),
    ])?;
    print_times("load a module", &loads);
    let native = linux.load_wasm(&module.linux)?;
    let precompiled = load(&board, &for_board)?;
    let translated = wasmi::Module::new(&engine, &module.boards)?;
    let starts = Times::of(vec![
        ("linux", Box::new(|| start(&linux, &native).map(drop))),
        ("pulley", Box::new(|| start(&board, &precompiled).map(drop))),
        ("wasmi", Box::new(|| Wasmi::start(&engine, &translated).map(drop))),
    ])?;
    print_times("instantiate", &starts);
    for subject in SUBJECTS {
        line(subject, "idle instance: resident", idle_bytes(subject, folder)?, "B");
    }
    Ok(())
}

fn print_times(what: &str, times: &Times<'_>) {
    for subject in SUBJECTS {
        line(subject, what, times.median(subject) / 1000.0, "us");
    }
    for subject in ["linux", "pulley"] {
        plain_ratio(subject, &format!("{what}: wasmi / ours"), times.ratio("wasmi", subject));
    }
}

/// Asks a fresh process.
fn idle_bytes(subject: &str, folder: &Path) -> Result<f64> {
    let output = Command::new(env::current_exe()?).arg(folder).args(["idle", subject]).output()?;
    ensure!(output.status.success(), "{subject}: {}", String::from_utf8_lossy(&output.stderr));
    let bytes = String::from_utf8(output.stdout)?;
    bytes.trim().parse::<f64>().with_context(|| format!("{bytes:?} is no number"))
}

/// Prints by how much this process grows with each instance that has run its first tick.
pub(crate) fn print_idle_bytes(subject: &str, module: &Module) -> Result<()> {
    let bytes = match subject {
        "linux" => {
            let runtime = linux()?;
            let module = runtime.load_wasm(&module.linux)?;
            growth(|| {
                let mut instance = start(&runtime, &module)?;
                instance.tick()?;
                Ok(instance)
            })?
        }
        "pulley" => {
            let runtime = board()?;
            let module = load(&runtime, &bytecode(&module.boards)?)?;
            growth(|| {
                let mut instance = start(&runtime, &module)?;
                instance.tick()?;
                Ok(instance)
            })?
        }
        "wasmi" => {
            let engine = Wasmi::engine(false);
            let module = wasmi::Module::new(&engine, &module.boards)?;
            growth(|| {
                let mut instance = Wasmi::start(&engine, &module)?;
                instance.tick()?;
                Ok(instance)
            })?
        }
        other => bail!("there is no subject {other}"),
    };
    println!("{bytes}");
    Ok(())
}

/// Resident bytes for each instance.
fn growth<I>(mut instance: impl FnMut() -> Result<I>) -> Result<f64> {
    // What is needed once is there after the first.
    let first = instance()?;
    let before = resident()?;
    let instances: Result<Vec<I>> = (0..INSTANCES).map(|_| instance()).collect();
    let grown = resident()?.saturating_sub(before);
    drop((first, instances?));
    Ok(grown as f64 / INSTANCES as f64)
}

/// Resident memory of this process, in bytes.
fn resident() -> Result<u64> {
    let statm = fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm.split(' ').nth(1).context("no resident pages")?.parse()?;
    let page = sysconf(SysconfVar::PAGE_SIZE)?.context("no page size")?;
    Ok(pages * page.cast_unsigned())
}
