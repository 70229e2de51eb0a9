//! A device among nodes of rclpy over Fast DDS, and participants of Cyclone DDS.
//!
//! `cargo xtask test` installs both from PyPI and names their interpreter in `WASMBED_PYTHON`; without it there is nothing
//! to test with. Everything stays on the loopback interface, and each test has a domain of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    env,
    process::Command,
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use wasmbed_abi::{Errno, NodeInfo, RosName, TopicInfo};
use wasmbed_peers::{Domain, PATIENCE, Peer, python};
use wasmbed_ros::{Allowed, Config, Event, Loss, Ros, Station};

fn name(text: &str) -> RosName<'_> {
    RosName::parse(text.as_bytes()).expect(text)
}

/// A device with one module.
struct World {
    domain: Domain,
    ros: Ros,
    station: Station,
    woken: Receiver<()>,
}

impl World {
    fn start(configuration: &str) -> Self {
        Self::in_domain(Domain::free(), "pump-7", configuration)
    }

    fn in_domain(domain: Domain, device: &str, configuration: &str) -> Self {
        let config: Config =
            toml::from_str(&format!("domain = {}\n{configuration}", domain.number())).unwrap();
        let ros = Ros::start(config.validate(device).unwrap()).unwrap();
        let (station, woken) = station(&ros, "talker");
        World { domain, ros, station, woken }
    }

    /// The next thing that happens to the module, other than notices.
    fn event(&self) -> Event {
        loop {
            match self.anything() {
                Event::Notice(text) => println!("notice: {text}"),
                event => return event,
            }
        }
    }

    fn notice(&self) -> String {
        loop {
            if let Event::Notice(text) = self.anything() {
                return text;
            }
        }
    }

    fn anything(&self) -> Event {
        loop {
            if let Some((event, _)) = self.station.next() {
                return event;
            }
            self.woken.recv_timeout(PATIENCE).expect("something happens");
        }
    }

    fn message(&self) -> Vec<u8> {
        match self.event() {
            Event::Message { bytes, .. } => bytes,
            other => panic!("{other:?}"),
        }
    }

