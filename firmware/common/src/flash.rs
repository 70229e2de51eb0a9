//! Drivers of the NOR flash that holds the firmware slots.
//!
//! [`SerialNor`] speaks to a chip at the far end of a serial line, [`ParallelNor`] to chips in the address
//! space. Both keep nothing but what is under way, and both wait until an operation is done.
//!
//! Not here: registers of the line (the architecture's crate), what lies where in the flash
//! (`wasmbed-update`).

mod parallel;
mod serial;
mod shared;

pub use parallel::{Chips, ParallelNor};
pub use serial::{SerialLine, SerialNor};
pub(crate) use shared::SharedFlash;
