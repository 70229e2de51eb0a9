//! The benchmark on QEMU's `virt` machine with one rv32imac hart.
#![no_std]
#![no_main]

use riscv_rt::entry;
use wasmbed_firmware_bench::Board;
use wasmbed_firmware_common::heap::Heap;
use wasmbed_firmware_riscv32::{
    stack,
    virt::{self, CLOCK, UART},
    virt_handlers,
};

include!(concat!(env!("OUT_DIR"), "/rv32-virt-bench/board.rs"));

#[global_allocator]
static HEAP: Heap = Heap::new();

#[entry]
fn main() -> ! {
    // SAFETY: `main` runs once; between the symbols lies what the linker left of the RAM.
    unsafe { HEAP.give_rest_of_ram() };
    stack::prepare();
    virt::start(&HEAP);
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

virt_handlers!();
