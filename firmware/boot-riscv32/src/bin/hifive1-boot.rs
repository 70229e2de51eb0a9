//! Bootloader of the HiFive1: starts the image that the flash chip shows in the processor's memory, or waits for
//! one to be sent.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::boxed::Box;
use core::slice;

use riscv_rt::entry;
use wasmbed_firmware_common::{
    Setup,
    boot::{self, InWindow, Next},
    crash,
    heap::Heap,
};
use wasmbed_firmware_riscv32::{
    hifive1::{self, Flash, Hifive1},
    hifive1_handlers, stack,
};

include!(concat!(env!("OUT_DIR"), "/hifive1-boot/board.rs"));

#[global_allocator]
static HEAP: Heap = Heap::new();

#[entry]
fn main() -> ! {
    // SAFETY: `main` runs once; between the symbols lies what the linker left of the RAM.
    unsafe { HEAP.give_rest_of_ram() };
    let cause = crash::with_record(|record| record.reset_cause());
    // SAFETY: the window lies there and never changes: what else is mapped is seen after a reset.
    let window = unsafe { slice::from_raw_parts(IMAGE.cast(), (*IMAGE).len()) };
    // SAFETY: the provisioning lies there, in flash, and never changes while the board runs.
    let provision = unsafe { slice::from_raw_parts(PROVISION.cast(), (*PROVISION).len()) };
    // The guard stays until the chip is reset; an image sets up the same one.
    stack::prepare();
    let (mut board, mut flash) = start(window);
    let next = boot::choose(&mut *flash, &SHEET, provision, cause, &mut InWindow, hifive1::say);
    if !stack::was_enough() {
        hifive1::say(format_args!("the stack is too small for a trap where a signature is verified"));
    }
    match next {
        // SAFETY: the image in the window is signed for this board and has the digest that was signed.
        Ok(Next::Image) => unsafe { hifive1::jump(board, IMAGE as u32) },
        Ok(Next::Recovery) => wasmbed_firmware_common::run::<_, _, SLOTS>(board, set_up(flash, provision)),
        Err(fault) => boot::start_over(&mut board, fault),
    }
}

/// Not inlined: what is on the stack of `main` stays there.
#[inline(never)]
fn start(window: &'static [u8]) -> (Hifive1, Box<Flash>) {
    let (board, flash) = hifive1::start(&HEAP, &SHEET.layout, window);
    (board, Box::new(flash))
}

/// Not inlined, as [`start`].
#[inline(never)]
#[expect(clippy::boxed_local, reason = "the caller's stack has no room for it")]
fn set_up(flash: Box<Flash>, provision: &'static [u8]) -> Box<Setup<Flash>> {
    Setup::recovery(&SHEET, provision, *flash)
}

hifive1_handlers!();
