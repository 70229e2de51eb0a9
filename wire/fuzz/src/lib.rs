//! What the fuzz targets do with their input, callable from ordinary tests too.
//!
//! Each function takes any bytes and panics where a promise of `wasmbed-wire` is broken: decoders refuse
//! or read, what was read is written so that it reads the same, and a link always comes to rest.

use wasmbed_wire::{
    bridge::{FromBoard, ToBoard},
    keyring::{Keyring, Roles},
    limits::{MAX_KEYRING_BYTES, MAX_MANIFEST_BYTES},
    link::{Config, Event, Link, RX_OVERHEAD_BYTES, encoded_bytes},
    manifest::{Manifest, Trial},
    message::{
        Block, Command, CommandResult, Crash, Desired, Get, Heartbeat, Info, Refused, Reported, State,
    },
    nor::{Answer, Frames, MAX_FRAME_BYTES, Operation, Request},
    provision::Provision,
    ros::{RosCall, RosHave, RosPublication, RosQuestion, RosReply, RosTaken, RosTell, RosWant},
    sign1::Sign1,
    topic::{DEFAULT_PREFIX, Down, Up, split},
};

/// What is read is written so that it reads the same. A macro, as the type borrows once from each buffer.
macro_rules! reads_back {
    ($type:ident, $data:expr) => {
        if let Ok(value) = minicbor::decode::<$type>($data) {
            let written = minicbor::to_vec(&value).expect("vectors grow");
            let again = minicbor::decode::<$type>(&written).expect("reads what it wrote");
            assert_eq!(again, value);
        }
    };
}

/// Every message that a device, the service or a gateway reads; the first byte says which.
pub fn messages(data: &[u8]) {
    let Some((which, data)) = data.split_first() else { return };
    match which % 19 {
        0 => reads_back!(State, data),
        1 => reads_back!(Info, data),
        2 => reads_back!(Reported, data),
        3 => reads_back!(Heartbeat, data),
        4 => reads_back!(Crash, data),
        5 => reads_back!(Get, data),
        6 => reads_back!(Block, data),
        7 => reads_back!(Command, data),
        8 => reads_back!(CommandResult, data),
        9 => reads_back!(Refused, data),
        10 => reads_back!(RosWant, data),
        11 => reads_back!(RosPublication, data),
        12 => reads_back!(RosCall, data),
        13 => reads_back!(RosReply, data),
        14 => reads_back!(RosQuestion, data),
        15 => reads_back!(RosTaken, data),
        16 => reads_back!(RosHave, data),
        17 => reads_back!(RosTell, data),
        _ => reads_back!(Desired, data),
    }
}

/// A signed manifest, and the manifest in it or alone.
pub fn manifest(data: &[u8]) {
    reads_back!(Manifest, data);
    if let Ok(manifest) = minicbor::decode::<Manifest>(data) {
        let blocks = u64::from(manifest.payload_blocks());
        assert!(blocks * u64::from(manifest.block_bytes.max(1)) >= u64::from(manifest.size));
        let trial = manifest.trial.map(Trial::clamped);
        assert!(trial.is_none_or(|trial| (1..=15).contains(&trial.tries)));
        assert!(trial.is_none_or(|trial| (5..=3600).contains(&trial.confirm_s)));
    }
    let Ok(sign1) = Sign1::decode(data) else { return };
    reads_back!(Manifest, sign1.payload);
    let mut out = [0; MAX_MANIFEST_BYTES];
    if let Ok(len) = sign1.encode(&mut out) {
        assert_eq!(Sign1::decode(&out[..len]), Ok(sign1));
    }
}

/// A signed keyring, and the keyring in it or alone.
pub fn keyring(data: &[u8]) {
    reads_back!(Keyring, data);
    if let Ok(keyring) = minicbor::decode::<Keyring>(data) {
        for key in keyring.keys.iter() {
            let known: Roles = key.roles.iter().collect();
            assert!(known.iter().eq(key.roles.iter()));
        }
    }
    let Ok(sign1) = Sign1::decode(data) else { return };
    reads_back!(Keyring, sign1.payload);
    let mut out = [0; MAX_KEYRING_BYTES];
    if let Ok(len) = sign1.encode(&mut out) {
        assert_eq!(Sign1::decode(&out[..len]), Ok(sign1));
    }
}

/// A topic, alone and with its prefix.
pub fn topics(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let rest = split(DEFAULT_PREFIX, text).map_or(text, |(_, rest)| rest);
    assert!(Up::parse(rest).is_none_or(|up| up.to_string() == rest));
    assert!(Down::parse(rest).is_none_or(|down| down.to_string() == rest));
}

