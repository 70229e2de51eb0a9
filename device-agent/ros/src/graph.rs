//! Who is there: topics, nodes, and which endpoints have found each other.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ros2_client::NodeName;

use rustdds::{
    DomainParticipant, GUID, QosPolicies,
    policy::{Durability, Liveliness, Reliability},
};
use serde::Deserialize;
use wasmbed_abi::TopicInfo;

use crate::config::{ServiceSettings, TopicSettings};

/// What a participant says about its nodes (`rmw_dds_common/msg/ParticipantEntitiesInfo`).
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ParticipantEntities {
    pub(crate) gid: [u8; 16],
    pub(crate) nodes: Vec<NodeEntities>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct NodeEntities {
    namespace: String,
    name: String,
    readers: Vec<[u8; 16]>,
    writers: Vec<[u8; 16]>,
}

impl NodeEntities {
    fn is_named(&self, name: &str) -> bool {
        let namespace = if self.namespace == "/" { "" } else { &self.namespace };
        name.strip_prefix(namespace).and_then(|rest| rest.strip_prefix('/')) == Some(&self.name)
    }
}

/// A topic with its type and what [`TopicInfo`] says.
#[derive(Debug, Clone)]
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) ty: String,
    pub(crate) info: TopicInfo,
}

/// A name with its type.
pub type NameAndType = (String, String);

/// What a node has, by role.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    /// Topics that it publishes on.
    pub publishers: BTreeSet<NameAndType>,
    /// Topics that it listens to.
    pub subscribers: BTreeSet<NameAndType>,
    /// Services that it offers.
    pub services: BTreeSet<NameAndType>,
    /// Services that it calls.
    pub clients: BTreeSet<NameAndType>,
}

impl Node {
    /// An own one.
    fn of(has: &[Has]) -> Self {
        let mut node = Node::default();
        let topic = |topic: &TopicSettings| (topic.name.clone(), topic.ty.to_string());
        let service = |service: &ServiceSettings| (service.name.clone(), service.ty.to_string());
        for has in has {
            match has {
                Has::Publisher(settings) => node.publishers.insert(topic(settings)),
                Has::Subscriber(settings) => node.subscribers.insert(topic(settings)),
                Has::Service(settings) => node.services.insert(service(settings)),
                Has::Client(settings) => node.clients.insert(service(settings)),
            };
        }
        node
    }
}

/// Something that an own node has.
#[derive(Debug, Clone)]
pub(crate) enum Has {
    Publisher(Arc<TopicSettings>),
    Subscriber(Arc<TopicSettings>),
    Service(Arc<ServiceSettings>),
    Client(Arc<ServiceSettings>),
}

/// What is known of all participants.
#[derive(Debug, Default)]
pub(crate) struct Graph(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// Whoever holds it keeps the participant alive, so that it is only here.
    participant: Option<DomainParticipant>,
    /// By participant, whose entity is left at its default.
    nodes: BTreeMap<GUID, Vec<NodeEntities>>,
    /// Own nodes with what they have, by module: the middleware tells of others only.
    own: BTreeMap<u64, (String, Vec<Has>)>,
    /// Own endpoints and others that found each other, with when, in the order in which they did.
    links: BTreeMap<(GUID, GUID), u64>,
    found: u64,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Graph").field("nodes", &self.nodes).finish_non_exhaustive()
    }
}

impl Inner {
    /// Whether an endpoint of another has found one of ours that was made since then.
    fn is_linked_since(&self, guid: GUID, mark: Mark) -> bool {
        let is_new = |own: GUID| {
            let links =
                self.links.range((own, GUID::default())..).take_while(|((known, _), _)| *known == own);
            links.map(|(_, found)| *found).min().is_some_and(|found| found > mark.0)
        };
        self.links.keys().any(|(own, other)| *other == guid && is_new(*own))
    }
}

/// A point in time: endpoints that found others only later were made later.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark(u64);

impl Graph {
    pub(crate) fn new(participant: DomainParticipant) -> Self {
        Graph(Mutex::new(Inner { participant: Some(participant), ..Inner::default() }))
    }

