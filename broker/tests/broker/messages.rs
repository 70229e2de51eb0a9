//! Messages from publisher to subscriber: permission, quality of service, options and properties.

use crate::common::*;
use wasmbed_broker::credentials::Role;

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
