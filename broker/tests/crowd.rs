//! As many clients as nobody's fleet has on one broker, which come, go and come again all at once.

#[path = "broker/common/mod.rs"]
mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::process::{address, broker};
use common::{Connect, Raw, device};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use wasmbed_broker::credentials::{Role, Secret};

const DEVICES: usize = 10_000;
/// How many of them come again: a process may hold 20,000 connections here, old ones and new ones.
const AGAIN: usize = 4_000;
/// How many connect at the same time.
const AT_ONCE: usize = 200;
/// What the broker may take for each of them, in KiB.
const KIB_EACH: usize = 256;
/// Longest that anything may take while everybody connects.
const PATIENCE: Duration = Duration::from_secs(60);

struct Crowd {
    address: SocketAddr,
    secret: Secret,
}

impl Crowd {
    /// Connects, again after a refusal, as clients do.
    async fn connect(&self, role: Role, id: &str) -> Raw {
        let connect = Connect { password: self.secret.password(&role), ..Connect::new(role, id) };
        let connected = async {
            loop {
                let stream = TcpStream::connect(self.address).await.expect("a connection");
                let mut raw = Raw::new(stream);
                raw.send(&connect.bytes()).await;
                if raw.try_packet().await == Some((0x20, vec![0, 0])) {
                    return raw;
                }
            }
        };
        timeout(PATIENCE, connected).await.expect("accepted in time")
    }

    /// So many devices, [`AT_ONCE`] at a time.
    async fn connect_devices(self: &Arc<Self>, count: usize) -> Vec<Raw> {
        let mut tasks = JoinSet::new();
        for first in 0..AT_ONCE {
            let crowd = Arc::clone(self);
            tasks.spawn(async move {
                let mut connected = Vec::new();
                for nth in (first..count).step_by(AT_ONCE) {
                    let id = format!("d-{nth}");
                    connected.push(crowd.connect(device(&id), &id).await);
                }
                connected
            });
        }
        tasks.join_all().await.into_iter().flatten().collect()
    }
}

/// Memory of a process that is its own, in KiB.
fn resident_kib(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_devices_come_and_come_again_and_others_notice_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let secret = folder.path().join("secret").to_string_lossy().into_owned();
    let mut command = broker(&["--listen", "127.0.0.1:0", "--secret-file", &secret]);
    command.env("WASMBED_BROKER__MAX_CONNECTIONS", (DEVICES + 2).to_string());
    let mut child = command.spawn().expect("started");
    let address = address(&mut child).await.parse().expect("an address");
    let secret = Secret::load_or_create(secret.as_ref()).expect("made by the broker");
    let crowd = Arc::new(Crowd { address, secret });

    let mut service = crowd.connect(Role::Service, "fleet").await;
    service.subscribe("wasmbed/v1/pump-7/up/#", 1).await;
    let mut pump = crowd.connect(device("pump-7"), "pump-7").await;
    let mut deliver = async |text: &str| {
        pump.publish("wasmbed/v1/pump-7/up/hb", text.as_bytes(), 0, false, 0).await;
        let received = timeout(PATIENCE, service.received()).await.expect("delivered in time");
        assert_eq!(received.payload, text.as_bytes());
    };
    deliver("alone").await;

    let pid = child.id().expect("it runs");
    let alone = resident_kib(pid);
    let connected = crowd.connect_devices(DEVICES).await;
    assert_eq!(connected.len(), DEVICES);
    deliver("among ten thousand").await;
    let with_all = resident_kib(pid);
    assert!((with_all - alone) / DEVICES < KIB_EACH, "{} KiB for each", (with_all - alone) / DEVICES);

    // Power comes back everywhere at once: old connections are still there when the new ones come.
    for round in 0..2 {
        let again = tokio::spawn({
            let crowd = Arc::clone(&crowd);
            async move { crowd.connect_devices(AGAIN).await }
        });
        let mut delivered = 0;
        while !again.is_finished() {
            deliver(&format!("{delivered} in storm {round}")).await;
            delivered += 1;
            tokio::task::yield_now().await;
        }
        assert_eq!(again.await.expect("no panic").len(), AGAIN);
        assert!(delivered > 0, "nothing was delivered meanwhile");
    }
    drop(connected);
    deliver("after the storms").await;
    let after = resident_kib(pid);
    assert!(after < with_all * 2, "{after} KiB after the storms, {with_all} KiB before");
    assert!(child.try_wait().expect("known").is_none(), "it still runs");
}
