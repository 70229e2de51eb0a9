//! The benchmark on an MPS2 with AN385.
#![no_std]
#![no_main]

use cortex_m_rt::entry;
use wasmbed_firmware_bench::Board;
use wasmbed_firmware_common::heap::Heap;
use wasmbed_firmware_cortex_m3::{clock, mps2, mps2_handlers, stack};

include!(concat!(env!("OUT_DIR"), "/mps2-an385-bench/board.rs"));

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
    let Some(_board) = mps2::start(&HEAP) else { panic!("the peripherals were taken before") };
    let board = Board { class: SHEET.class, heap: &HEAP, now_us: clock::now_us, send: mps2::uart0::send_now };
    board.measure();
    loop {
        core::hint::spin_loop();
    }
}

mps2_handlers!(RAM);
