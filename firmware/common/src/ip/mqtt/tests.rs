use std::{string::String, vec, vec::Vec};

use wasmbed_wire::topic::Up;

use super::*;

const KEEP_ALIVE_S: u16 = 20;
const CONNACK: [u8; 5] = [0x20, 3, 0, 0, 0];
const SUBACK: [u8; 6] = [0x90, 4, 0, 1, 0, 1];
const BROKER: Broker<'static> =
    Broker { host: "10.0.2.2", port: 1883, username: "pump-7", password: "hush", prefix: "plant", tls: None };

fn client() -> Client {
    let mut client = Client::new("pump-7".parse().expect("a name"), &BROKER);
    client.open(KEEP_ALIVE_S, b"will");
    client.on_connected(0);
    client
}

/// What the client has to say.
fn said(client: &mut Client, now_ms: u64) -> Vec<u8> {
    let said = client.output().to_vec();
    client.on_sent(now_ms, said.len());
    said
}

/// The broker says this; what came of it, until that is nothing.
fn hears(client: &mut Client, now_ms: u64, mut bytes: &[u8]) -> Result<Vec<Event>, Ended> {
    let mut events = Vec::new();
    loop {
        bytes = &bytes[client.on_bytes(now_ms, bytes)..];
        while let Some(event) = client.advance(now_ms)? {
            events.push(event);
        }
        if bytes.is_empty() {
            return Ok(events);
        }
    }
}

fn online() -> Client {
    let mut client = client();
    assert_eq!(hears(&mut client, 0, &CONNACK), Ok(vec![]));
    assert_eq!(hears(&mut client, 0, &SUBACK), Ok(vec![Event::Up]));
    said(&mut client, 0);
    client
}

/// A PUBLISH of a broker.
fn message(first: u8, topic: &str, id: Option<u16>, payload: &[u8]) -> Vec<u8> {
    let id = id.map(u16::to_be_bytes);
    let mut body = (topic.len() as u16).to_be_bytes().to_vec();
    body.extend_from_slice(topic.as_bytes());
    body.extend(id.iter().flatten());
    body.push(0);
    body.extend_from_slice(payload);
    let mut packet = vec![first, (body.len() % 128) as u8 | 0x80, (body.len() / 128) as u8];
    packet.append(&mut body);
    packet
}

#[test]
fn a_session_begins_with_these_bytes() {
    let mut client = client();
    let mut connect = b"\x10\x4a\0\x04MQTT\x05\xee\0\x14\x08\x27\0\0\x08\0\x21\0\x08\0\x06pump-7\0".to_vec();
    connect.extend_from_slice(b"\0\x18plant/v1/pump-7/up/state\0\x04will\0\x06pump-7\0\x04hush");
    assert_eq!(said(&mut client, 0), connect);
    assert_eq!(hears(&mut client, 0, &CONNACK), Ok(vec![]));
    assert_eq!(said(&mut client, 0), b"\x82\x1a\0\x01\0\0\x14plant/v1/pump-7/dn/#\x01");
    assert_eq!(hears(&mut client, 0, &SUBACK), Ok(vec![Event::Up]));
    assert_eq!(client.publish(Up::State, b"on", Token(9)), Ok(()));
    assert_eq!(said(&mut client, 0), b"\x33\x1f\0\x18plant/v1/pump-7/up/state\0\x09\0on");
    assert_eq!(hears(&mut client, 0, &[0x40, 2, 0, 9]), Ok(vec![Event::Acked(Token(9))]));
    assert_eq!(client.publish(Up::Heartbeat, b"hb", Token(0)), Ok(()));
    assert_eq!(said(&mut client, 0), b"\x30\x1a\0\x15plant/v1/pump-7/up/hb\0hb");
}

