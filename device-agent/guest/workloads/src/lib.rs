//! The work that benchmarks give to devices.
//!
//! The same source is compiled into modules and into native programs, so that what they take can be compared.
//! Every work maps a number to a number, so that it cannot be done in advance and its result can be checked.
//!
//! The mixed work is of the kind that CoreMark has. It is not CoreMark, and its numbers cannot be compared with
//! it.
#![no_std]

mod crc;
mod fir;
mod list;
mod matrix;
mod state;

pub use fir::filter;

/// Iterations of [`mixed`].
const ITERATIONS: u32 = 16;

/// Goes through a list, multiplies matrices and runs a state machine over a text; all results are folded into
/// one checksum (CRC-16/ARC).
pub fn iteration(seed: u16) -> u16 {
    let checksum = list::run(seed, 0);
    let checksum = matrix::run(seed, checksum);
    state::run(seed, checksum)
}

/// Several iterations, each with the last one's checksum.
pub fn mixed(seed: u32) -> u32 {
    u32::from((0..ITERATIONS).fold(seed as u16, |seed, _| iteration(seed)))
}
