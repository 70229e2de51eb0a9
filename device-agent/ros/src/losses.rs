//! What was lost, by topic or service.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// How a message got lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// The module was slower than its queue is long.
    Behind,
    /// It is not of the type that is configured, or too long.
    Malformed,
    /// It is longer than the module's device takes.
    TooLong,
    /// The middleware did not take it in time.
    Unsent,
}

impl Loss {
    /// Its name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Loss::Behind => "behind",
            Loss::Malformed => "malformed",
            Loss::TooLong => "too-long",
            Loss::Unsent => "unsent",
        }
    }
}

/// How many messages of a topic or service were lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// The topic or service.
    pub name: String,
    /// How.
    pub how: Loss,
    /// How many, since the start.
    pub count: u64,
}

/// Names are those of the configuration, so that there is an end to them; clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Losses(Arc<Mutex<BTreeMap<(String, Loss), u64>>>);

impl Losses {
    pub(crate) fn add(&self, name: &str, how: Loss) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((name.to_owned(), how)).or_default() += 1;
    }

    pub(crate) fn all(&self) -> Vec<Lost> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lost =
            counts.iter().map(|((name, how), count)| Lost { name: name.clone(), how: *how, count: *count });
        lost.collect()
    }
}
