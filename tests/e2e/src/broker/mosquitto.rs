//! Debian's Mosquitto with passwords or certificates, and the permissions that `wasmbed` writes.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};

use super::{Kind, TlsPaths, Users, password, write_acl};

const CONFIG: &str = "mosquitto.conf";

pub(super) fn write(kind: Kind, dir: &Path, port: u16, users: Users<'_>) -> Result<()> {
    let login = if kind.is_tls() { certificates(dir) } else { passwords(dir, users)? };
    write_acl("mosquitto", dir, users, false)?;
    let config = format!(
        "listener {port} 127.0.0.1\nallow_anonymous false\n{login}\nacl_file {}\n\
         persistence false\nmax_queued_messages 10000\nuser root\n",
        dir.join("wasmbed.acl").display()
    );
    fs::write(dir.join(CONFIG), config)?;
    Ok(())
}

fn certificates(dir: &Path) -> String {
    let TlsPaths { cert, key, ca, crl } = TlsPaths::of(dir);
    format!(
        "certfile {}\nkeyfile {}\ncafile {}\ncrlfile {}\n\
         require_certificate true\nuse_identity_as_username true",
        cert.display(),
        key.display(),
        ca.display(),
        crl.display()
    )
}

fn passwords(dir: &Path, users: Users<'_>) -> Result<String> {
    let passwords = dir.join("mosquitto.passwords");
    fs::write(&passwords, "")?;
    for (user, role) in users {
        let added = Command::new("mosquitto_passwd")
            .args(["-b".as_ref(), passwords.as_os_str(), user.as_ref(), password(role)?.as_ref()])
            .output()
            .context("cannot start mosquitto_passwd")?;
        ensure!(added.status.success(), "mosquitto_passwd: {}", String::from_utf8_lossy(&added.stderr));
    }
    Ok(format!("password_file {}", passwords.display()))
}

pub(super) fn command(dir: &Path) -> Command {
    let mut command = Command::new("mosquitto");
    command.arg("-c").arg(dir.join(CONFIG));
    command
}
