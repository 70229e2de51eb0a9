//! What the firmware of every Xtensa board shares, and the drivers of the board QEMU calls `lx60`.
//!
//! The compiler has no inline assembly for Xtensa: `core.s` has what has to be said in it, and is linked to every
//! program by `cargo xtask fw`.
//!
//! Not here: memory of a board (its folder in `boards/`), and what the firmware does (`wasmbed-firmware-common`).
#![no_std]

mod atomics;
pub mod clock;
pub mod cpu;
pub mod fault;
pub mod lx60;
pub mod stack;
