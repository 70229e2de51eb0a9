//! Modules of an agent among nodes of rclpy. What the middleware does is tested in `device-agent/ros/tests/peers.rs`, whose
//! peer this uses; here it is the way through the agent.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    net::UdpSocket,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use wasmbed_abi::{ALLOW_ROS_CALL, ALLOW_ROS_PUBLISH, ALLOW_ROS_SERVE, ALLOW_ROS_SUBSCRIBE, Errno};
use wasmbed_wire::{
    message::ModuleState,
    topic::{Down, Level, Up},
};

use crate::fleet::{Agent, Fleet};

const PATIENCE: Duration = Duration::from_secs(40);

/// Offers `/set`, answers its requests with what is told on the channel `in` after `s`; publishes on `/out` what is told
/// after `p`, calls `/ask` with what is told after `c`, and asks for the response with `r`. Says on `out` what calls
/// answered, 32 bits, and what was written; what came on `/in` as it is, and `q` with a request.
const ROBOT: &str = r#"(module
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

const CONFIGURATION: &str = "[[ros.topic]]\nname = '/in'\ntype = 'std_msgs/msg/String'\nencoding = 'json'\ndirection = 'subscribe'\n\
    [[ros.topic]]\nname = '/out'\ntype = 'std_msgs/msg/String'\nencoding = 'json'\ndirection = 'publish'\n\
    [[ros.service]]\nname = '/ask'\ntype = 'std_srvs/srv/SetBool'\nencoding = 'json'\ntimeout_ms = 30000\n\
    [[ros.service]]\nname = '/set'\ntype = 'std_srvs/srv/SetBool'\nencoding = 'json'\n";

/// The interpreter that has the peers.
fn python() -> Option<PathBuf> {
    let python = env::var_os("WASMBED_PYTHON").map(PathBuf::from);
    if python.is_none() {
        println!("skipped: WASMBED_PYTHON is not set; `cargo xtask test` sets it up");
    }
    python
}

/// A domain of these that nobody on this machine is in. Each test has its own; all its ports are below those that the
/// system gives out.
fn free_domain(mut of: RangeInclusive<u16>) -> u16 {
    let is_free = |domain: &u16| UdpSocket::bind(("0.0.0.0", 7410 + 250 * domain)).is_ok();
    of.find(is_free).expect("a domain is free")
}

/// A node, which does what it is told; it ends when dropped.
struct Peer {
    child: Child,
    orders: ChildStdin,
    said: Receiver<String>,
}

