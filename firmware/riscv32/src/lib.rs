//! What the firmware of every 32-bit RISC-V board shares, the drivers of the machine QEMU calls `virt` and of the
//! FE310, and the HiFive1: what its firmware and its bootloader have in common.
//!
//! Not here: memory and start-up of a board (its binary in `bin/` and its folder in `boards/`), and
//! what the firmware does (`wasmbed-firmware-common`).
#![no_std]

#[cfg(feature = "ip")]
extern crate alloc;

pub mod clock;
pub mod fault;
pub mod fe310;
pub mod hifive1;
mod plic;
pub mod stack;
pub mod virt;