    /// Publishes again and again until the peer hears anything: a subscriber may join late.
    fn publish_until_heard(&mut self, peer: &Peer, topic: &str, message: &[u8]) -> Value {
        // What is long must not be pushed out by what is published next, however slow the peer is.
        let pause = Duration::from_millis(200 + message.len() as u64 / 200);
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.station.publish(name(topic), message).unwrap();
            if let Ok(said) = peer.recv_timeout(pause) {
                return said;
            }
            assert!(Instant::now() < deadline, "nobody heard {topic}");
        }
    }

    fn wait_for_topic(&mut self, topic: &str, holds: impl Fn(&TopicInfo) -> bool) -> (TopicInfo, String) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.topics().into_iter().find(|(_, found, _)| found == topic);
            if let Some((info, _, ty)) = found.clone().filter(|(info, ..)| holds(info)) {
                return (info, ty);
            }
            assert!(Instant::now() < deadline, "{topic}: {found:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn topics(&mut self) -> Vec<(TopicInfo, String, String)> {
        let mut all = Vec::new();
        let mut out = [0; 512];
        while let Ok(len) = self.station.topic(u32::try_from(all.len()).unwrap(), &mut out) {
            let info = TopicInfo::decode(out.first_chunk().unwrap());
            let text = |range: std::ops::Range<usize>| String::from_utf8(out[range].to_vec()).unwrap();
            let end = 16 + usize::from(info.name_len);
            all.push((info, text(16..end), text(end..len)));
        }
        all
    }

    /// What a node has, by role: publishers, subscribers, services, clients.
    fn node(&self, node: &str) -> Result<[Vec<(String, String)>; 4], Errno> {
        let mut out = vec![0; 8192];
        let len = self.station.node(name(node), &mut out)?;
        let info = NodeInfo::decode(out.first_chunk().unwrap());
        let mut rest = &out[8..len];
        let mut take = |count: u16| -> Vec<(String, String)> {
            let mut entries = Vec::new();
            for _ in 0..count {
                let (name_len, type_len) = (usize::from(rest[0]), usize::from(rest[1]));
                let (name, ty) = (&rest[2..2 + name_len], &rest[2 + name_len..2 + name_len + type_len]);
                entries.push((
                    String::from_utf8(name.to_vec()).unwrap(),
                    String::from_utf8(ty.to_vec()).unwrap(),
                ));
                rest = &rest[2 + name_len + type_len..];
            }
            entries
        };
        Ok([info.publishers, info.subscribers, info.services, info.clients].map(&mut take))
    }

    /// What became of a call in the end.
    fn response(&self, ticket: u32) -> Result<Vec<u8>, Errno> {
        let deadline = Instant::now() + PATIENCE;
        let mut out = vec![0; 4096];
        loop {
            match self.station.response(ticket, &mut out) {
                Ok(len) => return Ok(out[..len].to_vec()),
                Err(Errno::Busy) => assert!(Instant::now() < deadline, "every call has an end"),
                Err(errno) => return Err(errno),
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn lost(&self, how: Loss) -> u64 {
        self.ros.losses().iter().filter(|lost| lost.how == how).map(|lost| lost.count).sum()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.ros.stop();
    }
}

fn station(ros: &Ros, module: &str) -> (Station, Receiver<()>) {
    let (wake, woken) = channel();
    let all = || "/*".to_owned();
    let allowed = Allowed { publish: all(), subscribe: all(), call: all(), serve: all() };
    let station = ros.station(module, allowed, move || {
        // Fails only when the test is over.
        let _ = wake.send(());
    });
    (station, woken)
}

const STRINGS: &str = "[[topic]]\nname = '/in'\ntype = 'std_msgs/msg/String'\nencoding = 'json'\ndepth = 50\n\
    [[topic]]\nname = '/out'\ntype = 'std_msgs/msg/String'\nencoding = 'json'\ndepth = 50\n";

#[test]
fn messages_pass_both_ways_as_json_and_as_bytes() {
    let Some(python) = python() else { return };
    let mut world =
        World::start(&format!("{STRINGS}[[topic]]\nname = '/raw'\ntype = 'std_msgs/msg/Int64'\n"));
    let mut peer = Peer::start(&python, "node.py", &world.domain);
    peer.order(&json!({"do": "subscribe", "topic": "/out", "type": "std_msgs/msg/String"}));
    let said = world.publish_until_heard(&peer, "/out", "{\"data\":\"grüß dich, 世界\"}".as_bytes());
    assert_eq!(said, json!({"heard": "/out", "message": {"data": "grüß dich, 世界"}}));

    peer.order(&json!({"do": "publisher", "topic": "/in", "type": "std_msgs/msg/String", "latched": true}));
    world.station.subscribe(name("/in")).unwrap();
    world.wait_for_topic("/in", |info| info.subscribers == 1 && info.publishers == 1);
    peer.order(&json!({"do": "publish", "topic": "/in", "message": {"data": "später"}, "count": 100, "period": 0.05}));
    assert_eq!(world.message(), "{\"data\":\"später\"}".as_bytes());

    world.station.subscribe(name("/raw")).unwrap();
    peer.order(&json!({"do": "publisher", "topic": "/raw", "type": "std_msgs/msg/Int64", "latched": true}));
    peer.order(
        &json!({"do": "publish", "topic": "/raw", "message": {"data": -2}, "count": 100, "period": 0.05}),
    );
    world.station.unsubscribe(name("/in"));
    let (mut message, deadline) = (world.message(), Instant::now() + PATIENCE);
    while message.len() != 12 {
        assert!(Instant::now() < deadline);
        message = world.message();
    }
    assert_eq!(message, b"\0\x01\0\0\xfe\xff\xff\xff\xff\xff\xff\xff");
}

#[test]
fn who_is_there_is_seen_from_both_sides() {
    let Some(python) = python() else { return };
    let services = "[[service]]\nname = '/set'\ntype = 'std_srvs/srv/SetBool'\n\
        [[service]]\nname = '/ask'\ntype = 'std_srvs/srv/Trigger'\n";
    let mut world = World::start(&format!("{STRINGS}{services}"));
    let mut peer = Peer::start(&python, "node.py", &world.domain);
    peer.order(
        &json!({"do": "publisher", "topic": "/in", "type": "std_msgs/msg/String", "best_effort": true}),
    );
    peer.order(&json!({"do": "subscribe", "topic": "/out", "type": "std_msgs/msg/String"}));
    peer.order(&json!({"do": "serve", "service": "/ask", "type": "std_srvs/srv/Trigger", "response": {}}));
    let (info, ty) = world.wait_for_topic("/in", |info| info.publishers == 1);
    assert_eq!(
        (ty.as_str(), info.reliability, info.durability, info.liveliness),
        ("std_msgs/msg/String", 2, 2, 1)
    );
    world.wait_for_topic("/out", |info| info.subscribers == 1);
    let deadline = Instant::now() + PATIENCE;
    let string = |name: &str| (name.to_owned(), "std_msgs/msg/String".to_owned());
    let ask = ("/ask".to_owned(), "std_srvs/srv/Trigger".to_owned());
    loop {
        let node = world.node("/peer");
        let is_complete = node.as_ref().is_ok_and(|[publishers, subscribers, services, _]| {
            publishers.contains(&string("/in"))
                && subscribers.contains(&string("/out"))
                && services.contains(&ask)
        });
        if is_complete {
            break;
        }
        assert!(Instant::now() < deadline, "{node:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(world.node("/nobody").err(), Some(Errno::NotFound));

    world.station.publish(name("/out"), b"{}").unwrap();
    world.station.subscribe(name("/in")).unwrap();
    world.station.client(name("/ask")).unwrap();
    world.station.offer(name("/set")).unwrap();
    let has = |seen: &Value, role: &str, entry: [&str; 2]| {
        seen[role].as_array().is_some_and(|entries| entries.contains(&json!(entry)))
    };
    peer.wait_for_node("/pump_7/talker", |seen| {
        has(seen, "publisher", ["/out", "std_msgs/msg/String"])
            && has(seen, "subscriber", ["/in", "std_msgs/msg/String"])
            && has(seen, "service", ["/set", "std_srvs/srv/SetBool"])
            && has(seen, "client", ["/ask", "std_srvs/srv/Trigger"])
    });
    let own = world.node("/pump_7/talker").expect("its own node");
    assert!(own[0].contains(&string("/out")), "{own:?}");

    // A module that ends takes everything with it.
    (world.station, world.woken) = station(&world.ros, "other");
    peer.wait_for_node("/pump_7/talker", |seen| seen["there"] == false);
    peer.wait_for_node("/pump_7/wasmbed", |seen| seen["there"] == true);
    world.wait_for_topic("/out", |info| info.publishers == 0);
    drop(peer);
}

#[test]
fn a_megabyte_passes_both_ways() {
    let Some(python) = python() else { return };
    let mut world = World::start(&STRINGS.replace("'json'", "'cdr'"));
    let mut peer = Peer::start(&python, "node.py", &world.domain);
    peer.order(
        &json!({"do": "subscribe", "topic": "/out", "type": "std_msgs/msg/String", "shape": "lengths"}),
    );
    world.wait_for_topic("/out", |info| info.subscribers == 1);
    let text = vec![b'a'; 1_000_000];
    let message = [&b"\0\x01\0\0"[..], &1_000_001_u32.to_le_bytes(), &text, b"\0"].concat();
    assert_eq!(
        world.publish_until_heard(&peer, "/out", &message),
        json!({"heard": "/out", "message": {"data": 1_000_000}})
    );

    world.station.subscribe(name("/in")).unwrap();
    peer.order(&json!({"do": "publisher", "topic": "/in", "type": "std_msgs/msg/String"}));
    let many = json!({"do": "publish", "topic": "/in", "message": {"data": "a"}, "repeat": 1_000_000, "count": 20, "period": 0.5});
    peer.order(&many);
    assert!(world.message() == message, "it is the same megabyte");
}

#[test]
fn a_hundred_messages_a_second_arrive_whole_and_in_order() {
    let Some(python) = python() else { return };
    // As deep as there are messages: on a busy machine any side may stand still for longer than fifty of them.
    const COUNT: usize = 500;
    let mut world = World::start(&STRINGS.replace("depth = 50", "depth = 600"));
    let mut peer = Peer::start(&python, "node.py", &world.domain);
    peer.order(&json!({"do": "subscribe", "topic": "/out", "type": "std_msgs/msg/String", "depth": 600}));
    peer.order(&json!({"do": "publisher", "topic": "/in", "type": "std_msgs/msg/String", "depth": 600}));
    world.station.subscribe(name("/in")).unwrap();
    world.publish_until_heard(&peer, "/out", b"{\"data\":\"-\"}");
    peer.order(
        &json!({"do": "publish", "topic": "/in", "message": {"data": "-"}, "count": 60, "period": 0.05}),
    );
    world.message();
    peer.order(&json!({"do": "publish", "topic": "/in", "message": {"data": "{nth}"}, "count": COUNT, "period": 0.01}));
    // Says again what it hears.
    for nth in 0..COUNT {
        let mut message = world.message();
        while message == b"{\"data\":\"-\"}" {
            message = world.message();
        }
        assert_eq!(message, format!("{{\"data\":\"{nth}\"}}").as_bytes());
        world.station.publish(name("/out"), &message).unwrap();
    }
    for nth in 0..COUNT {
        let mut said = peer.wait_for("heard");
        while said["message"]["data"] == "-" {
            said = peer.wait_for("heard");
        }
        assert_eq!(said["message"]["data"], nth.to_string());
    }
    assert_eq!(world.ros.losses(), []);
}

#[test]
fn a_peer_that_was_killed_is_heard_again_when_it_is_back() {
    let Some(python) = python() else { return };
    let mut world = World::start(STRINGS);
    world.station.subscribe(name("/in")).unwrap();
    for turn in 0..2 {
        let mut peer = Peer::start(&python, "node.py", &world.domain);
        peer.order(&json!({"do": "subscribe", "topic": "/out", "type": "std_msgs/msg/String"}));
        peer.order(&json!({"do": "publisher", "topic": "/in", "type": "std_msgs/msg/String"}));
        let said = world.publish_until_heard(&peer, "/out", format!("{{\"data\":\"{turn}\"}}").as_bytes());
        assert_eq!(said["message"]["data"], turn.to_string());
        let many = json!({"do": "publish", "topic": "/in", "message": {"data": format!("{turn}")}, "count": 600, "period": 0.05});
        peer.order(&many);
        let deadline = Instant::now() + PATIENCE;
        while world.message() != format!("{{\"data\":\"{turn}\"}}").as_bytes() {
            assert!(Instant::now() < deadline);
        }
    }
}

const SERVICES: &str = "[[service]]\nname = '/set'\ntype = 'std_srvs/srv/SetBool'\nencoding = 'json'\ntimeout_ms = 30000\n\
    [[service]]\nname = '/quick'\ntype = 'std_srvs/srv/SetBool'\nencoding = 'json'\ntimeout_ms = 1000\n";

#[test]
fn services_of_a_peer_are_called_and_every_call_ends() {
    let Some(python) = python() else { return };
    let mut world = World::start(SERVICES);
    let (set, quick) =
        (world.station.client(name("/set")).unwrap(), world.station.client(name("/quick")).unwrap());
    let start = Instant::now();
    let absent = world.station.call(quick, b"{\"data\":true}").unwrap();
    assert_eq!(world.response(absent), Err(Errno::TimedOut), "nobody serves it");
    assert!(start.elapsed() >= Duration::from_secs(1) && start.elapsed() < Duration::from_secs(10));

    let mut peer = Peer::start(&python, "node.py", &world.domain);
    let early = world.station.call(set, b"{\"data\":true}").unwrap();
    let response = json!({"success": true, "message": "schön"});
    peer.order(
        &json!({"do": "serve", "service": "/set", "type": "std_srvs/srv/SetBool", "response": response}),
    );
    assert_eq!(world.response(early), Ok("{\"success\":true,\"message\":\"schön\"}".as_bytes().to_vec()));
    assert_eq!(peer.wait_for("asked")["request"], json!({"data": true}));
    for data in [false, true] {
        let ticket = world.station.call(set, json!({"data": data}).to_string().as_bytes()).unwrap();
        assert!(world.response(ticket).is_ok());
        assert_eq!(peer.wait_for("asked")["request"], json!({"data": data}), "each request is sent once");
    }
    let refused = world.station.call(set, b"{\"date\":true}").expect_err("it is no request");
    assert_eq!(
        (refused.errno, refused.to_string().as_str()),
        (Errno::Invalid, "date: there is no such field")
    );

    // Killed in the middle of a call.
    peer.order(&json!({"do": "serve", "service": "/quick", "type": "std_srvs/srv/SetBool", "response": {}, "delay": 60}));
    let begun = loop {
        let ticket = world.station.call(quick, b"{\"data\":true}").unwrap();
        if peer.recv_timeout(Duration::from_secs(1)).is_ok() {
            break ticket;
        }
    };
    drop(peer);
    assert_eq!(world.response(begun), Err(Errno::TimedOut));
    let gone = world.station.call(quick, b"{\"data\":true}").unwrap();
    assert_eq!(world.response(gone), Err(Errno::TimedOut));
}

#[test]
fn a_module_answers_a_service_now_or_later() {
    let Some(python) = python() else { return };
    let mut world = World::start(SERVICES);
    let number = world.station.offer(name("/set")).unwrap();
    assert_eq!(world.station.offer(name("/set")).unwrap(), number);
    let mut peer = Peer::start(&python, "node.py", &world.domain);
    let mut later = Vec::new();
    for data in [true, false] {
        peer.order(&json!({"do": "call", "service": "/set", "type": "std_srvs/srv/SetBool", "request": {"data": data}}));
        let Event::Request { service, ticket, bytes } = world.event() else { panic!("no request") };
        assert_eq!((service, bytes), (number, json!({"data": data}).to_string().into_bytes()));
        later.push((ticket, data));
    }
    let (first, _) = later[0];
    let refused = world.station.respond(first, b"{\"message\":1}").expect_err("it is no response");
    assert_eq!(
        (refused.errno, refused.to_string().as_str()),
        (Errno::Invalid, "message: expected a string, found 1")
    );
    for (ticket, data) in later.into_iter().rev() {
        let response = json!({"success": data, "message": "erledigt ✓"});
        world.station.respond(ticket, response.to_string().as_bytes()).unwrap();
        assert_eq!(peer.wait_for("response")["response"], response);
        let again = world.station.respond(ticket, b"{}").expect_err("it was answered");
        assert_eq!(again.errno, Errno::NotFound);
    }
}

#[test]
fn quality_of_service_that_does_not_fit_is_told() {
    let Some(python) = python() else { return };
    let mut world =
        World::start(&STRINGS.replace("name = '/out'", "reliability = 'best-effort'\nname = '/out'"));
    let mut peer = Peer::start(&python, "node.py", &world.domain);
    peer.order(&json!({"do": "subscribe", "topic": "/out", "type": "std_msgs/msg/String"}));
    peer.order(
        &json!({"do": "publisher", "topic": "/in", "type": "std_msgs/msg/String", "best_effort": true}),
    );
    world.station.publish(name("/out"), b"{}").unwrap();
    let notice = world.notice();
    assert!(
        notice.starts_with("/out: a subscriber asks for more than is offered of reliability"),
        "{notice}"
    );
    world.station.subscribe(name("/in")).unwrap();
    let notice = world.notice();
    assert!(notice.starts_with("/in: a publisher offers less than is asked for of reliability"), "{notice}");
}

#[test]
fn participants_of_cyclone_dds_are_heard_and_hear_and_what_they_garble_is_told() {
    let Some(python) = python() else { return };
    let mut world = World::start(STRINGS);
    world.station.subscribe(name("/in")).unwrap();
    let mut peer = Peer::start(&python, "cyclone.py", &world.domain);
    peer.order(&json!({"do": "subscribe", "topic": "/out"}));
    let said = world.publish_until_heard(&peer, "/out", "{\"data\":\"naïve\"}".as_bytes());
    assert_eq!(said, json!({"heard": "/out", "data": "naïve"}));
    peer.order(&json!({"do": "publish", "topic": "/in", "data": "façade", "count": 100, "period": 0.05}));
    assert_eq!(world.message(), "{\"data\":\"façade\"}".as_bytes());
    drop(peer);

    // The same name and type, but another content.
    let mut peer = Peer::start(&python, "cyclone.py", &world.domain);
    peer.order(&json!({"do": "garble", "topic": "/in", "count": 200, "period": 0.05}));
    let notice = world.notice();
    assert!(notice.starts_with("/in: messages are lost: data: it ends too early"), "{notice}");
    assert!(world.lost(Loss::Malformed) > 0);
}

#[test]
fn services_pass_both_ways_as_cyclone_dds_has_them() {
    let Some(python) = python() else { return };
    let mut world = World::start(&format!("mapping = 'cyclone'\n{SERVICES}"));
    let mut peer = Peer::start(&python, "cyclone.py", &world.domain);
    peer.order(&json!({"do": "serve", "service": "/set"}));
    let client = world.station.client(name("/set")).unwrap();
    let ticket = world.station.call(client, b"{\"data\":true}").unwrap();
    assert_eq!(world.response(ticket), Ok(b"{\"success\":true,\"message\":\"set\"}".to_vec()));
    world.station.offer(name("/quick")).unwrap();
    peer.order(&json!({"do": "call", "service": "/quick", "data": true}));
    let Event::Request { ticket, bytes, .. } = world.event() else { panic!("no request") };
    assert_eq!(bytes, b"{\"data\":true}");
    world.station.respond(ticket, b"{\"success\":true,\"message\":\"quick\"}").unwrap();
    assert_eq!(peer.wait_for("response"), json!({"response": "quick", "success": true}));
}

#[test]
fn modules_of_one_device_reach_each_other() {
    let mut world = World::start(STRINGS);
    let (mut other, _) = station(&world.ros, "listener");
    world.station.subscribe(name("/in")).unwrap();
    for text in ["one", "two"] {
        let message = format!("{{\"data\":\"{text}\"}}").into_bytes();
        other.publish(name("/in"), &message).unwrap();
        assert_eq!(world.event(), Event::Message { topic: "/in".to_owned(), bytes: message }, "once");
    }
    world.wait_for_topic("/in", |info| info.publishers == 1 && info.subscribers == 1);
    let listener = world.node("/pump_7/listener").expect("its node");
    assert_eq!(listener[0], [("/in".to_owned(), "std_msgs/msg/String".to_owned())]);
}

#[test]
fn what_is_not_granted_or_not_configured_is_refused() {
    let world = World::start(&format!(
        "{STRINGS}[[topic]]\nname = '/hear'\ntype = 'std_msgs/msg/Empty'\ndirection = 'subscribe'\n"
    ));
    let only = |patterns: &str| Allowed { publish: patterns.to_owned(), ..Allowed::default() };
    let mut station = world.ros.station("m", only("/in /nobody /hear"), || {});
    let errno = |refused: wasmbed_ros::Refused| refused.errno;
    assert_eq!(station.publish(name("/out"), b"{}").map_err(errno), Err(Errno::Denied));
    assert_eq!(station.publish(name("/nobody"), b"{}").map_err(errno), Err(Errno::NotFound));
    assert_eq!(station.publish(name("/hear"), b"\0\x01\0\0\0").map_err(errno), Err(Errno::Denied));
    assert_eq!(station.subscribe(name("/in")).map_err(errno), Err(Errno::Denied));
    assert_eq!(station.client(name("/set")).map_err(errno), Err(Errno::Denied));
    assert_eq!(station.offer(name("/set")).map_err(errno), Err(Errno::Denied));
    assert_eq!(station.publish(name("/in"), b"{}").map_err(errno), Ok(()));
    assert_eq!(station.publish(name("/in"), b"[]").map_err(errno), Err(Errno::Invalid));
    assert_eq!(station.call(0, b"{}").map_err(errno), Err(Errno::NotFound));
    assert_eq!(station.respond(0, b"{}").map_err(errno), Err(Errno::NotFound));
    assert_eq!(station.response(0, &mut []), Err(Errno::NotFound));
    drop(station);
}

/// A network of its own: the loopback interface, and one that leads out.
const NETWORK: &str = "set -e; echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; ip link set lo up
    ip link add out type veth peer name beyond; ip link set out up; ip link set beyond up
    ip address add 10.7.0.1/24 dev out; ip route add default dev out";

const INSIDE: &str = "WASMBED_TEST_INSIDE";

#[test]
fn no_packet_leaves_the_networks_that_are_configured() {
    let unshare = |command: &str| {
        let mut unshare = Command::new("unshare");
        unshare.args(["--net", "--map-root-user", "sh", "-c", &format!("{NETWORK}\n{command}")]);
        unshare
    };
    if !unshare("true").status().is_ok_and(|status| status.success()) {
        return println!(
            "skipped: this machine gives no network of its own (`unshare --net`, `ip link add type veth`)"
        );
    }
    let own = env::current_exe().unwrap();
    let inside = "exec \"$0\" --exact in_a_network_of_its_own --ignored";
    let output = unshare(inside).arg(own).env(INSIDE, "").output().expect("unshare starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// Not a test of its own.
#[test]
#[ignore = "run by another test"]
fn in_a_network_of_its_own() {
    if env::var_os(INSIDE).is_none() {
        return;
    }
    let packets_out = || {
        let table = std::fs::read_to_string("/proc/net/dev").unwrap();
        let line = table.lines().find_map(|line| line.trim().strip_prefix("out:")).expect("the interface");
        line.split_whitespace().nth(9).unwrap().parse::<u64>().unwrap()
    };
    let before = packets_out();
    let mut talker = World::start(STRINGS);
    let mut listener = World::in_domain(talker.domain.clone(), "pump-8", STRINGS);
    listener.station.subscribe(name("/in")).unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        talker.station.publish(name("/in"), b"{}").unwrap();
        if listener.woken.recv_timeout(Duration::from_millis(200)).is_ok() {
            break;
        }
        assert!(Instant::now() < deadline, "nothing arrives");
    }
    drop((talker, listener));
    assert_eq!(packets_out(), before, "something left by another interface");

    // Nor is it that packets are not seen.
    let _outside = World::start(&format!("networks = ['10.7.0.1']\n{STRINGS}"));
    let deadline = Instant::now() + PATIENCE;
    while packets_out() == before {
        assert!(Instant::now() < deadline, "nothing leaves by the interface that is configured");
        std::thread::sleep(Duration::from_millis(20));
    }
}
