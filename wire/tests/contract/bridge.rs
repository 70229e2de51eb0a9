//! The datagrams between a board and its bridge.

use wasmbed_wire::bridge::{FromBoard, Malformed, OVERHEAD_BYTES, ToBoard, TooLarge};
use wasmbed_wire::topic::{self, Up};

use super::samples::parsed;

fn from_board() -> [(FromBoard<'static>, &'static [u8]); 2] {
    [
        (FromBoard::Open { keep_alive_s: 0x0102, will: b"will" }, b"\x01\x02\x01will"),
        (
            FromBoard::Publish { token: 0x0304, topic: "up/hb", payload: b"\0\xff" },
            b"\x02\x04\x03\x05up/hb\0\xff",
        ),
    ]
}

fn to_board() -> [(ToBoard<'static>, &'static [u8]); 4] {
    [
        (ToBoard::Session { up: true }, b"\x81\x01"),
        (ToBoard::Session { up: false }, b"\x81\x00"),
        (ToBoard::Acked { token: 0x0304 }, b"\x82\x04\x03"),
        (ToBoard::Deliver { topic: "dn/desired", payload: b"\0\xff" }, b"\x83\x0adn/desired\0\xff"),
    ]
}

#[test]
fn datagrams_are_these_bytes_and_need_their_room() {
    for (value, bytes) in from_board() {
        let mut out = [0; 64];
        let len = value.encode(&mut out).expect("room");
        assert_eq!(&out[..len], bytes);
        assert_eq!(FromBoard::decode(bytes), Ok(value));
        (0..len).for_each(|room| assert_eq!(value.encode(&mut out[..room]), Err(TooLarge)));
    }
    for (value, bytes) in to_board() {
        let mut out = [0; 64];
        let len = value.encode(&mut out).expect("room");
        assert_eq!(&out[..len], bytes);
        assert_eq!(ToBoard::decode(bytes), Ok(value));
        (0..len).for_each(|room| assert_eq!(value.encode(&mut out[..room]), Err(TooLarge)));
    }
}

#[test]
fn neither_side_reads_the_words_of_the_other() {
    from_board().iter().for_each(|(_, bytes)| assert_eq!(ToBoard::decode(bytes), Err(Malformed)));
    to_board().iter().for_each(|(_, bytes)| assert_eq!(FromBoard::decode(bytes), Err(Malformed)));
}

#[test]
fn what_is_cut_or_unknown_is_refused() {
    let bad: [&[u8]; 6] =
        [b"", b"\x00", b"\x03\0\0", b"\x01\x02", b"\x02\x04\x03\x05up/h", b"\x02\x04\x03\x01\xff"];
    bad.iter().for_each(|bytes| assert_eq!(FromBoard::decode(bytes), Err(Malformed), "{bytes:?}"));
    let bad: [&[u8]; 7] =
        [b"", b"\x80", b"\x81", b"\x81\x02", b"\x81\x01\x00", b"\x82\x04", b"\x83\x0bdn/desired"];
    bad.iter().for_each(|bytes| assert_eq!(ToBoard::decode(bytes), Err(Malformed), "{bytes:?}"));
}

#[test]
fn the_overhead_covers_the_longest_topic() {
    let topic = Up::Result(parsed(&"i".repeat(32))).to_string();
    assert!(topic.len() <= topic::MAX_BYTES);
    let longest = "t".repeat(topic::MAX_BYTES);
    let mut out = [0; OVERHEAD_BYTES + 10];
    let len = FromBoard::Publish { token: 1, topic: &longest, payload: &[1; 10] }.encode(&mut out);
    assert_eq!(len, Ok(OVERHEAD_BYTES + 10));
    let endless = "t".repeat(256);
    assert_eq!(
        FromBoard::Publish { token: 1, topic: &endless, payload: &[] }.encode(&mut [0; 999]),
        Err(TooLarge)
    );
    assert_eq!(ToBoard::Deliver { topic: &endless, payload: &[] }.encode(&mut [0; 999]), Err(TooLarge));
}
