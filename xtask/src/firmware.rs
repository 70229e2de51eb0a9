//! `cargo xtask fw`: firmware images and bootloaders, and whether they fit their boards' budgets; the rest of what
//! boards are started from is made with them (`system`).

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use wasmbed_boards::{Board, Boards, Chip, Firmware, Image, Region};
use wasmbed_wire::BoardName;

use crate::{
    bench, paths,
    run::{self, run, step},
    system, up, xtensa,
};

/// The feature of firmware that tests need.
const VARIANT: &str = "variant";
/// What stands before the name of its fault.
const MARK: &[u8] = b"WASMBED FAULT: ";
/// The files made of it on every board, and the fault of each.
const VARIANTS: [(&str, &[u8; 5]); 3] =
    [("variant-note", b"none "), ("fault-panic", b"panic"), ("fault-hang", b"hang ")];
/// What these show depends on what resets the board: those with the host's flash chip have them, one with a reset
/// of its own and one without.
const VARIANTS_OF_SERIAL: [(&str, &[u8; 5]); 1] = [("fault-mute", b"mute ")];

/// Boards that are measured. Figures are instructions, so that one of each instruction set tells all; not Xtensa, whose
/// back-end in LLVM runs out of registers in the loop of the interpreter that is compared with, at any level.
const MEASURED: [&str; 2] = ["netduino2", "rv32-virt"];
/// The package with images for their measurements, `<board>-bench`.
const BENCH: &str = "wasmbed-firmware-bench";
/// What our runtime is compared with there, built to be fast as its authors advise, while ours stays as it ships.
const FAST: [&str; 5] = ["wasmbed-workloads", "wasmi", "wasmi_collections", "wasmi_core", "wasmi_ir"];

#[derive(Args)]
pub(crate) struct Options {
    /// The board, a folder of `boards/`; all of them if absent.
    board: Option<String>,
    /// Print what each image and bootloader takes in flash and memory.
    #[arg(long)]
    sizes: bool,
    /// Build the firmware with faults that tests need as well.
    #[arg(long)]
    variants: bool,
}

/// What a program takes.
pub(crate) struct Size {
    pub(crate) flash_bytes: u32,
    pub(crate) static_ram_bytes: u32,
}

/// What a board's image and its bootloader take.
pub(crate) struct Sizes {
    pub(crate) image: Size,
    pub(crate) boot: Size,
}

pub(crate) fn fw(options: &Options) -> Result<()> {
    let boards = Boards::embedded()?;
    let wanted = |board: &Board| options.board.as_deref().is_none_or(|name| name == board.name.as_str());
    let is_built = |board: &&Board| board.firmware.is_some() || board.system_files().next().is_some();
    if !boards.iter().filter(is_built).any(wanted) {
        let known: Vec<&str> = boards.iter().filter(is_built).map(|board| board.name.as_str()).collect();
        bail!(
            "no board that is built here is called {:?}; such boards are: {}",
            options.board.as_deref().unwrap_or_default(),
            known.join(", ")
        );
    }
    let built = build_where(&boards, wanted)?;
    for (board, Sizes { image, boot }) in built.iter().filter(|_| options.sizes) {
        for (what, size) in [("", image), (" bootloader", boot)] {
            let Size { flash_bytes, static_ram_bytes } = size;
            println!(
                "{board}{what}: {flash_bytes} bytes of flash, {static_ram_bytes} bytes of static memory"
            );
        }
        let ram =
            boards.get(board).and_then(|board| board.firmware.as_ref()).map(|firmware| firmware.memory.ram);
        let (all, stacks) = (ram.context("no firmware")?.size_bytes, bench::stacks(board)?);
        let rest = all.saturating_sub(stacks + image.static_ram_bytes);
        println!(
            "{board}: {all} bytes of RAM, {stacks} of them stacks; {rest} are left for heap and crash record"
        );
    }
    if options.variants { build_variants(&boards, wanted) } else { Ok(()) }
}

/// Builds what every board is started from.
pub(crate) fn build_all() -> Result<Vec<(BoardName, Sizes)>> {
    build_where(&Boards::embedded()?, |_| true)
}

/// Builds every board's firmware as tests need it as well.
pub(crate) fn build_all_variants() -> Result<()> {
    build_variants(&Boards::embedded()?, |_| true)
}

