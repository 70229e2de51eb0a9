//! QEMU's `virt` machine: interrupt controller, serial port, flash, timer and reset.

mod board;
mod flash;
mod machine;
pub mod uart;

pub use board::{Virt, exception, jump, panic, say, stack_overflow, start, time_is_up};
pub use flash::{Bank, Flash};
pub use machine::{CLOCK, reset};
pub use uart::UART;