/// Datagrams of either side of the bridge.
pub fn bridge(data: &[u8]) {
    let mut out = vec![0; data.len()];
    if let Ok(datagram) = FromBoard::decode(data) {
        assert_eq!(datagram.encode(&mut out), Ok(data.len()));
        assert_eq!(out, data);
    }
    if let Ok(datagram) = ToBoard::decode(data) {
        assert_eq!(datagram.encode(&mut out), Ok(data.len()));
        assert_eq!(out, data);
    }
}

/// What a board and its flash chip say: the bodies of frames, and a stream with frames in it.
pub fn nor(data: &[u8]) {
    nor_body(data);
    let mut frames = Frames::new();
    for byte in data {
        if let Some(body) = frames.push(*byte) {
            nor_body(body);
        }
    }
    // Whatever came before, what follows the end of a frame is read.
    frames.push(0);
    let mut out = [0; MAX_FRAME_BYTES];
    let request = Request { number: 1, operation: Operation::Erase { address: 0x1000 } };
    let len = request.encode(&mut out).expect("room");
    let body = one_body(&mut frames, &out[..len]);
    assert_eq!(Request::decode(&body), Ok(request));
}

fn nor_body(body: &[u8]) {
    let mut out = [0; MAX_FRAME_BYTES];
    if let Ok(request) = Request::decode(body) {
        let len = request.encode(&mut out).expect("room");
        assert_eq!(Request::decode(&one_body(&mut Frames::new(), &out[..len])), Ok(request));
    }
    if let Ok(answer) = Answer::decode(body) {
        let len = answer.encode(&mut out).expect("room");
        assert_eq!(Answer::decode(&one_body(&mut Frames::new(), &out[..len])), Ok(answer));
    }
}

/// What one frame carries; it comes with its last byte.
fn one_body(frames: &mut Frames, frame: &[u8]) -> Vec<u8> {
    let (last, rest) = frame.split_last().expect("a frame has an end");
    assert!(rest.iter().all(|byte| frames.push(*byte).is_none()), "a body before its end");
    frames.push(*last).expect("whole").to_vec()
}

/// A provisioning area.
pub fn provision(data: &[u8]) {
    reads_back!(Provision, data);
    let Ok(read) = Provision::read(data) else { return };
    let mut area = vec![0; data.len() + 16];
    let len = read.write(&mut area).expect("hardly longer than it was");
    assert_eq!(Provision::read(&area[..len]), Ok(read));
}

const DATAGRAM_BYTES: usize = 64;
type End = Link<{ DATAGRAM_BYTES + RX_OVERHEAD_BYTES }, 400>;

/// Two links on a line that the input directs: what is sent, lost, damaged, made up, and when.
pub fn link_bytes(data: &[u8]) {
    let config = Config { window: 4, resend_ms: 100, ping_ms: Some(300), dead_ms: 900 };
    let mut ends = [End::new(0, config, 1), End::new(0, config, 2)];
    let mut now = 0;
    let mut rest = data.iter().copied();
    while let Some(byte) = rest.next() {
        let [one, other] = &mut ends;
        let (from, to) = if byte & 1 == 0 { (one, other) } else { (other, one) };
        let amount = usize::from(byte >> 3);
        match (byte >> 1) & 3 {
            // Bytes no link made.
            0 => hand_in(to, now, &rest.by_ref().take(amount).collect::<Vec<_>>()),
            // The next frame, whole or damaged in one place.
            1 => {
                let mut out = [0; encoded_bytes(DATAGRAM_BYTES)];
                let len = from.transmit(now, &mut out);
                if amount > 16 {
                    out[amount % len.max(1)] ^= rest.next().unwrap_or_default();
                }
                hand_in(to, now, &out[..len]);
            }
            2 => now += (amount * amount) as u64,
            _ => {
                let room = from.can_send(amount);
                assert_eq!(from.send(&[byte; DATAGRAM_BYTES][..amount]).is_ok(), room);
            }
        }
    }
    ends.iter_mut().for_each(|end| comes_to_rest(end, now));
}

fn hand_in(end: &mut End, now: u64, bytes: &[u8]) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let taken = end.on_bytes(now, rest);
        rest = &rest[taken..];
        let mut told = 0;
        while let Some(event) = end.poll_event() {
            told += 1;
            assert!(!matches!(event, Event::Datagram(bytes) if bytes.len() > DATAGRAM_BYTES));
        }
        assert!(taken > 0 || told > 0, "neither takes bytes nor tells why");
    }
}

/// A link with nobody at the other end falls silent until its next deadline.
fn comes_to_rest(end: &mut End, now: u64) {
    let mut out = [0; encoded_bytes(DATAGRAM_BYTES)];
    let frames = (0..100).take_while(|_| end.transmit(now, &mut out) > 0).count();
    assert!(frames < 100, "speaks without end");
    assert!(end.next_deadline().is_none_or(|at| at > now), "silent, yet asks to be called now");
}
