//! Packets as bytes, from the standard's own words.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use tokio::io::AsyncWriteExt;

use super::frame::{Frame, Framed, ReadError};
use super::write::{self, Outgoing, Welcome};
use super::*;

fn frame(first: u8, body: &[u8]) -> Frame {
    Frame { first, body: Bytes::copy_from_slice(body) }
}

fn read(first: u8, body: &[u8], version: Version) -> Result<Packet, Violation> {
    packet(frame(first, body), version)
}

/// The first frame in `bytes`.
fn framed(bytes: &[u8], admitted: bool) -> Result<Frame, ReadError> {
    let (mut client, server) = tokio::io::duplex(1024);
    let mut framed = Framed::new(server, 1 << 20);
    if admitted {
        framed.admit(1 << 20);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        client.write_all(bytes).await.expect("room");
        framed.frame().await
    })
}

fn written(write: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
    let mut out = BytesMut::new();
    write(&mut out);
    out.to_vec()
}

#[test]
fn connect_of_3_1_1() {
    let body = b"\x00\x04MQTT\x04\xEE\x00\x3C\x00\x06pump-7\x00\x01t\x00\x02hi\x00\x01u\x00\x01p";
    let connect = connect(frame(0x10, body)).expect("a CONNECT");
    assert_eq!((connect.version, connect.clean_start, connect.keep_alive_s), (Version::V311, true, 60));
    assert_eq!((connect.client_id.as_str(), connect.username.as_deref()), ("pump-7", Some("u")));
    assert_eq!(connect.password.as_deref(), Some(&b"p"[..]));
    let will = connect.will.expect("a will").publish;
    assert_eq!((will.topic.as_str(), will.qos, will.retain), ("t", Qos::AtLeastOnce, true));
    assert_eq!(connect.session_expiry_s, 0);
}

#[test]
fn connect_of_5() {
    let body =
        b"\x00\x04MQTT\x05\x06\x00\x00\x0D\x11\x00\x00\x00\x0A\x21\x00\x14\x27\x00\x00\x10\x00\x00\x00\
        \x0A\x18\x00\x00\x00\x05\x02\x00\x00\x00\x07\x00\x01t\x00\x00";
    let connect = connect(frame(0x10, body)).expect("a CONNECT");
    assert_eq!((connect.version, connect.session_expiry_s, connect.receive_maximum), (Version::V5, 10, 20));
    assert_eq!(connect.maximum_packet_bytes, Some(4096));
    let will = connect.will.expect("a will");
    assert_eq!((will.delay_s, will.publish.expiry_s), (5, Some(7)));
}

#[test]
fn connect_that_is_wrong() {
    let cases: &[(&[u8], u8)] = &[
        (b"\x00\x04MQTT\x04\x01\x00\x00\x00\x00", reason::MALFORMED),
        (b"\x00\x04MQTT\x04\x42\x00\x00\x00\x00\x00\x00", reason::MALFORMED),
        (b"\x00\x04MQTT\x04\x1E\x00\x00\x00\x00\x00\x01t\x00\x00", reason::MALFORMED),
        (b"\x00\x04MQTT\x04\x20\x00\x00\x00\x00", reason::MALFORMED),
        (b"\x00\x04MQTT\x04\x02\x00\x00\x00\x00trailing", reason::MALFORMED),
        (b"\x00\x04MQTT\x04\x02\x00\x00\x00\x05ab", reason::MALFORMED),
        (b"\x00\x04MQTT\x04\x02\x00\x00\x00\x02\xFF\xFE", reason::MALFORMED),
        (b"\x00\x04MQTT\x06\x02\x00\x00\x00\x00", reason::UNSUPPORTED_VERSION),
        (b"\x00\x06MQIsdp\x03\x02\x00\x00\x00\x00", reason::UNSUPPORTED_VERSION),
        (b"\x00\x04HTTP\x04\x02\x00\x00\x00\x00", reason::MALFORMED),
        (b"\x00\x04MQTT\x05\x02\x00\x00\x03\x21\x00\x00\x00\x00", reason::PROTOCOL_ERROR),
        (b"\x00\x04MQTT\x05\x02\x00\x00\x06\x21\x00\x01\x21\x00\x01\x00\x00", reason::PROTOCOL_ERROR),
        (b"\x00\x04MQTT\x05\x02\x00\x00\x02\x0B\x01\x00\x00", reason::PROTOCOL_ERROR),
        (b"\x00\x04MQTT\x05\x02\x00\x00\xFF\xFF\xFF\xFF\x00\x00", reason::MALFORMED),
        (b"\x00\x04MQTT\x05\x06\x00\x00\x00\x00\x00\x00\x00\x01#\x00\x00", reason::BAD_TOPIC),
    ];
    for (body, reason) in cases {
        let violation = connect(frame(0x10, body)).expect_err("a violation");
        assert_eq!(violation.reason, *reason, "{body:02x?}: {violation}");
    }
}

