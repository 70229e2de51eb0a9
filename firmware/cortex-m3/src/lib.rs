//! What the firmware of every Cortex-M3 board shares, the chips' own drivers, and the boards: what a board's
//! firmware and its bootloader have in common, interrupt handlers included.
//!
//! Not here: a board's memory (its folder in `boards/`), and what the firmware does
//! (`wasmbed-firmware-common`).
#![no_std]

#[cfg(feature = "ip")]
extern crate alloc;

pub mod clock;
pub mod fault;
pub mod mps2;
pub mod netduino2;
pub mod stack;
pub mod stm32f2;
pub mod vectors;