#[test]
fn a_client_without_a_password_says_no_name_either() {
    let mut client = Client::new("pump-7".parse().expect("a name"), &Broker { password: "", ..BROKER });
    client.open(KEEP_ALIVE_S, b"will");
    client.on_connected(0);
    let mut connect = b"\x10\x3c\0\x04MQTT\x05\x2e\0\x14\x08\x27\0\0\x08\0\x21\0\x08\0\x06pump-7\0".to_vec();
    connect.extend_from_slice(b"\0\x18plant/v1/pump-7/up/state\0\x04will");
    assert_eq!(said(&mut client, 0), connect);
}

#[test]
fn messages_come_in_any_pieces_and_are_acknowledged_once() {
    let mut bytes = message(0x33, "plant/v1/pump-7/dn/desired", Some(77), b"one");
    bytes.extend(message(0x30, "plant/v1/pump-7/dn/blk/0011223344556677", None, b"two"));
    for step in [1, 2, 7, bytes.len()] {
        let mut client = online();
        let mut heard = Vec::new();
        for piece in bytes.chunks(step) {
            assert_eq!(client.on_bytes(0, piece), piece.len());
            while let Some(event) = client.advance(0).expect("a session") {
                assert_eq!(event, Event::Message);
                let (topic, payload) = client.message();
                heard.push((String::from(topic), payload.to_vec()));
            }
        }
        let topics = heard.iter().map(|(topic, payload)| (topic.as_str(), payload.as_slice()));
        let expected = [("dn/desired", &b"one"[..]), ("dn/blk/0011223344556677", b"two")];
        assert_eq!(topics.collect::<Vec<_>>(), expected);
        assert_eq!(said(&mut client, 0), [0x40, 2, 0, 77]);
    }
}

#[test]
fn what_is_retained_may_come_before_the_answer_to_the_subscription() {
    let mut client = client();
    let mut bytes = CONNACK.to_vec();
    bytes.extend(message(0x31, "plant/v1/pump-7/dn/desired", None, b"one"));
    bytes.extend(SUBACK);
    assert_eq!(hears(&mut client, 0, &bytes), Ok(vec![Event::Up, Event::Message]));
}

#[test]
fn a_message_that_is_too_large_is_acknowledged_and_what_follows_is_heard() {
    let mut client = online();
    let mut bytes = message(0x33, "plant/v1/pump-7/dn/desired", Some(5), &[7; 5000]);
    let size = bytes.len();
    bytes.extend(message(0x30, "plant/v1/pump-7/dn/desired", None, b"two"));
    assert_eq!(hears(&mut client, 0, &bytes), Ok(vec![Event::TooLarge(size), Event::Message]));
    assert_eq!(client.message().1, b"two");
    assert_eq!(said(&mut client, 0), [0x40, 2, 0, 5]);
}

#[test]
fn a_refusal_is_told() {
    let cases: [(&[u8], Ended); 6] = [
        (&[0x20, 3, 0, 0x86, 0], Ended::Refused(0x86)),
        // A broker of MQTT 3.1.1.
        (&[0x20, 2, 0, 1], Ended::Refused(1)),
        (&[0x20, 5, 0, 0, 2, 0x24, 0], Ended::Incapable),
        (&[0x20, 5, 0, 0, 2, 0x25, 0], Ended::Incapable),
        (&[0x20, 3, 0, 0, 0, 0x90, 4, 0, 1, 0, 0x87], Ended::NotSubscribed(0x87)),
        (&[0x20, 3, 0, 0, 0, 0xe0, 1, 0x8e], Ended::Disconnected(0x8e)),
    ];
    for (bytes, ended) in cases {
        assert_eq!(hears(&mut client(), 0, bytes), Err(ended), "{bytes:x?}");
    }
    assert_eq!(format!("{}", Ended::Refused(0x86)), "the broker refused it: bad user name or password");
    assert_eq!(format!("{}", Ended::Disconnected(0)), "the broker ended it: reason 0x00");
}

#[test]
fn a_broker_that_never_answers_is_given_up() {
    let mut client = client();
    assert_eq!(client.next_deadline(), Some(ANSWER_MS));
    assert_eq!(client.advance(ANSWER_MS - 1), Ok(None));
    assert_eq!(client.advance(ANSWER_MS), Err(Ended::Silent));
}

