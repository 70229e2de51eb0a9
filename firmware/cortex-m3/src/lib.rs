//! What the firmware of every Cortex-M3 board shares, and the chips' own drivers.
//!
//! Not here: which pins, interrupts and memory a board uses (its binary in `bin/` and its folder in
//! `boards/`), and what the firmware does (`wasmbed-firmware-common`).
#![no_std]

pub mod clock;
pub mod fault;
pub mod stack;
pub mod stm32f2;
