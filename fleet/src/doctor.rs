//! What a broker really does, measured, and what that means for a fleet on it.
//!
//! Everything is said below `{prefix}/v1/_doctor/`, which is nobody's, and what was retained there is removed again.
//! With a device's identity it is also tried what that device must not be able to do; the device itself loses its
//! connection meanwhile, so that a spare one is best.
//!
//! Not here: how a broker is told what it should do (`acl`).

mod broker;
mod device;
mod peer;

use serde::Serialize;
use wasmbed_broker_client::Version;

use crate::{client::random_name, connection::Connection};
use peer::Peer;

/// What a finding means for a fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As Wasmbed likes it.
    Ok,
    /// Not as usual; Wasmbed works with it.
    Differs,
    /// Something that is needed does not work.
    Fails,
    /// Somebody may do what they must not.
    Hole,
}

impl Verdict {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Differs => "differs",
            Verdict::Fails => "will not work",
            Verdict::Hole => "hole",
        }
    }
}

/// One thing that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which.
    pub check: &'static str,
    /// What it means.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What comes of it for a fleet, and what to set; nothing if all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<&'static str>,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Finding { check, verdict: Verdict::Ok, found: found.into(), advice: None }
    }

    fn new(check: &'static str, verdict: Verdict, found: impl Into<String>, advice: &'static str) -> Self {
        Finding { check, verdict, found: found.into(), advice: Some(advice) }
    }

    /// Fine, or else this.
    fn either(
        check: &'static str,
        is_ok: bool,
        found: impl Into<String>,
        otherwise: Verdict,
        advice: &'static str,
    ) -> Self {
        if is_ok { Self::ok(check, found) } else { Self::new(check, otherwise, found, advice) }
    }
}

/// Why nothing could be examined.
#[derive(Debug, thiserror::Error)]
pub enum DoctorError {
    /// The broker lets nobody in.
    #[error("cannot use the broker {address} as {username:?}: {reason}")]
    Unusable {
        /// Its address.
        address: String,
        /// As whom.
        username: String,
        /// What went wrong in MQTT 5 and in 3.1.1.
        reason: String,
    },
}

/// A device whose identity is tried.
#[derive(Debug, Clone)]
pub struct Suspect {
    /// Its id.
    pub id: wasmbed_wire::DeviceId,
    /// Its connection.
    pub connection: Connection,
    /// The same without anything that says who it is.
    pub stranger: Connection,
}

/// Examines a broker as the service, and as a device if there is one.
///
/// # Errors
/// If the broker cannot be used at all. What does not work there is a finding.
pub async fn examine(service: &Connection, suspect: Option<&Suspect>) -> Result<Vec<Finding>, DoctorError> {
    let (version, versions) = versions(service).await?;
    let mut findings = vec![versions];
    broker::Examination::new(service, version).run(&mut findings).await;
    if let Some(suspect) = suspect {
        device::Examination::new(service, suspect, version).run(&mut findings).await;
    }
    Ok(findings)
}

/// The best version the broker speaks.
async fn versions(service: &Connection) -> Result<(Version, Finding), DoctorError> {
    let id = || format!("wasmbed-doctor-{}", random_name());
    let v5 = Peer::connect(service.options(id()), Version::V5).await;
    let v311 = Peer::connect(service.options(id()), Version::V311).await;
    let check = "versions";
    match (v5, v311) {
        (Ok(_), Ok(_)) => Ok((Version::V5, Finding::ok(check, "5 and 3.1.1"))),
        (Ok(_), Err(_)) => Ok((Version::V5, Finding::ok(check, "5"))),
        (Err(_), Ok(_)) => Ok((
            Version::V311,
            Finding::new(
                check,
                Verdict::Differs,
                "3.1.1 only",
                "commands that nobody takes do not expire, and boards with Ethernet use their serial line; it is \
                 found out at each start, or set broker.protocol = \"3.1.1\"",
            ),
        )),
        (Err(v5), Err(v311)) => Err(DoctorError::Unusable {
            address: service.address.to_string(),
            username: service.username.clone(),
            reason: if v5.0 == v311.0 { v5.0 } else { format!("in MQTT 5: {}; in 3.1.1: {}", v5.0, v311.0) },
        }),
    }
}

/// Tells messages of this examination from others.
fn token() -> String {
    format!("doctor-{}", random_name())
}
