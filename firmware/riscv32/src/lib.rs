//! What the firmware of every 32-bit RISC-V board shares, and the drivers of the machine QEMU calls
//! `virt`.
//!
//! Not here: memory and start-up of a board (its binary in `bin/` and its folder in `boards/`), and
//! what the firmware does (`wasmbed-firmware-common`).
#![no_std]

#[cfg(feature = "ip")]
extern crate alloc;

pub mod clock;
pub mod fault;
pub mod stack;
pub mod virt;
