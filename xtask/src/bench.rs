//! `cargo xtask bench`: figures, one per line, with the aim each is held against.

use std::{fs, process::Command};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use wasmbed_boards::Boards;
use wasmbed_wire::BoardName;

use crate::{
    firmware, modules, paths, python,
    run::{self, run, step},
    setup,
};

#[derive(Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Each board: flash, memory, time to online, deploy latency, speed.
    Device,
    /// How many boards this machine runs with all heartbeats on time, what each takes, and how soon it is back.
    Fleet {
        /// How many
        #[arg(long, value_name = "N")]
        boards: Option<u32>,
    },
    /// Firmware updates: goodput, time and bytes on boards, on Linux and on a hundred simulated boards, and what
    /// the updater takes.
    Ota,
    /// What brokers carry and what it costs: ours, Mosquitto, and rumqttd without our guard.
    Broker {
        /// Passed on; `--rounds N`, `--each-ms MS`, `--idle N`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// The runtime on this machine and on boards, against native code and another interpreter: calls, work, limits,
    /// memory.
    Runtime,
    /// What a module and its host add to commands for a vehicle and to messages of ROS 2, on Linux and on a board behind a
    /// gateway, against pymavlink and rclpy alone.
    Px4Ros,
}

#[derive(Args)]
pub(crate) struct Soak {
    /// How long devices are disturbed at random, after the power cuts
    #[arg(long, value_name = "N", default_value_t = 10)]
    minutes: u32,
    /// What is drawn: the same number draws the same
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

pub(crate) fn soak(options: &Soak) -> Result<()> {
    setup::ensure(setup::Need::ALL)?;
    modules::build()?;
    firmware::build_all()?;
    let mut soak = Command::new(paths::bin("soak"));
    soak.args([options.minutes.to_string(), options.seed.to_string()]);
    run(paths::tell(&mut soak))
}

pub(crate) fn bench(options: &Options) -> Result<()> {
    match &options.what {
        What::Device => device(),
        What::Fleet { boards } => fleet(*boards),
        What::Broker { arguments } => broker(arguments),
        What::Ota => ota(),
        What::Runtime => runtime(),
        What::Px4Ros => px4_ros(),
    }
}

fn device() -> Result<()> {
    setup::ensure(setup::Need::ALL)?;
    modules::build()?;
    let sizes = firmware::build_all()?;
    let boards = Boards::embedded()?;
    let mut measure = Command::new(paths::bin("bench-device"));
    for (name, firmware::Sizes { image: size, boot }) in sizes {
        let budget = boards.get(&name).and_then(|board| board.firmware.as_ref()).map(|fw| fw.budget);
        let budget = budget.with_context(|| format!("{name} has no budget"))?;
        let share = f64::from(size.flash_bytes) / f64::from(budget.flash_bytes);
        println!(
            "{name:<10} flash              {:>9} B   aim {} B: {share:.2} of it",
            size.flash_bytes, budget.flash_bytes
        );
        println!("{name:<10} bootloader flash   {:>9} B", boot.flash_bytes);
        println!("{name:<10} static memory      {:>9} B", size.static_ram_bytes);
        let fixed = size.static_ram_bytes + stacks(&name)?;
        measure.arg(format!("{name}={fixed},{}", budget.ram_bytes));
    }
    run(paths::tell(&mut measure))
}

fn fleet(boards: Option<u32>) -> Result<()> {
    setup::ensure(setup::Need::ALL)?;
    firmware::build_all()?;
    let mut measure = Command::new(paths::bin("bench-fleet"));
    measure.args(boards.map(|boards| boards.to_string()));
    run(paths::tell(&mut measure))
}

fn ota() -> Result<()> {
    setup::ensure(setup::Need::ALL)?;
    firmware::build_all()?;
    firmware::build_all_variants()?;
    run(paths::tell(&mut Command::new(paths::bin("bench-ota"))))
}

fn px4_ros() -> Result<()> {
    setup::ensure(setup::Need::ALL)?;
    let python = python::ensure()?;
    firmware::build_all()?;
    run(paths::tell(&mut Command::new(paths::bin("bench-px4-ros"))).env("WASMBED_PYTHON", python))
}

/// Built for release: others are compared with as they are shipped.
fn broker(arguments: &[String]) -> Result<()> {
    setup::ensure(setup::Need::ALL)?;
    step("broker and benchmark, for release (the first time takes some minutes)");
    let mut cargo = run::cargo();
    cargo.args([
        "build",
        "--release",
        "--quiet",
        "--package",
        "wasmbed-broker",
        "--package",
        "wasmbed-throughput",
    ]);
    run(cargo.current_dir(paths::root()))?;
    run(Command::new(paths::release_bin("bench-broker")).args(arguments))
}

/// Built for release, like nothing else here but the broker: an interpreter that is compiled to be debugged says nothing.
fn runtime() -> Result<()> {
    setup::ensure(setup::Need::UP)?;
    let modules = modules::build_workloads()?;
    step("the benchmark, for release (the first time takes some minutes)");
    let mut cargo = run::cargo();
    cargo.args(["build", "--release", "--quiet", "--package", "wasmbed-speed"]).current_dir(paths::root());
    run(&mut cargo)?;
    let measure = || {
        let mut measure = Command::new(paths::release_bin("bench-runtime"));
        measure.arg(&modules);
        measure
    };
    let prepared = modules.join("prepared");
    run(measure().arg("prepare").arg(&prepared))?;
    modules::find_stacks(&prepared)?;
    let boards = firmware::build_benches(&prepared)?;
    step("this machine");
    run(measure().arg("linux"))?;
    step("boards");
    run(measure().arg("boards").args(boards))
}

/// What a board's stacks take, in bytes: the regions `…_STACK` of its `memory.x`.
pub(crate) fn stacks(board: &BoardName) -> Result<u32> {
    let file = paths::root().join("boards").join(board.as_str()).join("memory.x");
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let regions = text.lines().filter(|line| line.contains("_STACK") && line.contains("LENGTH ="));
    regions.map(|line| length(line).with_context(|| format!("cannot read {line:?}"))).sum()
}

/// Reads `… LENGTH = 12K` or `… LENGTH = 1536`.
fn length(region: &str) -> Option<u32> {
    let (_, length) = region.rsplit_once('=')?;
    match length.trim().strip_suffix('K') {
        Some(kibibytes) => Some(kibibytes.parse::<u32>().ok()? * 1024),
        None => length.trim().parse().ok(),
    }
}
