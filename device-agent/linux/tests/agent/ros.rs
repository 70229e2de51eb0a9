//! Modules of an agent among nodes of rclpy. What the middleware does is tested in `device-agent/ros/tests/peers.rs`, whose
//! peer this uses; here it is the way through the agent.

use std::{
    env,
    path::PathBuf,
    time::{Duration, Instant},
};

use serde_json::json;
use wasmbed_abi::{ALLOW_ROS_CALL, ALLOW_ROS_PUBLISH, ALLOW_ROS_SERVE, ALLOW_ROS_SUBSCRIBE, Errno};
use wasmbed_peers::{Domain, PATIENCE, Peer, ROBOT, python};
use wasmbed_wire::{
    message::ModuleState,
    ros::{RosNode, RosNodes, RosTyped},
    topic::{Down, Level, Up},
};

use crate::fleet::{Agent, Fleet};

const CONFIGURATION: &str = "[[ros.topic]]\nname = '/in'\ntype = 'std_msgs/msg/String'\nencoding = 'json'\ndirection = 'subscribe'\n\
    [[ros.topic]]\nname = '/out'\ntype = 'std_msgs/msg/String'\nencoding = 'json'\ndirection = 'publish'\n\
    [[ros.service]]\nname = '/ask'\ntype = 'std_srvs/srv/SetBool'\nencoding = 'json'\ntimeout_ms = 30000\n\
    [[ros.service]]\nname = '/set'\ntype = 'std_srvs/srv/SetBool'\nencoding = 'json'\n";

struct World {
    fleet: Fleet,
    domain: Domain,
    _agent: Agent,
}

impl World {
    fn start() -> Self {
        let mut fleet = Fleet::start();
        let domain = Domain::free();
        let agent = fleet.agent_with(&format!("[ros]\ndomain = {}\n{CONFIGURATION}", domain.number()));
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
fn the_fleet_sees_what_a_module_is() {
    let mut world = World::start();
    assert_eq!(world.ask("p{\"data\":\"a\"}").0, 0);
    world.fleet.wait_for(|topic, payload| {
        let is_robot = |node: RosNode<'_>| {
            let out = RosTyped { name: "/out", ty: "std_msgs/msg/String" };
            node.name.ends_with("/robot") && node.publishers.iter().any(|typed| typed == out)
        };
        topic == Up::Nodes && minicbor::decode::<RosNodes<'_>>(payload).unwrap().nodes.iter().any(is_robot)
    });
}

#[test]
fn a_module_is_a_node_that_publishes_listens_calls_and_answers() {
    let Some(python) = python() else { return };
    let mut world = World::start();
    let mut peer = Peer::start(&python, "node.py", &world.domain);
    peer.order(&json!({"do":"subscribe","topic":"/out","type":"std_msgs/msg/String"}));
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert_eq!(world.ask("p{\"data\":\"hällo\"}").0, 0);
        if peer.recv_timeout(Duration::from_millis(200)).is_ok_and(|said| said["message"]["data"] == "hällo")
        {
            break;
        }
        assert!(Instant::now() < deadline, "nobody heard it");
    }
    world.tell("p{\"data\":1}");
    let why = b"robot: /out: data: expected a string, found 1";
    world.fleet.wait_for(|topic, line| topic == Up::Log(Level::Warn) && line == why);
    assert_eq!(world.answer().0, Errno::Invalid.code());

    peer.order(&json!({"do":"publisher","topic":"/in","type":"std_msgs/msg/String"}));
    peer.order(&json!({"do":"publish","topic":"/in","message":{"data":"zurück"},"count":60,"period":0.05}));
    let heard = world.hear(|said| said.starts_with(b"{"));
    assert_eq!(heard, "{\"data\":\"zurück\"}".as_bytes());

    let (len, topic) = world.ask("t");
    assert_eq!((len, &topic[16..38]), (38, &b"/instd_msgs/msg/String"[..]));
    while world.ask("n").0 < 8 {
        assert!(Instant::now() < deadline, "the peer's node is not seen");
    }

    peer.order(&json!({"do":"serve","service":"/ask","type":"std_srvs/srv/SetBool","response":{"success":true,"message":"ja"}}));
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

    peer.order(&json!({"do":"call","service":"/set","type":"std_srvs/srv/SetBool","request":{"data":true}}));
    assert_eq!(world.hear(|said| said.starts_with(b"q")), b"q{\"data\":true}");
    assert_eq!(world.ask("s{\"message\":\"gemacht\"}").0, 0);
    assert_eq!(peer.wait_for("response")["response"]["message"], "gemacht");
}

#[test]
fn the_examples_answer_a_service_and_publish_a_sensor() {
    let Some(python) = python() else { return };
    let Some(modules) = env::var_os("WASMBED_E2E_MODULES").map(PathBuf::from) else {
        return println!("skipped: WASMBED_E2E_MODULES is not set; `cargo xtask test` sets it");
    };
    let mut fleet = Fleet::start();
    let domain = Domain::free();
    let _agent = fleet.agent_with(&format!(
        "simulate = true\n[ros]\ndomain = {}\n\
        [[ros.topic]]\nname = '/temperature'\ntype = 'std_msgs/msg/Float64'\n\
        [[ros.service]]\nname = '/lamp'\ntype = 'std_srvs/srv/SetBool'\n",
        domain.number()
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
    let mut peer = Peer::start(&python, "node.py", &domain);
    peer.order(&json!({"do":"subscribe","topic":"/temperature","type":"std_msgs/msg/Float64"}));
    assert_eq!(peer.wait_for("heard")["heard"], "/temperature");
    peer.order(&json!({"do":"call","service":"/lamp","type":"std_srvs/srv/SetBool","request":{"data":true}}));
    assert_eq!(peer.wait_for("response")["response"]["success"], true);
}
