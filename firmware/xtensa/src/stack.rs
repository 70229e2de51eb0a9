//! The thread stack and what happens when it overflows.
//!
//! It lies where RAM begins, and below that nothing is mapped: what overflows it faults, and handlers have a stack
//! of their own.

use core::{ops::Range, slice};

use wasmbed_firmware_common::stack;

use crate::cpu::stack_pointer;

unsafe extern "C" {
    /// Lowest word of the thread stack, from the board's `memory.x`.
    static mut __thread_stack_end: u32;
    /// First word above the thread stack.
    static mut __thread_stack_start: u32;
}

/// Space left alone below the caller's frame while painting, in words.
const MARGIN_WORDS: usize = 64;
/// How far below the stack its overflow is looked for, in bytes: more than any function keeps there.
const BELOW_BYTES: usize = 0x1_0000;

/// Paints what is not in use of the thread stack; to be called once, early in `main`.
pub fn prepare() {
    let (bottom, words) = unused();
    // SAFETY: this part lies below everything in use.
    stack::paint(unsafe { slice::from_raw_parts_mut(bottom, words) });
}

/// Thread stack never touched so far, in bytes.
pub fn untouched_bytes() -> usize {
    let (bottom, words) = unused();
    // SAFETY: this part lies below everything in use, and handlers are on another stack.
    stack::untouched_bytes(unsafe { slice::from_raw_parts(bottom, words) })
}

/// Whether who uses this address has run out of stack.
pub fn is_below(address: u32) -> bool {
    let bottom = range().start;
    (bottom - BELOW_BYTES..bottom).contains(&(address as usize))
}

/// The thread stack from `innermost` on; empty if that is not on it.
pub fn from(innermost: usize) -> &'static [u32] {
    let innermost = innermost.next_multiple_of(size_of::<u32>());
    if !range().contains(&innermost) {
        return &[];
    }
    // SAFETY: the words lie on the thread stack; its owner has crashed and does not come back.
    unsafe { slice::from_raw_parts(innermost as *const u32, (range().end - innermost) / size_of::<u32>()) }
}

/// The lowest word, and how many from there on are not in use.
fn unused() -> (*mut u32, usize) {
    let words = stack_pointer().saturating_sub(range().start) / size_of::<u32>();
    (&raw mut __thread_stack_end, words.saturating_sub(MARGIN_WORDS))
}

fn range() -> Range<usize> {
    &raw const __thread_stack_end as usize..&raw const __thread_stack_start as usize
}