/// Builds the images for measurements, with the modules that `bench-runtime prepare` wrote to a folder. Returns
/// `BOARD=FILE` for each.
pub(crate) fn build_benches(prepared: &Path) -> Result<Vec<String>> {
    let boards = Boards::embedded()?;
    let mut built = Vec::new();
    for (board, firmware) in with_firmware(&boards, |board| MEASURED.contains(&board.name.as_str())) {
        step(&format!("benchmark for {}", board.title));
        let binary = format!("{}-bench", board.name);
        for (whose, feature) in [("ours", None), ("wasmi", Some("wasmi"))] {
            let mut cargo = cargo(board, firmware, (BENCH, &binary), feature)?;
            cargo
                .env("WASMBED_MEASURING_LOOP", prepared.join("measuring-loop"))
                .env("WASMBED_BENCH_MODULES", prepared.join(board.class.name()));
            for package in FAST {
                cargo.args(["--config", &format!("profile.release.package.{package}.opt-level=3")]);
            }
            run(&mut cargo)?;
            let name = format!("bench/{}-{whose}.elf", board.name);
            keep(&read(firmware, &binary)?, &name)?;
            built.push(format!("{}={}", board.name, paths::images().join(name).display()));
        }
    }
    Ok(built)
}

/// Every board's image and the one with a one-line change, flat, as `OLD:NEW,…`: what patches are made of.
pub(crate) fn pairs() -> Result<String> {
    let boards = Boards::embedded()?;
    let mut pairs = Vec::new();
    for (board, firmware) in with_firmware(&boards, |_| true) {
        let flat = |name: String| -> Result<String> {
            let elf = paths::images().join(&name).with_extension("elf");
            let bytes = fs::read(&elf).with_context(|| elf.display().to_string())?;
            let image = Image::from_elf(&bytes, &firmware.memory.flash)?;
            let flat = elf.with_extension("bin");
            fs::write(&flat, image.bytes).with_context(|| flat.display().to_string())?;
            Ok(flat.display().to_string())
        };
        let old = flat(format!("{}.elf", board.name))?;
        pairs.push(format!("{old}:{}", flat(format!("variants/{}-variant-note.elf", board.name))?));
    }
    Ok(pairs.join(","))
}

fn build_where(boards: &Boards, wanted: impl Fn(&Board) -> bool) -> Result<Vec<(BoardName, Sizes)>> {
    // Boards carry a loop to time, compiled by the same compiler as their modules.
    up::build_programs()?;
    run(Command::new(paths::bin("wasmbed-measuring-loop")).arg(paths::measuring_loop()))?;
    system::build(boards, &wanted)?;
    let sizes = for_each_target(boards, wanted, |board, firmware| {
        build(board, firmware).map(|sizes| (board.name, sizes))
    })?;
    Ok(sizes.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect())
}

/// Does something for every board with firmware, for each target in a thread of its own: most of the time one
/// processor optimizes one image.
fn for_each_target<T: Send>(
    boards: &Boards,
    wanted: impl Fn(&Board) -> bool,
    work: impl Fn(&Board, &Firmware) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let mut targets: BTreeMap<&str, Vec<(&Board, &Firmware)>> = BTreeMap::new();
    for (board, firmware) in with_firmware(boards, wanted) {
        targets.entry(&firmware.target).or_default().push((board, firmware));
    }
    let work = |of_one: &[(&Board, &Firmware)]| -> Result<Vec<T>> {
        of_one.iter().map(|(board, firmware)| work(board, firmware)).collect()
    };
    thread::scope(|scope| {
        let threads: Vec<_> = targets.values().map(|of_one| scope.spawn(|| work(of_one))).collect();
        let mut all = Vec::new();
        for thread in threads {
            all.extend(thread.join().map_err(|_| anyhow!("a thread that builds firmware failed"))??);
        }
        Ok(all)
    })
}

/// Builds `images/variants/<board>-<variant>.elf`, and what tests start machines with an operating system from.
fn build_variants(boards: &Boards, wanted: impl Fn(&Board) -> bool) -> Result<()> {
    system::build_variants(boards, &wanted)?;
    for_each_target(boards, wanted, |board, firmware| {
        let of_serial = match firmware.slots.chip {
            Chip::Serial => &VARIANTS_OF_SERIAL[..],
            Chip::Bank => &[],
        };
        step(&format!("firmware for {} as tests need it", board.title));
        let elf = compile(board, firmware, (&firmware.package, &firmware.binary), Some(VARIANT))?;
        for (variant, fault) in VARIANTS.iter().chain(of_serial) {
            let elf = with_fault(&elf, fault).with_context(|| firmware.binary.clone())?;
            keep(&elf, &format!("variants/{}-{variant}.elf", board.name))?;
        }
        Ok(())
    })
    .map(drop)
}

