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
pub(super) struct Decoder<const N: usize> {
    bytes: [u8; N],
    len: usize,
    left: u8,
    zero_due: bool,
    broken: bool,
    started: bool,
}

impl<const N: usize> Decoder<N> {
    pub(super) const fn new() -> Self {
        Decoder { bytes: [0; N], len: 0, left: 0, zero_due: false, broken: false, started: false }
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
        self.bytes.get(..len).unwrap_or_default()
    }

    fn store(&mut self, byte: u8) {
        match self.bytes.get_mut(self.len) {
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
