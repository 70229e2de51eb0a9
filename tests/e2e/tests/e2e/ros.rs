//! Modules on a board as nodes of ROS 2, through the gateway, among nodes of rclpy.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use wasmbed_abi::Errno;
use wasmbed_e2e::{Fleet, Limit, Subscription, bytes, features, hex, module};
use wasmbed_peers::{Domain, PATIENCE, Peer, ROBOT, python};

const ROS: &str = "[[ros.topic]]\nname = '/in'\ntype = 'std_msgs/msg/String'\nencoding = 'json'\n\
    [[ros.topic]]\nname = '/out'\ntype = 'std_msgs/msg/String'\nencoding = 'json'\n\
    [[ros.topic]]\nname = '/temperature'\ntype = 'std_msgs/msg/Float64'\n\
    [[ros.service]]\nname = '/ask'\ntype = 'std_srvs/srv/SetBool'\nencoding = 'json'\ntimeout_ms = 3000\n\
    [[ros.service]]\nname = '/set'\ntype = 'std_srvs/srv/SetBool'\nencoding = 'json'\n";
/// What the module says about a call: the answer, and as many bytes that were written.
const ANSWER_BYTES: usize = 104;

/// The module on a board.
struct Robot<'f> {
    fleet: &'f mut Fleet,
    device: &'f str,
    said: Subscription,
    warnings: Subscription,
}

impl<'f> Robot<'f> {
    fn deploy(fleet: &'f mut Fleet, device: &'f str) -> Result<Self> {
        let topic = |rest: &str| format!("wasmbed/v1/{device}/up/{rest}");
        let said = Subscription::open(fleet, &topic("msg/robot/out"))?;
        let warnings = Subscription::open(fleet, &topic("log/warn"))?;
        fleet.cli(&["deploy", "robot", "--to", device, "--wait"])?;
        fleet.wait_running(device, "robot", Limit::seconds(30))?;
        Ok(Robot { fleet, device, said, warnings })
    }

    fn tell(&self, order: &str) -> Result<()> {
        let topic = format!("wasmbed/v1/{}/dn/msg/robot/in", self.device);
        let status = self.fleet.mosquitto("mosquitto_pub")?.args(["-t", &topic, "-m", order]).status()?;
        ensure!(status.success(), "mosquitto_pub: {status}");
        Ok(())
    }

    /// What a call answered, and what was written.
    fn ask(&self, order: &str) -> Result<(i32, Vec<u8>)> {
        self.tell(order)?;
        let said = self.said.next(|line| line.len() == 2 * ANSWER_BYTES)?;
        let said = bytes(&said)?;
        let (answer, written) = said.split_first_chunk().context("an answer")?;
        Ok((i32::from_le_bytes(*answer), written.to_vec()))
    }

    /// The same, again and again while it is busy.
    fn ask_until_answered(&self, order: &str) -> Result<(i32, Vec<u8>)> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (answer, written) = self.ask(order)?;
            if answer != Errno::Busy.code() {
                return Ok((answer, written));
            }
            ensure!(Instant::now() < deadline, "{order} is busy for ever");
        }
    }

    /// The end of another call of `/ask`.
    fn call(&self, request: &str) -> Result<(i32, Vec<u8>)> {
        let (ticket, _) = self.ask(&format!("c{request}"))?;
        ensure!(ticket >= 0, "call_service answered {ticket}");
        self.ask_until_answered(&format!("r{}", char::from(b'0' + u8::try_from(ticket)?)))
    }

    /// The next thing that it says and that begins so.
    fn hear(&self, beginning: &str) -> Result<String> {
        let beginning = hex(beginning);
        let line = self.said.next(|line| line.starts_with(&beginning))?;
        Ok(String::from_utf8(bytes(&line)?)?)
    }

    fn warns(&self, text: &str) -> Result<()> {
        let line = hex(&format!("robot: {text}"));
        self.warnings.next(|said| said.starts_with(&line)).map(drop).with_context(|| text.to_owned())
    }
}

