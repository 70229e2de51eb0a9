//! Frames of MAVLink around messages (MAVLink guide, Serialization): of both versions when heard, of version 2 when made.
//!
//! Whoever has a key looks at a frame's signature and fills in those of its own; here is only room for them.

use crate::{
    Config, Message, Source,
    messages::{COMMAND_INT_BYTES, MAX_PAYLOAD_BYTES, extra_crc},
};

/// What a signature adds to a frame, in bytes: link, time and value.
const SIGNATURE_BYTES: usize = 1 + 6 + 6;
/// Longest frame that is made here, in bytes, with a signature.
pub const SENT_BYTES: usize = HEADER_V2_BYTES + COMMAND_INT_BYTES + CRC_BYTES + SIGNATURE_BYTES;
/// Longest frame there is, in bytes.
const MAX_FRAME_BYTES: usize = HEADER_V2_BYTES + MAX_PAYLOAD_BYTES + CRC_BYTES + SIGNATURE_BYTES;

/// What frames of each version begin with.
const V1: u8 = 0xfe;
const V2: u8 = 0xfd;
const HEADER_V1_BYTES: usize = 6;
const HEADER_V2_BYTES: usize = 10;
const CRC_BYTES: usize = 2;
/// `MAVLINK_IFLAG_SIGNED`: of the flags that change what a frame looks like the only one known here.
const SIGNED: u8 = 1;

/// Puts messages into frames, one after the other.
#[derive(Debug)]
pub struct Framer {
    own: Config,
    sequence: u8,
}

impl Framer {
    /// As this system and component.
    pub const fn new(own: Config) -> Self {
        Framer { own, sequence: 0 }
    }

    /// The frame of a message. One that is to be signed says so, and ends with zeros
    /// where its signature goes: link, time and value, 1, 6 and 6 bytes.
    pub fn frame<'o>(
        &mut self,
        message: &Message,
        is_signed: bool,
        out: &'o mut [u8; SENT_BYTES],
    ) -> &'o mut [u8] {
        let payload = without_zeros(message.payload());
        let [id0, id1, id2, _] = message.id.to_le_bytes();
        let flags = if is_signed { SIGNED } else { 0 };
        // A payload is no longer than its type has room for, which is less than 256 bytes.
        let len = payload.len() as u8;
        let Config { system, component, .. } = self.own;
        let header: [u8; HEADER_V2_BYTES] =
            [V2, len, flags, 0, self.sequence, system, component, id0, id1, id2];
        self.sequence = self.sequence.wrapping_add(1);
        // What is sent is spoken, and has a seed.
        let seed = extra_crc(message.id).unwrap_or_default();
        let crc = header.iter().skip(1).chain(payload).chain([&seed]).fold(CRC_START, crc).to_le_bytes();
        let signature = [0; SIGNATURE_BYTES];
        let end = if is_signed { &signature[..] } else { &[] };
        let frame_bytes = header.len() + payload.len() + crc.len() + end.len();
        let bytes = header.iter().chain(payload).chain(&crc).chain(end);
        out.iter_mut().zip(bytes).for_each(|(place, byte)| *place = *byte);
        out.get_mut(..frame_bytes).unwrap_or_default()
    }
}

/// Without the zeros at its end, of which the first byte is none.
fn without_zeros(payload: &[u8]) -> &[u8] {
    let len = payload.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
    payload.get(..len).unwrap_or(payload)
}

/// A frame that was heard: whole, and of a message that is spoken here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'b> {
    bytes: &'b [u8],
    shape: Shape,
}

impl<'b> Frame<'b> {
    /// Who sent it.
    pub fn source(&self) -> Source {
        let at = if self.shape.is_v2() { 5 } else { 3 };
        let byte = |at: usize| self.bytes.get(at).copied().unwrap_or_default();
        Source { system: byte(at), component: byte(at + 1) }
    }

    /// The number of its message.
    pub fn id(&self) -> u32 {
        id(self.bytes, self.shape)
    }

    /// The fields of its message; zeros at the end may be left out.
    pub fn payload(&self) -> &'b [u8] {
        self.bytes.get(self.shape.header_bytes..self.shape.crc_at()).unwrap_or_default()
    }

    /// All of it.
    pub const fn bytes(&self) -> &'b [u8] {
        self.bytes
    }

    /// Whether it ends with a signature, which nobody has looked at.
    pub const fn is_signed(&self) -> bool {
        self.shape.is_signed
    }
}

/// Finds frames among bytes in the order they were sent, of which the last may be no frame yet. What is none is passed
/// over, whatever it holds.
#[derive(Debug)]
pub struct Deframer {
    bytes: [u8; MAX_FRAME_BYTES],
    len: usize,
    /// Bytes at the beginning that are done with.
    done: usize,
}

impl Default for Deframer {
    fn default() -> Self {
        Deframer { bytes: [0; MAX_FRAME_BYTES], len: 0, done: 0 }
    }
}