#[test]
fn publish_passes_its_properties_on() {
    let body = b"\x00\x01t\x00\x07\x0E\x01\x01\x02\x00\x00\x00\x09\x03\x00\x04jsonhello";
    let Ok(Packet::Publish(publish)) = read(0x33, body, Version::V5) else { panic!("no PUBLISH") };
    assert_eq!((publish.qos, publish.retain, publish.id), (Qos::AtLeastOnce, true, 7));
    assert_eq!((publish.payload.as_ref(), publish.expiry_s), (&b"hello"[..], Some(9)));
    assert_eq!(publish.properties, b"\x01\x01\x03\x00\x04json");
}

#[test]
fn what_a_client_must_not_send_is_a_violation() {
    let cases: &[(u8, &[u8], u8)] = &[
        (0x36, b"\x00\x01t\x00\x01\x00", reason::MALFORMED),
        (0x32, b"\x00\x01t\x00\x00\x00", reason::PROTOCOL_ERROR),
        (0x30, b"\x00\x00\x00", reason::PROTOCOL_ERROR),
        (0x30, b"\x00\x01+\x00", reason::BAD_TOPIC),
        (0x30, b"\x00\x01t\x02\x0B\x01", reason::PROTOCOL_ERROR),
        (0x30, b"\x00\x01t\x03\x23\x00\x01", reason::BAD_TOPIC_ALIAS),
        (0x30, b"\x00\x01t\x04\x08\x00\x01#", reason::PROTOCOL_ERROR),
        (0x30, b"\x00\x01t\x02\x01\x02", reason::PROTOCOL_ERROR),
        (0x60, b"\x00\x01", reason::MALFORMED),
        (0x80, b"\x00\x01\x00\x00\x01t\x00", reason::MALFORMED),
        (0x82, b"\x00\x01\x00", reason::PROTOCOL_ERROR),
        (0x82, b"\x00\x01\x00\x00\x01t\x03", reason::MALFORMED),
        (0x82, b"\x00\x01\x00\x00\x01t\x30", reason::PROTOCOL_ERROR),
        (0x82, b"\x00\x01\x00\x00\x01t\x40", reason::MALFORMED),
        (0x82, b"\x00\x01\x02\x0B\x00\x00\x01t\x00", reason::PROTOCOL_ERROR),
        (0x82, b"\x00\x01\x00\x00\x0A$share/g/t\x04", reason::PROTOCOL_ERROR),
        (0xA2, b"\x00\x01\x00", reason::PROTOCOL_ERROR),
        (0xC0, b"x", reason::MALFORMED),
        (0x20, b"\x00\x00\x00", reason::PROTOCOL_ERROR),
        (0xF0, b"", reason::PROTOCOL_ERROR),
    ];
    for (first, body, reason) in cases {
        let violation = read(*first, body, Version::V5).expect_err("a violation");
        assert_eq!(violation.reason, *reason, "{first:02x} {body:02x?}: {violation}");
    }
    assert!(read(0x82, b"\x00\x01\x00\x01t\x04", Version::V311).is_err(), "3.1.1 has no options");
}

#[test]
fn short_forms_of_5_are_understood() {
    for (first, body) in [(0x40, &b"\x00\x01"[..]), (0x40, b"\x00\x01\x10"), (0x40, b"\x00\x01\x10\x00")] {
        assert!(
            matches!(read(first, body, Version::V5), Ok(Packet::PubAck(Ack { id: 1, .. }))),
            "{body:02x?}"
        );
    }
    let leave = |body| read(0xE0, body, Version::V5);
    assert!(matches!(leave(b""), Ok(Packet::Disconnect { reason: 0, session_expiry_s: None })));
    let expiry = b"\x04\x05\x11\x00\x00\x00\x09";
    assert!(matches!(leave(expiry), Ok(Packet::Disconnect { reason: 4, session_expiry_s: Some(9) })));
}