/// Writes the name of a fault over the mark in a program (`firmware/common/src/variant.rs`).
fn with_fault(elf: &[u8], fault: &[u8; 5]) -> Result<Vec<u8>> {
    let places: Vec<usize> = places_of(elf, MARK).collect();
    let &[at] = &places[..] else {
        bail!("it holds {} marks for the name of a fault instead of one", places.len());
    };
    let mut elf = elf.to_vec();
    elf[at + MARK.len()..][..fault.len()].copy_from_slice(fault);
    Ok(elf)
}

/// Where `wanted` lies in `bytes`.
fn places_of<'a>(bytes: &'a [u8], wanted: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    bytes.windows(wanted.len()).enumerate().filter(move |(_, found)| *found == wanted).map(|(at, _)| at)
}

fn with_firmware(
    boards: &Boards,
    wanted: impl Fn(&Board) -> bool,
) -> impl Iterator<Item = (&Board, &Firmware)> {
    let boards = boards.iter().filter(move |board| wanted(board));
    boards.filter_map(|board| Some((board, board.firmware.as_ref()?)))
}

/// Builds one board's programs and writes `images/<board>.elf` and `images/<board>-boot.elf`.
fn build(board: &Board, firmware: &Firmware) -> Result<Sizes> {
    step(&format!("firmware for {}", board.title));
    let memory = &firmware.memory;
    let elf = compile(board, firmware, (&firmware.package, &firmware.binary), None)?;
    let image = size(&elf, &memory.flash).with_context(|| firmware.binary.clone())?;
    check_budget(board, firmware, &image)?;
    keep(&elf, &format!("{}.elf", board.name))?;
    let elf = compile(board, firmware, (&firmware.boot_package, &firmware.boot), None)?;
    let boot = size(&elf, &memory.boot).with_context(|| firmware.boot.clone())?;
    keep(&elf, &format!("{}-boot.elf", board.name))?;
    Ok(Sizes { image, boot })
}

/// Compiles a binary and returns its ELF file.
fn compile(
    board: &Board,
    firmware: &Firmware,
    program: (&str, &str),
    feature: Option<&str>,
) -> Result<Vec<u8>> {
    run(cargo(board, firmware, program, feature)?.env("WASMBED_MEASURING_LOOP", paths::measuring_loop()))?;
    read(firmware, program.1)
}

/// A command that compiles a package's binary.
fn cargo(
    board: &Board,
    firmware: &Firmware,
    (package, binary): (&str, &str),
    feature: Option<&str>,
) -> Result<Command> {
    let mut cargo = run::cargo();
    cargo
        .args(["build", "--release", "--quiet", "--package", package, "--bin", binary, "--target-dir"])
        .arg(target_dir(firmware))
        // The runtime for modules is a feature of every firmware package that is on by default.
        .args((!board.runs_modules()).then_some("--no-default-features"))
        .args(feature.iter().flat_map(|feature| ["--features", *feature]))
        .current_dir(paths::root().join("firmware"));
    if firmware.is_for_cargo() {
        cargo.args(["--target", &firmware.target]);
    } else {
        xtensa::configure(&mut cargo, &firmware.target, package)?;
    }
    Ok(cargo)
}

/// What the compiler made of it.
fn read(firmware: &Firmware, binary: &str) -> Result<Vec<u8>> {
    let elf = target_dir(firmware).join(&firmware.target).join("release").join(binary);
    fs::read(&elf).with_context(|| format!("cannot read {}", elf.display()))
}

/// A directory of its own for each target, since Cargo builds one thing at a time in one.
fn target_dir(firmware: &Firmware) -> PathBuf {
    paths::target().join("firmware").join(&firmware.target)
}

/// What a program takes that is linked for this region.
fn size(elf: &[u8], region: &Region) -> Result<Size> {
    let image = Image::from_elf(elf, region)?;
    Ok(Size { flash_bytes: u32::try_from(image.bytes.len())?, static_ram_bytes: image.static_ram_bytes })
}

fn keep(elf: &[u8], name: &str) -> Result<()> {
    let out: PathBuf = paths::images().join(name);
    fs::create_dir_all(out.parent().unwrap_or(&out))?;
    fs::write(&out, elf).with_context(|| format!("cannot write {}", out.display()))
}

fn check_budget(board: &Board, firmware: &Firmware, size: &Size) -> Result<()> {
    for (what, found, budget) in [
        ("flash", size.flash_bytes, firmware.budget.flash_bytes),
        ("static memory", size.static_ram_bytes, firmware.budget.ram_bytes),
    ] {
        if found > budget {
            bail!(
                "{} takes {found} bytes of {what}; its budget is {budget} (boards/{}/board.toml)",
                board.name,
                board.name
            );
        }
    }
    Ok(())
}