    /// There is nobody any more.
    pub(crate) fn close(&self) {
        *self.lock() = Inner::default();
    }

    pub(crate) fn own_node(&self, module: u64, name: &NodeName) {
        self.lock().own.entry(module).or_insert_with(|| (name.fully_qualified_name(), Vec::new()));
    }

    pub(crate) fn own_has(&self, module: u64, what: Has) {
        if let Some((_, has)) = self.lock().own.get_mut(&module) {
            has.push(what);
        }
    }

    pub(crate) fn own_left(&self, module: u64) {
        self.lock().own.remove(&module);
    }

    pub(crate) fn participant_says(&self, said: ParticipantEntities) {
        let participant = GUID { prefix: GUID::from_bytes(said.gid).prefix, ..GUID::default() };
        self.lock().nodes.insert(participant, said.nodes);
    }

    pub(crate) fn participant_lost(&self, participant: GUID) {
        self.lock().nodes.remove(&participant);
    }

    pub(crate) fn linked(&self, own: GUID, other: GUID) {
        let mut inner = self.lock();
        inner.found += 1;
        let found = inner.found;
        inner.links.entry((own, other)).or_insert(found);
    }

    /// An endpoint is gone, an own one or another.
    pub(crate) fn endpoint_lost(&self, guid: GUID) {
        self.lock().links.retain(|(own, other), _| *own != guid && *other != guid);
    }

    pub(crate) fn now(&self) -> Mark {
        Mark(self.lock().found)
    }

    /// Whether somebody serves the service, and has found endpoints that were made since then.
    pub(crate) fn is_served_since(&self, service: &str, mark: Mark) -> bool {
        let inner = self.lock();
        let Some(participant) = &inner.participant else { return false };
        let [requests, replies] = topics_of(service);
        let readers = participant.discovered_readers();
        let mut readers =
            readers.iter().filter(|reader| *reader.subscription_topic_data.topic_name() == requests);
        let writers = participant.discovered_writers();
        let mut writers = writers.iter().filter(|writer| writer.publication_topic_data.topic_name == replies);
        readers.any(|reader| inner.is_linked_since(reader.reader_proxy.remote_reader_guid, mark))
            && writers.any(|writer| inner.is_linked_since(writer.publication_topic_data.key, mark))
    }

    /// Whether everybody who was found to ask for the service is found to hear its responses as well. Both since then.
    pub(crate) fn is_heard_since(&self, service: &str, mark: Mark) -> bool {
        let inner = self.lock();
        let Some(participant) = &inner.participant else { return false };
        let [requests, replies] = topics_of(service);
        let readers = participant.discovered_readers();
        let hears = |asks: GUID| {
            readers.iter().any(|reader| {
                let guid = reader.reader_proxy.remote_reader_guid;
                *reader.subscription_topic_data.topic_name() == replies
                    && guid.prefix == asks.prefix
                    && inner.is_linked_since(guid, mark)
            })
        };
        let writers = participant.discovered_writers();
        let writers = writers.iter().map(|writer| &writer.publication_topic_data);
        let mut asking = writers.filter(|writer| writer.topic_name == requests).map(|writer| writer.key);
        asking.all(|asks| hears(asks) || !inner.is_linked_since(asks, mark))
    }

