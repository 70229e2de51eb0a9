//! Modules that are told when a pin changes.

use std::sync::{Mutex, Weak};

use wasmbed_abi::Edges;

use super::lock;
use crate::worker;

/// Who watches one pin; modules that are gone count no more.
#[derive(Debug, Default)]
pub(super) struct Watchers(Mutex<Vec<Watcher>>);

#[derive(Debug)]
struct Watcher {
    edges: Edges,
    module: Weak<worker::Line>,
}

impl Watchers {
    /// Has a module told of these edges, instead of those it was told of before.
    pub(super) fn set(&self, edges: Edges, module: &Weak<worker::Line>) {
        let mut watchers = lock(&self.0);
        watchers.retain(|watcher| watcher.module.strong_count() > 0 && !watcher.module.ptr_eq(module));
        if edges != Edges::default() {
            watchers.push(Watcher { edges, module: Weak::clone(module) });
        }
    }

    /// Tells who watches it that the pin has changed.
    pub(super) fn tell(&self, pin: u32, high: bool) {
        lock(&self.0).retain(|watcher| {
            let Some(module) = watcher.module.upgrade() else { return false };
            if watcher.edges.watch(high) {
                module.gpio_edge(pin, high);
            }
            true
        });
    }

    /// The edges that somebody watches.
    pub(super) fn edges(&self) -> Edges {
        let watchers = lock(&self.0);
        let present = watchers.iter().filter(|watcher| watcher.module.strong_count() > 0);
        present.fold(Edges::default(), |all, Watcher { edges, .. }| Edges {
            rising: all.rising || edges.rising,
            falling: all.falling || edges.falling,
        })
    }
}