#[test]
fn silence_is_broken_by_a_ping_and_its_answer() {
    let mut client = online();
    let half = u64::from(KEEP_ALIVE_S) * 500;
    assert_eq!(client.next_deadline(), Some(half));
    assert_eq!(client.advance(half), Ok(None));
    assert_eq!(said(&mut client, half), [0xc0, 0]);
    assert_eq!(hears(&mut client, half + 5, &[0xd0, 0]), Ok(vec![]));
    assert_eq!(client.next_deadline(), Some(2 * half));
    assert_eq!(client.advance(2 * half), Ok(None));
    assert_eq!(client.advance(2 * half + ANSWER_MS), Err(Ended::Silent));
}

#[test]
fn a_broker_that_takes_little_at_once_gets_little_at_once() {
    let mut client = client();
    assert_eq!(hears(&mut client, 0, &[0x20, 6, 0, 0, 3, 0x21, 0, 1]), Ok(vec![]));
    assert_eq!(hears(&mut client, 0, &SUBACK), Ok(vec![Event::Up]));
    assert_eq!(client.publish(Up::State, b"", Token(1)), Ok(()));
    assert!(!client.has_room(0));
    assert_eq!(client.publish(Up::Info, b"", Token(2)), Err(Full));
    assert_eq!(hears(&mut client, 0, &[0x40, 2, 0, 1]), Ok(vec![Event::Acked(Token(1))]));
    assert_eq!(client.publish(Up::Info, b"", Token(2)), Ok(()));
    while client.publish(Up::Heartbeat, &[0; 500], Token(0)).is_ok() {}
    assert_eq!(client.publish(Up::Heartbeat, &[0; 5000], Token(0)), Err(Full));
}

#[test]
fn what_is_not_mqtt_ends_the_session() {
    let cases: [&[u8]; 12] = [
        // Lengths of five bytes.
        &[0x20, 0xff, 0xff, 0xff, 0xff, 1],
        // Reserved bits and types.
        &[0x21, 2, 0, 0],
        &[0x00, 0],
        &[0x10, 0],
        &[0xc0, 0],
        // Cut off inside.
        &[0x20, 0],
        &[0x40, 1, 0],
        &[0x90, 3, 0, 1, 0],
        // Quality of service 2, no identifier, identifier 0, an alias.
        &[0x34, 5, 0, 1, b'x', 0, 1],
        &[0x32, 4, 0, 1, b'x', 0],
        &[0x32, 6, 0, 1, b'x', 0, 0, 0],
        &[0x30, 3, 0, 0, 0],
    ];
    for bytes in cases {
        assert_eq!(hears(&mut online(), 0, bytes), Err(Ended::Malformed), "{bytes:x?}");
    }
    // An answer that was not asked for, and a packet that no memory holds.
    assert_eq!(hears(&mut online(), 0, &CONNACK), Err(Ended::Malformed));
    let mut endless = vec![0x20, 0xff, 0xff, 0xff, 0x7f];
    endless.resize(INPUT_BYTES, 0);
    assert_eq!(hears(&mut client(), 0, &endless), Err(Ended::Malformed));
}

#[test]
fn random_bytes_never_panic() {
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let firsts = [0x20, 0x30, 0x32, 0x33, 0x40, 0x90, 0xd0, 0xe0, 0xf0];
    for round in 0..20_000 {
        let mut client = if round % 2 == 0 { client() } else { online() };
        let mut bytes: Vec<u8> = (0..next() % 60).map(|_| next() as u8).collect();
        if let [first, length, ..] = &mut bytes[..] {
            *first = firsts[next() as usize % firsts.len()];
            *length %= 48;
        }
        // An end is as good as none.
        if let Ok(events) = hears(&mut client, round, &bytes) {
            events
                .iter()
                .filter(|event| **event == Event::Message)
                .for_each(|_| assert!(client.message().0.len() <= 60));
        }
        let _ = client.has_packet();
        client.next_deadline();
    }
}