impl Deframer {
    /// Takes in bytes, and gives `on_frame` the frames that are complete with them, in their order.
    pub fn hear(&mut self, mut bytes: &[u8], mut on_frame: impl FnMut(&Frame<'_>)) {
        while !bytes.is_empty() {
            let taken = self.take(bytes);
            debug_assert!(taken > 0, "there is room for the next byte");
            bytes = bytes.get(taken..).unwrap_or_default();
            while let Some(frame) = self.next_frame() {
                on_frame(&frame);
            }
        }
    }

    /// Takes in as many bytes as there is room for and returns how many that were. After [`next_frame`](Deframer::next_frame) has
    /// found nothing there is room for some.
    fn take(&mut self, bytes: &[u8]) -> usize {
        self.bytes.copy_within(self.done..self.len, 0);
        self.len -= self.done;
        self.done = 0;
        let room = self.bytes.get_mut(self.len..).unwrap_or_default();
        let taken = room.len().min(bytes.len());
        room.iter_mut().zip(bytes).for_each(|(place, byte)| *place = *byte);
        self.len += taken;
        taken
    }

    /// The next frame that is complete.
    fn next_frame(&mut self) -> Option<Frame<'_>> {
        loop {
            let rest = self.bytes.get(self.done..self.len)?;
            let Some(start) = rest.iter().position(|byte| is_start(*byte)) else {
                self.done = self.len;
                return None;
            };
            self.done += start;
            let candidate = self.bytes.get(self.done..self.len)?;
            match judge(candidate) {
                Candidate::Short => return None,
                Candidate::Noise => self.done += 1,
                Candidate::Whole(shape) => {
                    let start = self.done;
                    self.done += shape.frame_bytes();
                    let bytes = self.bytes.get(start..self.done)?;
                    return Some(Frame { bytes, shape });
                }
            }
        }
    }
}

/// Tells where frames end, for a receiver that is to be looked at then. It takes bytes for frames that begin like them.
#[derive(Debug)]
pub struct Ends {
    /// The beginning of the frame that is under way.
    head: [u8; 3],
    seen: usize,
}

impl Ends {
    /// Between two frames.
    pub const fn new() -> Self {
        Ends { head: [0; 3], seen: 0 }
    }

    /// Whether a frame ends with this byte, which follows the one before.
    pub fn is_end(&mut self, byte: u8) -> bool {
        if self.seen == 0 && !is_start(byte) {
            return false;
        }
        if let Some(place) = self.head.get_mut(self.seen) {
            *place = byte;
        }
        self.seen += 1;
        // Frames are longer than their heads.
        let is_end = self.seen > self.head.len() && Shape::of(self.head).frame_bytes() <= self.seen;
        if is_end {
            self.seen = 0;
        }
        is_end
    }
}

impl Default for Ends {
    fn default() -> Self {
        Self::new()
    }
}

/// How long the parts of a frame are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    header_bytes: usize,
    payload_bytes: usize,
    is_signed: bool,
}

impl Shape {
    /// Of a frame that begins so.
    fn of([start, len, flags]: [u8; 3]) -> Self {
        let is_v2 = start == V2;
        let header_bytes = if is_v2 { HEADER_V2_BYTES } else { HEADER_V1_BYTES };
        Shape { header_bytes, payload_bytes: len.into(), is_signed: is_v2 && flags & SIGNED != 0 }
    }

    const fn is_v2(self) -> bool {
        self.header_bytes == HEADER_V2_BYTES
    }

    const fn crc_at(self) -> usize {
        self.header_bytes + self.payload_bytes
    }

    const fn frame_bytes(self) -> usize {
        self.crc_at() + CRC_BYTES + if self.is_signed { SIGNATURE_BYTES } else { 0 }
    }
}

enum Candidate {
    /// It is not complete.
    Short,
    /// It is no frame, or not of a message that is spoken here.
    Noise,
    Whole(Shape),
}

/// What bytes that begin like a frame are.
fn judge(bytes: &[u8]) -> Candidate {
    let Some(head) = bytes.first_chunk::<3>() else { return Candidate::Short };
    let shape = Shape::of(*head);
    // Whoever does not know a flag must not take the frame.
    if shape.is_v2() && head[2] & !SIGNED != 0 {
        return Candidate::Noise;
    }
    let Some(frame) = bytes.get(..shape.frame_bytes()) else { return Candidate::Short };
    let (Some(covered), Some(found)) = (
        frame.get(1..shape.crc_at()),
        frame.get(shape.crc_at()..).and_then(|rest| rest.first_chunk()).copied().map(u16::from_le_bytes),
    ) else {
        return Candidate::Noise;
    };
    match extra_crc(id(frame, shape)) {
        Some(seed) if covered.iter().chain([&seed]).fold(CRC_START, crc) == found => Candidate::Whole(shape),
        _ => Candidate::Noise,
    }
}

fn id(frame: &[u8], shape: Shape) -> u32 {
    let number = match shape.is_v2() {
        true => frame.get(7..10),
        false => frame.get(5..6),
    };
    number.unwrap_or_default().iter().rev().fold(0, |id, byte| id << 8 | u32::from(*byte))
}

const fn is_start(byte: u8) -> bool {
    matches!(byte, V1 | V2)
}

/// Before the first byte.
const CRC_START: u16 = 0xffff;

/// CRC-16/MCRF4XX, a byte further.
fn crc(sum: u16, byte: &u8) -> u16 {
    let low = (sum as u8) ^ byte;
    let low = u16::from(low ^ (low << 4));
    (sum >> 8) ^ (low << 8) ^ (low << 3) ^ (low >> 4)
}

#[cfg(test)]
mod tests;
