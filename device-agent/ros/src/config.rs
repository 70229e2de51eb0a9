//! The configuration, as written and as validated.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    num::NonZeroU16,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use ros2_client::{
    NodeName, QosProfile, ServiceMapping,
    qos::{Durability, History, Reliability, WhenFull},
};
use serde::Deserialize;
use wasmbed_abi::RosName;

use crate::{
    codec::Codec,
    definition::{DefinitionError, Interfaces, Kind, ServiceLayout, TypeName},
    layout::Layout,
};

/// What topics keep if nothing else is said, as everywhere in ROS 2.
const DEPTH: NonZeroU16 = NonZeroU16::new(10).expect("it is not 0");
/// What topics may keep.
const MAX_DEPTH: u16 = 1000;
/// How long a service has time to answer if nothing else is said.
const TIMEOUT_MS: u32 = 5_000;
const TIMEOUTS_MS: std::ops::RangeInclusive<u32> = 10..=600_000;
/// The highest domain whose ports are all below 65536.
const MAX_DOMAIN: u16 = 232;
/// How long a sample waits for room in the middleware.
const WRITE_PATIENCE: Duration = Duration::from_secs(1);

/// The part of a device's configuration about ROS 2, as written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default)]
    domain: u16,
    /// Below which the nodes of this device are; from its name if absent.
    namespace: Option<String>,
    /// The device's own node.
    #[serde(default = "node")]
    node: String,
    /// Addresses of this machine's interfaces that are used.
    #[serde(default = "networks")]
    networks: Vec<IpAddr>,
    #[serde(default)]
    mapping: Mapping,
    /// Folders with interfaces, as ROS 2 installs them: `PACKAGE/msg/NAME.msg`.
    #[serde(default)]
    interfaces: Vec<PathBuf>,
    #[serde(default)]
    topic: Vec<TopicConfig>,
    #[serde(default)]
    service: Vec<ServiceConfig>,
}

fn node() -> String {
    "wasmbed".to_owned()
}

fn networks() -> Vec<IpAddr> {
    vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]
}

/// How services lie on topics of DDS, which differs between implementations of it.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Mapping {
    /// As Fast DDS and Connext do.
    #[default]
    Enhanced,
    /// As Cyclone DDS does.
    Cyclone,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct TopicConfig {
    name: String,
    #[serde(rename = "type")]
    ty: TypeName,
    #[serde(default)]
    direction: Direction,
    #[serde(default)]
    encoding: Encoding,
    #[serde(default)]
    reliability: ReliabilityConfig,
    #[serde(default)]
    durability: DurabilityConfig,
    #[serde(default = "depth")]
    depth: NonZeroU16,
    deadline_ms: Option<u32>,
}

