//! How a device asks for a certificate over MQTT: on `up/enrol` with a token, on `up/renew` with the one it has.

use serde::{Deserialize, Serialize};

/// Asks for a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolRequest {
    /// For which key (RFC 2986, PEM).
    pub request: String,
    /// The token, on `up/enrol`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// What comes of it, on `dn/enrol`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum EnrolAnswer {
    /// Here it is.
    Issued {
        /// The certificate, PEM.
        certificate: String,
        /// Who issued it, PEM.
        authority: String,
    },
    /// There is none.
    Refused {
        /// Why, for people.
        problem: String,
    },
}
