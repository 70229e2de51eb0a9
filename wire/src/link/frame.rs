//! One frame of the link: header, payload, CRC-32 (ISO-HDLC) over both, stuffed.

use crc::{CRC_32_ISO_HDLC, Crc, Table};

use super::cobs;

static CRC: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISO_HDLC);

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
    let head = [header.kind as u8, m0, m1, y0, y1, header.seq, header.ack];
    let mut digest = CRC.digest();
    digest.update(&head);
    digest.update(payload);
    let mut frame = cobs::Encoder::new(out);
    frame.push(&head);
    frame.push(payload);
    frame.push(&digest.finalize().to_le_bytes());
    frame.finish()
}

/// Reads a frame; `None` if it is damaged or of an unknown kind.
pub(super) fn decode(frame: &[u8]) -> Option<(Header, &[u8])> {
    let (body, crc) = frame.split_last_chunk::<CRC_BYTES>()?;
    if CRC.checksum(body) != u32::from_le_bytes(*crc) {
        return None;
    }
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
    cobs::encoded_bytes(payload + OVERHEAD_BYTES)
}
