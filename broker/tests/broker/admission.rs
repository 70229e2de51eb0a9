//! Who gets in, who does not, and that nobody keeps others out.

use crate::common::*;
use wasmbed_broker::credentials::Role;

fn refusal(body: Vec<u8>) -> (u8, Vec<u8>) {
    (0x20, body)
}

async fn answer(running: &Running, connect: Connect) -> (u8, Vec<u8>) {
    let mut raw = running.open().await;
    raw.send(&connect.bytes()).await;
    let answer = raw.packet().await;
    if answer.1[1] != 0 {
        raw.ends().await;
    }
    answer
}

#[tokio::test]
async fn a_wrong_name_or_password_is_refused_in_both_versions() {
    let running = Running::start().await;
    let wrong = [
        Connect { password: password(&Role::Service), ..Connect::new(device("pump-7"), "pump-7") },
        Connect { password: String::new(), ..Connect::new(Role::Service, "fleet") },
        Connect { username: "_root".to_owned(), ..Connect::new(Role::Service, "fleet") },
    ];
    for connect in wrong {
        let again =
            Connect { version: 5, username: connect.username.clone(), ..Connect::new(Role::Operator, "x") };
        assert_eq!(answer(&running, connect).await, refusal(vec![0, 4]));
        assert_eq!(answer(&running, again).await, refusal(vec![0, 0x86, 0]));
    }
    running.until(|count| count.refused_credentials == 6).await;
}

#[tokio::test]
async fn a_client_id_that_kills_rumqttd_is_refused_twice_and_hurts_nobody() {
    let running = Running::start().await;
    for bad in ["a/b", "a+", "#", "$x", "ü", "a b", &"x".repeat(65)] {
        for _ in 0..2 {
            assert_eq!(
                answer(&running, Connect::new(Role::Service, bad)).await,
                refusal(vec![0, 2]),
                "{bad}"
            );
        }
    }
    running.connect(Role::Service, "good").await;
}

#[tokio::test]
async fn a_device_is_called_by_its_user_name() {
    let running = Running::start().await;
    assert_eq!(answer(&running, Connect::new(device("pump-7"), "pump-8")).await, refusal(vec![0, 2]));
    assert_eq!(answer(&running, Connect::new(device("pump-7"), "")).await, refusal(vec![0, 2]));
    running.connect(device("pump-7"), "pump-7").await;
}

#[tokio::test]
async fn an_empty_client_id_gets_one() {
    let running = Running::start().await;
    running.connect(Role::Operator, "").await;
    let keep = Connect { clean: false, ..Connect::new(Role::Operator, "") };
    assert_eq!(
        answer(&running, keep).await,
        refusal(vec![0, 2]),
        "3.1.1 cannot keep a session without an id"
    );
    let (_, body) = answer(&running, Connect { version: 5, ..Connect::new(Role::Operator, "") }).await;
    let told = String::from_utf8_lossy(&body).into_owned();
    assert!(told.contains("auto-"), "the id is told: {body:02x?}");
}

#[tokio::test]
async fn other_protocols_and_versions_are_turned_away() {
    let running = Running::start().await;
    let other_version = answer(&running, Connect { version: 3, ..Connect::new(Role::Service, "x") }).await;
    assert_eq!(other_version, refusal(vec![0, 1]));
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0x30, 3, 0, 1, b'a'],
        &[0x10, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
        &[0; 64],
    ] {
        let mut raw = running.open().await;
        raw.send(garbage).await;
        raw.ends().await;
    }
    running.until(|count| count.refused_malformed == 4 && count.refused_transport == 1).await;
}

#[tokio::test]
async fn before_authentication_packets_are_small() {
    let running = Running::start().await;
    let mut raw = running.open().await;
    // 20 MiB announced: refused without waiting for them.
    raw.send(&[0x10, 0x80, 0x80, 0x80, 0x0A]).await;
    raw.ends().await;
}

