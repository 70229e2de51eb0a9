//! Bootloader of QEMU's `lx60`: copies an image to RAM and starts it, or waits for one to be sent.
#![no_std]
#![no_main]

use core::slice;

use wasmbed_firmware_common::{
    Setup,
    boot::{self, InRam, Next},
    crash,
    heap::Heap,
};
use wasmbed_firmware_xtensa::{lx60, lx60_handlers, stack};

include!(concat!(env!("OUT_DIR"), "/lx60-boot/board.rs"));

#[global_allocator]
static HEAP: Heap = Heap::new();

#[unsafe(no_mangle)]
extern "C" fn main() -> ! {
    // SAFETY: `main` runs once; between the symbols lies what the linker left of the RAM.
    unsafe { HEAP.give_rest_of_ram() };
    let cause = crash::with_record(|record| record.reset_cause());
    // SAFETY: the provisioning lies there, in flash, and never changes while the board runs.
    let provision = unsafe { slice::from_raw_parts(PROVISION.cast(), (*PROVISION).len()) };
    let (mut board, mut flash) = lx60::start(&HEAP);
    // SAFETY: this RAM is the image's alone, which does not run yet.
    let mut place = InRam(unsafe { slice::from_raw_parts_mut(IMAGE.cast_mut().cast(), (*IMAGE).len()) });
    match boot::choose(&mut flash, &SHEET, provision, cause, &mut place, lx60::say) {
        // SAFETY: the image in RAM is signed for this board and has the digest that was signed.
        Ok(Next::Image) => unsafe { lx60::start_image(board, IMAGE as u32) },
        Ok(Next::Recovery) => {
            stack::prepare();
            wasmbed_firmware_common::run::<_, _, 1>(board, Setup::recovery(&SHEET, provision, flash))
        }
        Err(fault) => boot::start_over(&mut board, fault),
    }
}

lx60_handlers!();
