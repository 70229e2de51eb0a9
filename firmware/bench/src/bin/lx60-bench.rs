//! The benchmark on QEMU's `lx60`.
#![no_std]
#![no_main]

use wasmbed_firmware_bench::Board;
use wasmbed_firmware_common::heap::Heap;
use wasmbed_firmware_xtensa::{
    lx60::{self, CLOCK, UART},
    lx60_handlers, stack,
};

include!(concat!(env!("OUT_DIR"), "/lx60-bench/board.rs"));

#[global_allocator]
static HEAP: Heap = Heap::new();

#[unsafe(no_mangle)]
extern "C" fn main() -> ! {
    // SAFETY: `main` runs once; between the symbols lies what the linker left of the RAM.
    unsafe { HEAP.give_rest_of_ram() };
    stack::prepare();
    lx60::start(&HEAP);
    let board = Board {
        class: SHEET.class,
        heap: &HEAP,
        now_us: || CLOCK.now_us(),
        send: |bytes| UART.send_now(bytes),
    };
    board.measure();
    loop {
        core::hint::spin_loop();
    }
}

lx60_handlers!();
