//! The gateway on a real broker in this process, with boards that have nothing but their end of the way, and real nodes
//! of ROS 2.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may stop where its world is wrong"
)]

#[path = "gateway/world.rs"]
mod world;

use serde_json::json;
use wasmbed_abi::{Errno, RosName};
use wasmbed_gateway::Event;
use wasmbed_peers::{PATIENCE, Peer, python};
use wasmbed_wire::topic::RosUp;
use world::World;

const TOPICS: &str = "[[ros.topic]]\nname = '/in'\ntype = 'std_msgs/msg/String'\nencoding = 'json'\n\
    [[ros.topic]]\nname = '/out'\ntype = 'std_msgs/msg/String'\nencoding = 'json'\n\
    [[ros.topic]]\nname = '/strict'\ntype = 'std_msgs/msg/String'\nencoding = 'json'\n\
    [[ros.service]]\nname = '/ask'\ntype = 'std_srvs/srv/SetBool'\nencoding = 'json'\ntimeout_ms = 3000\n\
    [[ros.service]]\nname = '/set'\ntype = 'std_srvs/srv/SetBool'\nencoding = 'json'\n";
const EVERYTHING: [&str; 4] = ["/*", "/*", "/*", "/*"];

fn message(text: &str) -> Event {
    Event::Message { topic: "/in".to_owned(), bytes: format!("{{\"data\":\"{text}\"}}").into_bytes() }
}

fn notice(event: &Event, beginning: &str) -> bool {
    matches!(event, Event::Notice(text) if text.starts_with(beginning))
}

