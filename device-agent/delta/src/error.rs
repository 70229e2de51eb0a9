//! Why a patch was not applied.

use thiserror::Error;

use crate::heatshrink::MAX_WINDOW_BITS;

/// Why a patch was not applied. What was written of the new image until then is worthless.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ApplyError {
    /// The first byte is not that of a patch.
    #[error("not a patch: it begins with {0:#04x}")]
    BadHeader(u8),
    /// Not a sequential patch, by detools' number of the type.
    #[error("patch type {0} is not supported, only sequential (0)")]
    UnsupportedPatchType(u8),
    /// Neither uncompressed nor heatshrink, by detools' number of the compression.
    #[error("compression {0} is not supported, only none (0) and heatshrink (4)")]
    UnsupportedCompression(u8),
    /// The decoder's memory is too small for the window, or the lookahead is not shorter than it.
    #[error(
        "window of {window_bits} bits with lookahead of {lookahead_bits} bits, at most {MAX_WINDOW_BITS}"
    )]
    UnsupportedWindow {
        /// Logarithm of the window's bytes.
        window_bits: u8,
        /// Logarithm of the longest copy's bytes.
        lookahead_bits: u8,
    },
    /// The patch treats the image as code of one architecture.
    #[error("patches with a data format are not supported")]
    UnsupportedDataFormat,
    /// A size that is negative, or has more than 32 bits.
    #[error("a size in the patch is out of range")]
    BadSize,
    /// The patch says that the new image is larger than allowed.
    #[error("new image of {size} bytes, at most {limit}")]
    NewTooLarge {
        /// Bytes of the new image.
        size: u32,
        /// The most that was allowed.
        limit: u32,
    },
    /// A record makes the new image longer than the patch said.
    #[error("a record runs past the end of the new image")]
    PastNewEnd,
    /// A record reads or jumps to where the old image has no byte.
    #[error("a record reaches byte {offset} of an old image of {old_size} bytes")]
    OutsideOld {
        /// The place in the old image; just behind its end is still inside.
        offset: i64,
        /// Bytes of the old image.
        old_size: u32,
    },
    /// The patch ended before the new image was complete.
    #[error("the patch ends too early")]
    TooShort,
    /// The patch goes on after the new image is complete.
    #[error("the patch goes on after its end")]
    TooLong,
    /// The old image could not be read.
    #[error("the old image cannot be read")]
    OldFailed,
    /// The new image could not be written.
    #[error("the new image cannot be written")]
    SinkFailed,
}

/// The old image could not be read, or the new one not written; who implements it knows why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failed;
