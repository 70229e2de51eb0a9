//! What operators grant modules.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use serde::{Deserialize, Serialize};
use wasmbed_abi::{Capabilities, Capability, Pattern, RosPattern};
use wasmbed_wire::{DeviceId, ModuleName};

/// What begins the keys of settings that carry patterns of grants to a device: `allow.network`.
pub const ALLOW: &str = "allow.";
/// Longest pattern, in bytes.
const MAX_PATTERN_BYTES: usize = 80;

/// A capability, or what of it: `gpio`, `network:tcp:10.0.0.1:1883`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Grant {
    capability: Capability,
    pattern: Option<String>,
}

/// Why a text is no grant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// It begins with something else than a capability.
    #[error("{found:?} is no capability; use one of: {}", names())]
    Unknown {
        /// What it begins with.
        found: String,
    },
    /// The capability is granted as a whole.
    #[error("{capability} is granted as a whole; write it without {pattern:?}")]
    Whole {
        /// Which.
        capability: Capability,
        /// What follows it.
        pattern: String,
    },
    /// The capability is granted for what its pattern says only.
    #[error("{capability} is granted for something: {}", .capability.pattern().unwrap_or_default())]
    Bare {
        /// Which.
        capability: Capability,
    },
    /// It is not a pattern of this capability.
    #[error(
        "{found:?} is not what {capability} is granted for; write {}, at most {MAX_PATTERN_BYTES} characters",
        .capability.pattern().unwrap_or_default()
    )]
    Pattern {
        /// Which.
        capability: Capability,
        /// The pattern.
        found: String,
    },
}

fn names() -> String {
    let names: Vec<&str> = grantable().map(Capability::name).collect();
    names.join(" ")
}

/// Everything that can be withheld.
fn grantable() -> impl Iterator<Item = Capability> {
    Capability::ALL.iter().copied().filter(|capability| *capability != Capability::Base)
}

impl FromStr for Grant {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        let (name, pattern) = match text.split_once(':') {
            Some((name, pattern)) => (name, Some(pattern)),
            None => (text, None),
        };
        let capability = grantable()
            .find(|capability| capability.name() == name)
            .ok_or_else(|| GrantError::Unknown { found: name.to_owned() })?;
        match (capability.pattern(), pattern) {
            (None, Some(pattern)) => Err(GrantError::Whole { capability, pattern: pattern.to_owned() }),
            (Some(_), None) => Err(GrantError::Bare { capability }),
            (_, Some(pattern)) if !is_pattern(capability, pattern) => {
                Err(GrantError::Pattern { capability, found: pattern.to_owned() })
            }
            (_, pattern) => Ok(Grant { capability, pattern: pattern.map(str::to_owned) }),
        }
    }
}

fn is_pattern(capability: Capability, text: &str) -> bool {
    text.len() <= MAX_PATTERN_BYTES
        && match capability {
            Capability::Network => Pattern::parse(text).is_ok(),
            Capability::RosPublish
            | Capability::RosSubscribe
            | Capability::RosCall
            | Capability::RosServe => RosPattern::parse(text).is_ok(),
            _ => false,
        }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.capability.name())?;
        self.pattern.iter().try_for_each(|pattern| write!(f, ":{pattern}"))
    }
}

impl TryFrom<String> for Grant {
    type Error = GrantError;

    fn try_from(text: String) -> Result<Self, GrantError> {
        text.parse()
    }
}

impl From<Grant> for String {
    fn from(grant: Grant) -> Self {
        grant.to_string()
    }
}

/// Everything one module is granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Grants(BTreeSet<Grant>);

impl Default for Grants {
    /// What reaches nothing beyond the device and what belongs to the module. To hear how a vehicle is is as harmless
    /// as to read a sensor; to command one moves a machine among people, so somebody has to say that this module may.
    fn default() -> Self {
        let harmless = [
            Capability::Telemetry,
            Capability::Sensors,
            Capability::Gpio,
            Capability::Security,
            Capability::Store,
            Capability::Messages,
            Capability::Files,
            Capability::Px4Telemetry,
            Capability::Threads,
        ];
        let whole = |capability: Capability| Grant { capability, pattern: None };
        Grants(harmless.into_iter().map(whole).collect())
    }
}

impl Grants {
    /// With these added.
    #[must_use]
    pub fn with(&self, more: &[Grant]) -> Self {
        Grants(self.0.iter().chain(more).cloned().collect())
    }

