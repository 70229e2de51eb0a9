//! The brokers a fleet is tested with. They take the same passwords or certificates, so clients cannot tell.

use std::{
    fmt::Write as _,
    fs,
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
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
    /// `wasmbed-broker` that lets in nobody without a certificate.
    EmbeddedTls,
    /// Mosquitto that lets in nobody without a certificate.
    MosquittoTls,
}

impl Kind {
    /// Whether it speaks TLS.
    pub fn is_tls(self) -> bool {
        matches!(self, Kind::EmbeddedTls | Kind::MosquittoTls)
    }
}

/// The folder of the certificate authority in a fleet's.
pub(crate) const CA: &str = "ca";
/// The folder of the broker's certificate in a fleet's.
pub(crate) const IDENTITY: &str = "broker.identity";

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
        Kind::EmbeddedTls => {
            let mut command = Command::new(program("wasmbed-broker")?);
            command.arg("--config").arg(write_tls_config(dir, port)?);
            command.arg("--secret-file").arg(dir.join("broker.secret"));
            command
        }
        Kind::Mosquitto | Kind::MosquittoTls => {
            let mut command = Command::new("mosquitto");
            command.arg("-c").arg(write_mosquitto_config(kind, dir, port, users)?);
            command
        }
    };
    let process = Process::start("broker", dir, &mut command)?;
    wait_for("the broker to listen", Duration::from_secs(20), || {
        Ok(TcpStream::connect(("127.0.0.1", port)).is_ok())
    })?;
    Ok(process)
}

fn write_tls_config(dir: &Path, port: u16) -> Result<PathBuf> {
    let config = dir.join("broker.toml");
    let (identity, ca) = (dir.join(IDENTITY), dir.join(CA));
    let (identity, ca) = (identity.display(), ca.display());
    fs::write(
        &config,
        format!(
            "listen = ''\nlisten_tls = '127.0.0.1:{port}'\npassword_roles = []\n[tls]\n\
             cert_file = '{identity}/identity.pem'\nkey_file = '{identity}/identity.key'\n\
             client_ca_file = '{ca}/ca.pem'\ncrl_file = '{ca}/crl.pem'\n"
        ),
    )?;
    Ok(config)
}

fn write_mosquitto_config(kind: Kind, dir: &Path, port: u16, users: Users<'_>) -> Result<PathBuf> {
    let passwords = dir.join("mosquitto.passwords");
    fs::write(&passwords, "")?;
    let mut acl = String::from("pattern write wasmbed/v1/%u/up/#\npattern read wasmbed/v1/%u/dn/#\n");
    for (user, role) in users {
        let added = Command::new("mosquitto_passwd")
            .args(["-b".as_ref(), passwords.as_os_str(), user.as_ref(), password(role)?.as_ref()])
            .output()
            .context("cannot start mosquitto_passwd")?;
        ensure!(added.status.success(), "mosquitto_passwd: {}", String::from_utf8_lossy(&added.stderr));
        match user.strip_prefix("_host.") {
            Some(host) => {
                writeln!(acl, "user {user}\ntopic write wasmbed/v1/_host/{host}/up/#")?;
                writeln!(acl, "topic read wasmbed/v1/_host/{host}/dn/#")?;
            }
            None if user.starts_with('_') => writeln!(acl, "user {user}\ntopic readwrite wasmbed/#")?,
            None => {}
        }
    }
    let acl_file = dir.join("mosquitto.acl");
    fs::write(&acl_file, acl)?;
    let login = match kind.is_tls() {
        false => format!("password_file {}", passwords.display()),
        true => {
            let (identity, ca) = (dir.join(IDENTITY), dir.join(CA));
            let (identity, ca) = (identity.display(), ca.display());
            format!(
                "certfile {identity}/identity.pem\nkeyfile {identity}/identity.key\ncafile {ca}/ca.pem\n\
                 crlfile {ca}/crl.pem\nrequire_certificate true\nuse_identity_as_username true"
            )
        }
    };
    let config = dir.join("mosquitto.conf");
    fs::write(
        &config,
        format!(
            "listener {port} 127.0.0.1\nallow_anonymous false\n{login}\nacl_file {}\n\
             persistence false\nmax_queued_messages 10000\nuser root\n",
            acl_file.display()
        ),
    )?;
    Ok(config)
}
