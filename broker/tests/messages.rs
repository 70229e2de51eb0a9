//! Messages from publisher to subscriber: permission, quality of service, retained messages, wills, sessions, and the
//! defects of the router that must not show.

mod common;

use std::time::Duration;

use common::*;
use wasmbed_broker::credentials::Role;

const STATE: &str = "wasmbed/v1/pump-7/up/state";

async fn service(running: &Running) -> Raw {
    running.connect(Role::Service, "fleet").await
}

async fn pump(running: &Running) -> Raw {
    running.connect(device("pump-7"), "pump-7").await
}

#[tokio::test]
async fn a_device_and_the_service_talk() {
    let running = Running::start().await;
    let (mut service, mut pump) = (service(&running).await, pump(&running).await);
    service.subscribe("wasmbed/v1/+/up/#", 1).await;
    pump.subscribe("wasmbed/v1/pump-7/dn/#", 1).await;
    pump.publish_acknowledged(STATE, b"online", false).await;
    let received = service.received().await;
    assert_eq!(
        (received.topic.as_str(), received.payload.as_slice(), received.qos),
        (STATE, &b"online"[..], 1)
    );
    service.publish("wasmbed/v1/pump-7/dn/blk/1", b"block", 0, false, 0).await;
    assert_eq!(pump.received().await.payload, b"block");
}

#[tokio::test]
async fn a_device_reads_and_writes_nothing_of_another() {
    let running = Running::start().await;
    let mut spy = running.connect(device("spy"), "spy").await;
    for filter in [
        "#",
        "wasmbed/#",
        "wasmbed/v1/+/dn/#",
        "wasmbed/v1/pump-7/dn/#",
        "wasmbed/v1/spy/up/#",
        "+/v1/spy/dn/#",
    ] {
        assert_eq!(spy.subscribe_with(filter, 1, &[]).await, 0x80, "{filter}");
    }
    let mut service = service(&running).await;
    service.subscribe("wasmbed/#", 1).await;
    // 3.1.1 has no way to say no: acknowledged and dropped.
    spy.publish_acknowledged(STATE, b"lie", true).await;
    spy.publish(STATE, b"lie", 0, false, 0).await;
    let mut spy5 = running.connect5(device("spy"), "spy").await;
    spy5.publish(STATE, b"lie", 1, false, 3).await;
    assert_eq!(spy5.packet().await, (0x40, vec![0, 3, 0x87]), "not authorized");
    spy5.publish(STATE, b"lie", 2, false, 4).await;
    assert_eq!(spy5.packet().await, (0x50, vec![0, 4, 0x87]), "not authorized");
    assert_eq!(spy5.subscribe_with("wasmbed/v1/pump-7/dn/#", 1, &[]).await, 0x87);
    service.is_quiet().await;
    assert_eq!(running.meter.snapshot().publish_refused, 4);
}

#[tokio::test]
async fn an_operator_reads_all_and_writes_requests_only() {
    let running = Running::start().await;
    let mut operator = running.connect5(Role::Operator, "me").await;
    operator.subscribe("wasmbed/v1/#", 0).await;
    operator.publish("wasmbed/v1/_fleet/cmd/restart", b"{}", 0, false, 0).await;
    assert_eq!(operator.received().await.topic, "wasmbed/v1/_fleet/cmd/restart");
    operator.publish("wasmbed/v1/pump-7/dn/desired", b"{}", 1, false, 9).await;
    assert_eq!(operator.packet().await, (0x40, vec![0, 9, 0x87]));
}

#[tokio::test]
async fn malformed_topics_and_filters_never_reach_the_router() {
    let running = Running::start().await;
    for topic in ["wasmbed/v1/+/x", "wasmbed/#", "", "a\0b"] {
        let mut service = service(&running).await;
        service.publish(topic, b"x", 0, false, 0).await;
        service.ends().await;
    }
    let mut service = running.connect5(Role::Service, "fleet").await;
    for filter in ["wasmbed/a#", "wasmbed/#/a", "wasmbed/a+"] {
        assert_eq!(service.subscribe_with(filter, 0, &[]).await, 0x8F, "{filter}");
    }
    service.subscribe("wasmbed/ü/#", 0).await;
    service.publish("wasmbed/ü/ß", b"x", 0, false, 0).await;
    assert_eq!(service.received().await.topic, "wasmbed/ü/ß");
    // Text that is not UTF-8.
    service.send(&packet(0x30, b"\x00\x02\xff\xff\x00x")).await;
    assert_eq!(service.packet().await.0, 0xE0);
    running.until(|count| count.lost_violation == 5).await;
}

