//! What the agent tells about itself over HTTP.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use wasmbed_metrics::{Page, Source};
use wasmbed_ros::{Lost, Ros};
use wasmbed_wire::message::Reason;

/// What was counted since the program started.
#[derive(Debug, Default)]
pub(crate) struct Counts(Mutex<Numbers>);

#[derive(Debug, Default)]
struct Numbers {
    connects: u64,
    starts: u64,
    /// Ends of modules that were not told to end, by reason.
    failures: BTreeMap<&'static str, u64>,
    running: u64,
}

impl Counts {
    /// A session with the broker is up.
    pub(crate) fn connected(&self) {
        self.lock().connects += 1;
    }

    /// A module was started.
    pub(crate) fn started(&self) {
        let mut numbers = self.lock();
        numbers.starts += 1;
        numbers.running += 1;
    }

    /// A module is over; for a reason if nobody had told it to end.
    pub(crate) fn ended(&self, reason: Option<Reason>) {
        let mut numbers = self.lock();
        numbers.running = numbers.running.saturating_sub(1);
        if let Some(reason) = reason {
            *numbers.failures.entry(name(reason)).or_default() += 1;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Numbers> {
        // Numbers stay numbers, whatever happened to who counted.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The agent as Prometheus and health checks see it.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) online: Arc<AtomicBool>,
    pub(crate) counts: Arc<Counts>,
    pub(crate) ros: Option<Ros>,
}

impl Source for Metrics {
    async fn health(&self) -> Result<(), String> {
        match self.online.load(Ordering::Relaxed) {
            true => Ok(()),
            false => Err("there is no connection to the broker".to_owned()),
        }
    }

    async fn metrics(&self, page: &mut Page) {
        let numbers = self.counts.lock();
        page.gauge("wasmbed_agent_broker_connected", "Whether the agent is connected to the broker.")
            .set(self.online.load(Ordering::Relaxed));
        page.counter("wasmbed_agent_broker_connects_total", "Connections made to the broker.")
            .set(numbers.connects);
        page.gauge("wasmbed_agent_modules", "Modules that run.").set(numbers.running);
        page.counter("wasmbed_agent_module_starts_total", "Starts of modules.").set(numbers.starts);
        let mut failures =
            page.counter("wasmbed_agent_module_failures_total", "Modules that ended without being told to.");
        for (reason, count) in &numbers.failures {
            failures.sample(&[("reason", reason)], *count);
        }
        if let Some(ros) = &self.ros {
            let mut lost = page.counter("wasmbed_agent_ros_lost_total", "Messages of ROS 2 that were lost.");
            for Lost { name, how, count } in ros.losses() {
                lost.sample(&[("name", name.as_str()), ("how", how.name())], count);
            }
        }
    }
}

const fn name(reason: Reason) -> &'static str {
    match reason {
        Reason::Trapped => "trapped",
        Reason::TimedOut => "timed-out",
        Reason::OutOfMemory => "out-of-memory",
        Reason::Unhealthy => "unhealthy",
        Reason::LoadFailed => "load-failed",
        Reason::Denied => "denied",
        _ => "other",
    }
}