#[test]
fn a_module_on_a_board_is_a_node_of_ros() -> Result<()> {
    let Some(python) = python() else { return Ok(()) };
    let domain = Domain::free();
    let mut fleet = Fleet::of(features::ROS.devices)?;
    let ros = start_gateway(&mut fleet, &domain)?;
    fleet.cli(&["module", "grant", "probe", "sensors", "ros.publish:/temperature"])?;
    fleet.cli(&["module", "push", &module("probe")?.to_string_lossy(), "--version", "1.0.0"])?;
    for (device, _) in features::ROS.devices {
        fleet.cli(&["deploy", "probe", "--to", device, "--set", "topic=/temperature", "--wait"])?;
        fleet.wait_running(device, "probe", Limit::seconds(30))?;
        let mut robot = Robot::deploy(&mut fleet, device)?;
        among_nodes(&mut robot, &python, &domain, &ros).with_context(|| (*device).to_owned())?;
        fleet.cli(&["undeploy", "robot", "--to", device])?;
        fleet.cli(&["undeploy", "probe", "--to", device])?;
    }
    Ok(())
}

/// A node on a board says and hears something, whichever broker is between it and the gateway.
pub(crate) fn a_node_says_and_hears(fleet: &mut Fleet, device: &str) -> Result<()> {
    let Some(python) = python() else { return Ok(()) };
    let domain = Domain::free();
    start_gateway(fleet, &domain)?;
    let robot = Robot::deploy(fleet, device)?;
    let mut peer = Peer::start(&python, "node.py", &domain);
    says(&robot, &mut peer)?;
    hears(&robot, &mut peer)
}

/// Returns its configuration. The module is pushed, too.
fn start_gateway(fleet: &mut Fleet, domain: &Domain) -> Result<String> {
    let ros = format!("[ros]\ndomain = {}\nnamespace = '/plant'\n{ROS}", domain.number());
    fleet.start_gateway(&ros)?;
    let file = fleet.dir().join("robot.wasm");
    fs::write(&file, wat::parse_str(ROBOT)?)?;
    let grants = ["messages", "ros.publish:/out", "ros.subscribe:/in", "ros.call:/ask", "ros.serve:/set"];
    fleet.cli(&[&["module", "grant", "robot"], &grants[..]].concat())?;
    fleet.cli(&["module", "push", &file.to_string_lossy(), "--version", "1.0.0"])?;
    Ok(ros)
}

/// Text that is not ASCII, from the board.
fn says(robot: &Robot<'_>, peer: &mut Peer) -> Result<()> {
    peer.order(&json!({"do": "subscribe", "topic": "/out", "type": "std_msgs/msg/String"}));
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert_eq!(robot.ask("p{\"data\":\"grüß dich, 世界\"}")?.0, 0);
        if let Ok(said) = peer.recv_timeout(Duration::from_millis(200)) {
            assert_eq!(said, json!({"heard": "/out", "message": {"data": "grüß dich, 世界"}}));
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "nobody heard it");
    }
}

/// The same to the board.
fn hears(robot: &Robot<'_>, peer: &mut Peer) -> Result<()> {
    peer.order(&json!({"do": "publisher", "topic": "/in", "type": "std_msgs/msg/String"}));
    peer.order(
        &json!({"do": "publish", "topic": "/in", "message": {"data": "zurück"}, "count": 60, "period": 0.05}),
    );
    assert_eq!(robot.hear("{")?, "{\"data\":\"zurück\"}");
    Ok(())
}