#[tokio::test]
async fn packets_that_only_a_server_sends_end_the_connection() {
    let running = Running::start().await;
    for first in [0x10, 0x20, 0x90, 0xB0, 0xD0, 0xF0, 0x00] {
        let mut client = running.connect5(Role::Service, "fleet").await;
        client.send(&[first, 3, 0, 0, 0]).await;
        assert_eq!(client.packet().await, (0xE0, vec![0x82, 0]), "{first:02x}");
        client.ends().await;
    }
    service(&running).await;
}

#[tokio::test]
async fn a_device_sends_small_packets_and_the_service_large_ones() {
    let running = Running::start().await;
    let mut service = service(&running).await;
    service.subscribe("wasmbed/v1/_fleet/put/#", 0).await;
    let upload = vec![7; 19 << 20];
    let mut operator = running.connect(Role::Operator, "me").await;
    operator.publish("wasmbed/v1/_fleet/put/module/x/1", &upload, 0, false, 0).await;
    assert_eq!(service.received().await.payload, upload);
    let mut pump = pump(&running).await;
    pump.send(&[0x30, 0x81, 0x80, 0x04]).await;
    pump.ends().await;
}

#[tokio::test]
async fn the_lower_quality_of_service_counts() {
    let running = Running::start().await;
    let mut service = service(&running).await;
    let mut publisher = running.connect(Role::Service, "publisher").await;
    for (published, subscribed) in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)] {
        let topic = format!("wasmbed/qos/{published}/{subscribed}");
        service.subscribe(&topic, subscribed).await;
        publisher.publish(&topic, b"x", published, false, 1).await;
        assert_eq!(service.received().await.qos, published.min(subscribed), "{topic}");
        if published == 2 {
            assert_eq!(publisher.packet().await.0, 0x50);
            publisher.send(&[0x62, 2, 0, 1]).await;
        }
        if published > 0 {
            publisher.packet().await;
        }
    }
}

#[tokio::test]
async fn a_repeated_publication_is_delivered_exactly_once() {
    let running = Running::start().await;
    let mut service = service(&running).await;
    service.subscribe("wasmbed/t", 0).await;
    let mut publisher = running.connect(Role::Service, "publisher").await;
    publisher.publish("wasmbed/t", b"one", 2, false, 7).await;
    assert_eq!(publisher.packet().await, (0x50, vec![0, 7]));
    let mut again = text("wasmbed/t");
    again.extend(b"\x00\x07one");
    publisher.send(&packet(0x3C, &again)).await;
    assert_eq!(publisher.packet().await, (0x50, vec![0, 7]));
    for _ in 0..2 {
        publisher.send(&[0x62, 2, 0, 7]).await;
        assert_eq!(publisher.packet().await, (0x70, vec![0, 7]));
    }
    publisher.publish("wasmbed/t", b"two", 2, false, 7).await;
    assert_eq!(publisher.packet().await, (0x50, vec![0, 7]));
    assert_eq!(service.received().await.payload, b"one");
    assert_eq!(service.received().await.payload, b"two");
    service.is_quiet().await;
}

#[tokio::test]
async fn too_many_unreleased_publications_end_the_connection() {
    let running = Running::start().await;
    let mut client = running.connect5(Role::Service, "fleet").await;
    for id in 1..=64 {
        client.publish("wasmbed/t", b"x", 2, false, id).await;
        assert_eq!(client.packet().await.0, 0x50);
    }
    client.publish("wasmbed/t", b"x", 2, false, 65).await;
    assert_eq!(client.packet().await, (0xE0, vec![0x93, 0]), "receive maximum exceeded");
}

