//! One frame of the link: header, payload, CRC-32 (ISO-HDLC) over both, stuffed.

use super::cobs;
use crate::crc32;

const HEADER_BYTES: usize = 7;
const CRC_BYTES: usize = 4;
/// Bytes of a frame around its payload, before stuffing.
pub(super) const OVERHEAD_BYTES: usize = HEADER_BYTES + CRC_BYTES;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// Announces a session and what its sender can receive.
    Hello = 1,
    /// A datagram.
    Data = 2,
    /// An acknowledgement alone.
    Ack = 3,
    /// An acknowledgement that asks for everything after it again.
    Nak = 4,
    /// Asks for an acknowledgement.
    Ping = 5,
    /// Text for people; never acknowledged.
    Console = 6,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        [Kind::Hello, Kind::Data, Kind::Ack, Kind::Nak, Kind::Ping, Kind::Console]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    /// The sender's session.
    pub(super) mine: u16,
    /// The receiver's session as the sender knows it; 0 if it does not.
    pub(super) yours: u16,
    /// Number of this datagram.
    pub(super) seq: u8,
    /// Number of the datagram the sender expects next.
    pub(super) ack: u8,
}

/// Writes a frame to `out` and returns its length; `None` if it does not fit.
pub(super) fn encode(header: &Header, payload: &[u8], out: &mut [u8]) -> Option<usize> {
    let [m0, m1] = header.mine.to_le_bytes();
    let [y0, y1] = header.yours.to_le_bytes();
    encode_body(&[&[header.kind as u8, m0, m1, y0, y1, header.seq, header.ack], payload], out)
}

/// Writes these parts as one frame, checked and stuffed, without a header.
pub(super) fn encode_body(parts: &[&[u8]], out: &mut [u8]) -> Option<usize> {
    let mut frame = cobs::Encoder::new(out);
    for part in parts {
        frame.push(part);
    }
    frame.push(&crc32(parts).to_le_bytes());
    frame.finish()
}

/// What was written as one frame; `None` if it is damaged.
pub(super) fn decode_body(frame: &[u8]) -> Option<&[u8]> {
    let (body, crc) = frame.split_last_chunk::<CRC_BYTES>()?;
    (crc32(&[body]) == u32::from_le_bytes(*crc)).then_some(body)
}

/// Reads a frame; `None` if it is damaged or of an unknown kind.
pub(super) fn decode(frame: &[u8]) -> Option<(Header, &[u8])> {
    let body = decode_body(frame)?;
    let (&[kind, m0, m1, y0, y1, seq, ack], payload) = body.split_first_chunk::<HEADER_BYTES>()?;
    let header = Header {
        kind: Kind::from_byte(kind)?,
        mine: u16::from_le_bytes([m0, m1]),
        yours: u16::from_le_bytes([y0, y1]),
        seq,
        ack,
    };
    Some((header, payload))
}

/// Bytes an encoded frame with this payload needs at most.
pub(super) const fn encoded_bytes(payload: usize) -> usize {
    encoded_body_bytes(HEADER_BYTES + payload)
}

/// Bytes a frame without a header needs at most.
pub(super) const fn encoded_body_bytes(body: usize) -> usize {
    cobs::encoded_bytes(body + CRC_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn hex(bytes: &[u8]) -> std::string::String {
        bytes.iter().map(|byte| std::format!("{byte:02x}")).collect()
    }

    fn encoded(kind: Kind, payload: &[u8]) -> Vec<u8> {
        let mut out = [0; 64];
        let header = Header { kind, mine: 0x0102, yours: 0x0304, seq: 5, ack: 6 };
        let len = encode(&header, payload, &mut out).expect("room");
        out[..len].to_vec()
    }

    #[test]
    fn frames_are_these_bytes() {
        // Stuffing, kind, two sessions, seq, ack, payload, CRC-32, zero.
        assert_eq!(hex(&encoded(Kind::Hello, &[0x2c, 0x01, 4])), "0f010201040305062c01049de7655e00");
        assert_eq!(hex(&encoded(Kind::Data, b"a\0b")), "090202010403050661066221b7da7000");
        assert_eq!(hex(&encoded(Kind::Ack, b"")), "0c0302010403050626351cc500");
        assert_eq!(hex(&encoded(Kind::Nak, b"")), "0b04020104030506a80bbb0100");
        assert_eq!(hex(&encoded(Kind::Ping, b"")), "09050201040305061c03cca600");
        assert_eq!(hex(&encoded(Kind::Console, b"hi")), "0e060201040305066869f8ed690700");
    }

    #[test]
    fn a_frame_with_any_bit_flipped_is_refused() {
        let mut body = [2, 2, 1, 4, 3, 5, 6, b'a', 0, 0, 0, 0];
        let crc = crc32(&[&body[..8]]);
        body[8..].copy_from_slice(&crc.to_le_bytes());
        let header = Header { kind: Kind::Data, mine: 0x0102, yours: 0x0304, seq: 5, ack: 6 };
        assert_eq!(decode(&body), Some((header, &b"a"[..])));
        for bit in 0..body.len() * 8 {
            let mut flipped = body;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&flipped), None, "bit {bit}");
        }
        for len in 0..body.len() {
            assert_eq!(decode(&body[..len]), None, "{len} bytes");
        }
    }

    #[test]
    fn a_kind_of_a_later_version_is_refused() {
        for kind in [0, 7, 255] {
            let mut body = [kind, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            let crc = crc32(&[&body[..7]]);
            body[7..].copy_from_slice(&crc.to_le_bytes());
            assert_eq!(decode(&body), None);
        }
    }
}