fn among_nodes(robot: &mut Robot<'_>, python: &Path, domain: &Domain, ros: &str) -> Result<()> {
    let mut peer = Peer::start(python, "node.py", domain);
    says(robot, &mut peer)?;
    // A sensor.
    peer.order(&json!({"do": "subscribe", "topic": "/temperature", "type": "std_msgs/msg/Float64"}));
    loop {
        let heard = peer.wait_for("heard");
        if heard["heard"] == "/temperature" {
            let degrees = heard["message"]["data"].as_f64().context("a number")?;
            assert!((20.0..=24.0).contains(&degrees), "{degrees}");
            break;
        }
    }
    hears(robot, &mut peer)?;

    // The fleet sees what it is.
    let (fleet, device) = (&*robot.fleet, robot.device);
    fleet.wait("the module as a node", Limit::seconds(30), || {
        let ros = fleet.device(device)?["ros"].clone();
        let nodes = ros["nodes"].as_array().cloned().unwrap_or_default();
        let is_robot = |node: &Value| {
            let has = |list: &str, name: &str, ty: &str| {
                node[list].as_array().is_some_and(|list| list.contains(&json!({ "name": name, "type": ty })))
            };
            node["name"].as_str().is_some_and(|name| name.starts_with("/plant/") && name.ends_with("/robot"))
                && has("publishers", "/out", "std_msgs/msg/String")
                && has("subscribers", "/in", "std_msgs/msg/String")
                && has("services", "/set", "std_srvs/srv/SetBool")
        };
        Ok(ros["gateway"] == "ros" && nodes.iter().any(is_robot))
    })?;

    // Whose fault it is, and what is too much.
    assert_eq!(robot.ask("p{\"data\":1}")?.0, 0, "the gateway knows better, later");
    robot.warns("/out: data: expected a string, found 1")?;

    // A service that nobody offers, one that is there, one that is killed.
    assert_eq!(robot.call("{\"data\":true}")?.0, Errno::TimedOut.code());
    peer.order(&json!({"do": "serve", "service": "/ask", "type": "std_srvs/srv/SetBool",
        "response": {"success": true, "message": "jawohl, größer"}}));
    let deadline = Instant::now() + PATIENCE;
    let (len, response) = loop {
        let (answer, response) = robot.call("{\"data\":true}")?;
        if answer > 0 {
            break (answer, response);
        }
        assert_eq!(answer, Errno::TimedOut.code());
        ensure!(Instant::now() < deadline, "the service was never found");
    };
    let expected = "{\"success\":true,\"message\":\"jawohl, größer\"}".as_bytes();
    assert_eq!((usize::try_from(len)?, &response[..expected.len()]), (expected.len(), expected));

    // One that the board offers.
    peer.order(
        &json!({"do": "call", "service": "/set", "type": "std_srvs/srv/SetBool", "request": {"data": true}}),
    );
    assert_eq!(robot.hear("q")?, "q{\"data\":true}");
    assert_eq!(robot.ask("s{\"message\":\"gemacht\"}")?.0, 0);
    assert_eq!(peer.wait_for("response")["response"]["message"], "gemacht");

    // Who is there, from both sides.
    peer.wait_for_node(&format!("/plant/{}/robot", robot.device.replace('-', "_")), |seen| {
        seen["service"] == json!([["/set", "std_srvs/srv/SetBool"]])
            && seen["subscriber"] == json!([["/in", "std_msgs/msg/String"]])
    });
    let (len, topic) = robot.ask_until_answered("t")?;
    assert!(len > 16 && topic[16] == b'/', "{len}: {topic:?}");
    let deadline = Instant::now() + PATIENCE;
    while robot.ask_until_answered("n")?.0 < 8 {
        ensure!(Instant::now() < deadline, "the peer's node is not seen");
    }

    drop(peer);
    let mut peer = Peer::start(python, "node.py", domain);
    peer.order(&json!({"do": "serve", "service": "/ask", "type": "std_srvs/srv/SetBool", "delay": 60,
        "response": {}}));
    let deadline = Instant::now() + PATIENCE;
    let ticket = loop {
        let (ticket, _) = robot.ask("c{\"data\":false}")?;
        if peer.recv_timeout(Duration::from_secs(4)).is_ok() {
            break ticket;
        }
        ensure!(Instant::now() < deadline, "the service was never found");
    };
    drop(peer);
    let order = format!("r{}", char::from(b'0' + u8::try_from(ticket)?));
    assert_eq!(
        robot.ask_until_answered(&order)?.0,
        Errno::TimedOut.code(),
        "killed in the middle of the call"
    );

    // Quality of service that does not fit.
    let mut peer = Peer::start(python, "node.py", domain);
    peer.order(
        &json!({"do": "publisher", "topic": "/in", "type": "std_msgs/msg/String", "best_effort": true}),
    );
    robot.warns("/in: a publisher offers less than is asked for of reliability")?;

    // The gateway is killed: calls end, and what is wanted is known to the next one.
    robot.fleet.kill_gateway()?;
    assert_eq!(robot.call("{\"data\":true}")?.0, Errno::TimedOut.code());
    robot.fleet.start_gateway(ros)?;
    peer.order(&json!({"do": "publisher", "topic": "/in", "type": "std_msgs/msg/String"}));
    peer.order(
        &json!({"do": "publish", "topic": "/in", "message": {"data": "wieder"}, "count": 400, "period": 0.1}),
    );
    assert_eq!(robot.hear("{\"data\":\"wieder")?, "{\"data\":\"wieder\"}");
    Ok(())
}