    /// Without these.
    #[must_use]
    pub fn without(&self, less: &[Grant]) -> Self {
        Grants(self.0.iter().filter(|grant| !less.contains(grant)).cloned().collect())
    }

    /// Those that are not in the set.
    pub fn lacks(&self, grants: &[Grant]) -> Vec<Grant> {
        grants.iter().filter(|grant| !self.0.contains(grant)).cloned().collect()
    }

    /// What they are about.
    pub fn capabilities(&self) -> Capabilities {
        self.0.iter().map(|grant| grant.capability).collect()
    }

    /// The settings that tell a device their patterns: those of a capability separated by spaces.
    pub fn settings(&self) -> BTreeMap<String, String> {
        let mut settings = BTreeMap::<String, String>::new();
        for grant in &self.0 {
            let Some(pattern) = &grant.pattern else { continue };
            let patterns = settings.entry(format!("{ALLOW}{}", grant.capability)).or_default();
            if !patterns.is_empty() {
                patterns.push(' ');
            }
            patterns.push_str(pattern);
        }
        settings
    }
}

impl fmt::Display for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nothing");
        }
        for (nth, grant) in self.0.iter().enumerate() {
            let space = if nth > 0 { " " } else { "" };
            write!(f, "{space}{grant}")?;
        }
        Ok(())
    }
}

/// What to grant a module, or to take from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantChange {
    /// Which module, in all its versions; it need not have been pushed yet.
    pub module: ModuleName,
    /// What.
    pub grants: Vec<Grant>,
}

/// What one module is granted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Granted {
    /// The module.
    pub module: ModuleName,
    /// Everything it is granted, besides `base`.
    pub grants: Grants,
    /// Devices that should run it and are told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<DeviceId>,
}

/// What modules are granted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GrantList {
    /// What modules are granted that have no grants of their own.
    pub default: Grants,
    /// Modules with grants of their own.
    pub modules: Vec<Granted>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(texts: &[&str]) -> Vec<Grant> {
        texts.iter().map(|text| text.parse().expect(text)).collect()
    }

    #[test]
    fn a_grant_is_read_back_and_mistakes_are_named() {
        for text in ["gpio", "network:tcp:[::1]:1883", "px4.command", "ros.call:/robot/*"] {
            assert_eq!(text.parse::<Grant>().map(|grant| grant.to_string()), Ok(text.to_owned()));
        }
        let error = |text: &str| text.parse::<Grant>().expect_err(text).to_string();
        assert!(error("teleport").starts_with("\"teleport\" is no capability; use one of: telemetry"));
        assert!(error("base").contains("no capability"));
        assert!(error("gpio:3").contains("without \"3\""));
        assert!(error("network").contains("network:tcp:HOST:PORT"));
        for wrong in ["network:", "network:a b", "network:tcp:*:1", "network:tcp:a:99999"] {
            assert!(error(wrong).contains("write network:tcp:HOST:PORT"), "{wrong}");
        }
        assert!(error("ros.publish").contains("ros.publish:/NAME"));
        assert!(error("ros.publish:chatter").contains("write ros.publish:/NAME"));
        for (capability, key) in [
            (Capability::Network, wasmbed_abi::ALLOW_NETWORK),
            (Capability::RosPublish, wasmbed_abi::ALLOW_ROS_PUBLISH),
            (Capability::RosSubscribe, wasmbed_abi::ALLOW_ROS_SUBSCRIBE),
            (Capability::RosCall, wasmbed_abi::ALLOW_ROS_CALL),
            (Capability::RosServe, wasmbed_abi::ALLOW_ROS_SERVE),
        ] {
            assert_eq!(format!("{ALLOW}{capability}"), key);
        }
    }

    #[test]
    fn patterns_of_a_capability_travel_as_one_setting() {
        let default = Grants::default();
        let more = default.with(&grants(&["network:tcp:a:1", "network:udp:b:2"]));
        assert!(!default.capabilities().contains(Capability::Px4Command), "it moves machines");
        assert!(!default.capabilities().contains(Capability::Network));
        assert!(more.capabilities().contains(Capability::Network));
        let settings: Vec<_> = more.settings().into_iter().collect();
        assert_eq!(settings, [("allow.network".to_owned(), "tcp:a:1 udp:b:2".to_owned())]);
        assert_eq!(more.without(&grants(&["network:tcp:a:1", "network:udp:b:2"])), default);
        assert_eq!(default.lacks(&grants(&["gpio", "bus"])), grants(&["bus"]));
    }
}
