use core::convert::Infallible;
use std::{vec, vec::Vec};

use mavlink_core::{
    Dialect, MAVLinkV1MessageRaw, MAVLinkV2MessageRaw, MavHeader, MavlinkReader, MavlinkVersion,
    error::{MessageReadError, ParserError},
};

use super::*;
use crate::{Vehicles, messages::HEARTBEAT};

const OWN: Config = Config { system: 245, component: 191, vehicles: 1 };
/// A PX4 quadrotor's heartbeat as another program frames it, in version 1 and 2.
const HEARD_V1: [u8; 17] = [0xfe, 9, 5, 1, 1, 0, 0, 0, 4, 3, 2, 12, 0x81, 4, 3, 0x1a, 0x7c];
const HEARD_V2: [u8; 21] = [0xfd, 9, 0, 0, 5, 1, 1, 0, 0, 0, 0, 0, 4, 3, 2, 12, 0x81, 4, 3, 0xa1, 0x94];

/// What a frame holds: who sent it, the number and the fields of its message.
type Held = (u8, u8, u32, Vec<u8>);

/// The same messages for other people's frames.
struct Spoken;

impl Dialect for Spoken {
    type Message = (u32, Vec<u8>);
    type EncodeError = Infallible;

    fn message_id(&self, message: &Self::Message) -> u32 {
        message.0
    }

    fn extra_crc(&self, id: u32) -> Option<u8> {
        extra_crc(id)
    }

    fn decode(&self, _: MavlinkVersion, id: u32, payload: &[u8]) -> Result<Self::Message, ParserError> {
        Ok((id, payload.to_vec()))
    }

    fn encode(
        &self,
        _: MavlinkVersion,
        (_, payload): &Self::Message,
        out: &mut [u8],
    ) -> Result<usize, Infallible> {
        out[..payload.len()].copy_from_slice(payload);
        Ok(payload.len())
    }
}

/// As `mavlink-core` frames it.
fn others_frame(version: u8, system: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    let header = MavHeader { system_id: system.into(), component_id: 1, sequence: 7 };
    let message = (id, payload.to_vec());
    if version == 1 {
        let mut raw = MAVLinkV1MessageRaw::new();
        raw.serialize_message_with_dialect(header, &Spoken, &message).expect("it is spoken");
        return raw.raw_bytes().to_vec();
    }
    let mut raw = MAVLinkV2MessageRaw::new();
    *raw.incompatibility_flags_mut() = u8::from(version == 3);
    raw.serialize_message_with_dialect(header, &Spoken, &message).expect("it is spoken");
    raw.raw_bytes().to_vec()
}

/// What `mavlink-core` finds.
fn others_find(bytes: &[u8]) -> Vec<Held> {
    let mut reader = MavlinkReader::new(bytes);
    let mut found = Vec::new();
    loop {
        match reader.read_any_raw_message_with_dialect(&Spoken) {
            Ok(raw) => {
                let system = u8::try_from(raw.system_id()).expect("one of 8 bits");
                found.push((system, raw.component_id(), raw.message_id(), raw.payload().to_vec()));
            }
            Err(MessageReadError::Parse(_)) => {}
            Err(MessageReadError::Io(_)) => return found,
        }
    }
}

/// What is found here, in pieces of this size.
fn find(bytes: &[u8], size: usize) -> Vec<Held> {
    let (mut deframer, mut found) = (Deframer::default(), Vec::new());
    for piece in bytes.chunks(size) {
        deframer.hear(piece, |frame| {
            let Source { system, component } = frame.source();
            found.push((system, component, frame.id(), frame.payload().to_vec()));
        });
    }
    found
}

fn heartbeat() -> Message {
    Vehicles::new(OWN).poll_message(0).expect("it says that it is there")
}

fn framed(framer: &mut Framer, is_signed: bool) -> Vec<u8> {
    framer.frame(&heartbeat(), is_signed, &mut [0; SENT_BYTES]).to_vec()
}

