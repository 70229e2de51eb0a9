//! Firmware of the Netduino 2.
#![no_std]
#![no_main]

use core::{panic::PanicInfo, slice};

use cortex_m_rt::{ExceptionFrame, entry, exception};
use stm32f2::stm32f215::interrupt;
use wasmbed_firmware_common::{Running, Setup, crash, heap::Heap};
use wasmbed_firmware_cortex_m3::{
    clock, netduino2, stack,
    stm32f2::{usart1, usart2},
};

include!(concat!(env!("OUT_DIR"), "/netduino2/board.rs"));

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
    let start = crash::with_record(crash::Record::begin);
    // SAFETY: the image lies there, in flash, and never changes while the board runs.
    let window = unsafe { slice::from_raw_parts(IMAGE.cast(), (*IMAGE).len()) };
    // SAFETY: the same holds for the provisioning.
    let provision = unsafe { slice::from_raw_parts(PROVISION.cast(), (*PROVISION).len()) };
    let Some((board, mut flash)) = netduino2::start(&HEAP, &SHEET.layout, window) else {
        panic!("the peripherals were taken before")
    };
    // A flash that fails now may answer the agent later.
    let running = Running::load(&mut flash, &SHEET.layout).ok().flatten();
    if let Some(running) = &running {
        // The bootloader started what it had mapped.
        flash.is_mapped(SHEET.layout.image(running.slot).origin);
    }
    let setup = Setup { sheet: &SHEET, provision, flash, running, start, keep_boot };
    wasmbed_firmware_common::run::<_, _, SLOTS>(board, setup)
}

fn keep_boot(boot: u32) {
    crash::with_record(|record| record.set_boot(boot));
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    netduino2::panic(info)
}

// SAFETY: nothing in here depends on what the fault interrupted; it ends in a reset.
#[exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    netduino2::hard_fault(frame, RAM)
}

#[exception]
fn SysTick() {
    clock::on_interrupt();
}

#[interrupt]
fn USART1() {
    usart1::on_interrupt();
}

#[interrupt]
fn USART2() {
    usart2::on_interrupt();
}