#[tokio::test]
async fn all_of_five_hundred_retained_messages_arrive() {
    let running = Running::start().await;
    let mut publisher = running.connect(Role::Service, "publisher").await;
    for number in 0..500 {
        publisher.publish(&format!("wasmbed/v1/dev-{number}/up/state"), b"online", 0, true, 0).await;
    }
    running.until(|count| count.retained == 500).await;
    for qos in [0, 1] {
        let mut service = service(&running).await;
        service.subscribe("wasmbed/v1/+/up/state", qos).await;
        let mut topics = std::collections::BTreeSet::new();
        for _ in 0..500 {
            let received = service.received().await;
            assert!(received.retain);
            topics.insert(received.topic);
        }
        assert_eq!(topics.len(), 500);
        service.is_quiet().await;
    }
}

#[tokio::test]
async fn only_a_retained_empty_payload_removes_a_retained_message() {
    let running = Running::start().await;
    let mut pump = pump(&running).await;
    pump.publish_acknowledged(STATE, b"online", true).await;
    pump.publish_acknowledged(STATE, b"", false).await;
    let mut service = service(&running).await;
    service.subscribe("wasmbed/v1/+/up/state", 1).await;
    let received = service.received().await;
    assert_eq!((received.payload.as_slice(), received.retain, received.qos), (&b"online"[..], true, 1));
    pump.publish_acknowledged(STATE, b"", true).await;
    let removed = service.received().await;
    assert_eq!((removed.payload.len(), removed.retain), (0, false), "it is a live message, too");
    assert_eq!(running.meter.snapshot().retained, 0);
    let mut later = running.connect(Role::Operator, "me").await;
    later.subscribe("wasmbed/v1/+/up/state", 1).await;
    later.is_quiet().await;
}

#[tokio::test]
async fn a_device_retains_a_bounded_number_of_messages() {
    let running = Running::with(|config| config.max_retained_messages_each = 3).await;
    let mut pump = running.connect5(device("pump-7"), "pump-7").await;
    for number in 0..3 {
        pump.publish_acknowledged(&format!("wasmbed/v1/pump-7/up/{number}"), b"x", true).await;
    }
    pump.publish("wasmbed/v1/pump-7/up/3", b"x", 1, true, 4).await;
    assert_eq!(pump.packet().await, (0x40, vec![0, 4, 0x97]), "quota exceeded");
    let mut other = running.connect(device("pump-8"), "pump-8").await;
    other.publish_acknowledged("wasmbed/v1/pump-8/up/state", b"x", true).await;
    assert_eq!(running.meter.snapshot().retained, 4);
}

#[tokio::test]
async fn subscription_options_of_version_5_work() {
    let running = Running::start().await;
    let mut client = running.connect5(Role::Service, "fleet").await;
    client.publish_acknowledged("wasmbed/a", b"kept", true).await;
    // retain handling 2: never
    client.subscribe("wasmbed/a", 0x20).await;
    client.is_quiet().await;
    // retain handling 1: not for a subscription that exists
    client.subscribe("wasmbed/a", 0x10).await;
    client.is_quiet().await;
    // retain handling 0: always
    client.subscribe("wasmbed/a", 0).await;
    assert!(client.received().await.retain);
    // retain as published
    client.subscribe("wasmbed/b", 8).await;
    client.publish("wasmbed/b", b"x", 0, true, 0).await;
    assert!(client.received().await.retain);
    client.publish("wasmbed/a", b"x", 0, true, 0).await;
    assert!(!client.received().await.retain);
    // No Local
    client.subscribe("wasmbed/c", 4).await;
    client.publish("wasmbed/c", b"own", 0, false, 0).await;
    running.connect(Role::Service, "other").await.publish("wasmbed/c", b"other", 0, false, 0).await;
    assert_eq!(client.received().await.payload, b"other");
    // Subscription identifier 5
    assert_eq!(client.subscribe_with("wasmbed/d", 0, &[11, 5]).await, 0);
    client.publish("wasmbed/d", b"x", 0, false, 0).await;
    assert_eq!(client.received().await.properties, [11, 5]);
}

#[tokio::test]
async fn unsubscribing_ends_delivery_and_says_what_it_found() {
    let running = Running::start().await;
    let mut client = running.connect5(Role::Service, "fleet").await;
    client.subscribe("wasmbed/a/#", 0).await;
    let mut body = vec![0, 6, 0];
    body.extend(text("wasmbed/a/#"));
    body.extend(text("wasmbed/b"));
    client.send(&packet(0xA2, &body)).await;
    assert_eq!(client.packet().await, (0xB0, vec![0, 6, 0, 0, 0x11]));
    client.publish("wasmbed/a/x", b"x", 0, false, 0).await;
    client.is_quiet().await;
}

