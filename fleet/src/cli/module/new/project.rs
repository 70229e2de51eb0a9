//! The files of a project.

use std::{fmt::Write as _, path::Path};

use anyhow::{Context, Result};
use serde_json::json;
use toml::{Table, Value};

use super::Lang;
use crate::cli::checkout::{self, Checkout};

/// The guest SDK in a checkout.
const GUEST: &str = "device-agent/guest";
const TARGET: &str = "wasm32-unknown-unknown";
/// The compiler that the AssemblyScript part of the SDK was tried with.
const ASSEMBLYSCRIPT: &str = "0.28.20";

/// What the module sees when it is tried.
const PERIPHERALS: &str = "\
# What a module sees that is run with --peripherals. A value holds from its time on.

[sensors] # in the sensor's unit: temperature, humidity, pressure, light, supply, adc0 to adc15
temperature = [{ at_ms = 0, value = 21.5 }, { at_ms = 5000, value = 22.25 }, { at_ms = 8000, fault = true }]
adc0 = [{ at_ms = 0, value = 0.75 }, { at_ms = 3000, value = 1.5 }]

[gpio] # inputs, by number
4 = [{ at_ms = 0, value = false }, { at_ms = 5000, value = true }]
";

pub(super) struct Project {
    files: Vec<(&'static str, Vec<u8>)>,
    /// What builds it.
    pub(super) build: &'static str,
    /// What it builds, seen from the project.
    pub(super) wasm: String,
}

impl Project {
    /// Makes all files in memory.
    pub(super) fn new(sdk: &Checkout, lang: Lang, name: &str) -> Result<Self> {
        match lang {
            Lang::Rust => rust(sdk, name),
            Lang::C => c(sdk, name),
            Lang::As => assembly_script(sdk, name),
        }
    }

