//! Who may connect, and what each role may publish and read. This file is the whole permission model.
//!
//! A client that shows a certificate of the fleet's authority is whom its common name says. For others there is no user
//! data base: the broker holds one secret, and a role's password is a keyed digest of its name.
//! Whoever holds the secret (the fleet service, the QEMU host for its devices) can compute any password; a device
//! knows only its own.
//!
//! | role | user name | publishes | subscribes to |
//! |---|---|---|---|
//! | device | `{id}` | `{p}/v1/{id}/up/...` | `{p}/v1/{id}/dn/...` |
//! | host | `_host.{id}` | `{p}/v1/_host/{id}/up/...` | `{p}/v1/_host/{id}/dn/...` |
//! | gateway | `_gateway.{id}` | `{p}/v1/_gateway/{id}/up/...`, `{p}/v1/{device}/dn/ros/...` | `{p}/v1/{device}/up/ros/...`, `.../up/state`, `.../dn/desired`, `.../dn/keys` |
//! | service | `_service` | `{p}/...` | `{p}/...` |
//! | operator | `_operator` | `{p}/v1/_fleet/cmd/{verb}`, `{p}/v1/_fleet/put/...`, `{p}/v1/{id}/dn/msg/...` | `{p}/v1/...` |
//! | device with a token | `{id}` | `{p}/v1/{id}/up/enrol` | `{p}/v1/{id}/dn/enrol` |
//!
//! Wildcards are fine below the given front, never inside it; a gateway may say `+` for the device. A will is a publication.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use wasmbed_wire::topic::{self, VERSION};
use wasmbed_wire::{DeviceId, GatewayId, HostId};

/// What a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// One device.
    Device(DeviceId),
    /// A device that has a token for a password, and gets a certificate for it.
    Enrolling(DeviceId),
    /// One machine that runs emulated devices.
    Host(HostId),
    /// One way to ROS 2 for devices.
    Gateway(GatewayId),
    /// The fleet service.
    Service,
    /// People and programs that command the fleet.
    Operator,
}

/// A role without the name of who has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RoleKind {
    /// [`Role::Device`].
    Device,
    /// [`Role::Host`].
    Host,
    /// [`Role::Gateway`].
    Gateway,
    /// [`Role::Service`].
    Service,
    /// [`Role::Operator`].
    Operator,
}

impl RoleKind {
    /// All of them.
    pub const ALL: [RoleKind; 5] =
        [RoleKind::Device, RoleKind::Host, RoleKind::Gateway, RoleKind::Service, RoleKind::Operator];
}

const HOST_FRONT: &str = "_host.";
const GATEWAY_FRONT: &str = "_gateway.";
const SERVICE: &str = "_service";
const OPERATOR: &str = "_operator";

impl Role {
    /// The MQTT user name.
    pub fn username(&self) -> String {
        match self {
            Role::Device(id) | Role::Enrolling(id) => id.to_string(),
            Role::Host(id) => format!("{HOST_FRONT}{id}"),
            Role::Gateway(id) => format!("{GATEWAY_FRONT}{id}"),
            Role::Service => SERVICE.to_owned(),
            Role::Operator => OPERATOR.to_owned(),
        }
    }

    /// The role of a user name; `None` for any other text.
    pub fn parse(username: &str) -> Option<Self> {
        match username {
            SERVICE => Some(Role::Service),
            OPERATOR => Some(Role::Operator),
            _ => match (username.strip_prefix(HOST_FRONT), username.strip_prefix(GATEWAY_FRONT)) {
                (Some(host), _) => host.parse().ok().map(Role::Host),
                (None, Some(gateway)) => gateway.parse().ok().map(Role::Gateway),
                (None, None) => username.parse().ok().map(Role::Device),
            },
        }
    }

    /// What it is, without its name.
    pub fn kind(&self) -> RoleKind {
        match self {
            Role::Device(_) | Role::Enrolling(_) => RoleKind::Device,
            Role::Host(_) => RoleKind::Host,
            Role::Gateway(_) => RoleKind::Gateway,
            Role::Service => RoleKind::Service,
            Role::Operator => RoleKind::Operator,
        }
    }