#[tokio::test]
async fn properties_reach_the_subscriber_and_expired_messages_do_not() {
    let running = Running::start().await;
    let mut client = running.connect5(Role::Service, "fleet").await;
    client.subscribe("wasmbed/a", 0).await;
    let mut passed_on = vec![1, 1, 3, 0, 1, b'j', 8];
    passed_on.extend(text("wasmbed/answers"));
    passed_on.extend([9, 0, 2, 0xFF, 0x00, 38, 0, 1, b'k', 0, 1, b'v', 38, 0, 1, b'k', 0, 1, b'w']);
    let mut sent = vec![2, 0, 0, 0, 60];
    sent.extend(&passed_on);
    client.publish_with("wasmbed/a", b"x", 0, false, 0, &sent).await;
    passed_on.extend([2, 0, 0, 0, 60]);
    assert_eq!(client.received().await.properties, passed_on);
    client.publish_with("wasmbed/a", b"x", 0, false, 0, &[2, 0, 0, 0, 0]).await;
    client.is_quiet().await;
}

#[tokio::test]
async fn a_retained_message_expires() {
    let running = Running::start().await;
    let mut client = running.connect5(Role::Service, "fleet").await;
    client.publish_with("wasmbed/a", b"x", 0, true, 0, &[2, 0, 0, 0, 1]).await;
    client.subscribe("wasmbed/a", 0).await;
    assert_eq!(client.received().await.properties, [2, 0, 0, 0, 1]);
    within(async {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            client.subscribe("wasmbed/a", 0).await;
            client.send(&[0xC0, 0]).await;
            if client.packet().await.0 == 0xD0 {
                return;
            }
            client.packet().await;
        }
    })
    .await;
}

#[tokio::test]
async fn topic_aliases_are_refused() {
    let running = Running::start().await;
    let mut client = running.connect5(Role::Service, "fleet").await;
    client.publish_with("wasmbed/a", b"x", 0, false, 0, &[35, 0, 1]).await;
    assert_eq!(client.packet().await, (0xE0, vec![0x94, 0]));
}

#[tokio::test]
async fn no_more_than_the_receive_maximum_is_sent_unacknowledged() {
    let running = Running::start().await;
    let mut client = running.open().await;
    let connect = Connect { version: 5, properties: vec![33, 0, 2], ..Connect::new(Role::Service, "fleet") };
    client.send(&connect.bytes()).await;
    client.packet().await;
    client.is_v5 = true;
    client.subscribe("wasmbed/a", 1).await;
    let mut publisher = running.connect(Role::Service, "publisher").await;
    for number in 0..5_u8 {
        publisher.publish_acknowledged("wasmbed/a", &[number], false).await;
    }
    let (first, second) = (client.received().await, client.received().await);
    client.is_quiet().await;
    client.acknowledge(second.id).await;
    client.acknowledge(first.id).await;
    assert_eq!(client.received().await.payload, [2]);
    assert_eq!(client.received().await.payload, [3]);
}

#[tokio::test]
async fn what_is_larger_than_the_client_takes_is_not_sent() {
    let running = Running::start().await;
    let mut client = running.open().await;
    let connect =
        Connect { version: 5, properties: vec![39, 0, 0, 0, 50], ..Connect::new(Role::Service, "fleet") };
    client.send(&connect.bytes()).await;
    client.packet().await;
    client.is_v5 = true;
    client.subscribe("wasmbed/a", 1).await;
    client.publish("wasmbed/a", &[0; 100], 0, false, 0).await;
    client.publish("wasmbed/a", b"small", 0, false, 0).await;
    assert_eq!(client.received().await.payload, b"small");
}

