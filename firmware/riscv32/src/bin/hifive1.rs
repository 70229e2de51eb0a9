//! Firmware of the HiFive1.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::boxed::Box;
use core::slice;

use riscv_rt::entry;
use wasmbed_firmware_common::{Running, Setup, crash, heap::Heap};
use wasmbed_firmware_riscv32::{
    hifive1::{self, Flash, Hifive1},
    hifive1_handlers, stack,
};

include!(concat!(env!("OUT_DIR"), "/hifive1/board.rs"));

#[global_allocator]
static HEAP: Heap = Heap::new();

#[entry]
fn main() -> ! {
    // SAFETY: `main` runs once; between the symbols lies what the linker left of the RAM.
    unsafe { HEAP.give_rest_of_ram() };
    stack::prepare();
    let (board, setup) = set_up();
    wasmbed_firmware_common::run::<_, _, SLOTS>(board, setup)
}

/// Not inlined: what is on the stack of `main` stays there.
#[inline(never)]
fn set_up() -> (Hifive1, Box<Setup<Flash>>) {
    let start = crash::with_record(crash::Record::begin);
    // SAFETY: the image lies there, in flash, and never changes while the board runs.
    let window = unsafe { slice::from_raw_parts(IMAGE.cast(), (*IMAGE).len()) };
    // SAFETY: the same holds for the provisioning.
    let provision = unsafe { slice::from_raw_parts(PROVISION.cast(), (*PROVISION).len()) };
    let (board, mut flash) = hifive1::start(&HEAP, &SHEET.layout, window);
    // A flash that fails now may answer the agent later.
    let running = Running::load(&mut flash, &SHEET.layout).ok().flatten();
    if let Some(running) = &running {
        // The bootloader started what it had mapped.
        flash.is_mapped(SHEET.layout.image(running.slot).origin);
    }
    (board, Setup::image(&SHEET, provision, flash, running, start))
}

hifive1_handlers!();