    /// Whether this client may publish to `topic`, a valid topic name.
    pub(crate) fn may_publish(&self, prefix: &str, topic: &str) -> bool {
        let Some(topic) = below(prefix, topic) else { return false };
        match self {
            Role::Device(_) | Role::Host(_) => self.own(topic).and_then(|own| below("up", own)).is_some(),
            Role::Gateway(_) => {
                self.own(topic).and_then(|own| below("up", own)).is_some()
                    || of_devices(topic).is_some_and(|rest| below("dn/ros", rest).is_some())
            }
            Role::Enrolling(_) => self.own(topic) == Some(topic::ENROL),
            Role::Service => true,
            Role::Operator => match below(VERSION, topic).and_then(|topic| below("_fleet", topic)) {
                Some(fleet) => {
                    below("cmd", fleet).is_some_and(|verb| !verb.contains('/'))
                        || below("put", fleet).is_some()
                }
                None => of_devices(topic).is_some_and(|rest| below("dn/msg", rest).is_some()),
            },
        }
    }

    /// Whether this client may subscribe to `filter`, a valid topic filter.
    pub(crate) fn may_subscribe(&self, prefix: &str, filter: &str) -> bool {
        let Some(filter) = below(prefix, filter) else { return false };
        match self {
            Role::Device(_) | Role::Host(_) => self.own(filter).and_then(|own| below("dn", own)).is_some(),
            Role::Gateway(_) => of_devices(filter).is_some_and(|rest| {
                below("up/ros", rest).is_some() || matches!(rest, "up/state" | "dn/desired" | "dn/keys")
            }),
            Role::Enrolling(_) => self.own(filter) == Some(topic::ENROLLED),
            Role::Service => true,
            Role::Operator => below(VERSION, filter).is_some(),
        }
    }

    /// Whether this client's packets are limited to the size of a device's.
    pub(crate) fn is_small(&self) -> bool {
        matches!(self, Role::Device(_) | Role::Enrolling(_))
    }

    /// Whether this client may share subscriptions and retain as much as there is room for.
    pub(crate) fn is_trusted(&self) -> bool {
        matches!(self, Role::Service | Role::Operator)
    }

    /// Whether this client may call itself `client_id`.
    pub(crate) fn may_be_called(&self, client_id: &str) -> bool {
        match self {
            Role::Device(id) | Role::Enrolling(id) => client_id == id.as_str(),
            Role::Host(_) | Role::Gateway(_) | Role::Service | Role::Operator => true,
        }
    }

    /// The part of `topic` below `v1/{owner}/` if this client is the owner.
    fn own<'t>(&self, topic: &'t str) -> Option<&'t str> {
        let topic = below(VERSION, topic)?;
        match self {
            Role::Device(id) | Role::Enrolling(id) => below(id.as_str(), topic),
            Role::Host(id) => below(id.as_str(), below("_host", topic)?),
            Role::Gateway(id) => below(id.as_str(), below("_gateway", topic)?),
            Role::Service | Role::Operator => None,
        }
    }

    /// What the password is a digest of.
    fn label(&self) -> String {
        match self {
            Role::Device(id) => format!("device/{id}"),
            Role::Enrolling(id) => format!("enrol/{id}"),
            Role::Host(id) => format!("host/{id}"),
            Role::Gateway(id) => format!("gateway/{id}"),
            Role::Service => "service/default".to_owned(),
            Role::Operator => "operator/default".to_owned(),
        }
    }
}

/// The part of `topic` below `front/`; wildcards in `topic` never stand for a front.
fn below<'t>(front: &str, topic: &'t str) -> Option<&'t str> {
    topic.strip_prefix(front)?.strip_prefix('/')
}

/// The part of `topic` below `v1/{device}/`, whichever device that is.
fn of_devices(topic: &str) -> Option<&str> {
    let (device, rest) = below(VERSION, topic)?.split_once('/')?;
    (!device.starts_with('_')).then_some(rest)
}

const TOKEN_FRONT: &str = "enrol-";

/// What lets a device ask for a certificate. That it is used only once, whoever gives the certificate sees to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The password.
    pub text: String,
    /// What tells it from others.
    pub number: String,
    /// Until when it is good, in seconds of Unix time.
    pub expires_s: u64,
}