    /// Topics of ROS 2 whose names pass, by name.
    pub(crate) fn topics(&self, passes: impl Fn(&str) -> bool) -> Vec<Topic> {
        let mut found: BTreeMap<String, Topic> = BTreeMap::new();
        let inner = self.lock();
        let Some(participant) = &inner.participant else { return Vec::new() };
        let entry = |found: &mut BTreeMap<String, Topic>, dds: &str, ty: &str| {
            let name = named(dds, "rt", "").filter(|name| passes(name))?;
            let ty = type_named(ty, "")?;
            let topic = found.entry(name.clone());
            topic.or_insert_with(|| Topic { name: name.clone(), ty, info: TopicInfo::default() });
            Some(name)
        };
        for writer in participant.discovered_writers() {
            let data = &writer.publication_topic_data;
            let name = entry(&mut found, &data.topic_name, &data.type_name);
            if let Some(topic) = name.and_then(|name| found.get_mut(&name)) {
                weaken(&mut topic.info, &data.qos());
            }
        }
        for reader in participant.discovered_readers() {
            let data = &reader.subscription_topic_data;
            let name = entry(&mut found, data.topic_name(), data.type_name());
            if let Some(topic) = name.and_then(|name| found.get_mut(&name)) {
                topic.info.subscribers = topic.info.subscribers.saturating_add(1);
            }
        }
        for has in inner.own.values().flat_map(|(_, has)| has) {
            let (Has::Publisher(topic) | Has::Subscriber(topic)) = has else { continue };
            if !passes(&topic.name) {
                continue;
            }
            let known = found.entry(topic.name.clone()).or_insert_with(|| Topic {
                name: topic.name.clone(),
                ty: topic.ty.to_string(),
                info: TopicInfo::default(),
            });
            match has {
                Has::Publisher(_) => weaken(&mut known.info, &QosPolicies::from(&topic.qos)),
                _ => known.info.subscribers = known.info.subscribers.saturating_add(1),
            }
        }
        found.into_values().collect()
    }

    /// Own nodes that have anything, by fully qualified name.
    pub(crate) fn own_nodes(&self) -> BTreeMap<String, Node> {
        let inner = self.lock();
        let nodes = inner.own.values().filter(|(_, has)| !has.is_empty());
        nodes.map(|(name, has)| (name.clone(), Node::of(has))).collect()
    }

