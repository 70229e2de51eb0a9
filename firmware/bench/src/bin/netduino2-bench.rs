//! The benchmark on a Netduino 2.
#![no_std]
#![no_main]

use cortex_m_rt::entry;
use wasmbed_firmware_bench::Board;
use wasmbed_firmware_common::heap::Heap;
use wasmbed_firmware_cortex_m3::{clock, netduino2, netduino2_handlers, stack, stm32f2::usart1};

include!(concat!(env!("OUT_DIR"), "/netduino2-bench/board.rs"));

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
    let Some(_board) = netduino2::start(&HEAP, &SHEET.layout, &[]) else {
        panic!("the peripherals were taken before")
    };
    let board = Board { class: SHEET.class, heap: &HEAP, now_us: clock::now_us, send: usart1::send_now };
    board.measure();
    loop {
        core::hint::spin_loop();
    }
}

netduino2_handlers!(RAM);