impl Token {
    /// Whether its time is over.
    pub fn has_expired(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        now.as_secs() >= self.expires_s
    }
}

/// Bytes of a secret.
const SECRET_BYTES: usize = 32;

/// The key from which all passwords are made.
#[derive(Clone)]
pub struct Secret([u8; SECRET_BYTES]);

/// Why a secret could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file could not be read, created or written.
    #[error("cannot use the secret file {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file holds something else.
    #[error(
        "the secret file {path} does not hold 64 hexadecimal digits; remove it to have a new one made (all passwords \
         change then)"
    )]
    Format {
        /// The file.
        path: PathBuf,
    },
    /// The system has no random numbers.
    #[error("cannot make a new secret: the system gives no random numbers ({0})")]
    Random(getrandom::Error),
}

impl Secret {
    /// A secret from its bytes.
    pub const fn new(bytes: [u8; SECRET_BYTES]) -> Self {
        Secret(bytes)
    }

    /// Reads the secret at `path`, or makes one there that only this user can read.
    ///
    /// Several processes may start at once: all of them get the same secret.
    pub fn load_or_create(path: &Path) -> Result<Self, SecretError> {
        match Self::load(path) {
            Err(SecretError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Self::create(path)
            }
            done => done,
        }
    }

    /// Reads the secret at `path`.
    pub fn load(path: &Path) -> Result<Self, SecretError> {
        let text = std::fs::read_to_string(path).map_err(|source| file_error(path, source))?;
        let bytes = from_hex(text.trim()).ok_or_else(|| SecretError::Format { path: path.to_owned() })?;
        Ok(Secret(bytes))
    }

