//! What the gateway tells about itself over HTTP.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use wasmbed_metrics::{Page, Source};
use wasmbed_ros::Ros;

/// What was counted since the start, and what there is now.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) connected: AtomicBool,
    /// Instances that have a post.
    pub(super) posts: AtomicU64,
    /// Messages of devices.
    pub(super) heard: AtomicU64,
    /// Of them, those that are none.
    pub(super) malformed: AtomicU64,
    /// Of them, those of devices that say too much.
    pub(super) limited: AtomicU64,
    /// What was said to devices.
    pub(super) said: AtomicU64,
    /// What could not be said, because the connection was behind.
    pub(super) unsaid: AtomicU64,
    /// Desired states that are not believed.
    pub(super) refused: AtomicU64,
}

/// Counts one more.
pub(super) fn more(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

/// The gateway as Prometheus and health checks see it.
pub(super) struct Metrics {
    pub(super) counts: Arc<Counts>,
    pub(super) ros: Ros,
}

impl Source for Metrics {
    async fn health(&self) -> Result<(), String> {
        match self.counts.connected.load(Ordering::Relaxed) {
            true => Ok(()),
            false => Err("there is no connection to the broker".to_owned()),
        }
    }

    async fn metrics(&self, page: &mut Page) {
        let counts = &self.counts;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        page.gauge("wasmbed_gateway_broker_connected", "Whether the gateway is connected to the broker.")
            .set(counts.connected.load(Ordering::Relaxed));
        page.gauge("wasmbed_gateway_instances", "Instances of modules that the gateway speaks for.")
            .set(read(&counts.posts));
        for (name, help, count) in [
            ("wasmbed_gateway_heard_total", "Messages of devices.", &counts.heard),
            ("wasmbed_gateway_malformed_total", "Messages of devices that are none.", &counts.malformed),
            ("wasmbed_gateway_limited_total", "Messages of devices that said too many.", &counts.limited),
            ("wasmbed_gateway_said_total", "Messages to devices.", &counts.said),
            ("wasmbed_gateway_unsaid_total", "Messages that the connection did not take.", &counts.unsaid),
            ("wasmbed_gateway_refused_total", "Desired states that are not believed.", &counts.refused),
        ] {
            page.counter(name, help).set(read(count));
        }
        let mut lost = page.counter("wasmbed_gateway_ros_lost_total", "Messages of ROS 2 that were lost.");
        for found in self.ros.losses() {
            lost.sample(&[("name", &found.name), ("how", found.how.name())], found.count);
        }
    }
}