    /// A node by its fully qualified name.
    pub(crate) fn node(&self, name: &str) -> Option<Node> {
        let inner = self.lock();
        let participant = inner.participant.as_ref()?;
        if let Some((_, has)) = inner.own.values().find(|(own, _)| own == name) {
            return Some(Node::of(has));
        }
        let entities = inner.nodes.values().flatten().find(|node| node.is_named(name))?;
        let mut node = Node::default();
        for writer in participant.discovered_writers() {
            let data = &writer.publication_topic_data;
            if entities.writers.contains(&data.key.to_bytes()) {
                node.publishers.extend(name_and_type(&data.topic_name, &data.type_name, "rt", "", ""));
                node.clients.extend(name_and_type(
                    &data.topic_name,
                    &data.type_name,
                    "rq",
                    "Request",
                    "_Request",
                ));
            }
        }
        for reader in participant.discovered_readers() {
            let data = &reader.subscription_topic_data;
            if entities.readers.contains(&reader.reader_proxy.remote_reader_guid.to_bytes()) {
                node.subscribers.extend(name_and_type(data.topic_name(), data.type_name(), "rt", "", ""));
                node.services.extend(name_and_type(
                    data.topic_name(),
                    data.type_name(),
                    "rq",
                    "Request",
                    "_Request",
                ));
            }
        }
        Some(node)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The topics of DDS with the requests to a service and its responses.
fn topics_of(service: &str) -> [String; 2] {
    [format!("rq{service}Request"), format!("rr{service}Reply")]
}

/// What a topic of DDS is called in ROS 2, if it is one of this kind.
fn named(dds: &str, prefix: &str, suffix: &str) -> Option<String> {
    let name = dds.strip_prefix(prefix)?.strip_suffix(suffix)?;
    name.starts_with('/').then(|| name.to_owned())
}

/// `std_msgs::msg::dds_::String_` as `std_msgs/msg/String`.
fn type_named(dds: &str, suffix: &str) -> Option<String> {
    let mut parts = dds.split("::");
    let (package, kind, dds, name) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let name = name.strip_suffix('_')?.strip_suffix(suffix)?;
    (dds == "dds_" && parts.next().is_none()).then(|| format!("{package}/{kind}/{name}"))
}

fn name_and_type(
    name: &str,
    ty: &str,
    prefix: &str,
    name_suffix: &str,
    type_suffix: &str,
) -> Option<NameAndType> {
    Some((named(name, prefix, name_suffix)?, type_named(ty, type_suffix)?))
}

/// Another publisher offers this: the topic promises no more than the weakest.
fn weaken(info: &mut TopicInfo, offered: &QosPolicies) {
    // As rmw numbers them, where the greater one promises less, except for liveliness; 0 is not known yet.
    let reliability = match offered.reliability() {
        Some(Reliability::Reliable { .. }) => 1,
        // What a writer has that says nothing.
        None => 1,
        Some(Reliability::BestEffort) => 2,
    };
    let durability = match offered.durability() {
        Some(Durability::TransientLocal | Durability::Transient | Durability::Persistent) => 1,
        Some(Durability::Volatile) | None => 2,
    };
    let liveliness = match offered.liveliness() {
        Some(Liveliness::ManualByTopic { .. }) => 3,
        Some(Liveliness::Automatic { .. } | Liveliness::ManualByParticipant { .. }) | None => 1,
    };
    // Durations are parts of 2^32 of a second on the wire, so that 100 ms come as a little less.
    let deadline_ms = offered.deadline().filter(|deadline| deadline.0 != rustdds::Duration::INFINITE);
    let deadline_ms = deadline_ms.map_or(0, |deadline| {
        u32::try_from(deadline.0.to_nanoseconds().saturating_add(500_000) / 1_000_000).unwrap_or(0)
    });
    let is_first = info.publishers == 0;
    info.publishers = info.publishers.saturating_add(1);
    info.reliability = info.reliability.max(reliability);
    info.durability = info.durability.max(durability);
    info.liveliness = if is_first { liveliness } else { info.liveliness.min(liveliness) };
    info.deadline_ms = match (is_first, info.deadline_ms) {
        (true, _) => deadline_ms,
        (false, 0) => 0,
        (false, _) if deadline_ms == 0 => 0,
        (false, known) => known.max(deadline_ms),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustdds::{QosPolicyBuilder, policy::Deadline};

    #[test]
    fn names_and_types_are_those_of_ros() {
        assert_eq!(named("rt/robot/chatter", "rt", ""), Some("/robot/chatter".to_owned()));
        assert_eq!(named("rq/addRequest", "rq", "Request"), Some("/add".to_owned()));
        assert_eq!(named("ros_discovery_info", "rt", ""), None);
        assert_eq!(type_named("std_msgs::msg::dds_::String_", ""), Some("std_msgs/msg/String".to_owned()));
        assert_eq!(type_named("a::srv::dds_::Add_Request_", "_Request"), Some("a/srv/Add".to_owned()));
        assert_eq!(type_named("Chatter", ""), None);
        let node = |namespace: &str| NodeEntities {
            namespace: namespace.to_owned(),
            name: "n".to_owned(),
            readers: Vec::new(),
            writers: Vec::new(),
        };
        assert!(node("/").is_named("/n") && node("/a/b").is_named("/a/b/n"));
        assert!(!node("/").is_named("/a/n") && !node("/a").is_named("/n") && !node("/a").is_named("/ab/n"));
    }

    #[test]
    fn a_topic_promises_what_its_weakest_publisher_does() {
        let offer = |reliable: bool, deadline_ms: i64| {
            let builder = QosPolicyBuilder::new()
                .durability(Durability::TransientLocal)
                .deadline(Deadline(rustdds::Duration::from_millis(deadline_ms)));
            match reliable {
                true => builder.reliable(rustdds::Duration::ZERO).build(),
                false => builder.best_effort().build(),
            }
        };
        let mut info = TopicInfo::default();
        weaken(&mut info, &offer(true, 100));
        assert_eq!((info.publishers, info.reliability, info.durability, info.deadline_ms), (1, 1, 1, 100));
        weaken(&mut info, &offer(false, 50));
        assert_eq!((info.publishers, info.reliability, info.durability, info.deadline_ms), (2, 2, 1, 100));
        weaken(&mut info, &QosPolicyBuilder::new().build());
        assert_eq!((info.publishers, info.reliability, info.durability, info.deadline_ms), (3, 2, 2, 0));
    }
}
