//! Other people's programs for tests: nodes of ROS 2, rclpy over Fast DDS and Cyclone DDS, and vehicles ([`vehicle`]).
//!
//! `cargo xtask test` installs them from PyPI and names their interpreter in `WASMBED_PYTHON`; without it there is nothing
//! to test with. Everything stays on the loopback interface, and each test of ROS 2 has a [`Domain`] of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

pub mod vehicle;

use std::{
    env,
    fs::File,
    io::{BufRead, BufReader, Write},
    net::UdpSocket,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// The highest domain whose ports are all below those that the system gives out.
const LAST_DOMAIN: u16 = 100;

/// A module, as text, that does with ROS 2 what it is told. It offers `/set`, answers its requests with what is told on
/// the channel `in` after `s`; publishes on `/out` what is told after `p`, calls `/ask` with what is told after `c`, and
/// asks for the response with `r`. Says on `out` what calls answered, 32 bits, and what was written; what came on `/in`
/// as it is, and `q` with a request.
pub const ROBOT: &str = r#"(module
    (import "wasmbed" "subscribe" (func $subscribe (param i32 i32) (result i32)))
    (import "wasmbed" "publish" (func $publish (param i32 i32 i32 i32) (result i32)))
    (import "wasmbed" "message_read" (func $read (param i32 i32) (result i32)))
    (import "wasmbed" "publish_message" (func $send (param i32 i32 i32 i32) (result i32)))
    (import "wasmbed" "subscribe_topic" (func $listen (param i32 i32) (result i32)))
    (import "wasmbed" "create_service_client" (func $client (param i32 i32) (result i32)))
    (import "wasmbed" "call_service" (func $call (param i32 i32 i32) (result i32)))
    (import "wasmbed" "service_response" (func $response (param i32 i32 i32) (result i32)))
    (import "wasmbed" "create_service" (func $serve (param i32 i32) (result i32)))
    (import "wasmbed" "send_response" (func $respond (param i32 i32 i32) (result i32)))
    (import "wasmbed" "get_available_topics" (func $topic (param i32 i32 i32) (result i32)))
    (import "wasmbed" "get_node_info" (func $node (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "inout/in/out/ask/set/peer")
    (global $ticket (mut i32) (i32.const 0))
    (func (export "init") (result i32)
        (drop (call $subscribe (i32.const 0) (i32.const 2)))
        (drop (call $listen (i32.const 5) (i32.const 3)))
        (drop (call $client (i32.const 12) (i32.const 4)))
        (drop (call $serve (i32.const 16) (i32.const 4)))
        (i32.const 0))
    (func (export "tick"))
    (func $say (param $answer i32) (param $len i32)
        (i32.store (i32.const 996) (local.get $answer))
        (drop (call $publish (i32.const 2) (i32.const 3) (i32.const 996) (i32.add (local.get $len) (i32.const 4)))))
    (func $asked (param $letter i32) (param $len i32) (result i32)
        (if (i32.eq (local.get $letter) (i32.const 112))
            (then (return (call $send (i32.const 8) (i32.const 4) (i32.const 101) (local.get $len)))))
        (if (i32.eq (local.get $letter) (i32.const 99))
            (then (return (call $call (i32.const 0) (i32.const 101) (local.get $len)))))
        (if (i32.eq (local.get $letter) (i32.const 115))
            (then (return (call $respond (global.get $ticket) (i32.const 101) (local.get $len)))))
        (if (i32.eq (local.get $letter) (i32.const 116))
            (then (return (call $topic (i32.const 0) (i32.const 1000) (i32.const 200)))))
        (if (i32.eq (local.get $letter) (i32.const 110))
            (then (return (call $node (i32.const 20) (i32.const 5) (i32.const 1000) (i32.const 200)))))
        (call $response (i32.sub (i32.load8_u (i32.const 101)) (i32.const 48)) (i32.const 1000) (i32.const 200)))
    (func (export "message") (param $subscription i32) (param $len i32)
        (drop (call $read (i32.const 100) (i32.const 800)))
        (if (local.get $subscription)
            (then (drop (call $publish (i32.const 2) (i32.const 3) (i32.const 100) (local.get $len))))
            (else (call $say
                (call $asked (i32.load8_u (i32.const 100)) (i32.sub (local.get $len) (i32.const 1)))
                (i32.const 100)))))
    (func (export "service_request") (param i32) (param $ticket i32) (param $len i32)
        (global.set $ticket (local.get $ticket))
        (i32.store8 (i32.const 100) (i32.const 113))
        (drop (call $read (i32.const 101) (i32.const 800)))
        (drop (call $publish (i32.const 2) (i32.const 3) (i32.const 100) (i32.add (local.get $len) (i32.const 1))))))"#;

/// The interpreter that has the peers.
pub fn python() -> Option<PathBuf> {
    let python = env::var_os("WASMBED_PYTHON").map(PathBuf::from);
    if python.is_none() {
        println!("skipped: WASMBED_PYTHON is not set; `cargo xtask test` sets it up");
    }
    python
}

/// A domain that nobody else on this machine has, until it is dropped; clones are the same.
#[derive(Debug, Clone)]
pub struct Domain {
    number: u16,
    /// Locked, which other tests see.
    _claim: Arc<File>,
}

impl Domain {
    /// Claims one.
    pub fn free() -> Self {
        let first = u16::try_from(std::process::id() % u32::from(LAST_DOMAIN)).unwrap();
        let candidates = (0..LAST_DOMAIN).map(|nth| 1 + (first + nth) % LAST_DOMAIN);
        candidates.into_iter().find_map(Self::claim).expect("a domain is free")
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }

    fn claim(number: u16) -> Option<Self> {
        let claim = File::create(env::temp_dir().join(format!("wasmbed-domain-{number}.lock"))).ok()?;
        claim.try_lock().ok()?;
        // Who is no test of ours has a participant there, with this port.
        UdpSocket::bind(("0.0.0.0", 7410 + 250 * number)).ok()?;
        Some(Domain { number, _claim: Arc::new(claim) })
    }
}

/// A process in a domain, which does what it is told; it ends when dropped.
pub struct Peer {
    child: Child,
    orders: ChildStdin,
    said: Receiver<Value>,
}

impl Peer {
    /// Starts one of the programs in `device-agent/ros/tests/peers`, and waits until it is there.
    pub fn start(python: &Path, script: &str, domain: &Domain) -> Self {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../device-agent/ros/tests/peers");
        let mut child = Command::new(python)
            .arg(scripts.join(script))
            .arg("peer")
            .env("ROS_DOMAIN_ID", domain.number.to_string())
            .env("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
            .env("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the interpreter starts");
        let (lines, said) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).unwrap_or_else(|_| panic!("the peer says {line}"));
                if lines.send(line).is_err() {
                    break;
                }
            }
        });
        let orders = child.stdin.take().unwrap();
        let peer = Peer { child, orders, said };
        peer.wait_for("ready");
        peer
    }

    /// Tells it to do something.
    pub fn order(&mut self, order: &Value) {
        writeln!(self.orders, "{order}").expect("the peer lives");
    }

    /// The next thing that it says, if it says any in this time.
    ///
    /// # Errors
    /// If it says nothing.
    pub fn recv_timeout(&self, within: Duration) -> Result<Value, RecvTimeoutError> {
        self.said.recv_timeout(within)
    }

    /// The next thing of this kind that it says.
    pub fn wait_for(&self, kind: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let said = self.said.recv_timeout(left).unwrap_or_else(|_| panic!("the peer did not say {kind}"));
            if said.get(kind).is_some() {
                return said;
            }
        }
    }

    /// Asks about a node until this holds of the answer.
    pub fn wait_for_node(&mut self, node: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.order(&json!({"do": "look", "node": node}));
            let seen = self.wait_for("node");
            if holds(&seen) {
                return seen;
            }
            assert!(Instant::now() < deadline, "{seen}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