#[test]
fn what_is_sent_is_understood_by_others_and_here() {
    let mut framer = Framer::new(OWN);
    for is_signed in [false, true, false] {
        let bytes = framed(&mut framer, is_signed);
        let held = vec![(245, 191, HEARTBEAT, heartbeat().payload().to_vec())];
        assert_eq!((others_find(&bytes), find(&bytes, 1)), (held.clone(), held));
    }
    let frames = [0, 1, 2].map(|_| framed(&mut framer, true));
    assert_eq!(frames.map(|frame| frame[4]), [3, 4, 5], "they are numbered");
}

#[test]
fn zeros_at_the_end_of_a_message_are_left_out() {
    let mut message = heartbeat();
    for (payload, len) in [(&[1, 0, 0][..], 1), (&[0, 0, 0], 1), (&[1, 0, 2], 3)] {
        message = Message::new(0, message.id, &[payload]);
        let mut out = [0; SENT_BYTES];
        let frame = Framer::new(OWN).frame(&message, false, &mut out);
        assert_eq!((frame[1], frame.len()), (len, 12 + usize::from(len)));
        assert_eq!(others_find(frame).len(), 1);
    }
}

#[test]
fn both_versions_are_understood() {
    for bytes in [&HEARD_V1[..], &HEARD_V2] {
        let held = (1, 1, HEARTBEAT, vec![0, 0, 4, 3, 2, 12, 0x81, 4, 3]);
        assert_eq!(find(bytes, bytes.len()), [held]);
    }
}

#[test]
fn what_was_sent_is_heard_in_whichever_pieces_it_comes() {
    let mut framer = Framer::new(OWN);
    let bytes =
        [b"noise", &framed(&mut framer, false)[..], &[0xfd, 3], &framed(&mut framer, true), &[0; 300]];
    // A false start holds up what follows until it cannot be one.
    let bytes = bytes.concat();
    for size in [1, 7, bytes.len()] {
        assert_eq!(find(&bytes, size).len(), 2, "{size}");
    }
}

/// Numbers that are the same each time (Marsaglia's xorshift).
struct Numbers(u32);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0 as usize % end
    }

    /// A frame that is in order, or damaged, or something else.
    fn piece(&mut self) -> Vec<u8> {
        let ids = [0, 1, 32, 76, 77, 147, 245];
        let payload: Vec<u8> =
            (0..1 + self.below(60)).map(|_| [0xfd, 0xfe, 0, 1, 255][self.below(5)]).collect();
        let mut frame = others_frame(1 + self.below(3) as u8, 9, ids[self.below(7)], &payload);
        match self.below(4) {
            0 => {
                let at = self.below(frame.len());
                frame[at] ^= 0x10;
            }
            1 => frame = (0..self.below(40)).map(|_| [0xfd, 0xfe, 0, 9, 255][self.below(5)]).collect(),
            _ => {}
        }
        frame
    }
}

#[test]
fn the_same_frames_are_found_as_by_others_among_whatever_else_there_is() {
    let mut found_any = 0;
    for seed in 1..=200 {
        let mut numbers = Numbers(seed);
        let mut bytes: Vec<u8> = (0..30).flat_map(|_| numbers.piece()).collect();
        bytes.extend([0; 300]);
        let found = find(&bytes, 1 + numbers.below(90));
        assert_eq!(found, others_find(&bytes), "seed {seed}");
        found_any += found.len();
    }
    assert!(found_any > 2_000, "only {found_any}");
}

#[test]
fn whoever_waits_for_frames_is_told_where_each_ends() {
    let mut framer = Framer::new(OWN);
    let (mut ends, mut expected, mut bytes) = (Ends::new(), Vec::new(), Vec::new());
    let frames =
        [HEARD_V1.to_vec(), framed(&mut framer, false), HEARD_V2.to_vec(), framed(&mut framer, true)];
    for frame in frames {
        bytes.extend(b"...");
        bytes.extend(frame);
        expected.push(bytes.len() - 1);
    }
    let told: Vec<usize> = (0..bytes.len()).filter(|at| ends.is_end(bytes[*at])).collect();
    assert_eq!(told, expected);
}
