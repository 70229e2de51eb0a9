//! Consistent Overhead Byte Stuffing (Cheshire and Baker, 1999), byte by byte: frames without zeros,
//! a zero between them.

/// Longest run of bytes one code covers.
const MAX_RUN: u8 = 0xff;

/// Bytes an encoded frame needs for `raw` bytes, with its closing zero.
pub(super) const fn encoded_bytes(raw: usize) -> usize {
    raw + raw / (MAX_RUN as usize - 1) + 2
}

/// Writes one frame into a buffer.
pub(super) struct Encoder<'o> {
    out: &'o mut [u8],
    at: usize,
    code_at: usize,
    code: u8,
    fits: bool,
}

impl<'o> Encoder<'o> {
    pub(super) fn new(out: &'o mut [u8]) -> Self {
        Encoder { fits: !out.is_empty(), out, at: 1, code_at: 0, code: 1 }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte != 0 {
                self.put(self.at, byte);
                self.at += 1;
                self.code += 1;
            }
            if byte == 0 || self.code == MAX_RUN {
                self.close_run();
            }
        }
    }

    /// Closes the frame and returns its length, or `None` if it did not fit.
    pub(super) fn finish(mut self) -> Option<usize> {
        self.put(self.code_at, self.code);
        self.put(self.at, 0);
        self.fits.then_some(self.at + 1)
    }

    fn close_run(&mut self) {
        self.put(self.code_at, self.code);
        self.code_at = self.at;
        self.at += 1;
        self.code = 1;
    }

    fn put(&mut self, at: usize, byte: u8) {
        match self.out.get_mut(at) {
            Some(slot) => *slot = byte,
            None => self.fits = false,
        }
    }
}

/// Collects one frame from a stream of bytes.
pub(super) struct Decoder<B> {
    bytes: B,
    len: usize,
    left: u8,
    zero_due: bool,
    broken: bool,
    started: bool,
}

impl<B> Decoder<B> {
    /// A decoder of frames up to the size of `bytes`.
    pub(super) const fn new(bytes: B) -> Self {
        Decoder { bytes, len: 0, left: 0, zero_due: false, broken: false, started: false }
    }
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> Decoder<B> {
    /// The size of the largest frame, in bytes.
    pub(super) fn largest(&self) -> usize {
        self.bytes.as_ref().len()
    }

    /// Takes one byte; `Some` at the end of a frame: its length, or an error if it was damaged.
    pub(super) fn push(&mut self, byte: u8) -> Option<Result<usize, Damaged>> {
        if byte == 0 {
            let whole = !self.broken && self.left == 0;
            let len = self.len;
            let empty = !self.started;
            (self.len, self.left, self.zero_due, self.broken, self.started) = (0, 0, false, false, false);
            return match (empty, whole) {
                (true, _) => None,
                (false, true) => Some(Ok(len)),
                (false, false) => Some(Err(Damaged)),
            };
        }
        self.started = true;
        if self.left == 0 {
            if self.zero_due {
                self.store(0);
            }
            self.left = byte - 1;
            self.zero_due = byte != MAX_RUN;
        } else {
            self.store(byte);
            self.left -= 1;
        }
        None
    }

    /// The bytes of the frame that just ended.
    pub(super) fn frame(&self, len: usize) -> &[u8] {
        self.bytes.as_ref().get(..len).unwrap_or_default()
    }

    fn store(&mut self, byte: u8) {
        match self.bytes.as_mut().get_mut(self.len) {
            Some(slot) => {
                *slot = byte;
                self.len += 1;
            }
            None => self.broken = true,
        }
    }
}

/// The stuffing does not add up, or the frame is longer than the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Damaged;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{vec, vec::Vec};

    const ROOM: usize = 2_000;

    fn encode(raw: &[u8]) -> Vec<u8> {
        let mut out = vec![0xaa; encoded_bytes(raw.len())];
        let mut encoder = Encoder::new(&mut out);
        encoder.push(raw);
        let len = encoder.finish().expect("room as promised");
        out.truncate(len);
        out
    }

