//! Modules made from the table of calls, so that a call added later is tried like the others.
//!
//! [`survey`] makes each call once with arguments that are as they should be and publishes the answers: what a
//! device really does. [`attempt`] makes calls with any arguments at all and says what they changed in the memory.

mod arguments;
mod attempt;
mod device;
mod survey;

pub use arguments::{good, hostile};
pub use attempt::{Attempt, MEMORY_BYTES, Memory, any_calls, attempt};
pub use device::Obliging;
pub use survey::{CHANNEL, answers, survey};
