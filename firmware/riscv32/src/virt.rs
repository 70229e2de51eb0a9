//! QEMU's `virt` machine: interrupt controller, serial port, network, noise, flash, timer and reset.

mod board;
mod flash;
mod machine;
#[cfg(feature = "ip")]
mod mmio;
#[cfg(feature = "ip")]
mod net;
#[cfg(feature = "ip")]
mod noise;
pub mod uart;
mod virtio;

pub use board::{Virt, exception, external, jump, panic, say, stack_overflow, start, time_is_up};
pub use flash::{Bank, Flash};
pub use machine::{CLOCK, reset};
pub use uart::UART;
