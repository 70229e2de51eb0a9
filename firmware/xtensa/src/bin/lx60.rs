//! Firmware of QEMU's `lx60`.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::boxed::Box;
use core::slice;

use wasmbed_firmware_common::{Running, Setup, crash, heap::Heap};
use wasmbed_firmware_xtensa::{
    lx60::{self, Flash, Lx60},
    lx60_handlers, stack,
};

include!(concat!(env!("OUT_DIR"), "/lx60/board.rs"));

#[global_allocator]
static HEAP: Heap = Heap::new();

#[unsafe(no_mangle)]
extern "C" fn main() -> ! {
    // SAFETY: `main` runs once; between the symbols lies what the linker left of the RAM.
    unsafe { HEAP.give_rest_of_ram() };
    stack::prepare();
    let (board, setup) = set_up();
    wasmbed_firmware_common::run::<_, _, SLOTS>(board, setup)
}

/// Not inlined: what is on the stack of `main` stays there.
#[inline(never)]
fn set_up() -> (Lx60, Box<Setup<Flash>>) {
    let start = crash::with_record(crash::Record::begin);
    // SAFETY: the provisioning lies there, in flash, and never changes while the board runs.
    let provision = unsafe { slice::from_raw_parts(PROVISION.cast(), (*PROVISION).len()) };
    let (board, mut flash) = lx60::start(&HEAP);
    // A flash that fails now may answer the agent later.
    let running = Running::load(&mut flash, &SHEET.layout).ok().flatten();
    (board, Setup::image(&SHEET, provision, flash, running, start))
}

lx60_handlers!();
