//! The thread stack and what happens when it overflows.
//!
//! Traps use the stack they interrupt. Before one does, the entry code looks whether enough is left (above
//! `__thread_stack_limit` of the board's `memory.x`); if not, it gives up on that stack and reports the overflow on
//! the handlers' own. What gets past that between two traps runs into a guard.

use core::{
    arch::{asm, global_asm},
    slice,
};

use riscv::register::{Permission, Range, pmpaddr0, pmpcfg0};
use wasmbed_firmware_common::stack;

unsafe extern "C" {
    /// Lowest word of the thread stack, from the board's `memory.x`.
    static mut __thread_stack_end: u32;
    /// First word above the thread stack.
    static mut __thread_stack_start: u32;
    /// Below it, a trap is an overflow.
    static mut __thread_stack_limit: u32;
}

/// Bytes at the bottom that nothing may touch; a power of two, of which the stack's address is a multiple.
const GUARD_BYTES: usize = 256;
/// Space left alone below the caller's frame while painting, in words.
const MARGIN_WORDS: usize = 64;

global_asm!(
    ".section .trap.start, \"ax\"
     .global _pre_default_start_trap
_pre_default_start_trap:
     csrw mscratch, t0
     la   t0, __thread_stack_limit
     bltu sp, t0, 1f
     csrr t0, mscratch
     j    _pre_default_start_trap_ret
1:   la   sp, __handler_stack_start
     j    stack_overflow",
);

/// Guards the lowest bytes of the thread stack against every access and paints what is not in use; to
/// be called once, early in `main`.
pub fn prepare() {
    let bottom = &raw mut __thread_stack_end as usize;
    // Naturally aligned power of two: the lowest zero of the address says how large the range is.
    let guard = (bottom >> 2) | (GUARD_BYTES / 8 - 1);
    // SAFETY: nothing has been on this part of the stack yet, and nothing is meant to be: who gets
    // there overflows the stack, and the fault says so before anything else is damaged.
    unsafe {
        pmpaddr0::write(guard);
        pmpcfg0::set_pmp(0, Range::NAPOT, Permission::NONE, true);
    }
    let (bottom, words) = unused();
    // SAFETY: this part lies below everything in use and above the guard.
    stack::paint(unsafe { slice::from_raw_parts_mut(bottom, words) });
}

/// Thread stack never touched so far, in bytes.
pub fn untouched_bytes() -> usize {
    let (bottom, words) = unused();
    // SAFETY: this part lies below everything in use and above the guard; a trap may write to it, but
    // none that interrupts the search changes what is below the deepest touch.
    stack::untouched_bytes(unsafe { slice::from_raw_parts(bottom, words) })
}

/// Whether nothing was written since [`prepare`] where a trap would be taken for an overflow.
pub fn was_enough() -> bool {
    let limit = &raw mut __thread_stack_limit as usize;
    untouched_bytes() + GUARD_BYTES >= limit - &raw mut __thread_stack_end as usize
}

/// First word above the guard, and how many from there on are not in use.
fn unused() -> (*mut u32, usize) {
    let sp: usize;
    // SAFETY: reads a register.
    unsafe { asm!("mv {sp}, sp", sp = out(reg) sp, options(nomem, nostack, preserves_flags)) };
    // SAFETY: the stack is much larger than its guard.
    let bottom = unsafe { (&raw mut __thread_stack_end).byte_add(GUARD_BYTES) };
    let words = sp.saturating_sub(bottom as usize) / size_of::<u32>();
    (bottom, words.saturating_sub(MARGIN_WORDS))
}

/// The thread stack from its innermost word on; empty when called on another one, because the thread
/// stack has overflowed.
pub fn in_use() -> &'static [u32] {
    let (bottom, unused_words) = unused();
    let words = (&raw mut __thread_stack_start as usize).saturating_sub(bottom as usize) / size_of::<u32>();
    match words.checked_sub(unused_words) {
        // SAFETY: the words lie on the thread stack, above its guard; its owner has crashed and does not
        // come back.
        Some(used) => unsafe { slice::from_raw_parts(bottom.add(unused_words), used) },
        None => &[],
    }
}
