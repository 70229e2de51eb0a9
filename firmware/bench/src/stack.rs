//! A stack of a size of its own, to see how much of it is used.
#![allow(unsafe_code, reason = "calls on another stack")]

use alloc::vec;
#[cfg(not(target_arch = "xtensa"))]
use core::arch::asm;

use wasmbed_firmware_common::stack;
#[cfg(target_arch = "xtensa")]
use wasmbed_firmware_xtensa::cpu::call_on_stack;
use wasmtime::{Result, ensure};

use crate::Board;

/// Enough for what is run here, and little enough to leave the smallest board its heap.
const BYTES: usize = 12 * 1024;
/// What all architectures ask of a stack's address, in bytes.
const ALIGN: usize = 16;

/// Runs `body` on a stack of its own and returns how many bytes of it were used.
pub(crate) fn used_by(board: &Board, body: fn(&Board) -> Result<()>) -> Result<u64> {
    let mut stack = vec![0_u32; BYTES / size_of::<u32>()];
    stack::paint(&mut stack);
    let top = stack.as_mut_ptr_range().end as usize / ALIGN * ALIGN;
    let mut call = Call { board, body, result: Ok(()) };
    let argument = &raw mut call;
    #[cfg(target_arch = "arm")]
    // SAFETY: the stack is this call's alone and outlives it; its end is found out below before its owner goes.
    unsafe {
        asm!(
            "mov r5, sp", "mov sp, r4", "blx {run}", "mov sp, r5",
            run = in(reg) run as extern "C" fn(*mut ()),
            in("r0") argument,
            in("r4") top,
            out("r5") _,
            clobber_abi("C"),
        );
    }
    #[cfg(target_arch = "riscv32")]
    // SAFETY: as above.
    unsafe {
        asm!(
            "mv s3, sp", "mv sp, s2", "jalr {run}", "mv sp, s3",
            run = in(reg) run as extern "C" fn(*mut ()),
            in("a0") argument,
            in("s2") top,
            out("s3") _,
            clobber_abi("C"),
        );
    }
    #[cfg(target_arch = "xtensa")]
    // SAFETY: as above.
    unsafe {
        call_on_stack(argument.cast(), run, top);
    }
    call.result?;
    let untouched = stack::untouched_bytes(&stack);
    ensure!(untouched > 0, "more than {BYTES} bytes of stack are used");
    Ok((BYTES - untouched) as u64)
}

struct Call<'a> {
    board: &'a Board,
    body: fn(&Board) -> Result<()>,
    result: Result<()>,
}

extern "C" fn run(call: *mut ()) {
    // SAFETY: `used_by` passes its own, which nothing else uses meanwhile.
    let call = unsafe { &mut *call.cast::<Call<'_>>() };
    call.result = (call.body)(call.board);
}
