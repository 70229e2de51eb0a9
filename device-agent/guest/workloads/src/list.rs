//! A linked list in an array: searched, reversed and sorted.

use crate::crc;

const NODES: usize = 32;
const END: u8 = u8::MAX;

#[derive(Clone, Copy)]
struct Node {
    value: u16,
    next: u8,
}

struct List {
    nodes: [Node; NODES],
    head: u8,
}

pub(crate) fn run(seed: u16, checksum: u16) -> u16 {
    let mut list = List::filled(seed);
    let found = (0..8).filter(|step| list.find(seed.wrapping_mul(*step))).count();
    list.reverse();
    list.sort();
    list.values().fold(crc::word(checksum, found as u16), crc::word)
}

impl List {
    fn filled(seed: u16) -> Self {
        let mut nodes = [Node { value: 0, next: END }; NODES];
        let mut value = seed;
        for (index, node) in nodes.iter_mut().enumerate() {
            value = value.wrapping_mul(25173).wrapping_add(13849);
            let next = if index + 1 < NODES { index as u8 + 1 } else { END };
            *node = Node { value, next };
        }
        List { nodes, head: 0 }
    }

    fn values(&self) -> impl Iterator<Item = u16> + '_ {
        let mut at = self.head;
        core::iter::from_fn(move || {
            let node = self.nodes.get(usize::from(at))?;
            at = node.next;
            Some(node.value)
        })
    }

    fn find(&self, value: u16) -> bool {
        self.values().any(|other| other & 0xff == value & 0xff)
    }

    fn reverse(&mut self) {
        let (mut at, mut reversed) = (self.head, END);
        while let Some(node) = self.nodes.get_mut(usize::from(at)) {
            (reversed, at, node.next) = (at, node.next, reversed);
        }
        self.head = reversed;
    }

    /// By insertion: each node is moved into a list that is in order.
    fn sort(&mut self) {
        let (mut at, mut sorted) = (self.head, END);
        while at != END {
            let next = self.nodes[usize::from(at)].next;
            sorted = self.insert(sorted, at);
            at = next;
        }
        self.head = sorted;
    }

    /// The list that starts at `head` with one node put where it belongs; answers its new head.
    fn insert(&mut self, head: u8, new: u8) -> u8 {
        let value = self.nodes[usize::from(new)].value;
        let (mut before, mut after) = (END, head);
        while let Some(node) = self.nodes.get(usize::from(after)).filter(|node| node.value < value) {
            (before, after) = (after, node.next);
        }
        self.nodes[usize::from(new)].next = after;
        match self.nodes.get_mut(usize::from(before)) {
            Some(node) => {
                node.next = new;
                head
            }
            None => new,
        }
    }
}
