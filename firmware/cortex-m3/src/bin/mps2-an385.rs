//! Firmware of the MPS2 with AN385.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::boxed::Box;
use core::slice;

use cortex_m_rt::entry;
use wasmbed_firmware_common::{Running, Setup, crash, heap::Heap};
use wasmbed_firmware_cortex_m3::{
    mps2::{self, Flash, Mps2},
    mps2_handlers, stack,
};

include!(concat!(env!("OUT_DIR"), "/mps2-an385/board.rs"));

#[global_allocator]
static HEAP: Heap = Heap::new();

#[entry]
fn reset() -> ! {
    // SAFETY: this is the reset handler's only call, and it runs on the main stack.
    unsafe { stack::run_on_thread_stack(main) }
}

extern "C" fn main() -> ! {
    // SAFETY: `main` runs once; between the symbols lies what the linker left of the RAM.
    unsafe { HEAP.give_rest_of_ram() };
    let (board, setup) = set_up();
    wasmbed_firmware_common::run::<_, _, SLOTS>(board, setup)
}

/// Not inlined: what is on the stack of `main` stays there.
#[inline(never)]
fn set_up() -> (Mps2, Box<Setup<Flash>>) {
    let start = crash::with_record(crash::Record::begin);
    // SAFETY: the provisioning lies there and never changes while the board runs.
    let provision = unsafe { slice::from_raw_parts(PROVISION.cast(), (*PROVISION).len()) };
    let Some((board, mut flash)) = mps2::start(&HEAP) else { panic!("the peripherals were taken before") };
    // A flash that fails now may answer the agent later.
    let running = Running::load(&mut flash, &SHEET.layout).ok().flatten();
    mps2::watch();
    (board, Setup::image(&SHEET, provision, flash, running, start))
}

mps2_handlers!(RAM);
