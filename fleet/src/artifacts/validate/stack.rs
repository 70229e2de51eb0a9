//! How much stack a module's calls may take, from who calls whom.
//!
//! An estimate from above, which a test holds against bytecode: every value of a function counts as if it were on the stack, and every call as if
//! it were made. The compiler keeps most values in registers, so that a module over the limit may well run;
//! that alone is no reason to refuse it. What is certain is a function that calls itself whatever happens.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use wasmbed_abi::Export;
use wasmparser::types::CoreTypeId;

use super::{code::Callee, facts::Facts};

/// Bytes of stack that the way into the module and that out to the host take.
const ENTRY_BYTES: u64 = 320;
/// Functions of a chain of calls that are named.
const NAMED: usize = 6;

pub(super) struct Stack {
    /// The deepest chain of calls, or the first cycle.
    pub(super) deepest: Result<Deepest, Chain>,
    /// Functions that call each other whatever happens, and are called whatever happens.
    pub(super) always: Option<Chain>,
}

pub(super) struct Deepest {
    /// Stack it may take, in bytes.
    pub(super) bytes: u64,
    pub(super) chain: Chain,
}

/// Functions, each of which calls the next; `tick -> f -> g`. Those in the middle of a long one are left out.
pub(super) struct Chain {
    first: Vec<String>,
    left_out: usize,
    last: Vec<String>,
}

/// A function, or all that a call through a reference of one type may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Node {
    Function(u32),
    OfType(CoreTypeId),
}

impl Node {
    fn function(self) -> Option<u32> {
        match self {
            Node::Function(index) => Some(index),
            Node::OfType(_) => None,
        }
    }
}

/// A node whose callees are being looked at.
struct Visit {
    node: Node,
    callees: Vec<Node>,
    /// The deepest callee so far.
    below: Depth,
}

/// Bytes, and the callee that takes them.
#[derive(Debug, Clone, Copy, Default)]
struct Depth {
    bytes: u64,
    callee: Option<Node>,
}

impl Stack {
    /// Looks at everything the host calls.
    pub(super) fn of(facts: &Facts) -> Self {
        let exported = Export::ALL.iter().filter(|export| export.signature().is_some());
        let exported = exported.filter_map(|export| facts.export(export.name()));
        let called = exported.map(|(_, index)| index).chain(facts.start).map(Node::Function);
        let called: Vec<Node> = called.collect();
        let may = |node| callees(facts, node);
        let must = |node: Node| {
            let function = node.function().and_then(|index| facts.function(index));
            let always = function.into_iter().flat_map(|function| &function.always);
            always.copied().map(Node::Function).collect()
        };
        Stack { deepest: deepest(facts, called.clone(), may), always: deepest(facts, called, must).err() }
    }

    /// What the deepest chain may take, in bytes; none if there is no bound.
    pub(super) fn bytes(&self) -> Option<u32> {
        self.deepest.as_ref().ok().and_then(|deepest| u32::try_from(deepest.bytes).ok())
    }
}

fn callees(facts: &Facts, node: Node) -> Vec<Node> {
    match node {
        Node::Function(index) => {
            let calls = facts.function(index).into_iter().flat_map(|function| &function.calls);
            let node = |callee: &Callee| match callee {
                Callee::Function(index) => Node::Function(*index),
                Callee::OfType(ty) => Node::OfType(facts.type_id(*ty)),
            };
            calls.map(node).collect()
        }
        Node::OfType(ty) => facts.callable(ty).iter().copied().map(Node::Function).collect(),
    }
}

/// A function and all that it may call, however indirectly.
pub(super) fn reached(facts: &Facts, function: u32) -> Vec<u32> {
    let mut reached = Vec::from([Node::Function(function)]);
    let mut known = HashSet::from([Node::Function(function)]);
    let mut next = 0;
    while let Some(node) = reached.get(next).copied() {
        next += 1;
        reached.extend(callees(facts, node).into_iter().filter(|callee| known.insert(*callee)));
    }
    reached.into_iter().filter_map(Node::function).collect()
}

/// Goes through all chains of calls; with a list instead of recursion, as the file decides how long they are.
fn deepest(facts: &Facts, called: Vec<Node>, callees: impl Fn(Node) -> Vec<Node>) -> Result<Deepest, Chain> {
    let frame_bytes = |node: Node| {
        let function = node.function().and_then(|index| facts.function(index));
        function.map_or(0, |function| function.frame_bytes)
    };
    let mut known: HashMap<Node, Depth> = HashMap::new();
    let mut open: Vec<Visit> = Vec::new();
    let mut is_open: HashMap<Node, usize> = HashMap::new();
    let mut result = Deepest { bytes: 0, chain: Chain::of(facts, std::iter::empty()) };
    for first in called {
        open.push(Visit { node: first, callees: callees(first), below: Depth::default() });
        is_open.insert(first, 0);
        while let Some(visit) = open.last_mut() {
            let Some(callee) = visit.callees.pop() else {
                let (node, below) = (visit.node, visit.below);
                let depth = Depth { bytes: below.bytes.saturating_add(frame_bytes(node)), ..below };
                known.insert(node, depth);
                is_open.remove(&node);
                open.pop();
                if let Some(caller) = open.last_mut() {
                    caller.below = caller.below.or(node, depth);
                }
                continue;
            };
            if let Some(depth) = known.get(&callee) {
                visit.below = visit.below.or(callee, *depth);
            } else if let Some(at) = is_open.get(&callee) {
                let cycle = open.iter().skip(*at).map(|visit| visit.node).chain([callee]);
                return Err(Chain::of(facts, cycle));
            } else {
                is_open.insert(callee, open.len());
                open.push(Visit { node: callee, callees: callees(callee), below: Depth::default() });
            }
        }
        if let Some(depth) = known.get(&first)
            && depth.bytes.saturating_add(ENTRY_BYTES) > result.bytes
        {
            let callee_of = |node: &Node| known.get(node).and_then(|depth| depth.callee);
            let chain = Chain::of(facts, std::iter::successors(Some(first), callee_of));
            result = Deepest { bytes: depth.bytes.saturating_add(ENTRY_BYTES), chain };
        }
    }
    Ok(result)
}

impl Depth {
    fn or(self, callee: Node, depth: Depth) -> Depth {
        if depth.bytes > self.bytes { Depth { bytes: depth.bytes, callee: Some(callee) } } else { self }
    }
}

impl Chain {
    fn of(facts: &Facts, nodes: impl Iterator<Item = Node>) -> Chain {
        let functions: Vec<u32> = nodes.filter_map(Node::function).collect();
        // Both ends say most: what the host calls, and where the stack ends.
        let left_out = functions.len().saturating_sub(NAMED);
        let (first, rest) = functions.split_at(functions.len().min(NAMED / 2));
        let named = |functions: &[u32]| functions.iter().map(|index| facts.name(*index)).collect();
        Chain { first: named(first), left_out, last: named(rest.get(left_out..).unwrap_or(&[])) }
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.first.join(" -> "))?;
        if self.left_out > 0 {
            write!(f, " -> ({} more)", self.left_out)?;
        }
        self.last.iter().try_for_each(|name| write!(f, " -> {name}"))
    }
}
