//! Two stacks: threads run on their own, so that handlers still work when it has overflowed.

use core::{arch::asm, slice};

use wasmbed_firmware_common::stack;

unsafe extern "C" {
    /// Lowest word of the thread stack, from the board's `memory.x`.
    static mut __thread_stack_end: u32;
    /// First word above the thread stack.
    static mut __thread_stack_start: u32;
}

/// Space left alone below the caller's frame while painting, in words.
const MARGIN_WORDS: usize = 64;

/// Paints the thread stack, moves the caller to it and runs `main`; the reset stack is the handlers'
/// from then on.
///
/// # Safety
///
/// To be called once, from the reset handler, while the processor still uses the main stack.
pub unsafe fn run_on_thread_stack(main: extern "C" fn() -> !) -> ! {
    let bottom = &raw mut __thread_stack_end;
    let top = &raw mut __thread_stack_start;
    // SAFETY: the two symbols enclose memory that nothing uses yet.
    let all = unsafe { slice::from_raw_parts_mut(bottom, top.offset_from_unsigned(bottom)) };
    stack::paint(all);
    // SAFETY: the thread stack is ours alone; `main` never returns to the frames left behind.
    unsafe {
        asm!(
            "msr psp, {top}",
            "msr control, {use_psp}",
            "isb",
            "bx {main}",
            top = in(reg) top,
            use_psp = in(reg) 2,
            main = in(reg) main,
            options(noreturn),
        )
    }
}

/// Thread stack never touched so far, in bytes.
pub fn untouched_bytes() -> usize {
    let bottom = &raw mut __thread_stack_end;
    let words = (cortex_m::register::psp::read() as usize).saturating_sub(bottom as usize) / size_of::<u32>();
    // SAFETY: this part lies below everything in use, so nothing writes to it meanwhile.
    let unused = unsafe { slice::from_raw_parts(bottom, words.saturating_sub(MARGIN_WORDS)) };
    stack::untouched_bytes(unused)
}

/// The thread stack from its innermost word on; empty if it has overflowed.
pub fn in_use() -> &'static [u32] {
    let (bottom, top) = (&raw mut __thread_stack_end as usize, &raw mut __thread_stack_start as usize);
    let innermost = (cortex_m::register::psp::read() as usize).next_multiple_of(size_of::<u32>());
    if !(bottom..top).contains(&innermost) {
        return &[];
    }
    // SAFETY: the words lie on the thread stack; its owner has crashed and does not come back.
    unsafe { slice::from_raw_parts(innermost as *const u32, (top - innermost) / size_of::<u32>()) }
}
