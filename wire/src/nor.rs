//! What a board and its NOR flash chip say to each other where the chip is at the far end of a serial line.
//!
//! One request, one answer. A frame is the bytes below and their CRC-32, stuffed like those of
//! [`crate::link`] and ended by a zero. A board that hears nothing, or something damaged, asks again:
//! reading, erasing and programming the same bytes twice do no harm.
//!
//! ```text
//! request:  number, operation, address (4 bytes), then: length (2 bytes) to read, or the bytes to program
//! answer:   number of the request, status, then the bytes read
//! ```
//!
//! Integers are little-endian. The chip keeps the rules of NOR flash: erasing sets all bits of a sector,
//! programming only clears bits, and what breaks a rule is refused as a whole with a [`Fault`].
//!
//! The chip has one window through which the processor sees its contents as memory. [`Operation::Map`]
//! moves it: the board is restarted if it saw anything else there since its last start.
//!
//! Not here: the chip itself (`wasmbed-fleet`, the host role) and the driver (`firmware`).

use crate::link;

/// Most bytes one request programs or one answer carries.
pub const MAX_DATA_BYTES: usize = 256;
/// Most bytes of a frame, with its end.
pub const MAX_FRAME_BYTES: usize = link::encoded_body_bytes(HEADER_BYTES + MAX_DATA_BYTES);
/// Bytes of a request before its data.
const HEADER_BYTES: usize = 6;

/// What a board wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation<'a> {
    /// Give `len` bytes from `address` on, at most [`MAX_DATA_BYTES`].
    Read {
        /// Where.
        address: u32,
        /// How many.
        len: u16,
    },
    /// Clear the bits that are clear in `data`.
    Program {
        /// Where.
        address: u32,
        /// At most [`MAX_DATA_BYTES`], all in one sector.
        data: &'a [u8],
    },
    /// Set all bits of the sector that begins at `address`.
    Erase {
        /// Where.
        address: u32,
    },
    /// Show the contents from `address` on in the window.
    Map {
        /// Where, at the beginning of a sector.
        address: u32,
    },
    /// Tell sizes: the answer carries the chip's size and its sectors' size, in bytes, as `u32` each.
    Identify,
}

/// Why the chip did not do what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Fault {
    /// The address, or the end of what was asked for, lies outside of the chip.
    OutOfRange = 1,
    /// Not the beginning of a sector, or across the end of one.
    Misaligned = 2,
    /// Programming would set a bit.
    NotErased = 3,
    /// The chip's memory failed.
    Failed = 4,
    /// Not a request of this version.
    Unknown = 5,
}

impl Fault {
    const ALL: [Fault; 5] =
        [Fault::OutOfRange, Fault::Misaligned, Fault::NotErased, Fault::Failed, Fault::Unknown];
}

impl core::fmt::Display for Fault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Fault::OutOfRange => "outside of the flash",
            Fault::Misaligned => "not within one sector",
            Fault::NotErased => "programming would set a bit that is clear; erase the sector first",
            Fault::Failed => "the flash failed",
            Fault::Unknown => "not an operation of this flash",
        })
    }
}

impl core::error::Error for Fault {}

/// A request with its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// Comes back with the answer.
    pub number: u8,
    /// What is wanted.
    pub operation: Operation<'a>,
}

/// An answer with the number of its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer<'a> {
    /// That of the request.
    pub number: u8,
    /// The bytes read, if any were asked for, or why it was not done.
    pub result: Result<&'a [u8], Fault>,
}

/// The frame is not one of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

const READ: u8 = 0x01;
const PROGRAM: u8 = 0x02;
const ERASE: u8 = 0x03;
const MAP: u8 = 0x04;
const IDENTIFY: u8 = 0x05;
/// The status of an answer that carries what was asked for.
const DONE: u8 = 0;

impl<'a> Request<'a> {
    /// Writes the frame to `out` and returns its length; `None` if it does not fit.
    pub fn encode(&self, out: &mut [u8]) -> Option<usize> {
        let head = |operation, address: u32| {
            let [a, b, c, d] = address.to_le_bytes();
            [self.number, operation, a, b, c, d]
        };
        match self.operation {
            Operation::Read { address, len } => {
                link::encode_body(&[&head(READ, address), &len.to_le_bytes()], out)
            }
            Operation::Program { address, data } => link::encode_body(&[&head(PROGRAM, address), data], out),
            Operation::Erase { address } => link::encode_body(&[&head(ERASE, address)], out),
            Operation::Map { address } => link::encode_body(&[&head(MAP, address)], out),
            Operation::Identify => link::encode_body(&[&head(IDENTIFY, 0)], out),
        }
    }

    /// Reads what a [`Frames`] collected.
    pub fn decode(body: &'a [u8]) -> Result<Self, Malformed> {
        let (&[number, operation, a, b, c, d], data) =
            body.split_first_chunk::<HEADER_BYTES>().ok_or(Malformed)?;
        let address = u32::from_le_bytes([a, b, c, d]);
        let operation = match (operation, data) {
            (READ, &[lo, hi]) => Operation::Read { address, len: u16::from_le_bytes([lo, hi]) },
            (PROGRAM, data) if data.len() <= MAX_DATA_BYTES => Operation::Program { address, data },
            (ERASE, []) => Operation::Erase { address },
            (MAP, []) => Operation::Map { address },
            (IDENTIFY, []) => Operation::Identify,
            _ => return Err(Malformed),
        };
        Ok(Request { number, operation })
    }
}