fn depth() -> NonZeroU16 {
    DEPTH
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Direction {
    Publish,
    Subscribe,
    #[default]
    Both,
}

/// How modules see messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Encoding {
    #[default]
    Cdr,
    Json,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ReliabilityConfig {
    #[default]
    Reliable,
    BestEffort,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum DurabilityConfig {
    #[default]
    Volatile,
    TransientLocal,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ServiceConfig {
    name: String,
    #[serde(rename = "type")]
    ty: TypeName,
    #[serde(default)]
    encoding: Encoding,
    #[serde(default = "timeout_ms")]
    timeout_ms: u32,
}

fn timeout_ms() -> u32 {
    TIMEOUT_MS
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is no such domain.
    #[error("there is no domain {0}; use 0 to {MAX_DOMAIN}")]
    Domain(u16),
    /// It would reach nobody.
    #[error("`networks` is empty; name addresses of this machine, or leave it out for 127.0.0.1")]
    NoNetwork,
    /// A node cannot be named so.
    #[error(
        "no node can be {name:?} below {namespace:?}; a namespace is /NAME or /NAME/NAME, of letters, digits and _"
    )]
    Node {
        /// Its name.
        name: String,
        /// Where it is.
        namespace: String,
    },
    /// A topic or service cannot be named so.
    #[error("{0:?} is no name of a topic or service; write /NAME or /NAME/NAME, of letters, digits and _")]
    Name(String),
    /// It is configured twice.
    #[error("{0} is there twice; keep one")]
    Twice(String),
    /// It is of the other kind.
    #[error("{name} has the type {ty}, which is not a {kind}; write PACKAGE/{kind}/NAME")]
    Kind {
        /// The topic or service.
        name: String,
        /// Its type.
        ty: String,
        /// What it should be.
        kind: &'static str,
    },
    /// More than is kept.
    #[error("{name} keeps {found}; use 1 to {MAX_DEPTH}")]
    Depth {
        /// The topic.
        name: String,
        /// Its depth.
        found: u16,
    },
    /// A time that is not possible.
    #[error("{name} has {found} ms to answer; use {} to {}", TIMEOUTS_MS.start(), TIMEOUTS_MS.end())]
    Timeout {
        /// The service.
        name: String,
        /// Its time.
        found: u32,
    },
    /// A deadline that nobody can keep.
    #[error("{0} has a deadline of 0 ms; use 1 or more, or leave it out")]
    Deadline(String),
    /// A type is not understood.
    #[error("in {name}")]
    Definition {
        /// The topic or service it is for.
        name: String,
        /// What is not understood.
        #[source]
        source: DefinitionError,
    },
}

/// The configuration as validated.
#[derive(Debug, Clone)]
pub struct Settings {
    pub(crate) domain: u16,
    pub(crate) networks: Vec<IpAddr>,
    pub(crate) node: NodeName,
    pub(crate) mapping: ServiceMapping,
    pub(crate) topics: BTreeMap<String, Arc<TopicSettings>>,
    pub(crate) services: BTreeMap<String, Arc<ServiceSettings>>,
}

#[derive(Debug)]
pub(crate) struct TopicSettings {
    pub(crate) name: String,
    pub(crate) ty: TypeName,
    pub(crate) codec: Codec,
    pub(crate) qos: QosProfile,
    pub(crate) depth: usize,
    pub(crate) may_publish: bool,
    pub(crate) may_subscribe: bool,
}

#[derive(Debug)]
pub(crate) struct ServiceSettings {
    pub(crate) name: String,
    pub(crate) ty: TypeName,
    pub(crate) request: Codec,
    pub(crate) response: Codec,
    pub(crate) timeout: Duration,
}

impl Config {
    /// Checks it, and reads the definitions of its types. `device` is what the namespace is made from if none is written;
    /// without a name that is `/`.
    ///
    /// # Errors
    /// The first mistake.
    pub fn validate(self, device: &str) -> Result<Settings, ConfigError> {
        let Config { domain, namespace, node, networks, mapping, interfaces, topic, service } = self;
        if domain > MAX_DOMAIN {
            return Err(ConfigError::Domain(domain));
        }
        if networks.is_empty() {
            return Err(ConfigError::NoNetwork);
        }
        let namespace = namespace.unwrap_or_else(|| format!("/{}", token(device)));
        let is_namespace = namespace == "/" || RosName::parse(namespace.as_bytes()).is_ok();
        let node = NodeName::new(&namespace, &node)
            .ok()
            .filter(|_| is_namespace)
            .ok_or(ConfigError::Node { name: node, namespace })?;
        let mut interfaces = Interfaces::new(interfaces);
        let mut topics = BTreeMap::new();
        for topic in topic {
            let settings = topic.validate(&mut interfaces)?;
            if let Some(other) = topics.insert(settings.name.clone(), Arc::new(settings)) {
                return Err(ConfigError::Twice(other.name.clone()));
            }
        }
        let mut services = BTreeMap::new();
        for service in service {
            let settings = service.validate(&mut interfaces)?;
            if let Some(other) = services.insert(settings.name.clone(), Arc::new(settings)) {
                return Err(ConfigError::Twice(other.name.clone()));
            }
        }
        let mapping = match mapping {
            Mapping::Enhanced => ServiceMapping::Enhanced,
            Mapping::Cyclone => ServiceMapping::Cyclone,
        };
        Ok(Settings { domain, networks, node, mapping, topics, services })
    }
}

/// A name of this project as part of a name of ROS 2, which has no `-` and no digit in front.
pub(crate) fn token(name: &str) -> String {
    let begin = if name.starts_with(|first: char| first.is_ascii_digit()) { "_" } else { "" };
    format!("{begin}{}", name.replace('-', "_"))
}

fn checked(name: String, ty: &TypeName, kind: Kind) -> Result<String, ConfigError> {
    if RosName::parse(name.as_bytes()).is_err() {
        return Err(ConfigError::Name(name));
    }
    if ty.kind != kind {
        return Err(ConfigError::Kind { name, ty: ty.to_string(), kind: kind.as_str() });
    }
    Ok(name)
}

/// How modules see messages of this layout: raw bytes need none.
fn codec(encoding: Encoding, found: Result<Arc<Layout>, DefinitionError>) -> Result<Codec, DefinitionError> {
    match (encoding, found) {
        (Encoding::Json, found) => found.map(Codec::Json),
        (Encoding::Cdr, Err(DefinitionError::Unknown { .. })) => Ok(Codec::Cdr(None)),
        (Encoding::Cdr, found) => found.map(Some).map(Codec::Cdr),
    }
}

impl TopicConfig {
    fn validate(self, interfaces: &mut Interfaces) -> Result<TopicSettings, ConfigError> {
        let TopicConfig { name, ty, direction, encoding, reliability, durability, depth, deadline_ms } = self;
        let name = checked(name, &ty, Kind::Msg)?;
        if depth.get() > MAX_DEPTH {
            return Err(ConfigError::Depth { name, found: depth.get() });
        }
        if deadline_ms == Some(0) {
            return Err(ConfigError::Deadline(name));
        }
        let codec = codec(encoding, interfaces.message(&ty))
            .map_err(|source| ConfigError::Definition { name: name.clone(), source })?;
        let depth = usize::from(depth.get());
        let reliability = match reliability {
            ReliabilityConfig::Reliable => {
                Reliability::Reliable { when_full: WhenFull::Wait(WRITE_PATIENCE) }
            }
            ReliabilityConfig::BestEffort => Reliability::BestEffort,
        };
        let durability = match durability {
            DurabilityConfig::Volatile => Durability::Volatile,
            DurabilityConfig::TransientLocal => Durability::TransientLocal,
        };
        let qos = QosProfile::default()
            .reliability(reliability)
            .durability(durability)
            .history(History::KeepLast { depth })
            .deadline(deadline_ms.map(|ms| Duration::from_millis(ms.into())));
        Ok(TopicSettings {
            name,
            ty,
            codec,
            qos,
            depth,
            may_publish: direction != Direction::Subscribe,
            may_subscribe: direction != Direction::Publish,
        })
    }
}

impl ServiceConfig {
    fn validate(self, interfaces: &mut Interfaces) -> Result<ServiceSettings, ConfigError> {
        let ServiceConfig { name, ty, encoding, timeout_ms } = self;
        let name = checked(name, &ty, Kind::Srv)?;
        if !TIMEOUTS_MS.contains(&timeout_ms) {
            return Err(ConfigError::Timeout { name, found: timeout_ms });
        }
        let (request, response) = match interfaces.service(&ty) {
            Ok(ServiceLayout { request, response }) => (Ok(request), Ok(response)),
            Err(error) => (Err(error.clone()), Err(error)),
        };
        let codec = |found| {
            codec(encoding, found).map_err(|source| ConfigError::Definition { name: name.clone(), source })
        };
        let (request, response) = (codec(request)?, codec(response)?);
        Ok(ServiceSettings { name, ty, request, response, timeout: Duration::from_millis(timeout_ms.into()) })
    }
}

/// What services use, as everywhere in ROS 2.
pub(crate) fn service_qos() -> QosProfile {
    QosProfile::default()
        .reliability_reliable(WhenFull::Wait(WRITE_PATIENCE))
        .history(History::KeepLast { depth: DEPTH.get().into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validated(text: &str) -> Result<Settings, String> {
        let config: Config = toml::from_str(text).map_err(|error| error.to_string())?;
        config.validate("pump-7").map_err(|error| {
            let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
            format!("{error}{}", source.unwrap_or_default())
        })
    }

    #[test]
    fn without_anything_said_only_this_machine_is_reached() {
        let settings = validated("").expect("it is complete");
        assert_eq!((settings.domain, settings.networks), (0, vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]));
        assert_eq!(settings.node.fully_qualified_name(), "/pump_7/wasmbed");
        assert_eq!(token("7-up"), "_7_up");
    }

    #[test]
    fn a_topic_has_the_quality_of_service_that_is_written() {
        let settings = validated(
            "[[topic]]\nname = '/a'\ntype = 'std_msgs/msg/String'\nreliability = 'best-effort'\n\
            durability = 'transient-local'\ndepth = 3\ndeadline_ms = 20\ndirection = 'publish'\nencoding = 'json'\n\
            [[topic]]\nname = '/b'\ntype = 'nobody_msgs/msg/Knows'\n\
            [[service]]\nname = '/s'\ntype = 'std_srvs/srv/SetBool'\n",
        )
        .expect("it is valid");
        let (a, b) = (&settings.topics["/a"], &settings.topics["/b"]);
        assert_eq!(
            (a.qos.reliability, a.qos.durability),
            (Reliability::BestEffort, Durability::TransientLocal)
        );
        assert_eq!(
            (a.qos.history, a.qos.deadline),
            (History::KeepLast { depth: 3 }, Some(Duration::from_millis(20)))
        );
        assert!(a.may_publish && !a.may_subscribe && b.may_publish && b.may_subscribe);
        assert_eq!((b.depth, settings.services["/s"].timeout), (10, Duration::from_secs(5)));
    }

    #[test]
    fn mistakes_are_named() {
        let topic = |more: &str| format!("[[topic]]\nname = '/a'\ntype = 'std_msgs/msg/String'\n{more}");
        let service = |more: &str| format!("[[service]]\nname = '/a'\ntype = 'std_srvs/srv/Empty'\n{more}");
        for (text, expected) in [
            ("domain = 233".to_owned(), "use 0 to 232"),
            ("networks = []".to_owned(), "`networks` is empty"),
            ("networks = ['lo']".to_owned(), "IP address"),
            ("node = 'a-b'".to_owned(), "no node can be \"a-b\""),
            ("namespace = 'a'".to_owned(), "no node can be"),
            ("namespace = '/a//b'".to_owned(), "no node can be"),
            ("mapping = 'basic'".to_owned(), "basic"),
            ("domains = 1".to_owned(), "domains"),
            (topic("depth = 0"), "0"),
            (topic("depth = 1001"), "use 1 to 1000"),
            (topic("deadline_ms = 0"), "use 1 or more"),
            (topic("reliability = 'yes'"), "best-effort"),
            (topic(&topic("")), "/a is there twice"),
            (topic("").replace("'/a'", "'a'"), "is no name"),
            (topic("").replace("std_msgs/msg/String", "String"), "write PACKAGE/msg/NAME"),
            (topic("").replace("std_msgs/msg/String", "std_srvs/srv/Empty"), "not a msg"),
            (topic("encoding = 'json'").replace("String", "Strings"), "put it as std_msgs/msg/Strings.msg"),
            (service("timeout_ms = 1"), "use 10 to 600000"),
            (service("").replace("std_srvs/srv/Empty", "std_msgs/msg/Empty"), "not a srv"),
        ] {
            let error = validated(&text).expect_err(&text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
