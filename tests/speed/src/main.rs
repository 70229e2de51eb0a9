//! `cargo xtask bench runtime`: what running a module costs, on this machine.
//!
//! The same modules run natively (their source compiled into this program), in our runtime as Linux devices
//! have it (`linux`), in our runtime as boards have it (`pulley`), and in another interpreter (`wasmi`). What is
//! compared was measured in the same round; every figure is the median of rounds.
//!
//! Native code is built for any processor of its kind, as Rust does by itself, while the runtime compiles for the
//! one it finds: with vectors it can be the faster one.
//!
//! Not here: what boards themselves need, which only counted instructions tell (`bench-device`).

mod calls;
mod instances;
mod machine;
mod race;
mod work;

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use wasmbed_runtime::Runtime;
use wasmbed_wire::limits::Class;
use wasmtime::{Result, bail, error::Context as _, format_err};

/// A workload as a module.
struct Module {
    /// As every device takes it: pages of one byte, no vectors.
    boards: Vec<u8>,
    /// As only Linux devices take it: pages of 64 KiB, whose ends need no checks, and vectors.
    linux: Vec<u8>,
}

impl Module {
    fn read(folder: &Path, name: &str) -> Result<Self> {
        let read = |build: &str| {
            let path = folder.join(build).join("wasm32-unknown-unknown/release/examples").join(name);
            fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        Ok(Module { boards: read("boards")?, linux: read("linux")? })
    }
}

fn main() -> Result<()> {
    let mut args = env::args_os().skip(1);
    let folder = args.next().map(PathBuf::from).context("name the folder with the workloads")?;
    let (fir, mixed) = (Module::read(&folder, "fir.wasm")?, Module::read(&folder, "mixed.wasm")?);
    let subject = args.next().map(|name| name.to_string_lossy().into_owned());
    let all = move || match subject.as_deref() {
        // Started by itself, because memory that was used before would not be seen.
        Some(subject) => instances::print_idle_bytes(subject, &mixed),
        None => {
            calls::print()?;
            instances::print(&mixed, &folder)?;
            work::print(&fir, &mixed)
        }
    };
    let thread =
        std::thread::Builder::new().stack_size(Runtime::thread_stack_bytes(Class::Mpu)).spawn(all)?;
    match thread.join() {
        Ok(result) => result,
        Err(_) => bail!("the measurement panicked"),
    }
}

/// A module written as text.
fn assemble(text: &str) -> Result<Vec<u8>> {
    wat::parse_str(text).map_err(|error| format_err!("{error}"))
}
