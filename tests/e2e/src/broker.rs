//! The brokers a fleet is tested with. Both take the same passwords, so clients cannot tell.

use std::{
    fmt::Write as _,
    fs,
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::{Process, program, wait_for};

/// Which broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `wasmbed-broker`.
    Embedded,
    /// Debian's Mosquitto.
    Mosquitto,
}

/// Every device, host and person that a test may connect as: user name and role.
pub(crate) type Users<'u> = &'u [(String, String)];

/// The secret of every test broker; passwords are derived from it.
const SECRET: [u8; 32] = [0x5a; 32];

/// The password of a role such as `device/n2-1`, at every test broker.
///
/// # Errors
/// Never: the secret is one.
pub fn password(role: &str) -> Result<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(&SECRET)?;
    mac.update(role.as_bytes());
    Ok(mac.finalize().into_bytes().iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

/// Writes the secret file.
pub(crate) fn write_secret(path: &Path) -> Result<()> {
    let text: String = SECRET.iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(path, text + "\n")?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(())
}

/// A port that was free a moment ago; a broker that is restarted needs the same one again.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Starts a broker and waits until it answers.
pub(crate) fn start(kind: Kind, dir: &Path, port: u16, users: Users<'_>) -> Result<Process> {
    let mut command = match kind {
        Kind::Embedded => {
            let mut command = Command::new(program("wasmbed-broker")?);
            command.arg("--listen").arg(format!("127.0.0.1:{port}"));
            command.arg("--secret-file").arg(dir.join("broker.secret"));
            command
        }
        Kind::Mosquitto => {
            let mut command = Command::new("mosquitto");
            command.arg("-c").arg(write_mosquitto_config(dir, port, users)?);
            command
        }
    };
    let process = Process::start("broker", dir, &mut command)?;
    wait_for("the broker to listen", Duration::from_secs(20), || {
        Ok(TcpStream::connect(("127.0.0.1", port)).is_ok())
    })?;
    Ok(process)
}

/// Has `wasmbed` write the permissions of every role for a broker into `dir`.
fn write_acl(broker: &str, dir: &Path, users: Users<'_>) -> Result<()> {
    let hosts: Vec<&str> = users.iter().filter_map(|(user, _)| user.strip_prefix("_host.")).collect();
    let mut command = Command::new(program("wasmbed")?);
    command.args(["broker", "acl", "--for", broker, "--hosts", &hosts.join(","), "--output"]).arg(dir);
    let written = command.output().context("cannot start wasmbed")?;
    ensure!(written.status.success(), "wasmbed broker acl: {}", String::from_utf8_lossy(&written.stderr));
    Ok(())
}

fn write_mosquitto_config(dir: &Path, port: u16, users: Users<'_>) -> Result<std::path::PathBuf> {
    let passwords = dir.join("mosquitto.passwords");
    fs::write(&passwords, "")?;
    for (user, role) in users {
        let added = Command::new("mosquitto_passwd")
            .args(["-b".as_ref(), passwords.as_os_str(), user.as_ref(), password(role)?.as_ref()])
            .output()
            .context("cannot start mosquitto_passwd")?;
        ensure!(added.status.success(), "mosquitto_passwd: {}", String::from_utf8_lossy(&added.stderr));
    }
    write_acl("mosquitto", dir, users)?;
    let acl_file = dir.join("wasmbed.acl");
    let config = dir.join("mosquitto.conf");
    fs::write(
        &config,
        format!(
            "listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {}\nacl_file {}\n\
             persistence false\nmax_queued_messages 10000\nuser root\n",
            passwords.display(),
            acl_file.display()
        ),
    )?;
    Ok(config)
}
