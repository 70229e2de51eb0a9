//! MQTT in WebSockets, on the port of MQTT.

use crate::common::authority::Authority;
use crate::common::*;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use wasmbed_broker::credentials::Role;

async fn upgrade<S: Stream>(stream: S, protocol: &str) -> Result<WebSocketStream<S>, Error> {
    let mut request = "ws://127.0.0.1/mqtt".into_client_request()?;
    request.headers_mut().insert("Sec-WebSocket-Protocol", protocol.parse().expect("a name"));
    Ok(tokio_tungstenite::client_async(request, stream).await?.0)
}

async fn web(running: &Running) -> WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(running.address).await.expect("connected");
    upgrade(stream, "other, mqtt").await.expect("a WebSocket")
}

async fn binary<S: Stream>(web: &mut WebSocketStream<S>) -> Vec<u8> {
    loop {
        match within(web.next()).await.expect("a message").expect("intact") {
            Message::Binary(bytes) => return bytes.to_vec(),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("unexpected {other}"),
        }
    }
}

#[tokio::test]
async fn packets_may_be_cut_and_joined_in_messages_as_they_come() {
    let running = Running::start().await;
    let mut web = web(&running).await;
    let mut bytes = Connect::new(device("pump-7"), "pump-7").bytes();
    bytes.extend(packet(0x30, &[text(STATE), b"on".to_vec()].concat()));
    bytes.extend([0xC0, 0]);
    let mut service = service(&running).await;
    service.subscribe("wasmbed/#", 0).await;
    let (first, second) = bytes.split_at(7);
    web.send(Message::binary(first.to_vec())).await.expect("sent");
    web.send(Message::Ping(b"alive?".to_vec().into())).await.expect("sent");
    web.send(Message::binary(second.to_vec())).await.expect("sent");
    assert_eq!(service.received().await.payload, b"on");
    let mut answers = Vec::new();
    while answers.len() < 6 {
        answers.extend(binary(&mut web).await);
    }
    assert_eq!(answers, [0x20, 2, 0, 0, 0xD0, 0]);
}

#[tokio::test]
async fn a_client_in_tls_and_websocket_is_served_like_any_other() {
    let authority = Authority::new();
    let running = Running::with(|config| authority.configure(config)).await;
    let stream = authority.connect(running.address, None).await.expect("TLS");
    let mut web = upgrade(stream, "mqtt").await.expect("a WebSocket");
    web.send(Message::binary(Connect::new(Role::Operator, "me").bytes())).await.expect("sent");
    assert_eq!(binary(&mut web).await, [0x20, 2, 0, 0]);
    web.send(Message::binary(vec![0xE0, 0])).await.expect("sent");
    assert!(matches!(within(web.next()).await, Some(Ok(Message::Close(_))) | None));
}

#[tokio::test]
async fn what_is_not_mqtt_is_turned_away() {
    let running = Running::start().await;
    let stream = TcpStream::connect(running.address).await.expect("connected");
    match upgrade(stream, "chat").await {
        Err(Error::Http(response)) => assert_eq!(response.status(), 400),
        other => panic!("unexpected {:?}", other.map(|_| ())),
    }
    let mut page = Raw::new(TcpStream::connect(running.address).await.expect("connected"));
    page.send(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").await;
    running.until(|count| count.refused_transport == 2).await;
    let mut text = web(&running).await;
    text.send(Message::text("hello")).await.expect("sent");
    running.until(|count| count.refused_malformed == 1).await;
    let mut large = web(&running).await;
    // Refused from its header on, so that sending may fail.
    let _ = large.send(Message::binary(vec![0x10; 2 << 20])).await;
    running.until(|count| count.refused_malformed == 2).await;
    running.connect(Role::Operator, "still-here").await;
}
