//! Every example, on every class that admits it, as its author would try it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use wasmbed_e2e::{module, program};

/// What examples ask of the device besides what any has.
const PERIPHERALS: &str = "
[sensors]
temperature = 21.5
humidity = 40
pressure = 101300
light = 120
supply = 3.3
adc0 = 1.5
[spi.\"3.0\"]
9f = \"00 ef 40 14 00 00 00\"
";
/// Fuel of a millisecond, as on a board that is fast enough for signatures.
const FUEL_PER_MS: &str = "4000";
/// Those that misbehave or, like a service of ROS 2, are nothing without what a run here does not have, and how that is said.
const FAILING: [(&str, &str); 3] =
    [("crash", "trap"), ("spin", "took longer"), ("switch", "init answered -7")];

#[test]
fn every_example_runs_on_every_class_that_admits_it() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let peripherals = dir.path().join("peripherals.toml");
    fs::write(&peripherals, PERIPHERALS)?;
    let folder = module("thermo")?.parent().context("modules lie in a folder")?.to_owned();
    let mut runs = 0;
    for file in modules(&folder)? {
        for class in admitting(&file)? {
            if class == "mpu" && file.ends_with("spin.wasm") {
                // It would be stopped after a minute.
                continue;
            }
            run(&file, &class, &peripherals).with_context(|| format!("{} on {class}", file.display()))?;
            runs += 1;
        }
    }
    ensure!(runs >= 25, "only {runs} runs");
    Ok(())
}

fn modules(folder: &Path) -> Result<Vec<PathBuf>> {
    let files = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
    let files: Vec<PathBuf> = files.collect::<Result<_>>()?;
    Ok(files.into_iter().filter(|file| file.extension().is_some_and(|end| end == "wasm")).collect())
}

/// The classes that admit a module; at least one does.
fn admitting(file: &Path) -> Result<Vec<String>> {
    let output = Command::new(program("wasmbed")?).args(["--json", "module", "check"]).arg(file).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Vec<Value> = serde_json::from_slice(&output.stdout)?;
    let admitted = report.iter().filter(|class| class["admitted"] == true);
    Ok(admitted.filter_map(|class| class["class"].as_str().map(str::to_owned)).collect())
}

fn run(file: &Path, class: &str, peripherals: &Path) -> Result<()> {
    let mut command = Command::new(program("wasmbed")?);
    command.args(["module", "run"]).arg(file).args(["--class", class, "--ticks", "4"]);
    command.args(["--fuel-per-ms", FUEL_PER_MS, "--peripherals"]).arg(peripherals);
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    match FAILING.iter().find(|(failing, _)| *failing == name) {
        Some((_, how)) => ensure!(!output.status.success() && said.contains(how), "it said {said:?}"),
        None => ensure!(output.status.success(), "it said {said:?}"),
    }
    Ok(())
}
