//! QEMU's `virt` machine: interrupt controller, serial port, timer and reset.

mod machine;
mod sensor;
pub mod uart;

pub use machine::{CLOCK, reset};
pub use sensor::measure;
