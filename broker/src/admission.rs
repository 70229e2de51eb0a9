//! From the first byte of a connection to an admitted client, or to the reason why not.

use tokio::io::{AsyncRead, AsyncWrite};

use crate::counters::{Counter, Counters};
use crate::credentials::{Role, to_hex};
use crate::hub::Hub;
use crate::packet::frame::{Framed, ReadError};
use crate::packet::{self, Connect, Version, Violation, reason};
use crate::tls::Certified;

const MAX_CLIENT_ID: usize = 64;

/// A client whose CONNECT is in order.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) role: Role,
    /// The client id is ours, not the client's.
    pub(crate) assigned: bool,
    pub(crate) connect: Connect,
    pub(crate) certified: Option<Certified>,
}

/// Why a client is not admitted.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It never said what it wants.
    Silent(ReadError),
    /// What it said is not a CONNECT of a version we speak.
    Violation(Violation),
    /// A CONNECT that cannot be accepted.
    Refused { version: Version, reason: u8, what: &'static str },
}

impl Refusal {
    /// The counter it belongs to.
    pub(crate) fn counter<'c>(&self, counters: &'c Counters) -> &'c Counter {
        match self {
            Refusal::Silent(_) | Refusal::Violation(_) => &counters.refused_malformed,
            Refusal::Refused { reason, .. } => match *reason {
                reason::BAD_CLIENT_ID => &counters.refused_client_id,
                reason::NOT_AUTHORIZED => &counters.refused_will,
                reason::BAD_CREDENTIALS | reason::BAD_AUTHENTICATION_METHOD => &counters.refused_credentials,
                _ => &counters.refused_busy,
            },
        }
    }
}

/// Reads CONNECT and checks everything about it.
pub(crate) async fn admit<S>(
    hub: &Hub,
    framed: &mut Framed<S>,
    certified: Option<Certified>,
) -> Result<Client, Refusal>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let frame = framed.frame().await.map_err(|error| match error {
        ReadError::Violation(violation) => Refusal::Violation(violation),
        other => Refusal::Silent(other),
    })?;
    let connect = packet::connect(frame).map_err(Refusal::Violation)?;
    let version = connect.version;
    check(hub, connect, certified).map_err(|(reason, what)| Refusal::Refused { version, reason, what })
}

fn check(
    hub: &Hub,
    mut connect: Connect,
    certified: Option<Certified>,
) -> Result<Client, (u8, &'static str)> {
    if connect.wants_authentication {
        return Err((reason::BAD_AUTHENTICATION_METHOD, "there is no authentication exchange here"));
    }
    let role = match &certified {
        Some(certified) => role_of_certificate(certified, &connect)?,
        None => role_of_password(hub, &mut connect)?,
    };
    let assigned = connect.client_id.is_empty() && !matches!(role, Role::Device(_));
    if assigned {
        connect.client_id = new_client_id(&connect)?;
    }
    if !is_client_id(&connect.client_id) {
        return Err((reason::BAD_CLIENT_ID, "the client id is not 1 to 64 of A-Z a-z 0-9 _ . -"));
    }
    if !role.may_be_called(&connect.client_id) {
        return Err((reason::BAD_CLIENT_ID, "a device's client id is its user name"));
    }
    if connect.will.as_ref().is_some_and(|will| !role.may_publish(&hub.prefix, &will.publish.topic)) {
        return Err((reason::NOT_AUTHORIZED, "the will's topic is not the client's"));
    }
    connect.session_expiry_s = connect.session_expiry_s.min(hub.limits.session_expiry_s);
    Ok(Client { role, assigned, connect, certified })
}

fn role_of_certificate(certified: &Certified, connect: &Connect) -> Result<Role, (u8, &'static str)> {
    let wrong = |what| (reason::BAD_CREDENTIALS, what);
    let role = certified.role.ok_or(wrong("the common name of its certificate is no user name"))?;
    match &connect.username {
        Some(name) if *name != role.username() => Err(wrong("the user name is not that of the certificate")),
        _ => Ok(role),
    }
}

fn role_of_password(hub: &Hub, connect: &mut Connect) -> Result<Role, (u8, &'static str)> {
    // The same answer for an unknown name and a wrong password.
    let wrong = (reason::BAD_CREDENTIALS, "unknown user name or wrong password");
    let role = connect.username.as_deref().and_then(Role::parse).ok_or(wrong)?;
    let password = connect.password.take().ok_or(wrong)?;
    if let Role::Device(device) = role
        && let Some(token) = hub.secret.read_token(device, &password)
    {
        let expired = (reason::BAD_CREDENTIALS, "its token has expired");
        return if token.has_expired() { Err(expired) } else { Ok(Role::Enrolling(device)) };
    }
    if !hub.secret.accepts(&role, &password) {
        return Err(wrong);
    }
    if !hub.password_roles.contains(&role.kind()) {
        return Err((reason::BAD_CREDENTIALS, "this role needs a certificate"));
    }
    Ok(role)
}

fn is_client_id(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    (1..=MAX_CLIENT_ID).contains(&id.len()) && id.bytes().all(plain)
}

fn new_client_id(connect: &Connect) -> Result<String, (u8, &'static str)> {
    if connect.version == Version::V311 && !connect.clean_start {
        return Err((reason::BAD_CLIENT_ID, "a session to be kept needs a client id"));
    }
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|_| (reason::SERVER_UNAVAILABLE, "no random numbers"))?;
    Ok(format!("auto-{}", to_hex(&bytes)))
}
