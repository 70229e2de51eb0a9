//! A whole fleet for black-box tests: real programs, real firmware in QEMU, a real broker.
//!
//! Everything is driven as a user would, through `wasmbed`, `mosquitto_pub` and signals. Waiting is
//! always for a state, with a limit, never for a duration. A [`Fleet`] ends every process it started
//! when it is dropped, and its files live in a directory of its own.

mod broker;
pub mod features;
mod firmware;
mod fleet;
mod gpio;
mod process;
mod subscription;

pub use broker::{Broker, Kind as BrokerKind, password};
pub use firmware::FACTORY_VERSION;
pub use fleet::{Fleet, Limit};
pub use gpio::{GpioChip, GpioTable, with_gpio};
pub use process::{Process, signal, wait_for};
pub use subscription::{Subscription, bytes, hex};

use std::{env, path::PathBuf};

use anyhow::{Context, Result};

fn from_xtask(variable: &str) -> Result<PathBuf> {
    let value = env::var_os(variable)
        .with_context(|| format!("{variable} is not set; run these tests with `cargo xtask test`"))?;
    Ok(PathBuf::from(value))
}

/// A program of this project.
pub fn program(name: &str) -> Result<PathBuf> {
    Ok(from_xtask("WASMBED_E2E_BIN")?.join(name))
}

/// The directory of firmware images.
pub fn images() -> Result<PathBuf> {
    from_xtask("WASMBED_E2E_IMAGES")
}

/// A board's firmware built with a feature that tests need.
pub fn variant(board: &str, variant: &str) -> Result<PathBuf> {
    Ok(images()?.join("variants").join(format!("{board}-{variant}.elf")))
}

/// The directory of board definitions.
pub fn boards() -> Result<PathBuf> {
    from_xtask("WASMBED_E2E_BOARDS")
}

/// An example module.
pub fn module(name: &str) -> Result<PathBuf> {
    Ok(from_xtask("WASMBED_E2E_MODULES")?.join(format!("{name}.wasm")))
}