#[test]
fn answers_are_compact() {
    let ack = Ack { id: 258, reason: reason::SUCCESS };
    let refused = Ack { id: 258, reason: reason::NOT_AUTHORIZED };
    assert_eq!(written(|out| write::puback(out, Version::V5, ack)), b"\x40\x02\x01\x02");
    assert_eq!(written(|out| write::puback(out, Version::V5, refused)), b"\x40\x03\x01\x02\x87");
    assert_eq!(written(|out| write::puback(out, Version::V311, refused)), b"\x40\x02\x01\x02");
    assert_eq!(written(|out| write::suback(out, Version::V311, 1, &[1, 0x87])), b"\x90\x04\x00\x01\x01\x80");
    assert_eq!(
        written(|out| write::suback(out, Version::V5, 1, &[1, 0x87])),
        b"\x90\x05\x00\x01\x00\x01\x87"
    );
    assert_eq!(written(|out| write::unsuback(out, Version::V311, 1, &[0])), b"\xB0\x02\x00\x01");
    assert_eq!(written(|out| write::disconnect(out, Version::V311, 0x8E)), b"");
    assert_eq!(
        written(|out| write::refusal(out, Version::V311, reason::BAD_CREDENTIALS)),
        b"\x20\x02\x00\x04"
    );
    let welcome = Welcome { receive_maximum: 64, maximum_packet_bytes: 65536, ..Welcome::default() };
    let bytes = written(|out| write::welcome(out, Version::V5, &welcome));
    assert_eq!(bytes, b"\x20\x10\x00\x00\x0D\x11\x00\x00\x00\x00\x21\x00\x40\x27\x00\x01\x00\x00");
}

proptest! {
    #[test]
    fn no_bytes_make_reading_panic(first: u8, body in prop::collection::vec(any::<u8>(), 0..64)) {
        for version in [Version::V311, Version::V5] {
            let _ = read(first, &body, version);
        }
        let mut hello = b"\x00\x04MQTT\x05".to_vec();
        hello.extend(&body);
        let _ = connect(frame(0x10, &hello));
    }

    #[test]
    fn what_is_written_is_read_back(
        payload in prop::collection::vec(any::<u8>(), 0..300),
        qos in 0_u8..3,
        id in 1_u16..,
        retain: bool,
        expiry_s: Option<u32>,
        version in prop::sample::select(vec![Version::V311, Version::V5]),
    ) {
        let qos = Qos::from_bits(qos).expect("a quality of service");
        let outgoing = Outgoing {
            topic: "p/v1/pump-7/up/tm/x",
            payload: &payload,
            properties: b"\x03\x00\x01j",
            qos,
            id,
            retain,
            duplicate: false,
            expiry_s,
            identifier: None,
        };
        let bytes = written(|out| outgoing.write(out, version));
        prop_assert_eq!(bytes.len(), outgoing.len(version));
        let frame = framed(&bytes, true).expect("a frame");
        let Ok(Packet::Publish(publish)) = packet(frame, version) else { panic!("no PUBLISH") };
        prop_assert_eq!(publish.payload.as_ref(), &payload);
        prop_assert_eq!((publish.qos, publish.retain), (qos, retain));
        prop_assert_eq!(publish.id, if qos == Qos::AtMostOnce { 0 } else { id });
        if version == Version::V5 {
            prop_assert_eq!(publish.expiry_s, expiry_s);
            prop_assert_eq!(publish.properties, b"\x03\x00\x01j");
        }
    }
}

#[test]
fn a_frame_is_refused_by_its_header() {
    let error = framed(b"\x30\xFF\xFF\xFF\x7F", true).expect_err("too large");
    assert!(matches!(error, ReadError::Violation(Violation { reason: reason::PACKET_TOO_LARGE, .. })));
    let error = framed(b"\x30\xFF\xFF\xFF\xFF", true).expect_err("malformed");
    assert!(matches!(error, ReadError::Violation(Violation { reason: reason::MALFORMED, .. })));
    let error = framed(b"\x30", false).expect_err("not CONNECT");
    assert!(matches!(error, ReadError::Violation(Violation { reason: reason::PROTOCOL_ERROR, .. })));
}