    fn create(path: &Path) -> Result<Self, SecretError> {
        let mut bytes = [0; SECRET_BYTES];
        getrandom::fill(&mut bytes).map_err(SecretError::Random)?;
        let mut suffix = [0; 8];
        getrandom::fill(&mut suffix).map_err(SecretError::Random)?;
        // Complete before it is visible under its name, and never replacing the one another process just made.
        let draft = path.with_extension(format!("{}.new", to_hex(&suffix)));
        let linked = write_private(&draft, &to_hex(&bytes)).and_then(|()| std::fs::hard_link(&draft, path));
        let removed = std::fs::remove_file(&draft);
        match linked {
            Ok(()) => removed.map(|()| Secret(bytes)).map_err(|source| file_error(&draft, source)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Self::load(path),
            Err(source) => Err(file_error(path, source)),
        }
    }

    /// The password of `role`: 64 lower-case hexadecimal digits.
    pub fn password(&self, role: &Role) -> String {
        to_hex(&self.digest(&role.label()))
    }

    /// Whether `password` is that of `role`; takes the same time for every wrong one of the right length.
    pub(crate) fn accepts(&self, role: &Role, password: &[u8]) -> bool {
        self.password(role).as_bytes().ct_eq(password).into()
    }

    /// A password with which a device may ask for a certificate until `expires_s` of Unix time.
    ///
    /// # Errors
    /// If the system gives no random numbers.
    pub fn token(&self, device: DeviceId, expires_s: u64) -> Result<Token, SecretError> {
        let mut number = [0; 8];
        getrandom::fill(&mut number).map_err(SecretError::Random)?;
        Ok(self.sign_token(device, expires_s, &to_hex(&number)))
    }

    /// Reads a device's token; `None` for anything else. Whether it has expired is not looked at.
    pub fn read_token(&self, device: DeviceId, text: &[u8]) -> Option<Token> {
        let parts = std::str::from_utf8(text).ok()?.strip_prefix(TOKEN_FRONT)?;
        let (expires_s, rest) = parts.split_once('-')?;
        let (number, _) = rest.split_once('-')?;
        let right = self.sign_token(device, expires_s.parse().ok()?, number);
        bool::from(right.text.as_bytes().ct_eq(text)).then_some(right)
    }

    fn sign_token(&self, device: DeviceId, expires_s: u64, number: &str) -> Token {
        let label = format!("{}/{expires_s}/{number}", Role::Enrolling(device).label());
        let text = format!("{TOKEN_FRONT}{expires_s}-{number}-{}", to_hex(&self.digest(&label)));
        Token { text, number: number.to_owned(), expires_s }
    }

    fn digest(&self, label: &str) -> [u8; 32] {
        // HMAC takes keys of any length; the fallback is never used.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else { return [0; 32] };
        mac.update(label.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

fn file_error(path: &Path, source: io::Error) -> SecretError {
    SecretError::File { path: path.to_owned(), source }
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    writeln!(file, "{text}")?;
    file.sync_all()
}

pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<[u8; SECRET_BYTES]> {
    let digits = text.as_bytes();
    if digits.len() != SECRET_BYTES * 2 {
        return None;
    }
    let mut bytes = [0; SECRET_BYTES];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device() -> Role {
        Role::parse("pump-7").expect("a device")
    }

    #[test]
    fn every_role_has_one_user_name() {
        for (name, role) in [
            ("pump-7", Some(device())),
            ("_host.lab", "lab".parse().ok().map(Role::Host)),
            ("_service", Some(Role::Service)),
            ("_operator", Some(Role::Operator)),
            ("_gateway.ros", "ros".parse().ok().map(Role::Gateway)),
            ("_host.", None),
            ("_gateway.", None),
            ("_root", None),
            ("Pump", None),
            ("", None),
        ] {
            assert_eq!(Role::parse(name), role, "{name}");
            if let Some(role) = role {
                assert_eq!(role.username(), name);
            }
        }
    }

    #[test]
    fn a_password_opens_one_role_only() {
        // Computed with an independent program:
        // printf device/pump-7 | openssl dgst -sha256 -mac HMAC -macopt hexkey:0707...07
        let secret = Secret::new([7; 32]);
        let password = secret.password(&device());
        assert_eq!(password, "1875f49c578012c7dd31e5920e148e72eb9fef288ad8121f900fc44ae0825a14");
        assert!(secret.accepts(&device(), password.as_bytes()));
        assert!(!secret.accepts(&Role::Service, password.as_bytes()));
        assert!(!secret.accepts(&device(), b""));
        assert!(!secret.accepts(&device(), password.to_uppercase().as_bytes()));
        assert!(!Secret::new([8; 32]).accepts(&device(), password.as_bytes()));
    }

    #[test]
    fn a_token_is_one_devices_and_lets_it_do_one_thing() {
        let (secret, pump) = (Secret::new([7; 32]), "pump-7".parse().expect("a device"));
        let token = secret.token(pump, 1000).expect("a token");
        assert!(token.has_expired());
        assert!(!secret.token(pump, u64::MAX).expect("a token").has_expired());
        assert_eq!(secret.read_token(pump, token.text.as_bytes()), Some(token.clone()));
        assert_ne!(secret.token(pump, 1000).expect("a token").text, token.text);
        assert_eq!(secret.read_token("pump-8".parse().expect("a device"), token.text.as_bytes()), None);
        assert_eq!(Secret::new([8; 32]).read_token(pump, token.text.as_bytes()), None);
        let later = token.text.replace("enrol-1000", "enrol-9000");
        for wrong in [later.as_str(), "", "enrol-", "enrol-1000", "enrol-x-y-z", &secret.password(&device())]
        {
            assert_eq!(secret.read_token(pump, wrong.as_bytes()), None, "{wrong}");
        }
        let role = Role::Enrolling(pump);
        assert!(
            role.may_publish("p", "p/v1/pump-7/up/enrol") && role.may_subscribe("p", "p/v1/pump-7/dn/enrol")
        );
        assert!(
            !role.may_publish("p", "p/v1/pump-7/up/state") && !role.may_publish("p", "p/v1/pump-7/up/renew")
        );
        assert!(
            !role.may_subscribe("p", "p/v1/pump-7/dn/#") && !role.may_publish("p", "p/v1/pump-8/up/enrol")
        );
    }

    #[test]
    fn a_device_speaks_up_and_hears_down_in_its_own_place() {
        let device = device();
        for (topic, allowed) in [
            ("p/v1/pump-7/up/state", true),
            ("p/v1/pump-7/up", false),
            ("p/v1/pump-7/dn/desired", false),
            ("p/v1/pump-77/up/state", false),
            ("p/v1/_host/pump-7/up/x", false),
            ("p/v2/pump-7/up/state", false),
            ("x/v1/pump-7/up/state", false),
            ("pp/v1/pump-7/up/state", false),
        ] {
            assert_eq!(device.may_publish("p", topic), allowed, "{topic}");
        }
        for (filter, allowed) in [
            ("p/v1/pump-7/dn/#", true),
            ("p/v1/pump-7/dn/+/x", true),
            ("p/v1/pump-7/up/#", false),
            ("p/v1/pump-7/#", false),
            ("p/v1/pump-7/+/desired", false),
            ("p/v1/+/dn/#", false),
            ("#", false),
            ("+/v1/pump-7/dn/#", false),
        ] {
            assert_eq!(device.may_subscribe("p", filter), allowed, "{filter}");
        }
    }

    #[test]
    fn a_host_has_a_place_of_its_own() {
        let host = Role::parse("_host.lab").expect("a host");
        assert!(host.may_publish("a/b", "a/b/v1/_host/lab/up/state"));
        assert!(host.may_subscribe("a/b", "a/b/v1/_host/lab/dn/#"));
        assert!(!host.may_publish("a/b", "a/b/v1/lab/up/state"));
        assert!(!host.may_subscribe("a/b", "a/b/v1/_host/other/dn/#"));
    }

    #[test]
    fn a_gateway_reads_who_may_what_and_speaks_of_ros_only() {
        let gateway = Role::parse("_gateway.ros").expect("a gateway");
        for (topic, allowed) in [
            ("p/v1/_gateway/ros/up/state", true),
            ("p/v1/_gateway/other/up/state", false),
            ("p/v1/pump-7/dn/ros/tell/robot", true),
            ("p/v1/pump-7/dn/msg/robot/in", false),
            ("p/v1/pump-7/dn/desired", false),
            ("p/v1/pump-7/up/ros/want/robot", false),
            ("p/v1/_host/dn/ros/tell/robot", false),
        ] {
            assert_eq!(gateway.may_publish("p", topic), allowed, "{topic}");
        }
        for (filter, allowed) in [
            ("p/v1/+/up/ros/#", true),
            ("p/v1/pump-7/up/ros/+/robot", true),
            ("p/v1/+/up/state", true),
            ("p/v1/+/dn/desired", true),
            ("p/v1/+/dn/keys", true),
            ("p/v1/+/up/#", false),
            ("p/v1/+/dn/+", false),
            ("p/v1/_host/lab/dn/desired", false),
            ("p/v1/#", false),
        ] {
            assert_eq!(gateway.may_subscribe("p", filter), allowed, "{filter}");
        }
    }

    #[test]
    fn an_operator_commands_and_reads_everything() {
        let operator = Role::Operator;
        for (topic, allowed) in [
            ("p/v1/_fleet/cmd/restart", true),
            ("p/v1/_fleet/cmd/a/b", false),
            ("p/v1/_fleet/put/module/thermo/1.0.0", true),
            ("p/v1/_fleet/state", false),
            ("p/v1/pump-7/dn/desired", false),
            ("p/v1/pump-7/dn/msg/valve/set", true),
            ("p/v1/_host/dn/msg/valve/set", false),
            ("p/v1/pump-7/up/msg/valve/set", false),
        ] {
            assert_eq!(operator.may_publish("p", topic), allowed, "{topic}");
        }
        assert!(operator.may_subscribe("p", "p/v1/#"));
        assert!(!operator.may_subscribe("p", "p/#"));
        assert!(Role::Service.may_subscribe("p", "p/#"));
        assert!(Role::Service.may_publish("p", "p/v1/pump-7/dn/desired"));
        assert!(!Role::Service.may_publish("p", "q/v1"));
    }

    #[test]
    fn a_secret_is_made_once_and_private() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("broker.secret");
        let made = Secret::load_or_create(&path).expect("made");
        let read = Secret::load_or_create(&path).expect("read");
        assert_eq!(made.0, read.0);
        assert_eq!(std::fs::read_dir(folder.path()).expect("list").count(), 1);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(&path).expect("metadata").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        std::fs::write(&path, "secret").expect("write");
        assert!(matches!(Secret::load_or_create(&path), Err(SecretError::Format { .. })));
    }
}