#[tokio::test]
async fn a_will_is_published_when_the_client_is_lost_and_only_then() {
    let running = Running::start().await;
    let mut service = service(&running).await;
    service.subscribe("wasmbed/v1/+/up/state", 1).await;
    let will = Some((STATE.to_owned(), "offline".to_owned(), 1, true));
    for leaves in [true, false] {
        let mut pump = running.open().await;
        pump.send(&Connect { will: will.clone(), ..Connect::new(device("pump-7"), "pump-7") }.bytes()).await;
        pump.packet().await;
        if leaves {
            pump.disconnect().await;
            service.is_quiet().await;
        } else {
            drop(pump);
            let received = service.received().await;
            assert_eq!((received.payload.as_slice(), received.qos), (&b"offline"[..], 1));
        }
    }
    assert_eq!(running.meter.snapshot().retained, 1, "the will is retained");
}

#[tokio::test]
async fn a_client_that_leaves_may_want_its_will_published() {
    let running = Running::start().await;
    let mut service = service(&running).await;
    service.subscribe("wasmbed/v1/+/up/state", 1).await;
    let mut pump = running.open().await;
    let will = Some((STATE.to_owned(), "offline".to_owned(), 0, false));
    pump.send(&Connect { version: 5, will, ..Connect::new(device("pump-7"), "pump-7") }.bytes()).await;
    pump.packet().await;
    pump.send(&[0xE0, 1, 4]).await;
    assert_eq!(service.received().await.payload, b"offline");
}

#[tokio::test]
async fn a_delayed_will_waits_for_the_client() {
    let running = Running::start().await;
    let mut service = service(&running).await;
    service.subscribe("wasmbed/v1/+/up/state", 1).await;
    let connect = || Connect {
        version: 5,
        clean: false,
        will: Some((STATE.to_owned(), "offline".to_owned(), 0, false)),
        properties: vec![17, 0, 0, 0, 100],
        will_properties: vec![24, 0, 0, 0, 1],
        ..Connect::new(device("pump-7"), "pump-7")
    };
    let mut pump = running.open().await;
    pump.send(&connect().bytes()).await;
    pump.packet().await;
    drop(pump);
    running.until(|count| count.kept_sessions == 1).await;
    let mut pump = running.open().await;
    pump.send(&connect().bytes()).await;
    assert_eq!(pump.packet().await.1[0], 1, "session present");
    tokio::time::sleep(Duration::from_millis(1200)).await;
    service.is_quiet().await;
    drop(pump);
    assert_eq!(service.received().await.payload, b"offline");
}

#[tokio::test]
async fn keep_alive_zero_never_ends_and_one_second_does() {
    let running = Running::start().await;
    let mut silent = service(&running).await;
    let mut client = running.open().await;
    let connect = Connect { version: 5, keep_alive: 1, ..Connect::new(Role::Operator, "me") };
    client.send(&connect.bytes()).await;
    client.packet().await;
    let started = std::time::Instant::now();
    assert_eq!(client.packet().await, (0xE0, vec![0x8D, 0]), "keep alive timeout");
    assert!(started.elapsed() >= Duration::from_millis(1400), "{:?}", started.elapsed());
    silent.is_quiet().await;
    assert_eq!(running.meter.snapshot().lost_silent, 1);
}

#[tokio::test]
async fn a_persistent_sole_member_of_a_shared_subscription_is_refused() {
    let running = Running::start().await;
    for version in [4, 5] {
        let mut member = running.open().await;
        let properties = vec![17, 0, 0, 0, 60];
        let connect = Connect { version, clean: false, properties, ..Connect::new(Role::Service, "member") };
        member.send(&connect.bytes()).await;
        member.packet().await;
        member.is_v5 = version == 5;
        let expected = if version == 5 { 0x9E } else { 0x80 };
        assert_eq!(member.subscribe_with("$share/group/wasmbed/a", 1, &[]).await, expected);
    }
    let mut device = running.connect5(device("pump-7"), "pump-7").await;
    assert_eq!(device.subscribe_with("$share/group/wasmbed/v1/pump-7/dn/#", 1, &[]).await, 0x9E);
    let mut service = service(&running).await;
    service.subscribe("wasmbed/a", 0).await;
    service.publish("wasmbed/a", b"alive", 0, false, 0).await;
    assert_eq!(service.received().await.payload, b"alive");
}

