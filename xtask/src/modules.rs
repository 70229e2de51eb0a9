//! `cargo xtask modules`: the example modules, from Rust, C and text.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{
    paths,
    run::{self, host_target, output, run, step},
};

/// Builds every example and returns the directory that holds them as `<name>.wasm`.
pub(crate) fn build() -> Result<PathBuf> {
    step("example modules");
    let guest = paths::root().join("device-agent/guest");
    let out = paths::modules();
    fs::create_dir_all(&out)?;
    build_rust(&guest, &out)?;
    let examples = guest.join("examples");
    for folder in fs::read_dir(&examples).with_context(|| examples.display().to_string())? {
        let folder = folder?;
        let name = folder.file_name().to_string_lossy().into_owned();
        let wasm = out.join(&name).with_extension("wasm");
        let (text, c) = (folder.path().join(format!("{name}.wat")), folder.path().join(format!("{name}.c")));
        if text.exists() {
            let bytes = wat::parse_file(&text).with_context(|| text.display().to_string())?;
            fs::write(wasm, bytes)?;
        } else if c.exists() {
            build_c(&guest, &c, &wasm)?;
        }
    }
    Ok(out)
}

/// Builds the workloads for speed, as modules that every device takes and as modules that only Linux devices
/// take. Returns the directory that holds the target directories `boards` and `linux`.
pub(crate) fn build_workloads() -> Result<PathBuf> {
    step("workloads as modules");
    let out = paths::target().join("workloads");
    let build = |name: &str| {
        let mut cargo = run::cargo();
        cargo.args(["build", "--release", "--quiet", "--package", "wasmbed-workloads", "--examples"]);
        // Other modules are built to be small.
        cargo.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3");
        cargo.arg("--target-dir").arg(out.join(name)).current_dir(paths::root().join("device-agent/guest"));
        cargo
    };
    run(&mut build("boards"))?;
    // In place of what the guest workspace has for the smallest devices.
    run(build("linux").env("RUSTFLAGS", "-Ctarget-feature=+simd128"))?;
    Ok(out)
}

/// Writes `NAME.stack` beside each `NAME.wasm` in the folders of this one: what the fleet finds a call into it to take, in
/// four bytes, least significant first; 0 if that has no bound.
pub(crate) fn find_stacks(prepared: &Path) -> Result<()> {
    for folder in fs::read_dir(prepared)? {
        let folder = folder?.path();
        for file in fs::read_dir(&folder).into_iter().flatten() {
            let file = file?.path();
            if file.extension().is_some_and(|extension| extension == "wasm") {
                let said = output(
                    Command::new(paths::bin("wasmbed")).args(["--json", "module", "check"]).arg(&file),
                )?;
                let classes: Value = serde_json::from_str(&said)?;
                let bytes = classes[0]["stack_bytes"].as_u64().map_or(Ok(0), u32::try_from)?;
                let stack = file.with_extension("stack");
                // Written only if it has changed, so that an image is not built again for nothing.
                if fs::read(&stack).ok().as_deref() != Some(&bytes.to_le_bytes()) {
                    fs::write(stack, bytes.to_le_bytes())?;
                }
            }
        }
    }
    Ok(())
}

fn build_rust(guest: &Path, out: &Path) -> Result<()> {
    let target_dir = paths::target().join("guest");
    let mut cargo = run::cargo();
    cargo.args(["build", "--release", "--quiet", "--workspace", "--exclude", "wasmbed-guest"]);
    run(cargo.arg("--target-dir").arg(&target_dir).current_dir(guest))?;
    let built = target_dir.join("wasm32-unknown-unknown/release");
    for file in fs::read_dir(&built)? {
        let path = file?.path();
        if let (Some("wasm"), Some(name)) = (path.extension().and_then(|e| e.to_str()), path.file_name()) {
            fs::copy(&path, out.join(name))?;
        }
    }
    Ok(())
}

fn build_c(guest: &Path, source: &Path, wasm: &Path) -> Result<()> {
    let object = paths::target().join("guest/module.o");
    // An example that needs more than the smallest class accepts has flags of its own; `.cargo/config.toml` of the guest
    // workspace says the same as the common ones for Rust.
    let flags = |name: &str| {
        let own = source.with_file_name(name);
        format!("@{}", if own.exists() { own } else { guest.join("c").join(name) }.display())
    };
    let mut clang = Command::new("clang");
    clang.arg(flags("compile.flags")).arg("-I").arg(guest.join("c"));
    run(clang.arg("-c").arg(source).arg("-o").arg(&object))?;
    // Debian's wasm-ld knows pages of 64 KiB only, which is more memory than a small board has.
    let mut lld = Command::new(rust_lld()?);
    run(lld.args(["-flavor", "wasm"]).arg(flags("link.flags")).arg(&object).arg("-o").arg(wasm))
}

/// The linker that comes with Rust.
fn rust_lld() -> Result<PathBuf> {
    let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]).current_dir(paths::root()))?;
    Ok(Path::new(sysroot.trim()).join("lib/rustlib").join(host_target()?).join("bin/rust-lld"))
}