    /// Every frame in `bytes`.
    fn decode<const N: usize>(bytes: &[u8]) -> Vec<Result<Vec<u8>, Damaged>> {
        let mut decoder = Decoder::new([0; N]);
        let mut frames = Vec::new();
        for &byte in bytes {
            if let Some(frame) = decoder.push(byte) {
                frames.push(frame.map(|len| decoder.frame(len).to_vec()));
            }
        }
        frames
    }

    /// Against the `cobs` crate in both directions.
    fn agree(raw: &[u8]) {
        let ours = encode(raw);
        let (zero, body) = ours.split_last().expect("never empty");
        assert!(*zero == 0 && !body.contains(&0));
        assert_eq!(::cobs::decode_vec(body).as_deref(), Ok(raw));
        let mut theirs = ::cobs::encode_vec(raw);
        theirs.push(0);
        assert_eq!(decode::<ROOM>(&theirs), [Ok(raw.to_vec())]);
        assert_eq!(decode::<ROOM>(&ours), [Ok(raw.to_vec())]);
    }

    #[test]
    fn an_independent_implementation_agrees_at_every_boundary() {
        for len in (0..=4).chain(250..=258).chain(505..=513).chain(760..=766) {
            agree(&vec![0; len]);
            agree(&vec![1; len]);
            for zero_at in (0..len).filter(|at| at % 254 < 3 || at % 254 > 251) {
                let mut raw = vec![0xff; len];
                raw[zero_at] = 0;
                agree(&raw);
            }
        }
    }

    #[test]
    fn published_examples() {
        assert_eq!(encode(&[]), [1, 0]);
        assert_eq!(encode(&[0]), [1, 1, 0]);
        assert_eq!(encode(&[0x11, 0x22, 0, 0x33]), [3, 0x11, 0x22, 2, 0x33, 0]);
        assert_eq!(encode(&[0x11, 0, 0, 0]), [2, 0x11, 1, 1, 1, 0]);
    }

    #[test]
    fn a_frame_that_ends_early_or_does_not_fit_is_damaged_and_the_next_one_is_not() {
        assert_eq!(decode::<4>(&[5, 1, 2, 0, 2, 7, 0]), [Err(Damaged), Ok(vec![7])]);
        assert_eq!(decode::<4>(&[6, 1, 2, 3, 4, 5, 0, 2, 7, 0]), [Err(Damaged), Ok(vec![7])]);
        assert_eq!(decode::<4>(&[5, 1, 2, 3, 4, 0]), [Ok(vec![1, 2, 3, 4])]);
    }

    #[test]
    fn empty_frames_are_no_frames() {
        assert_eq!(decode::<4>(&[0, 0, 0, 2, 7, 0, 0]), [Ok(vec![7])]);
    }

    #[test]
    fn an_encoder_without_room_says_so() {
        let raw = [1, 0, 2, 3];
        for room in 0..=encoded_bytes(raw.len()) {
            let mut out = vec![0; room];
            let mut encoder = Encoder::new(&mut out);
            encoder.push(&raw);
            assert_eq!(encoder.finish().is_some(), room >= 6, "{room} bytes");
        }
    }

    proptest! {
        #[test]
        fn an_independent_implementation_agrees(raw in prop::collection::vec(
            prop_oneof![2 => Just(0_u8), 5 => any::<u8>()], 0..ROOM,
        )) {
            agree(&raw);
        }

        #[test]
        fn long_runs_agree(runs in prop::collection::vec((0..600_usize, 0..2_u8), 0..4)) {
            let raw: Vec<u8> = runs.iter().flat_map(|&(len, byte)| vec![byte; len]).collect();
            agree(&raw[..raw.len().min(ROOM)]);
        }

        #[test]
        fn any_bytes_are_taken(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            decode::<64>(&bytes);
            decode::<0>(&bytes);
        }
    }
}
