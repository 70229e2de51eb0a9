//! `wasmbed-init`: the first process of a Linux machine that is a Wasmbed device and nothing else.
//!
//! The kernel starts it from the initramfs, which `cargo xtask fw` makes and which holds everything it needs.
//! [`machine`] and [`network`] bring the machine up, [`agent`] runs the agent as an ordinary user for as long as
//! the machine runs. What the machine keeps lies on its disk; everything else is gone with the power.
//!
//! A machine that cannot be brought up is switched off, with the reason on its console: whoever started it
//! decides whether to try again. When the agent restarts, so does the machine.
//!
//! Not here: what the agent does (`wasmbed-agent`), and who starts the machine (the host role of `wasmbed`).
#![forbid(unsafe_code)]

mod agent;
mod machine;
mod network;

use std::convert::Infallible;

use anyhow::ensure;
use nix::{
    errno::Errno,
    sys::reboot::{RebootMode, reboot},
    unistd::sync,
};

fn main() -> anyhow::Result<Infallible> {
    ensure!(
        std::process::id() == 1,
        "this is the first process of a machine of its own; run wasmbed-agent here"
    );
    let mode = match run() {
        Ok(agent::End::Restart) => RebootMode::RB_AUTOBOOT,
        Ok(agent::End::Stop) => RebootMode::RB_POWER_OFF,
        Err(error) => {
            eprintln!("wasmbed-init: {error:#}; switching off");
            RebootMode::RB_POWER_OFF
        }
    };
    Ok(leave(mode)?)
}

fn run() -> anyhow::Result<agent::End> {
    machine::mount_system()?;
    machine::load_drivers()?;
    machine::give_devices()?;
    network::bring_up()?;
    let config = machine::take_config()?;
    machine::mount_data()?;
    agent::keep_running(config)
}

/// What is on its way to the disk gets there; the disk's journal does not need a farewell.
fn leave(mode: RebootMode) -> Result<Infallible, Errno> {
    sync();
    reboot(mode)
}