impl<'a> Answer<'a> {
    /// Writes the frame to `out` and returns its length; `None` if it does not fit.
    pub fn encode(&self, out: &mut [u8]) -> Option<usize> {
        match self.result {
            Ok(data) => link::encode_body(&[&[self.number, DONE], data], out),
            Err(fault) => link::encode_body(&[&[self.number, fault as u8]], out),
        }
    }

    /// Reads what a [`Frames`] collected.
    pub fn decode(body: &'a [u8]) -> Result<Self, Malformed> {
        let (&[number, status], data) = body.split_first_chunk::<2>().ok_or(Malformed)?;
        let result = match status {
            DONE if data.len() <= MAX_DATA_BYTES => Ok(data),
            _ if data.is_empty() => {
                Err(Fault::ALL.into_iter().find(|fault| *fault as u8 == status).ok_or(Malformed)?)
            }
            _ => return Err(Malformed),
        };
        Ok(Answer { number, result })
    }
}

/// Collects frames from a stream of bytes.
pub struct Frames(link::Bodies<MAX_FRAME_BYTES>);

impl Frames {
    /// Nothing has come yet.
    pub const fn new() -> Self {
        Frames(link::Bodies::new())
    }

    /// Takes one byte; the body of a frame if it ended with this byte and is whole. Damaged ones are
    /// left out.
    pub fn push(&mut self, byte: u8) -> Option<&[u8]> {
        self.0.push(byte)
    }
}

impl Default for Frames {
    fn default() -> Self {
        Frames::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn requests() -> Vec<Request<'static>> {
        let operations = [
            Operation::Read { address: 0x0102_0304, len: 256 },
            Operation::Program { address: 0x1000, data: &[0, 1, 0xff] },
            Operation::Erase { address: 0x1000 },
            Operation::Map { address: 0x8000 },
            Operation::Identify,
        ];
        operations.into_iter().zip(7..).map(|(operation, number)| Request { number, operation }).collect()
    }

    fn answers() -> Vec<Answer<'static>> {
        let results = [Ok(&b""[..]), Ok(&[0, 9][..])].into_iter().chain(Fault::ALL.map(Err));
        results.zip(1..).map(|(result, number)| Answer { number, result }).collect()
    }

    fn body(frame: &[u8]) -> Vec<u8> {
        let mut frames = Frames::new();
        let bodies: Vec<Vec<u8>> =
            frame.iter().filter_map(|byte| frames.push(*byte).map(<[u8]>::to_vec)).collect();
        match &bodies[..] {
            [body] => body.clone(),
            _ => panic!("one frame"),
        }
    }

    fn hex(bytes: &[u8]) -> std::string::String {
        bytes.iter().map(|byte| std::format!("{byte:02x}")).collect()
    }

    #[test]
    fn what_is_written_is_read() {
        let mut out = [0; MAX_FRAME_BYTES];
        for request in requests() {
            let len = request.encode(&mut out).expect("room");
            assert_eq!(Request::decode(&body(&out[..len])), Ok(request));
        }
        for answer in answers() {
            let len = answer.encode(&mut out).expect("room");
            assert_eq!(Answer::decode(&body(&out[..len])), Ok(answer));
        }
    }

    #[test]
    fn requests_and_answers_are_these_bytes() {
        let mut out = [0; MAX_FRAME_BYTES];
        let mut bodies = Vec::new();
        for request in requests() {
            let len = request.encode(&mut out).expect("room");
            bodies.push(hex(&body(&out[..len])));
        }
        let expected =
            ["0701040302010001", "0802001000000001ff", "090300100000", "0a0400800000", "0b0500000000"];
        assert_eq!(bodies, expected);
        bodies.clear();
        for answer in answers() {
            let len = answer.encode(&mut out).expect("room");
            bodies.push(hex(&body(&out[..len])));
        }
        assert_eq!(bodies, ["0100", "02000009", "0301", "0402", "0503", "0604", "0705"]);
    }

    #[test]
    fn a_frame_with_a_flipped_bit_is_no_frame() {
        let mut out = [0; MAX_FRAME_BYTES];
        let len = requests()[1].encode(&mut out).expect("room");
        for bit in 0..(len - 1) * 8 {
            let mut flipped = out;
            flipped[bit / 8] ^= 1 << (bit % 8);
            let mut frames = Frames::new();
            let whole = flipped[..len].iter().any(|byte| frames.push(*byte).is_some());
            assert!(!whole, "bit {bit}");
        }
    }

    #[test]
    fn other_bodies_are_refused() {
        for bytes in [&b""[..], &[1], &[1, 9, 0, 0, 0, 0], &[1, READ, 0, 0, 0, 0], &[1, ERASE, 0, 0, 0, 0, 0]]
        {
            assert_eq!(Request::decode(bytes), Err(Malformed), "{bytes:?}");
        }
        let long = [&[1, PROGRAM, 0, 0, 0, 0][..], &[0; MAX_DATA_BYTES + 1]].concat();
        assert_eq!(Request::decode(&long), Err(Malformed));
        let long = [&[1, DONE][..], &[0; MAX_DATA_BYTES + 1]].concat();
        assert_eq!(Answer::decode(&long), Err(Malformed));
        assert_eq!(Answer::decode(&[1, 9]), Err(Malformed));
        assert_eq!(Answer::decode(&[1, Fault::Failed as u8, 0]), Err(Malformed));
    }

    #[test]
    fn the_largest_frame_fits_and_no_smaller_room_does() {
        let data = [0x55; MAX_DATA_BYTES];
        let request = Request { number: 1, operation: Operation::Program { address: 0, data: &data } };
        let needed = request.encode(&mut [0; MAX_FRAME_BYTES]).expect("room");
        for room in 0..needed {
            assert_eq!(request.encode(&mut std::vec![0; room]), None);
        }
    }
}
