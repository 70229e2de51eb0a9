//! Bootloader of QEMU's `lx60`: copies an image to RAM and starts it, or waits for one to be sent.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::boxed::Box;
use core::slice;

use sha2::{Digest as _, Sha256};
use wasmbed_firmware_common::{
    Setup,
    boot::{self, Next},
    crash,
    heap::Heap,
};
use wasmbed_firmware_xtensa::{
    lx60::{self, Flash},
    lx60_handlers, stack,
};
use wasmbed_update::{Fault, Flash as _, Region, boot::Place};
use wasmbed_wire::Digest;

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
    let mut place = Ram(unsafe { slice::from_raw_parts_mut(IMAGE.cast_mut().cast(), (*IMAGE).len()) });
    match boot::choose(&mut flash, &SHEET, provision, cause, &mut place, lx60::say) {
        // SAFETY: the image in RAM is signed for this board and has the digest that was signed.
        Ok(Next::Image) => unsafe { lx60::start_image(board, IMAGE as u32) },
        Ok(Next::Recovery) => {
            stack::prepare();
            let start = crash::with_record(crash::Record::begin);
            let setup = Setup {
                sheet: &SHEET,
                provision,
                flash,
                running: None,
                is_recovery: true,
                start,
                keep_boot: crash::keep_boot,
            };
            wasmbed_firmware_common::run::<_, _, 1>(board, Box::new(setup))
        }
        Err(fault) => boot::start_over(&mut board, fault),
    }
}

/// Images run in this RAM.
struct Ram(&'static mut [u8]);

impl Place<Flash> for Ram {
    fn place(&mut self, flash: &mut Flash, region: Region, bytes: u32) -> Result<Digest, Fault> {
        let image = self.0.get_mut(..bytes as usize).ok_or(Fault::OutOfRange)?;
        flash.read(region.origin, image)?;
        Ok(Digest(Sha256::digest(image).into()))
    }
}

lx60_handlers!();
