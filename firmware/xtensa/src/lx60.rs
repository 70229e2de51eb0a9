//! QEMU's `lx60`, after Tensilica's evaluation board XT-AV60: serial port, flash, timer and reset.

mod board;
mod flash;
mod machine;

pub use board::{Lx60, on_exception, on_interrupt, panic, say, start, start_image};
pub use flash::{Bank, Flash};
pub use machine::{CLOCK, UART, reset};
