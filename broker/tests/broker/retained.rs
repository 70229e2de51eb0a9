//! Retained messages.

use std::time::Duration;

use crate::common::*;
use wasmbed_broker::credentials::Role;

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
