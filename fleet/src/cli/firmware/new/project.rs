//! The files of a project.

use std::{fmt::Write as _, path::Path};

use anyhow::{Context, Result};
use toml::{Table, Value};
use wasmbed_boards::{Board, Firmware, memory_map};

use super::sdk::Sdk;
use crate::cli::checkout;

/// The loop that boards time at their start.
const MEASURING_LOOP: &str = "measuring-loop.pulley32";

pub(super) struct Project {
    files: Vec<(&'static str, Vec<u8>)>,
    /// Names of its dependencies.
    crates: Vec<String>,
}

/// Where Cargo puts the program, seen from the project.
pub(super) fn elf(firmware: &Firmware, name: &str) -> String {
    format!("target/{}/release/{name}", firmware.target)
}

impl Project {
    /// Makes all files in memory.
    pub(super) fn new(sdk: &Sdk, board: &Board, firmware: &Firmware, name: &str) -> Result<Self> {
        let package = sdk.package(&firmware.package)?;
        let mut dependencies = sdk.dependencies(&package, "dependencies")?;
        let mut shared = sdk.dependency(&package.folder)?;
        if !board.runs_modules() {
            shared.insert("default-features".into(), Value::Boolean(false));
        }
        dependencies.insert(firmware.package.clone(), Value::Table(shared));
        let build_dependencies = sdk.dependencies(&package, "build-dependencies")?;
        let crates = dependencies.keys().chain(build_dependencies.keys()).cloned().collect();

        let main = package.folder.join("src/bin").join(format!("{}.rs", firmware.binary));
        let shared = sdk.read(Path::new("boards").join(board.name.as_str()).join("memory.x"))?;
        let measuring_loop =
            wasmbed_runtime::measuring_loop().context("cannot compile the measuring loop")?;
        let files = vec![
            ("Cargo.toml", manifest(sdk, board, name, (&dependencies, &build_dependencies))?.into()),
            // The same versions that the SDK is tested with; Cargo drops what is not used.
            ("Cargo.lock", sdk.read("firmware/Cargo.lock")?.into()),
            (".cargo/config.toml", config(sdk, firmware)?.into()),
            ("rust-toolchain.toml", sdk.checkout().toolchain(&firmware.target)?.into()),
            ("build.rs", build_script(board, firmware).into()),
            ("memory.x", memory_map(firmware.memory.flash, &shared).into()),
            (MEASURING_LOOP, measuring_loop),
            ("src/main.rs", sdk.read(main)?.into()),
            ("README.md", readme(board, firmware, name).into()),
            (".gitignore", "/target\n".into()),
        ];
        Ok(Project { files, crates })
    }

    /// Whether a dependency has this name.
    pub(super) fn uses(&self, name: &str) -> bool {
        self.crates.iter().any(|found| found == name)
    }

