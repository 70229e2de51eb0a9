//! Drivers for SiFive's FE310.

pub mod aon;
pub mod interrupts;
pub mod uart;
pub mod uart0;
pub mod uart1;
