//! Programs for Xtensa, with mainline tools.
//!
//! The compiler has LLVM's back end for Xtensa, but its built-in targets have a data layout that LLVM does not
//! accept, and its own assembler puts literals (the words that `l32r` loads, always from before it) where no
//! instruction reaches them. So the compiler writes each program as one assembly file, and its linker is `cargo
//! xtask xtensa-link`, which moves the literals and has GNU's tools assemble and link.
//!
//! Code is for the CALL0 ABI and the instructions of lx106, which are what the cores have in common. Outside of the
//! whole-program optimization remains `compiler_builtins`, as on every target; it is a second assembly file.
//!
//! Not here: start-up code and linker script (`firmware/xtensa`).

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Value, json};

use crate::{
    paths,
    run::{output, run},
};

/// The built-in target that ours is made of.
const BUILT_IN: &str = "xtensa-esp32-none-elf";
/// What LLVM takes for Xtensa.
const DATA_LAYOUT: &str = "e-m:e-p:32:32-i8:8:32-i16:16:32-i64:64-n32";
/// The crate that whole-program optimization leaves out.
const BUILTINS: &str = "compiler_builtins";

/// Arguments of the linker that rustc thinks it has.
#[derive(Args)]
pub(crate) struct Link {
    /// What rustc would have GNU's linker do.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Makes a `cargo build` of `package` one for Xtensa.
pub(crate) fn configure(cargo: &mut Command, target: &str, package: &str) -> Result<()> {
    let file = paths::target().join(target).with_extension("json");
    write_if_new(&file, &spec()?)?;
    cargo
        .args(["-Zjson-target-spec", "-Zbuild-std=core,alloc,compiler_builtins"])
        .args(["-Zbuild-std-features=compiler-builtins-mem", "-Zprofile-rustflags", "--target"])
        .arg(file)
        // For Cargo itself, whose switches these are; the pinned compiler has it from the workspace.
        .env("RUSTC_BOOTSTRAP", "1");
    for package in [package, BUILTINS] {
        cargo.args(["--config", &format!("profile.release.package.{package}.rustflags=[\"--emit=asm\"]")]);
    }
    Ok(())
}

/// Our target, as rustc reads it.
fn spec() -> Result<String> {
    let mut rustc = Command::new("rustc");
    rustc.args(["-Zunstable-options", "--print", "target-spec-json", "--target", BUILT_IN]);
    let text = output(rustc.env("RUSTC_BOOTSTRAP", "1").current_dir(paths::root()))?;
    let mut spec: Value =
        serde_json::from_str(&text).context("rustc describes its target in another form")?;
    spec["data-layout"] = DATA_LAYOUT.into();
    spec["cpu"] = "esp8266".into();
    spec["linker"] = linker()?.to_str().context("this program's path is not UTF-8")?.into();
    spec["linker-flavor"] = "gnu".into();
    spec["pre-link-args"] = json!({ "gnu": ["xtensa-link"] });
    Ok(format!("{spec:#}\n"))
}

/// A copy of this program: Cargo may build it anew meanwhile, which takes it from where it was.
fn linker() -> Result<PathBuf> {
    let copy = paths::target().join("xtensa-link");
    let unfinished = copy.with_extension("new");
    fs::copy("/proc/self/exe", &unfinished).context("cannot copy this program")?;
    fs::rename(&unfinished, &copy)?;
    Ok(copy)
}

/// Assembles and links what rustc hands over: beside each of its outputs lies the assembly file.
pub(crate) fn link(Link { arguments }: &Link) -> Result<()> {
    let mut out = arguments.iter().skip_while(|argument| *argument != "-o").skip(1);
    let out = PathBuf::from(out.next().context("rustc names no output")?);
    let builtins = arguments.iter().map(Path::new).find_map(|path| {
        let name = path.file_stem()?.to_str()?.strip_prefix("lib")?;
        name.starts_with(BUILTINS).then(|| path.with_file_name(name))
    });
    let builtins = builtins.context("rustc links no compiler_builtins")?;
    let home = paths::root().join("firmware/xtensa");

    let mut ld = Command::new("xtensa-lx106-elf-ld");
    ld.args(["--gc-sections", "--no-warn-rwx-segments", "-o"]).arg(&out).arg("-L").arg(&home);
    // What the build script says, written in one word; rustc's own are in two.
    let is_ours = |argument: &&String| argument.len() > 2 && ["-L", "-T"].contains(&&argument[..2]);
    ld.args(arguments.iter().filter(is_ours));
    for compiled in [&out, &builtins] {
        let (written, moved) = (with_suffix(compiled, ".s"), with_suffix(compiled, ".moved.s"));
        let assembly = fs::read_to_string(&written).with_context(|| written.display().to_string())?;
        fs::write(&moved, move_literals(&assembly)).with_context(|| moved.display().to_string())?;
        ld.arg(assemble(&moved, &with_suffix(compiled, ".moved.o"))?);
    }
    ld.arg(assemble(&home.join("src/core.s"), &with_suffix(&out, ".core.o"))?);
    run(&mut ld)
}

/// Assembles a file and returns the object.
fn assemble(file: &Path, object: &Path) -> Result<PathBuf> {
    let mut assembler = Command::new("xtensa-lx106-elf-as");
    // LLVM names source files in the form of DWARF 5.
    assembler.args(["--text-section-literals", "--gdwarf-5"]).arg(file).arg("-o").arg(object);
    run(&mut assembler)?;
    Ok(object.to_owned())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Leaves a file alone that is as it should be: Cargo would build everything anew.
fn write_if_new(file: &Path, text: &str) -> Result<()> {
    match fs::read_to_string(file) {
        Ok(found) if found == text => Ok(()),
        _ => fs::write(file, text).with_context(|| format!("cannot write {}", file.display())),
    }
}

/// Moves each group of literals from before a function's section into it, before its first instruction. A function
/// without one gets an empty one, for the assembler has literals of its own to place.
///
/// Leaves out call frame information, which the assembler does not know and nothing here uses.
fn move_literals(assembly: &str) -> String {
    let mut moved = String::with_capacity(assembly.len());
    let mut literals = Vec::new();
    let mut begins = false;
    for line in assembly.lines() {
        let directive = line.split_whitespace().next().unwrap_or_default();
        match directive {
            ".literal" => literals.push(line),
            ".literal_position" => {}
            _ if directive.starts_with(".cfi_") => {}
            _ => moved.extend([line, "\n"]),
        }
        match directive {
            ".section" => begins = line.contains(",\"ax\","),
            ".p2align" if begins => {
                moved.push_str("\t.literal_position\n");
                literals.drain(..).for_each(|literal| moved.extend([literal, "\n"]));
                begins = false;
            }
            _ => {}
        }
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_come_before_the_code_that_loads_them_and_in_its_section() {
        let written = "\
\t.literal_position
\t.literal .LCPI0_0, memcpy
\t.literal .LCPI0_1, .LJTI0_0
\t.section\t.rodata.first,\"a\",@progbits
\t.section\t.text.first,\"ax\",@progbits
\t.p2align\t2
first:
\t.cfi_startproc
\tl32r\ta8, .LCPI0_0
\t.p2align\t2
\tret
\t.cfi_endproc
\t.section\t.rodata.first,\"a\",@progbits
\t.p2align\t2
.LJTI0_0:
\t.section\t.text.second,\"ax\",@progbits
\t.p2align\t2
second:
\tret
";
        let expected = "\
\t.section\t.rodata.first,\"a\",@progbits
\t.section\t.text.first,\"ax\",@progbits
\t.p2align\t2
\t.literal_position
\t.literal .LCPI0_0, memcpy
\t.literal .LCPI0_1, .LJTI0_0
first:
\tl32r\ta8, .LCPI0_0
\t.p2align\t2
\tret
\t.section\t.rodata.first,\"a\",@progbits
\t.p2align\t2
.LJTI0_0:
\t.section\t.text.second,\"ax\",@progbits
\t.p2align\t2
\t.literal_position
second:
\tret
";
        assert_eq!(move_literals(written), expected);
    }
}
