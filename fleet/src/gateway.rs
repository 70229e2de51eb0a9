//! The gateway role: ROS 2 for modules on boards, which speak MQTT.
//!
//! One participant of DDS speaks for many devices. Each instance that wants something of ROS 2 has a post
//! (`post`), which is a node named after it in its device's namespace. What an instance may use, the gateway reads in
//! what the fleet has signed for the device (`grants`), never in what the device says.
//!
//! Nothing here outlasts its device or its instance, and everything of a device is bounded: what it says in a second,
//! what waits for it, its calls. Input that cannot be understood is told to the module it is said to come from.
//!
//! Files below the data folder: `keyrings.cbor`, what the gateway believes beyond its configuration; `revisions.cbor`, which
//! desired states it has believed; `gateway.lock`.
//!
//! Not here: DDS (`wasmbed-ros`), and how both ends come to agree (`wasmbed-gateway`).

mod counts;
mod desk;
mod grants;
mod link;
mod post;

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use tokio::{sync::mpsc, time::sleep_until};
use wasmbed_metrics::{Server, maybe_serve};
use wasmbed_ros::{Ros, Settings};
use wasmbed_wire::{DeviceId, GatewayId, PublicKey};

use crate::{connection::Connection, lock::lock, shutdown::Shutdown};
use counts::{Counts, Metrics};
use desk::Desk;
use grants::Grants;
use link::{Heard, Link};

/// The level that stands between version and gateway id in the topics of a gateway.
pub(crate) const GATEWAY_LEVEL: &str = "_gateway";
/// What precedes the device below that in what a gateway says about a device's nodes.
pub(crate) const GATEWAY_NODES: &str = "up/nodes/";

/// Everything the gateway needs to run.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// Its id.
    pub id: GatewayId,
    /// The broker.
    pub connection: Connection,
    /// Where it keeps what it believes.
    pub data_dir: PathBuf,
    /// Keys that it trusts as a device trusts those it was provisioned with.
    pub trusted: Vec<PublicKey>,
    /// Devices that it speaks for; all if absent.
    pub devices: Option<BTreeSet<DeviceId>>,
    /// Domain, topics and services.
    pub ros: Settings,
    /// Address and port for `/metrics` and `/healthz`.
    pub metrics_listen: Option<SocketAddr>,
}

/// Runs the gateway until the shutdown. A broker that cannot be reached is no error: it tries again for ever.
///
/// # Errors
/// If the data folder cannot be used, ROS 2 cannot be joined, or the broker does not let it read what it has to.
pub async fn run(config: GatewayConfig, mut shutdown: Shutdown) -> anyhow::Result<()> {
    let GatewayConfig { id, connection, data_dir, trusted, devices, ros, metrics_listen } = config;
    let _lock = lock(&data_dir, "gateway")?;
    let metrics = match metrics_listen {
        Some(listen) => Some(Server::bind(listen).await?),
        None => None,
    };
    let grants = Grants::load(&data_dir, &trusted, unix_ms() / 1000)
        .with_context(|| format!("cannot use the gateway's data folder {}", data_dir.display()))?;
    let ros = Ros::start(ros)?;
    let counts = Arc::new(Counts::default());
    let metrics = maybe_serve(metrics, Arc::new(Metrics { counts: Arc::clone(&counts), ros: ros.clone() }));
    let (woken, mut wakes) = mpsc::unbounded_channel();
    let (mut link, mut heard) = Link::open(id, connection, devices.as_ref(), Arc::clone(&counts));
    let mut desk = Desk::new(ros.clone(), grants, devices, woken, counts);
    let clock = Clock::new();
    let serve = async {
        loop {
            let due = desk.next_deadline().map(|due_ms| clock.instant(due_ms));
            tokio::select! {
                heard = heard.recv() => match heard {
                    Some(Heard::Up) => link.introduce(),
                    Some(Heard::Message(message)) => desk.on_message(clock.now_ms(), &message),
                    Some(Heard::Refused(why)) => anyhow::bail!(why),
                    None => anyhow::bail!("the connection's task has ended"),
                },
                Some(place) = wakes.recv() => desk.on_woken(clock.now_ms(), &place),
                () = sleep_until(due.unwrap_or_else(|| clock.instant(u64::MAX)).into()), if due.is_some() => {}
            }
            desk.on_deadline(clock.now_ms());
            if desk.take_change_of_keys() {
                link.read_desired_again();
            }
            for said in desk.take_output() {
                link.say(said);
            }
            for (device, report) in desk.take_reports() {
                link.report(&device, report);
            }
        }
    };
    tokio::pin!(metrics);
    let ended = tokio::select! {
        () = shutdown.wait() => Ok(()),
        ended = serve => ended,
        never = &mut metrics => match never {},
    };
    desk.keep();
    link.say_goodbye().await;
    // Its nodes are gone before the others are told that it leaves.
    drop(desk);
    tokio::task::spawn_blocking(move || ros.stop()).await?;
    ended
}

/// Time since the start, for what is repeated and limited.
struct Clock(Instant);

impl Clock {
    fn new() -> Self {
        Clock(Instant::now())
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn instant(&self, ms: u64) -> Instant {
        // A day is as good as never: it is asked again.
        self.0 + Duration::from_millis(ms.min(self.now_ms().saturating_add(86_400_000)))
    }
}

/// Milliseconds of Unix time.
fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