#[tokio::test]
async fn silent_connections_block_nobody_and_are_ended() {
    let running = Running::with(|config| config.handshake_timeout_ms = 1500).await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(running.open().await);
    }
    let mut half = running.open().await;
    half.send(&Connect::new(Role::Service, "half").bytes()[..10]).await;
    running.connect(Role::Service, "quick").await;
    assert_eq!(running.meter.snapshot().refused_timeout, 0, "it did not have to wait for them");
    for mut raw in silent {
        raw.ends().await;
    }
    half.ends().await;
    running.until(|count| count.refused_timeout == 21).await;
}

#[tokio::test]
async fn handshakes_have_places_of_their_own() {
    let running = Running::with(|config| {
        config.max_handshakes = 2;
        config.handshake_timeout_ms = 500;
    })
    .await;
    let mut served = running.connect(Role::Service, "served").await;
    let (_one, _two) = (running.open().await, running.open().await);
    let mut third = running.open().await;
    third.ends().await;
    served.is_quiet().await;
    running.until(|count| count.refused_timeout == 2).await;
    running.connect(Role::Service, "later").await;
}

#[tokio::test]
async fn a_full_broker_refuses_and_recovers() {
    let running = Running::with(|config| config.max_connections = 2).await;
    let first = running.connect(Role::Service, "first").await;
    let mut second = running.connect(Role::Service, "second").await;
    assert_eq!(answer(&running, Connect::new(Role::Service, "third")).await, refusal(vec![0, 3]));
    let five = Connect { version: 5, ..Connect::new(Role::Service, "third") };
    assert_eq!(answer(&running, five).await, refusal(vec![0, 0x89, 0]));
    // Whoever is in may come back.
    let mut again = running.connect(Role::Service, "second").await;
    second.ends().await;
    first.disconnect().await;
    running.until(|count| count.connections == 1).await;
    running.connect(Role::Service, "third").await;
    again.is_quiet().await;
}

#[tokio::test]
async fn the_same_client_again_ends_its_old_connection() {
    let running = Running::start().await;
    let mut old = running.connect5(Role::Service, "fleet").await;
    let _new = running.connect5(Role::Service, "fleet").await;
    assert_eq!(old.packet().await, (0xE0, vec![0x8E, 0]), "session taken over");
    old.ends().await;
    assert_eq!(running.meter.snapshot().taken_over, 1);
}

#[tokio::test]
async fn clients_that_fight_for_one_id_leave_one_winner() {
    let running = Running::start().await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let address = running.address;
        tasks.spawn(async move {
            let stream = tokio::net::TcpStream::connect(address).await.expect("connected");
            let mut raw = Raw::new(stream);
            raw.send(&Connect::new(Role::Service, "fleet").bytes()).await;
            assert_eq!(raw.packet().await, (0x20, vec![0, 0]));
            raw
        });
    }
    let clients = within(tasks.join_all()).await;
    running.until(|count| count.connections == 1 && count.taken_over == 19).await;
    drop(clients);
    running.until(|count| count.connections == 0).await;
}

#[tokio::test]
async fn nobody_takes_a_session_of_another_role() {
    let running = Running::start().await;
    let mut device = running.connect(device("pump-7"), "pump-7").await;
    let _impostor = running.connect(Role::Operator, "pump-7").await;
    device.is_quiet().await;
}

#[tokio::test]
async fn a_will_outside_of_the_own_topics_is_refused() {
    let running = Running::start().await;
    let will = |topic: &str| Some((topic.to_owned(), "gone".to_owned(), 1, true));
    let other =
        Connect { will: will("wasmbed/v1/pump-8/up/state"), ..Connect::new(device("pump-7"), "pump-7") };
    assert_eq!(answer(&running, other).await, refusal(vec![0, 5]));
    let own =
        Connect { will: will("wasmbed/v1/pump-7/up/state"), ..Connect::new(device("pump-7"), "pump-7") };
    assert_eq!(answer(&running, own).await, (0x20, vec![0, 0]));
    assert_eq!(running.meter.snapshot().refused_will, 1);
}

#[tokio::test]
async fn ending_tells_everybody_and_leaves_nothing() {
    let running = Running::start().await;
    let mut client = running.connect5(Role::Service, "fleet").await;
    let _silent = running.open().await;
    let address = running.address;
    running.stop().await.expect("an orderly end");
    assert_eq!(client.packet().await, (0xE0, vec![0x8B, 0]), "server shutting down");
    client.ends().await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}
