//! The platform-level interrupt controller, which all of these machines have at the same place; context 0 is the
//! hart's machine mode.

use riscv::{
    ExternalInterruptNumber, InterruptNumber,
    result::{Error, Result},
};
use riscv_peripheral::plic_codegen;

/// The only hart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[riscv::pac_enum(unsafe HartIdNumber)]
enum Hart {
    H0 = 0,
}

/// Interrupt priorities.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[riscv::pac_enum(unsafe PriorityNumber)]
enum Priority {
    /// Never interrupts.
    P0 = 0,
    /// The only one in use.
    P1 = 1,
}

plic_codegen!(Plic, base 0x0c00_0000, harts [Hart::H0 => 0]);

/// The number of a source, 1 to 52.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Source(pub(crate) u8);

// SAFETY: a source is its number, and every number up to the largest one is a source.
unsafe impl InterruptNumber for Source {
    const MAX_INTERRUPT_NUMBER: usize = 52;

    fn number(self) -> usize {
        self.0.into()
    }

    fn from_number(number: usize) -> Result<Self> {
        match u8::try_from(number) {
            Ok(number) if usize::from(number) <= Self::MAX_INTERRUPT_NUMBER => Ok(Source(number)),
            _ => Err(Error::InvalidVariant(number)),
        }
    }
}

// SAFETY: these numbers are those of the controller's sources.
unsafe impl ExternalInterruptNumber for Source {}

/// Lets a source interrupt.
///
/// # Safety
///
/// Its handler and what that uses are ready.
pub(crate) unsafe fn enable(source: Source) {
    let context = Plic::new().ctx0();
    context.threshold().reset();
    // SAFETY: the caller's promise.
    unsafe {
        Plic::new().priorities().set_priority(source, Priority::P1);
        context.enables().enable(source);
        Plic::new().enable();
    }
    // What a program claimed that started over in the middle of its handler.
    context.claim().complete(source);
}

/// Lets a source interrupt no more.
pub(crate) fn disable(source: Source) {
    Plic::new().ctx0().enables().disable(source);
}

/// Calls `handle` with the source that interrupts, if there is one; for the handler of external interrupts.
pub(crate) fn claim(handle: impl FnOnce(Source)) {
    let claim = Plic::new().ctx0().claim();
    let Some(source) = claim.claim::<Source>() else { return };
    handle(source);
    claim.complete(source);
}
