//! Wills, keep-alive, slow readers and sessions that outlive their connection.

use std::time::Duration;

use crate::common::*;
use wasmbed_broker::credentials::Role;

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
async fn a_large_packet_may_take_longer_than_the_keep_alive() {
    let running = Running::start().await;
    let mut client = running.open().await;
    client.send(&Connect { keep_alive: 1, ..Connect::new(Role::Service, "fleet") }.bytes()).await;
    client.packet().await;
    client.subscribe("wasmbed/a", 0).await;
    let mut body = text("wasmbed/a");
    body.extend([7; 20]);
    for byte in packet(0x30, &body) {
        client.send(&[byte]).await;
        tokio::time::sleep(Duration::from_millis(70)).await;
    }
    assert_eq!(client.received().await.payload, [7; 20]);
}
