//! Which version of MQTT a broker is spoken to in.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use serde::{Deserialize, Serialize};

/// What is configured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// MQTT 5 if the broker speaks it, else 3.1.1.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// MQTT 5.
    #[serde(rename = "5")]
    V5,
    /// MQTT 3.1.1.
    #[serde(rename = "3.1.1")]
    V311,
}

/// A version of MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// 3.1.1.
    V311,
    /// 5.
    V5,
}

const UNSETTLED: u8 = 0;
const V311: u8 = 4;
const V5: u8 = 5;

/// The version spoken with one broker; clones share what was found out.
///
/// [`Protocol::Auto`] is settled by the first connection that stands, for good: a broker that is just going down also
/// closes connections, and must not be taken for one that does not know MQTT 5.
#[derive(Debug, Clone)]
pub struct Dialect(Arc<AtomicU8>);

impl Dialect {
    /// As configured.
    pub fn new(protocol: Protocol) -> Self {
        let version = match protocol {
            Protocol::Auto => UNSETTLED,
            Protocol::V5 => V5,
            Protocol::V311 => V311,
        };
        Dialect(Arc::new(AtomicU8::new(version)))
    }

    /// The version, once it is settled.
    pub fn version(&self) -> Option<Version> {
        match self.0.load(Ordering::Relaxed) {
            V5 => Some(Version::V5),
            V311 => Some(Version::V311),
            _ => None,
        }
    }

    pub(crate) fn settle(&self, version: Version) {
        let version = match version {
            Version::V5 => V5,
            Version::V311 => V311,
        };
        self.0.store(version, Ordering::Relaxed);
    }
}

impl PartialEq for Dialect {
    fn eq(&self, other: &Self) -> bool {
        self.version() == other.version()
    }
}

impl Eq for Dialect {}

impl Default for Dialect {
    fn default() -> Self {
        Self::new(Protocol::Auto)
    }
}

impl From<Version> for Dialect {
    fn from(version: Version) -> Self {
        Self::new(match version {
            Version::V5 => Protocol::V5,
            Version::V311 => Protocol::V311,
        })
    }
}
