//! Numbers of the interrupts that are used, and whose they are.

use crate::plic::{self, Source};

pub(super) const UART0: Source = Source(3);
pub(super) const UART1: Source = Source(4);

/// To be called by the handler of external interrupts.
pub fn on_interrupt() {
    plic::claim(|source| match source {
        UART0 => super::uart0::on_interrupt(),
        UART1 => super::uart1::on_interrupt(),
        _ => {}
    });
}