#[tokio::test(flavor = "multi_thread")]
async fn boards_hear_each_other_and_nothing_that_is_not_granted() {
    let world = World::start(TOPICS).await;
    world.desire("pump-7", 1, EVERYTHING).await;
    world.desire("pump-8", 1, ["", "/in", "", ""]).await;
    let (mut talker, mut listener) = (world.board("pump-7").await, world.board("pump-8").await);
    listener.subscribe("/in");
    listener.settle().await;
    let mut heard = Vec::new();
    while !heard.contains(&message("hällo")) {
        talker.publish("/in", "{\"data\":\"hällo\"}".as_bytes());
        talker.run_for_a_moment().await;
        listener.run_for_a_moment().await;
        heard.extend(listener.told());
    }
    // What it says, and whose fault it is.
    talker.publish("/in", b"{\"data\":1}");
    talker.wait_for(|event| notice(event, "/in: data: expected a string, found 1")).await;
    listener.publish("/out", b"{\"data\":\"\"}");
    listener.wait_for(|event| notice(event, "/out: /out is not granted")).await;
    listener.subscribe("/nobody");
    listener.wait_for(|event| notice(event, "/nobody: /nobody is not granted")).await;
    talker.subscribe("/nobody");
    talker.wait_for(|event| notice(event, "/nobody: the device's configuration has no type")).await;
    // Its operator takes it back.
    world.desire("pump-8", 2, ["", "", "", ""]).await;
    world.metrics_say("wasmbed_gateway_instances 1").await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_message_is_told_to_its_sender_and_nobody_else() {
    let world = World::start(TOPICS).await;
    world.desire("pump-7", 1, EVERYTHING).await;
    let (mut board, mut other) = (world.board("pump-7").await, world.board("pump-8").await);
    board.subscribe("/in");
    board.settle().await;
    RosUp::ALL.iter().for_each(|kind| board.say(*kind, b"\xff\x00\x17"));
    board.wait_for(|event| notice(event, "3 bytes that are no message of their topic")).await;
    // Another device says that it is this instance: on its own topics it is another one, which is granted nothing.
    other.subscribe("/in");
    other.say(RosUp::Call, b"");
    board.publish_until("/in", b"{\"data\":\"still there\"}", |event| *event == message("still there")).await;
    assert_eq!(other.told(), []);
    world.metrics_say("wasmbed_gateway_malformed_total 7").await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_desired_state_counts_only_with_the_fleets_signature() {
    let world = World::start(TOPICS).await;
    world.desire_unsigned("pump-7", 9, EVERYTHING).await;
    let mut board = world.board("pump-7").await;
    board.subscribe("/in");
    world.metrics_say("wasmbed_gateway_refused_total 1").await;
    world.desire("pump-7", 2, EVERYTHING).await;
    board.settle().await;
    // An older one changes nothing.
    world.desire("pump-7", 1, ["", "", "", ""]).await;
    board.publish_until("/in", b"{\"data\":\"a\"}", |event| *event == message("a")).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_granted_once_is_no_grant_after_a_restart() {
    let mut world = World::start(TOPICS).await;
    world.desire("pump-7", 5, EVERYTHING).await;
    world.board("pump-7").await.settle().await;
    world.desire("pump-7", 6, ["", "", "", ""]).await;
    // Without an end in order.
    world.gateway_keeps("pump-7", 6).await;
    world.stop_gateway().await;
    // The broker goes back to what the fleet has signed before.
    world.desire("pump-7", 5, EVERYTHING).await;
    world.desire("pump-8", 1, EVERYTHING).await;
    world.start_gateway();
    let (mut board, mut other) = (world.board("pump-7").await, world.board("pump-8").await);
    board.subscribe("/in");
    other.subscribe("/in");
    other.settle().await;
    other.publish_until("/in", b"{\"data\":\"a\"}", |event| *event == message("a")).await;
    board.run_for_a_moment().await;
    assert_eq!(board.told(), []);
    world.metrics_say("wasmbed_gateway_instances 1").await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_end_whoever_is_away() {
    let mut world = World::start(TOPICS).await;
    world.desire("pump-7", 1, EVERYTHING).await;
    let mut board = world.board("pump-7").await;
    let ask = board.client("/ask");
    board.settle().await;
    let ticket = board.call(ask, b"{\"data\":true}").unwrap();
    assert_eq!(board.response(ticket).await, Err(Errno::TimedOut), "nobody serves it");
    let ticket = board.call(ask, b"{\"data\":2}").unwrap();
    assert_eq!(board.response(ticket).await, Err(Errno::Invalid));
    world.stop_gateway().await;
    let ticket = board.call(ask, b"{\"data\":true}").unwrap();
    assert_eq!(board.response(ticket).await, Err(Errno::TimedOut), "there is no gateway");
    // It is told anew what the instance wants.
    world.start_gateway();
    board.subscribe("/in");
    board.settle().await;
    board.publish_until("/in", b"{\"data\":\"again\"}", |event| *event == message("again")).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_goes_or_starts_again_leaves_nothing_behind() {
    let world = World::start(TOPICS).await;
    world.desire("pump-7", 1, EVERYTHING).await;
    let mut board = world.board("pump-7").await;
    board.subscribe("/in");
    board.settle().await;
    world.metrics_say("wasmbed_gateway_instances 1").await;
    let mut again = board.restart();
    again.settle().await;
    world.metrics_say("wasmbed_gateway_instances 1").await;
    again.publish("/in", b"{\"data\":\"to nobody\"}");
    again.subscribe("/in");
    again.settle().await;
    world.offline("pump-7").await;
    world.metrics_say("wasmbed_gateway_instances 0").await;
    // It comes back as it does at a connect.
    world.online("pump-7", 2).await;
    again.connected();
    again.settle().await;
    again.publish_until("/in", b"{\"data\":\"b\"}", |event| *event == message("b")).await;
    assert!(!again.told().contains(&message("to nobody")));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_and_services_pass_both_ways_to_a_real_node() {
    let Some(python) = python() else { return };
    let world = World::start(TOPICS).await;
    world.desire("pump-7", 1, EVERYTHING).await;
    let mut board = world.board("pump-7").await;
    board.subscribe("/in");
    let (ask, set) = (board.client("/ask"), board.offer("/set"));
    board.settle().await;
    let mut peer = Peer::start(&python, "node.py", world.domain());

    peer.order(&json!({"do": "subscribe", "topic": "/out", "type": "std_msgs/msg/String"}));
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        board.publish("/out", "{\"data\":\"grüß dich, 世界\"}".as_bytes());
        board.run_for_a_moment().await;
        if let Ok(said) = peer.recv_timeout(std::time::Duration::from_millis(100)) {
            assert_eq!(said, json!({"heard": "/out", "message": {"data": "grüß dich, 世界"}}));
            break;
        }
        assert!(std::time::Instant::now() < deadline, "nobody heard it");
    }
    peer.order(&json!({"do": "publisher", "topic": "/in", "type": "std_msgs/msg/String"}));
    peer.order(
        &json!({"do": "publish", "topic": "/in", "message": {"data": "zurück"}, "count": 60, "period": 0.05}),
    );
    board.wait_for(|event| *event == message("zurück")).await;

    peer.order(&json!({"do": "serve", "service": "/ask", "type": "std_srvs/srv/SetBool",
        "response": {"success": true, "message": "jawohl, größer"}}));
    let response = loop {
        let ticket = board.call(ask, b"{\"data\":true}").unwrap();
        match board.response(ticket).await {
            Ok(response) => break response,
            Err(errno) => assert_eq!(errno, Errno::TimedOut, "every call ends"),
        }
        assert!(std::time::Instant::now() < deadline, "it was never found");
    };
    assert_eq!(response, "{\"success\":true,\"message\":\"jawohl, größer\"}".as_bytes());

    peer.order(
        &json!({"do": "call", "service": "/set", "type": "std_srvs/srv/SetBool", "request": {"data": true}}),
    );
    let request = board.wait_for(|event| matches!(event, Event::Request { .. })).await;
    let Event::Request { service, ticket, bytes } = request else { panic!("it is one") };
    assert_eq!((service, bytes), (set, b"{\"data\":true}".to_vec()));
    board.respond(ticket, b"{\"message\":\"gemacht\"}").unwrap();
    board.run_for_a_moment().await;
    assert_eq!(peer.wait_for("response")["response"]["message"], "gemacht");

    // Who is there, seen from both sides.
    peer.wait_for_node("/pump_7/robot", |seen| {
        seen["subscriber"] == json!([["/in", "std_msgs/msg/String"]])
            && seen["service"] == json!([["/set", "std_srvs/srv/SetBool"]])
    });
    let topics = board.topics().await;
    assert!(topics.iter().any(|topic| topic == "/out"), "{topics:?}");
    assert!(board.node(RosName::parse(b"/peer").unwrap()).await > 8, "a node with what it has");

    // Killed in the middle of a call.
    drop(peer);
    let mut peer = Peer::start(&python, "node.py", world.domain());
    peer.order(&json!({"do": "serve", "service": "/ask", "type": "std_srvs/srv/SetBool", "delay": 60,
        "response": {}}));
    let ended = loop {
        let ticket = board.call(ask, b"{\"data\":false}").unwrap();
        board.run_for_a_moment().await;
        if peer.recv_timeout(std::time::Duration::from_millis(100)).is_ok() {
            drop(peer);
            break board.response(ticket).await;
        }
        assert_eq!(board.response(ticket).await, Err(Errno::TimedOut));
        assert!(std::time::Instant::now() < deadline + PATIENCE, "it was never found");
    };
    assert_eq!(ended, Err(Errno::TimedOut));

    // Quality of service that does not fit.
    let mut peer = Peer::start(&python, "node.py", world.domain());
    peer.order(
        &json!({"do": "publisher", "topic": "/strict", "type": "std_msgs/msg/String", "best_effort": true}),
    );
    board.subscribe("/strict");
    board
        .wait_for(|event| notice(event, "/strict: a publisher offers less than is asked for of reliability"))
        .await;
    // Longer than a board takes.
    peer.order(&json!({"do": "publisher", "topic": "/in", "type": "std_msgs/msg/String"}));
    peer.order(&json!({"do": "publish", "topic": "/in", "message": {"data": "x"}, "repeat": 2000, "count": 60, "period": 0.05}));
    board.wait_for(|event| notice(event, "/in: messages are lost: one has 2014 bytes")).await;
    world.stop().await;
}
