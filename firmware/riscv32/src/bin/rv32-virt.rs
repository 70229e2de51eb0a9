//! Firmware of QEMU's `virt` machine with one rv32imac hart.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::boxed::Box;
use core::slice;

use riscv_rt::entry;
use wasmbed_firmware_common::{Running, Setup, crash, heap::Heap};
use wasmbed_firmware_riscv32::{
    stack,
    virt::{self, Flash, Virt},
    virt_handlers,
};

include!(concat!(env!("OUT_DIR"), "/rv32-virt/board.rs"));

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
fn set_up() -> (Virt, Box<Setup<Flash>>) {
    let start = crash::with_record(crash::Record::begin);
    // SAFETY: the provisioning lies there, in flash, and never changes while the board runs.
    let provision = unsafe { slice::from_raw_parts(PROVISION.cast(), (*PROVISION).len()) };
    let (board, mut flash) = virt::start(&HEAP);
    // A flash that fails now may answer the agent later.
    let running = Running::load(&mut flash, &SHEET.layout).ok().flatten();
    (board, Setup::image(&SHEET, provision, flash, running, start))
}

virt_handlers!();
