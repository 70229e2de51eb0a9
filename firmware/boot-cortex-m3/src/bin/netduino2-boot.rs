//! Bootloader of the Netduino 2: starts the image that the flash chip shows in the processor's memory, or waits
//! for one to be sent.
#![no_std]
#![no_main]

use core::slice;

use cortex_m_rt::entry;
use wasmbed_firmware_common::{
    Setup,
    boot::{self, InWindow, Next},
    crash,
    heap::Heap,
};
use wasmbed_firmware_cortex_m3::{netduino2, netduino2_handlers, stack};

include!(concat!(env!("OUT_DIR"), "/netduino2-boot/board.rs"));

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
    let cause = crash::with_record(|record| record.reset_cause());
    // SAFETY: the window lies there and never changes: what else is mapped is seen after a reset.
    let window = unsafe { slice::from_raw_parts(IMAGE.cast(), (*IMAGE).len()) };
    // SAFETY: the provisioning lies there, in flash, and never changes while the board runs.
    let provision = unsafe { slice::from_raw_parts(PROVISION.cast(), (*PROVISION).len()) };
    let Some((mut board, mut flash)) = netduino2::start(&HEAP, &SHEET.layout, window) else {
        panic!("the peripherals were taken before")
    };
    match boot::choose(&mut flash, &SHEET, provision, cause, &mut InWindow, netduino2::say) {
        // SAFETY: the image in the window is signed for this board and has the digest that was signed.
        Ok(Next::Image) => unsafe { netduino2::jump(board, IMAGE as u32) },
        Ok(Next::Recovery) => {
            wasmbed_firmware_common::run::<_, _, 1>(board, Setup::recovery(&SHEET, provision, flash))
        }
        Err(fault) => boot::start_over(&mut board, fault),
    }
}

netduino2_handlers!(RAM);
