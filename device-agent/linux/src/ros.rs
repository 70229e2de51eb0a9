//! ROS 2, if the configuration has a section about it; [docs/ros.md](../../../docs/ros.md) says what may be in it.
//!
//! ```toml
//! [ros]
//! domain = 7
//!
//! [[ros.topic]]
//! name = "/chatter"
//! type = "std_msgs/msg/String"
//! encoding = "json"
//! ```

use std::{
    sync::Weak,
    time::{Duration, Instant},
};

use tokio::{sync::mpsc, time::sleep};
use wasmbed_abi::{ALLOW_ROS_CALL, ALLOW_ROS_PUBLISH, ALLOW_ROS_SERVE, ALLOW_ROS_SUBSCRIBE, Errno};
use wasmbed_ros::{Allowed, Event, LOOK_MS, Report, Ros, Settings, StartError, Station};
use wasmbed_wire::{ModuleName, topic::Up};

use crate::worker::{Line, Message};

/// Time between two explanations of what a module is refused: it may ask thousands of times a second.
const QUIET: Duration = Duration::from_secs(1);

/// Joins ROS 2, if there are settings for it.
pub(crate) fn start(settings: Option<Settings>) -> Result<Option<Ros>, StartError> {
    settings.map(Ros::start).transpose()
}

/// Tells the fleet what the modules are in ROS 2, for as long as the agent runs.
pub(crate) async fn tell(ros: Ros, outbox: mpsc::Sender<Message>, start: Instant) {
    let mut report = Report::default();
    loop {
        sleep(Duration::from_millis(LOOK_MS)).await;
        let now_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        if let Some(payload) = report.next(now_ms, ros.nodes())
            && outbox.send(Message { topic: Up::Nodes, payload }).await.is_err()
        {
            return;
        }
    }
}

/// What one module has to do with ROS 2.
pub(crate) struct Post {
    station: Option<Station>,
    line: Weak<Line>,
    explained: Option<Instant>,
}

impl Post {
    pub(crate) fn new(
        ros: Option<&Ros>,
        instance: ModuleName,
        settings: &[(String, String)],
        line: &Weak<Line>,
    ) -> Self {
        let allowed = |key: &str| {
            let found = settings.iter().find(|(known, _)| known == key);
            found.map_or_else(String::new, |(_, patterns)| patterns.clone())
        };
        let station = ros.map(|ros| {
            let allowed = Allowed {
                publish: allowed(ALLOW_ROS_PUBLISH),
                subscribe: allowed(ALLOW_ROS_SUBSCRIBE),
                call: allowed(ALLOW_ROS_CALL),
                serve: allowed(ALLOW_ROS_SERVE),
            };
            let wake = Weak::clone(line);
            ros.station(instance.as_str(), allowed, move || {
                if let Some(line) = wake.upgrade() {
                    line.ros();
                }
            })
        });
        Post { station, line: Weak::clone(line), explained: None }
    }

    pub(crate) fn station(&mut self) -> Result<&mut Station, Errno> {
        self.station.as_mut().ok_or(Errno::Unsupported)
    }

    /// What is to be told next. If there is more, the module is called again, after what waits already.
    pub(crate) fn next(&self) -> Option<Event> {
        let (event, more) = self.station.as_ref()?.next()?;
        if more && let Some(line) = self.line.upgrade() {
            line.ros();
        }
        Some(event)
    }

    /// Whether it is time to say again why something was refused.
    pub(crate) fn may_explain(&mut self) -> bool {
        let now = Instant::now();
        let may = self.explained.is_none_or(|explained| now.duration_since(explained) >= QUIET);
        if may {
            self.explained = Some(now);
        }
        may
    }
}