async fn keeping(running: &Running, version: u8) -> (Raw, bool) {
    let mut client = running.open().await;
    let properties = vec![17, 0, 0, 0, 60];
    let connect = Connect { version, clean: false, properties, ..Connect::new(device("pump-7"), "pump-7") };
    client.send(&connect.bytes()).await;
    let (first, body) = client.packet().await;
    assert_eq!((first, body[1]), (0x20, 0));
    client.is_v5 = version == 5;
    (client, body[0] == 1)
}

#[tokio::test]
async fn a_kept_session_gets_what_was_sent_while_it_was_away() {
    let running = Running::start().await;
    let mut service = service(&running).await;
    for version in [4, 5] {
        let (mut pump, present) = keeping(&running, version).await;
        assert!(!present);
        pump.subscribe("wasmbed/v1/pump-7/dn/#", 1).await;
        service.publish_acknowledged("wasmbed/v1/pump-7/dn/cmd/1", b"unacknowledged", false).await;
        let first = pump.received().await;
        drop(pump);
        running.until(|count| count.kept_sessions == 1).await;
        service.publish_acknowledged("wasmbed/v1/pump-7/dn/cmd/2", b"while away", false).await;
        let (mut pump, present) = keeping(&running, version).await;
        assert!(present);
        let again = pump.received().await;
        assert_eq!(
            (again.id, again.duplicate, again.payload.as_slice()),
            (first.id, true, &b"unacknowledged"[..])
        );
        assert_eq!(pump.received().await.payload, b"while away");
        pump.is_quiet().await;
        // A clean start forgets it all.
        let mut pump = self::pump(&running).await;
        pump.is_quiet().await;
        pump.disconnect().await;
    }
    running.until(|count| count.kept_sessions == 0 && count.connections == 1).await;
}

#[tokio::test]
async fn a_session_that_gets_too_much_while_away_ends() {
    let running = Running::with(|config| config.max_queued_messages = 10).await;
    let (mut pump, _) = keeping(&running, 4).await;
    pump.subscribe("wasmbed/v1/pump-7/dn/#", 1).await;
    drop(pump);
    running.until(|count| count.kept_sessions == 1).await;
    let mut service = service(&running).await;
    for _ in 0..20 {
        service.publish_acknowledged("wasmbed/v1/pump-7/dn/cmd/1", b"x", false).await;
    }
    running.until(|count| count.kept_sessions == 0).await;
    let (_, present) = keeping(&running, 4).await;
    assert!(!present, "the client learns that something is missing");
}

#[tokio::test]
async fn a_session_expires() {
    let running = Running::with(|config| config.max_session_expiry_s = 1).await;
    let (pump, _) = keeping(&running, 5).await;
    drop(pump);
    running.until(|count| count.kept_sessions == 1).await;
    running.until(|count| count.kept_sessions == 0).await;
    let (_, present) = keeping(&running, 5).await;
    assert!(!present);
}

#[tokio::test]
async fn a_reader_that_does_not_read_is_disconnected_and_holds_nobody_up() {
    let running = Running::with(|config| config.write_timeout_ms = 500).await;
    let mut lazy = running.connect(Role::Service, "lazy").await;
    lazy.subscribe("wasmbed/a", 1).await;
    let mut diligent = running.connect(Role::Operator, "me").await;
    diligent.subscribe("wasmbed/v1/#", 0).await;
    let mut publisher = running.connect(Role::Service, "publisher").await;
    let block = vec![0; 256 * 1024];
    let flood = async {
        for _ in 0..200 {
            publisher.publish("wasmbed/a", &block, 0, false, 0).await;
        }
        publisher.publish("wasmbed/v1/x", b"through", 0, false, 0).await;
    };
    within(flood).await;
    assert_eq!(diligent.received().await.payload, b"through");
    running.until(|count| count.lost_slow == 1).await;
}

#[tokio::test]
async fn subscriptions_of_one_client_are_bounded() {
    let running = Running::with(|config| config.max_subscriptions = 3).await;
    let mut client = running.connect5(Role::Service, "fleet").await;
    for number in 0..3 {
        client.subscribe(&format!("wasmbed/{number}"), 0).await;
    }
    assert_eq!(client.subscribe_with("wasmbed/3", 0, &[]).await, 0x97);
    client.subscribe("wasmbed/2", 1).await;
}

