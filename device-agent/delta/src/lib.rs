//! Delta updates: a new image as a patch against the image that is running.
//!
//! The patch format is that of detools 0.53 (patch type `sequential`, compression `heatshrink` or `none`,
//! no data format), so either end can be replaced by that tool. [`Applier`] takes a patch in pieces of any
//! size, reads the old image where it lies and gives out the new one in order, in memory that is fixed
//! before the first byte comes. No patch, however broken, makes it panic, read outside the old image or
//! write more than was allowed. `create` (feature `std`) makes patches, the same bytes every time.
//!
//! A patch:
//!
//! ```text
//! header     1 byte: patch type in bits 4-6 (sequential 0), compression in bits 0-3 (none 0, heatshrink 4)
//! new size   size; a new image of 0 bytes ends the patch here
//! stream     compressed: 0 (size of a data format's patch), then records until the new image is complete
//!
//! record     diff size, that many bytes to add to the old image at the read position, which moves on;
//!            extra size, that many bytes of the new image as they are;
//!            adjustment, a signed size by which the read position jumps
//! size       6 bits, then 7 bits a byte, lowest first; 0x80 more follow, 0x40 of the first byte negative
//! heatshrink 1 byte: window bits - 4 in bits 4-7, lookahead bits - 3 in bits 0-3; then a bit stream, highest
//!            bit first: 1 and a byte, or 0, distance - 1 (window bits) and length - 1 (lookahead bits)
//! ```
//!
//! A patch proves nothing: who applies one checks the signature of the new image afterwards, from where it
//! was written.
//!
//! Not here: where images lie and who may install them (`wasmbed-core`), and how a patch travels.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(any(test, feature = "std"))]
extern crate std;

mod apply;
#[cfg(feature = "std")]
mod create;
mod error;
mod format;
mod heatshrink;
mod records;

pub use apply::{Applier, Old, PIECE_BYTES, Sink};
#[cfg(feature = "std")]
pub use create::create;
pub use error::{ApplyError, Failed};
pub use heatshrink::MAX_WINDOW_BITS;