    pub(super) fn write(&self, dir: &Path) -> Result<()> {
        checkout::write(dir, self.files.iter().map(|(name, contents)| (*name, contents.as_slice())))
    }
}

fn manifest(
    sdk: &Sdk,
    board: &Board,
    name: &str,
    (dependencies, build_dependencies): (&Table, &Table),
) -> Result<String> {
    let shared = sdk.workspace(&["workspace", "package"]);
    let mut text = format!("# Firmware for {}, made by `wasmbed firmware new`.\n", board.title);
    writeln!(text, "[workspace]\n\n[package]\nname = \"{name}\"\nversion = \"0.1.0\"")?;
    for (key, value) in shared.iter().filter(|(key, _)| ["edition", "rust-version"].contains(&key.as_str())) {
        writeln!(text, "{key} = {value}")?;
    }
    writeln!(text, "publish = false\n")?;
    writeln!(text, "[[bin]]\nname = \"{name}\"\npath = \"src/main.rs\"\ntest = false\nbench = false")?;
    for (kind, table) in [("dependencies", dependencies), ("build-dependencies", build_dependencies)] {
        writeln!(text, "\n[{kind}]")?;
        for (key, value) in table {
            writeln!(text, "{key} = {value}")?;
        }
    }
    let profile = Table::from_iter([("profile".to_owned(), Value::Table(sdk.workspace(&["profile"])))]);
    write!(text, "\n# As the SDK builds its own firmware: flash is scarce.\n{profile}")?;
    Ok(text)
}

/// The switches of the SDK's firmware, for this target, which becomes the default.
fn config(sdk: &Sdk, firmware: &Firmware) -> Result<String> {
    let mut config = sdk.table("firmware/.cargo/config.toml")?;
    let target = &firmware.target;
    config.insert("build".into(), Table::from_iter([("target".into(), Value::from(target.as_str()))]).into());
    if let Some(Value::Table(targets)) = config.get_mut("target") {
        targets.retain(|name, _| name == target);
    }
    let env = config.entry("env").or_insert_with(|| Table::new().into());
    let env = env.as_table_mut().context("env is not a table in firmware/.cargo/config.toml of the SDK")?;
    let path = [("value", Value::from(MEASURING_LOOP)), ("relative", Value::from(true))];
    let path = path.into_iter().map(|(key, value)| (key.to_owned(), value));
    env.insert("WASMBED_MEASURING_LOOP".into(), Table::from_iter(path).into());
    Ok(format!(
        "# The compiler's switches, and the loop that the firmware times to learn how fast its machine is.\n{config}"
    ))
}

fn build_script(board: &Board, firmware: &Firmware) -> String {
    format!(
        r#"//! Hands the firmware its board: the memory map to the linker, the rest as constants.

use std::{{env, error::Error, fs, path::PathBuf}};

use wasmbed_boards::{{Boards, constants}};

fn main() -> Result<(), Box<dyn Error>> {{
    let boards = Boards::embedded()?;
    let board = boards.get(&"{board}".parse()?).ok_or("the SDK has no board {board}")?;
    let firmware = board.firmware.as_ref().ok_or("{board} has no firmware")?;
    let out = PathBuf::from(env::var("OUT_DIR")?).join("{binary}");
    fs::create_dir_all(&out)?;
    fs::write(out.join("board.rs"), constants(board, firmware)?)?;
    println!("cargo:rustc-link-arg-bins=-L{{}}", env::var("CARGO_MANIFEST_DIR")?);
    println!("cargo:rustc-link-arg-bins=-Tlink.x");
    println!("cargo:rerun-if-changed=memory.x");
    Ok(())
}}
"#,
        board = board.name,
        binary = firmware.binary,
    )
}

fn readme(board: &Board, firmware: &Firmware, name: &str) -> String {
    let elf = elf(firmware, name);
    let Board { name: board, title, .. } = board;
    format!(
        "\
# {name}

Firmware for {title}: the wasmbed agent, and what you add to it.

```console
$ cargo build --release
$ wasmbed firmware push {elf} --board {board} --version 1.0.0
$ wasmbed firmware deploy {board}@1.0.0 --to board={board} --wait
```

The service that takes the push signs the image and calls it {board}, as every plain image for this board.
Without `--version` it is the one after the last. With a release key of your own (`wasmbed keys create`) it has
its own name:

```console
$ wasmbed firmware sign {elf} --board {board} --name {name} --version 1.0.0 --key release.key -o {name}.wbfw
$ wasmbed firmware push {name}.wbfw
$ wasmbed firmware deploy {name}@1.0.0 --to board={board} --wait
```

A device tries the image and goes back to the one it had if this one crashes, hangs or does not reach the
broker.

| file | what |
|---|---|
| `src/main.rs` | the program: start the board, run the agent; interrupt and fault handlers |
| `memory.x` | the linker's memory map; the image must lie where the bootloader starts it |
| `build.rs` | hands the program the constants of the board |
| `.cargo/config.toml` | target and switches of the compiler |
| `{MEASURING_LOOP}` | the loop that the firmware times at its start to learn how fast its machine is, compiled |

The dependencies with a path are the firmware crates of the wasmbed checkout this was made from. When that
moves on to another Wasmtime, take `{MEASURING_LOOP}` and `Cargo.lock` from a new project.
"
    )
}
