//! Bootloader of the MPS2 with AN385: copies an image to the SSRAM for programs and starts it, or waits for one to be
//! sent.
#![no_std]
#![no_main]

use core::slice;

use cortex_m_rt::entry;
use wasmbed_firmware_common::{
    Setup,
    boot::{self, InRam, Next},
    crash,
    heap::Heap,
};
use wasmbed_firmware_cortex_m3::{mps2, mps2_handlers, stack};

include!(concat!(env!("OUT_DIR"), "/mps2-an385-boot/board.rs"));

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
    // SAFETY: the provisioning lies there and never changes while the board runs.
    let provision = unsafe { slice::from_raw_parts(PROVISION.cast(), (*PROVISION).len()) };
    let Some((mut board, mut flash)) = mps2::start(&HEAP) else {
        panic!("the peripherals were taken before")
    };
    // SAFETY: this RAM is the image's alone, which does not run yet.
    let mut place = InRam(unsafe { slice::from_raw_parts_mut(IMAGE.cast_mut().cast(), (*IMAGE).len()) });
    match boot::choose(&mut flash, &SHEET, provision, cause, &mut place, mps2::say) {
        // SAFETY: the image in RAM is signed for this board and has the digest that was signed.
        Ok(Next::Image) => unsafe { mps2::jump(board, IMAGE as u32) },
        Ok(Next::Recovery) => {
            wasmbed_firmware_common::run::<_, _, 1>(board, Setup::recovery(&SHEET, provision, flash))
        }
        Err(fault) => boot::start_over(&mut board, fault),
    }
}

mps2_handlers!(RAM);