    pub(super) fn write(&self, dir: &Path) -> Result<()> {
        checkout::write(dir, self.files.iter().map(|(name, contents)| (*name, contents.as_slice())))
    }
}

fn guest(sdk: &Checkout, path: &str) -> Result<String> {
    sdk.read(Path::new(GUEST).join(path))
}

fn rust(sdk: &Checkout, name: &str) -> Result<Project> {
    let wasm = format!("target/{TARGET}/release/{}.wasm", name.replace('-', "_"));
    let build = "cargo build --release";
    let about = "\
| `src/lib.rs` | the module: a type that implements `Module` |
| `.cargo/config.toml` | target and switches of the compiler: what the smallest class accepts |

The dependency with a path is the guest SDK of the wasmbed checkout this was made from; `cargo doc --open` shows
what it has. The module's stack is 2 KiB, see `.cargo/config.toml`.
";
    Ok(Project {
        files: vec![
            ("Cargo.toml", manifest(sdk, name)?.into()),
            (".cargo/config.toml", guest(sdk, ".cargo/config.toml")?.into()),
            ("rust-toolchain.toml", sdk.toolchain(TARGET)?.into()),
            ("src/lib.rs", guest(sdk, "examples/thermo/src/lib.rs")?.into()),
            ("peripherals.toml", PERIPHERALS.into()),
            ("README.md", readme(name, build, &wasm, about).into()),
            (".gitignore", "/target\n".into()),
        ],
        build,
        wasm,
    })
}

fn manifest(sdk: &Checkout, name: &str) -> Result<String> {
    let workspace = sdk.table(Path::new(GUEST).join("Cargo.toml"))?;
    let shared = workspace.get("workspace").and_then(|workspace| workspace.get("package"));
    let shared = shared.and_then(Value::as_table).context("the guest SDK shares no package settings")?;
    let profile = workspace.get("profile").cloned().context("the guest SDK has no profile")?;
    let mut text = String::from("# A module for Wasmbed devices, made by `wasmbed module new`.\n");
    writeln!(text, "[workspace]\n\n[package]\nname = \"{name}\"\nversion = \"0.1.0\"")?;
    for (key, value) in shared.iter().filter(|(key, _)| ["edition", "rust-version"].contains(&key.as_str())) {
        writeln!(text, "{key} = {value}")?;
    }
    writeln!(text, "publish = false\n\n[lib]\ncrate-type = [\"cdylib\"]\n\n[dependencies]")?;
    writeln!(text, "wasmbed-guest = {{ path = {} }}", Value::from(sdk.located(GUEST)?))?;
    let profile = Table::from_iter([("profile".to_owned(), profile)]);
    write!(text, "\n# Bytes are memory on a board; a panic is a trap, which the device reports.\n{profile}")?;
    Ok(text)
}

fn c(sdk: &Checkout, name: &str) -> Result<Project> {
    let wasm = format!("build/{name}.wasm");
    let makefile = format!(
        "\
# A module for Wasmbed devices, made by `wasmbed module new`.

# The guest SDK: the header, and the switches for what the smallest class accepts.
SDK = {sdk}/c
CLANG ?= clang
# Any LLD from version 20 on makes memories as small as a module needs; the one that comes with Rust does.
LLD ?= $(shell rustc --print sysroot)/lib/rustlib/$(shell rustc -vV | sed -n 's/^host: //p')/bin/rust-lld

OBJECTS = $(patsubst src/%.c,build/%.o,$(wildcard src/*.c))

{wasm}: $(OBJECTS)
\t\"$(LLD)\" -flavor wasm \"@$(SDK)/link.flags\" $(OBJECTS) -o $@

build/%.o: src/%.c Makefile
\t@mkdir -p build
\t$(CLANG) \"@$(SDK)/compile.flags\" -I \"$(SDK)\" -c $< -o $@

.PHONY: clean
clean:
\trm -rf build
",
        sdk = sdk.located(GUEST)?
    );
    let about = "\
| `src/main.c` | the module: it exports `tick`, and `init` and `health` if you like |
| `Makefile` | clang and LLD with the switches of the SDK: what the smallest class accepts |

`wasmbed.h` in the wasmbed checkout this was made from says what a module can call. There is no C library. It
needs clang with the WebAssembly target and, for its linker, Rust; `make LLD=...` takes another `lld` from version
20 on. The module's stack is 1 KiB, see `link.flags` there.
";
    Ok(Project {
        files: vec![
            ("Makefile", makefile.into()),
            ("src/main.c", guest(sdk, "examples/counter/counter.c")?.into()),
            ("peripherals.toml", PERIPHERALS.into()),
            ("README.md", readme(name, "make", &wasm, about).into()),
            (".gitignore", "/build\n".into()),
        ],
        build: "make",
        wasm,
    })
}

fn assembly_script(sdk: &Checkout, name: &str) -> Result<Project> {
    let wasm = format!("build/{name}.wasm");
    let build = "npm install && npm run build";
    let package = json!({
        "name": name,
        "version": "0.1.0",
        "private": true,
        "type": "module",
        "scripts": { "build": "asc" },
        "devDependencies": { "assemblyscript": ASSEMBLYSCRIPT },
    });
    let config = json!({
        "entries": ["assembly/index.ts"],
        "options": {
            "outFile": wasm,
            "runtime": "stub",
            "optimizeLevel": 3,
            "shrinkLevel": 2,
            "converge": true,
            "initialMemory": 1,
            "maximumMemory": 1,
            "use": ["abort=assembly/wasmbed/abort"],
            "disable": ["nontrapping-f2i", "mutable-globals"],
        },
    });
    let types = json!({ "extends": "assemblyscript/std/assembly.json", "include": ["./**/*.ts"] });
    let pretty = |value| Ok::<_, serde_json::Error>(format!("{}\n", serde_json::to_string_pretty(value)?));
    let about = "\
| `assembly/index.ts` | the module: it exports `tick`, and `init` and `health` if you like |
| `assembly/wasmbed.ts` | what it can call on a device, copied from the wasmbed checkout this was made from |
| `asconfig.json` | switches of the compiler: what the smallest class accepts |

The memory is 64 KiB, the least there is in AssemblyScript and the most a small board allows. There is no garbage
collector, so a module should not make objects or strings in `tick`; `text` in `wasmbed.ts` puts texts together
without. One that must: `\"runtime\": \"minimal\"` in `asconfig.json`, and `__collect()` at the end of each tick.
";
    Ok(Project {
        files: vec![
            ("package.json", pretty(&package)?.into()),
            ("asconfig.json", pretty(&config)?.into()),
            ("assembly/tsconfig.json", pretty(&types)?.into()),
            ("assembly/index.ts", guest(sdk, "examples/level/level.ts")?.into()),
            ("assembly/wasmbed.ts", guest(sdk, "as/wasmbed.ts")?.into()),
            ("peripherals.toml", PERIPHERALS.into()),
            ("README.md", readme(name, build, &wasm, about).into()),
            (".gitignore", "/build\n/node_modules\n".into()),
        ],
        build,
        wasm,
    })
}

/// What all have in common, and what `about` says of the project: rows of a table of files, and text below.
fn readme(name: &str, build: &str, wasm: &str, about: &str) -> String {
    format!(
        "\
# {name}

A module for Wasmbed devices. Build it, see which classes of devices admit it, and run it here within the limits
of a microcontroller:

```console
$ {build}
$ wasmbed module check {wasm}
$ wasmbed module run {wasm} --class mcu --for 9s --peripherals peripherals.toml
```

`--set KEY=VALUE` gives it a setting. Have devices run it, with a fleet that is up:

```console
$ wasmbed module push {wasm} --name {name} --version 1.0.0
$ wasmbed deploy {name} --to class=mcu --wait
```

| file | what |
|---|---|
| `peripherals.toml` | what it sees when it is run here: sensors and inputs over time |
{about}"
    )
}
