//! Where things are. Everything that is made lies below one target directory.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// The repository.
pub(crate) fn root() -> PathBuf {
    // The manifest directory is `<root>/xtask`, always.
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// The target directory of the host workspace.
pub(crate) fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => env::current_dir().unwrap_or_default().join(dir),
        None => root().join("target"),
    }
}

/// The programs of the host workspace.
pub(crate) fn bin(name: &str) -> PathBuf {
    target().join(if is_release() { "release" } else { "debug" }).join(name)
}

/// Whether programs are built to be fast rather than soon: `WASMBED_RELEASE=1`, as container images have it.
pub(crate) fn is_release() -> bool {
    env::var_os("WASMBED_RELEASE").is_some_and(|value| value == "1")
}

/// Those of them that are built for release, because their speed matters.
pub(crate) fn release_bin(name: &str) -> PathBuf {
    target().join("release").join(name)
}

/// Firmware, `<board>.elf`.
pub(crate) fn images() -> PathBuf {
    target().join("images")
}

/// The loop that boards time at their start.
pub(crate) fn measuring_loop() -> PathBuf {
    target().join("measuring-loop.pulley32")
}

/// Example modules, `<name>.wasm`.
pub(crate) fn modules() -> PathBuf {
    target().join("modules")
}

/// Where other people's programs for tests are installed.
pub(crate) fn python_env() -> PathBuf {
    target().join("python")
}

/// Tells `wasmbed-e2e` where everything is.
pub(crate) fn tell(command: &mut Command) -> &mut Command {
    command
        .env("WASMBED_E2E_BIN", bin(""))
        .env("WASMBED_E2E_BOARDS", root().join("boards"))
        .env("WASMBED_E2E_IMAGES", images())
        .env("WASMBED_E2E_MODULES", modules())
}
