//! Shared subscriptions.

use crate::common::*;
use wasmbed_broker::credentials::Role;

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
