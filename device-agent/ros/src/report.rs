//! What the fleet is told about nodes.

use std::collections::{BTreeMap, BTreeSet};

use wasmbed_wire::{
    Seq,
    ros::{RosNode, RosNodes, RosTyped},
};

use crate::graph::{NameAndType, Node};

/// How often to look whether there is something to tell, in milliseconds.
pub const LOOK_MS: u64 = 2_000;
/// How often to tell it again, in milliseconds: whoever listens may have missed it.
const AGAIN_MS: u64 = 30_000;
/// Topics and services there is room for.
const MOST: usize = 64;

/// Tells what nodes there are when that changes, and now and then.
#[derive(Debug, Default)]
pub struct Report {
    told: BTreeMap<String, Node>,
    told_ms: Option<u64>,
}

impl Report {
    /// [`RosNodes`] in CBOR, if it is to be told now. Where nothing ever was, nothing is told.
    pub fn next(&mut self, now_ms: u64, nodes: BTreeMap<String, Node>) -> Option<Vec<u8>> {
        let is_due = match self.told_ms {
            None => !nodes.is_empty(),
            Some(told_ms) => nodes != self.told || now_ms.saturating_sub(told_ms) >= AGAIN_MS,
        };
        if !is_due {
            return None;
        }
        (self.told, self.told_ms) = (nodes, Some(now_ms));
        Some(encode(&self.told))
    }
}

fn encode(nodes: &BTreeMap<String, Node>) -> Vec<u8> {
    let (mut left, mut omitted) = (MOST, 0);
    let typed: Vec<[Vec<RosTyped<'_>>; 4]> = nodes
        .values()
        .map(|Node { publishers, subscribers, services, clients }| {
            [publishers, subscribers, clients, services].map(|list| first(list, &mut left, &mut omitted))
        })
        .collect();
    let nodes: Vec<RosNode<'_>> = nodes
        .keys()
        .zip(&typed)
        .map(|(name, [publishers, subscribers, clients, services])| RosNode {
            name,
            publishers: Seq::new(publishers),
            subscribers: Seq::new(subscribers),
            clients: Seq::new(clients),
            services: Seq::new(services),
        })
        .collect();
    // Vectors take everything.
    minicbor::to_vec(RosNodes { nodes: Seq::new(&nodes), omitted }).unwrap_or_default()
}

/// As many of a list as there is room left for.
fn first<'n>(list: &'n BTreeSet<NameAndType>, left: &mut usize, omitted: &mut u32) -> Vec<RosTyped<'n>> {
    let taken = list.len().min(*left);
    *left -= taken;
    *omitted += u32::try_from(list.len() - taken).unwrap_or(u32::MAX);
    list.iter().take(taken).map(|(name, ty)| RosTyped { name, ty }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(topics: usize) -> BTreeMap<String, Node> {
        let publishers = (0..topics).map(|nth| (format!("/t{nth:03}"), "p/msg/T".to_owned())).collect();
        let services = BTreeSet::from([("/s".to_owned(), "p/srv/S".to_owned())]);
        BTreeMap::from([("/a/m".to_owned(), Node { publishers, services, ..Node::default() })])
    }

    #[test]
    fn changes_are_told_at_once_and_everything_now_and_then() {
        let mut report = Report::default();
        assert_eq!(report.next(0, BTreeMap::new()), None, "there never was anything");
        let first = report.next(1, nodes(1)).expect("news");
        let read: RosNodes<'_> = minicbor::decode(&first).expect("nodes");
        let node = read.nodes.iter().next().expect("a node");
        assert_eq!((node.name, node.publishers.len(), node.services.len(), read.omitted), ("/a/m", 1, 1, 0));
        assert_eq!(node.publishers.iter().next(), Some(RosTyped { name: "/t000", ty: "p/msg/T" }));
        assert_eq!(report.next(30_000, nodes(1)), None);
        assert_eq!(report.next(30_001, nodes(1)), Some(first));
        assert!(report.next(30_002, BTreeMap::new()).is_some(), "that there is nothing any more");
    }

    #[test]
    fn what_there_is_no_room_for_is_counted() {
        let told = Report::default().next(0, nodes(MOST + 5)).expect("news");
        let read: RosNodes<'_> = minicbor::decode(&told).expect("nodes");
        let node = read.nodes.iter().next().expect("a node");
        assert_eq!((node.publishers.len(), node.services.len(), read.omitted), (MOST, 0, 6));
    }
}
