//! Drivers of the flash that holds the firmware slots.
//!
//! [`SerialNor`] speaks to a chip at the far end of a serial line, [`ParallelNor`] to chips in the address
//! space, [`Mapped`] to memory there that lasts. All keep nothing but what is under way, and wait until an operation
//! is done.
//!
//! Not here: registers of the line (the architecture's crate), what lies where in the flash
//! (`wasmbed-update`).

mod mapped;
mod parallel;
mod serial;
mod shared;

pub use mapped::{Mapped, Memory};
pub use parallel::{Chips, ParallelNor};
pub use serial::{SerialLine, SerialNor};
pub(crate) use shared::SharedFlash;
