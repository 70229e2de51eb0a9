//! The processor: `core.s`, as Rust sees it.

unsafe extern "C" {
    /// Masks all interrupts; returns PS as it was.
    pub(crate) safe fn disable_interrupts() -> u32;
    /// Writes PS.
    ///
    /// # Safety
    ///
    /// What this unmasks is expected to come, and no critical section is open.
    pub(crate) fn restore_interrupts(ps: u32);
    /// Unmasks interrupts and sleeps until one has come, in one step.
    ///
    /// # Safety
    ///
    /// No critical section is open.
    pub(crate) fn wait_for_interrupt();
    /// Lets the interrupts with these numbers come, a bit each, and no others.
    pub(crate) safe fn enable_interrupts(mask: u32);
    /// Those that are enabled and pending.
    pub(crate) safe fn pending_interrupts() -> u32;
    /// Cycles since the program started, modulo 2^32.
    pub(crate) safe fn cycle_count() -> u32;
    /// Makes the timer's interrupt come at this count, and withdraws one that is pending.
    pub(crate) safe fn set_compare(count: u32);
    /// Calls `function` with this argument, on the stack that ends at `top`.
    ///
    /// # Safety
    ///
    /// The stack is large enough and the call's alone; `top` is a multiple of 16.
    pub fn call_on_stack(argument: *mut (), function: extern "C" fn(*mut ()), top: usize);
    /// The stack pointer of the caller.
    pub(crate) safe fn stack_pointer() -> usize;
    /// Jumps to code that was written as data.
    ///
    /// # Safety
    ///
    /// A program lies there, and nothing of this one is needed any more.
    pub(crate) fn jump(to: u32) -> !;
}

/// PS with all interrupts unmasked, and nothing else set.
pub(crate) const PS_UNMASKED: u32 = 0;

struct SingleCore;
critical_section::set_impl!(SingleCore);

// SAFETY: there is one core, and nothing interrupts it while all interrupts are masked.
unsafe impl critical_section::Impl for SingleCore {
    unsafe fn acquire() -> u32 {
        disable_interrupts()
    }

    unsafe fn release(ps: u32) {
        // SAFETY: what `acquire` found; sections are left in the reverse order.
        unsafe { restore_interrupts(ps) };
    }
}