#[tokio::test]
async fn thousands_of_messages_arrive_in_order_at_every_subscriber() {
    const MESSAGES: u32 = 5000;
    let running = Running::start().await;
    let mut readers = Vec::new();
    for number in 0..4 {
        let mut reader = running.connect(Role::Service, &format!("reader-{number}")).await;
        reader.subscribe("wasmbed/v1/+/up/#", number % 2).await;
        readers.push(reader);
    }
    let mut pump = pump(&running).await;
    let publishing = tokio::spawn(async move {
        for number in 0..MESSAGES {
            let topic = format!("wasmbed/v1/pump-7/up/tm/{}", number % 100);
            pump.publish_acknowledged(&topic, &number.to_be_bytes(), false).await;
        }
    });
    let mut reading = tokio::task::JoinSet::new();
    for mut reader in readers {
        reading.spawn(async move {
            for number in 0..MESSAGES {
                let received = reader.received().await;
                assert_eq!(received.payload, number.to_be_bytes());
                if received.qos == 1 {
                    reader.acknowledge(received.id).await;
                }
            }
        });
    }
    tokio::time::timeout(PATIENCE * 3, reading.join_all()).await.expect("in time");
    publishing.await.expect("all published");
}

const GROUP: &str = "$share/workers/wasmbed/jobs/+";

#[tokio::test]
async fn a_group_shares_its_messages() {
    let running = Running::start().await;
    let mut publisher = running.connect(Role::Service, "publisher").await;
    publisher.publish_acknowledged("wasmbed/jobs/kept", b"not for groups", true).await;
    let mut members = Vec::new();
    for name in ["one", "two"] {
        let mut member = running.connect5(Role::Service, name).await;
        member.subscribe(GROUP, 1).await;
        members.push(member);
    }
    for number in 0..10_u8 {
        publisher.publish_acknowledged(&format!("wasmbed/jobs/{number}"), &[number], false).await;
    }
    let mut numbers = Vec::new();
    for member in &mut members {
        for _ in 0..5 {
            let received = member.received().await;
            assert_eq!((received.qos, received.retain), (1, false));
            member.acknowledge(received.id).await;
            numbers.push(received.payload[0]);
        }
        member.is_quiet().await;
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (0..10).collect::<Vec<u8>>());
}

#[tokio::test]
async fn what_a_member_did_not_acknowledge_goes_to_another() {
    let running = Running::start().await;
    let mut idle = running.connect(Role::Service, "idle").await;
    idle.subscribe(GROUP, 1).await;
    let mut publisher = running.connect(Role::Service, "publisher").await;
    for number in 0..100_u8 {
        publisher.publish_acknowledged("wasmbed/jobs/x", &[number], false).await;
    }
    idle.received().await;
    let mut diligent = running.connect(Role::Operator, "diligent").await;
    assert_eq!(diligent.subscribe_with(GROUP, 1, &[]).await, 0x80, "not an operator's topics");
    let mut diligent = running.connect(Role::Service, "diligent").await;
    diligent.subscribe(GROUP, 1).await;
    drop(idle);
    let mut numbers = Vec::new();
    for _ in 0..100 {
        let received = diligent.received().await;
        diligent.acknowledge(received.id).await;
        numbers.push(received.payload[0]);
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (0..100).collect::<Vec<u8>>());
    diligent.is_quiet().await;
}

#[tokio::test]
async fn a_group_ends_with_its_last_member_and_may_be_founded_again() {
    let running = Running::start().await;
    let mut publisher = running.connect(Role::Service, "publisher").await;
    for round in 0..10_u8 {
        let mut member = running.connect(Role::Service, "member").await;
        member.subscribe(GROUP, 1).await;
        publisher.publish_acknowledged("wasmbed/jobs/x", &[round], false).await;
        let received = member.received().await;
        assert_eq!(received.payload, [round]);
        if round % 2 == 0 {
            // Left with an unacknowledged message: what kills rumqttd.
            drop(member);
        } else {
            member.acknowledge(received.id).await;
            let mut body = vec![0, 6];
            body.extend(text(GROUP));
            member.send(&packet(0xA2, &body)).await;
            assert_eq!(member.packet().await.0, 0xB0);
            publisher.publish_acknowledged("wasmbed/jobs/x", b"nobody", false).await;
            member.is_quiet().await;
        }
    }
}