impl Peer {
    fn start(python: &Path, domain: u16) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ros/tests/peers/node.py");
        let mut child = Command::new(python)
            .arg(script)
            .arg("peer")
            .env("ROS_DOMAIN_ID", domain.to_string())
            .env("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
            .env("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the interpreter starts");
        let (lines, said) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            // Fails only when the test is over.
            stdout.lines().map_while(Result::ok).all(|line| lines.send(line).is_ok())
        });
        let orders = child.stdin.take().unwrap();
        let peer = Peer { child, orders, said };
        peer.wait_for("\"ready\"");
        peer
    }

    fn order(&mut self, order: &str) {
        writeln!(self.orders, "{order}").expect("the peer lives");
    }

    /// The next line with this in it.
    fn wait_for(&self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.said.recv_timeout(left).unwrap_or_else(|_| panic!("the peer did not say {text}"));
            if line.contains(text) {
                return line;
            }
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct World {
    fleet: Fleet,
    domain: u16,
    _agent: Agent,
}

impl World {
    fn start() -> Self {
        let mut fleet = Fleet::start();
        let domain = free_domain(1..=50);
        let agent = fleet.agent_with(&format!("[ros]\ndomain = {domain}\n{CONFIGURATION}"));
        let robot = fleet.publish_artifact("robot", ROBOT);
        let settings = [
            (ALLOW_ROS_PUBLISH, "/out"),
            (ALLOW_ROS_SUBSCRIBE, "/*"),
            (ALLOW_ROS_CALL, "/ask"),
            (ALLOW_ROS_SERVE, "/set"),
        ];
        fleet.desire_with(1, &[("robot", robot, &settings)]);
        fleet.wait_for_report(|report| report.state("robot") == Some(ModuleState::Running));
        World { fleet, domain, _agent: agent }
    }

    fn tell(&self, text: &str) {
        let topic = Down::Message("robot".parse().unwrap(), "in".parse().unwrap());
        self.fleet.say(topic, text.as_bytes().to_vec());
    }

    /// The next thing that it says and that passes.
    fn hear(&mut self, passes: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        self.fleet.wait_for(|topic, said| matches!(topic, Up::Message(..)) && passes(said)).1
    }

    /// What a call answered, and what was written.
    fn ask(&mut self, text: &str) -> (i32, Vec<u8>) {
        self.tell(text);
        self.answer()
    }

    fn answer(&mut self) -> (i32, Vec<u8>) {
        // What comes over ROS 2 is shorter.
        let said = self.hear(|said| said.len() == 104);
        let (answer, written) = said.split_first_chunk().expect("an answer");
        (i32::from_le_bytes(*answer), written.to_vec())
    }
}

#[test]
fn a_module_is_a_node_that_publishes_listens_calls_and_answers() {
    let Some(python) = python() else { return };
    let mut world = World::start();
    let mut peer = Peer::start(&python, world.domain);
    peer.order(r#"{"do":"subscribe","topic":"/out","type":"std_msgs/msg/String"}"#);
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert_eq!(world.ask("p{\"data\":\"hällo\"}").0, 0);
        if peer.said.recv_timeout(Duration::from_millis(200)).is_ok_and(|line| line.contains("h\\u00e4llo")) {
            break;
        }
        assert!(Instant::now() < deadline, "nobody heard it");
    }
    world.tell("p{\"data\":1}");
    let why = b"robot: /out: data: expected a string, found 1";
    world.fleet.wait_for(|topic, line| topic == Up::Log(Level::Warn) && line == why);
    assert_eq!(world.answer().0, Errno::Invalid.code());

    peer.order(r#"{"do":"publisher","topic":"/in","type":"std_msgs/msg/String"}"#);
    peer.order(r#"{"do":"publish","topic":"/in","message":{"data":"zurück"},"count":60,"period":0.05}"#);
    let heard = world.hear(|said| said.starts_with(b"{"));
    assert_eq!(heard, "{\"data\":\"zurück\"}".as_bytes());

    let (len, topic) = world.ask("t");
    assert_eq!((len, &topic[16..38]), (38, &b"/instd_msgs/msg/String"[..]));
    while world.ask("n").0 < 8 {
        assert!(Instant::now() < deadline, "the peer's node is not seen");
    }

    peer.order(r#"{"do":"serve","service":"/ask","type":"std_srvs/srv/SetBool","response":{"success":true,"message":"ja"}}"#);
    let (ticket, _) = world.ask("c{\"data\":true}");
    assert_eq!(ticket, 0);
    let (len, response) = loop {
        let (answer, written) = world.ask("r0");
        if answer != Errno::Busy.code() {
            break (answer, written);
        }
        assert!(Instant::now() < deadline + PATIENCE, "every call has an end");
    };
    let expected = b"{\"success\":true,\"message\":\"ja\"}";
    assert_eq!((len, &response[..expected.len()]), (expected.len() as i32, &expected[..]));

    peer.order(r#"{"do":"call","service":"/set","type":"std_srvs/srv/SetBool","request":{"data":true}}"#);
    assert_eq!(world.hear(|said| said.starts_with(b"q")), b"q{\"data\":true}");
    assert_eq!(world.ask("s{\"message\":\"gemacht\"}").0, 0);
    let said = peer.wait_for("\"response\"");
    assert!(said.contains("gemacht"), "{said}");
}

#[test]
fn the_examples_answer_a_service_and_publish_a_sensor() {
    let Some(python) = python() else { return };
    let Some(modules) = env::var_os("WASMBED_E2E_MODULES").map(PathBuf::from) else {
        return println!("skipped: WASMBED_E2E_MODULES is not set; `cargo xtask test` sets it");
    };
    let mut fleet = Fleet::start();
    let domain = free_domain(51..=100);
    let _agent = fleet.agent_with(&format!(
        "simulate = true\n[ros]\ndomain = {domain}\n\
        [[ros.topic]]\nname = '/temperature'\ntype = 'std_msgs/msg/Float64'\n\
        [[ros.service]]\nname = '/lamp'\ntype = 'std_srvs/srv/SetBool'\n"
    ));
    let wasm = |name: &str| std::fs::read(modules.join(name).with_extension("wasm")).expect("the example");
    let (probe, switch) =
        (fleet.publish_wasm("probe", &wasm("probe")), fleet.publish_wasm("switch", &wasm("switch")));
    fleet.desire_with(
        1,
        &[
            ("probe", probe, &[("topic", "/temperature"), (ALLOW_ROS_PUBLISH, "/temperature")]),
            ("switch", switch, &[("service", "/lamp"), ("pin", "4"), (ALLOW_ROS_SERVE, "/lamp")]),
        ],
    );
    fleet.wait_for_report(|report| {
        ["probe", "switch"].iter().all(|name| report.state(name) == Some(ModuleState::Running))
    });
    let mut peer = Peer::start(&python, domain);
    peer.order(r#"{"do":"subscribe","topic":"/temperature","type":"std_msgs/msg/Float64"}"#);
    peer.wait_for("\"/temperature\"");
    peer.order(r#"{"do":"call","service":"/lamp","type":"std_srvs/srv/SetBool","request":{"data":true}}"#);
    let said = peer.wait_for("\"response\"");
    assert!(said.contains("\"success\": true"), "{said}");
}
