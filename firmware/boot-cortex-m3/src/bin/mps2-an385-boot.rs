//! Bootloader of the MPS2 with AN385: copies an image to the SSRAM for programs and starts it, or waits for one to be
//! sent.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::boxed::Box;
use core::slice;

use cortex_m_rt::entry;
use sha2::{Digest as _, Sha256};
use wasmbed_firmware_common::{
    Setup,
    boot::{self, Next},
    crash,
    heap::Heap,
};
use wasmbed_firmware_cortex_m3::{
    mps2::{self, Flash},
    mps2_handlers, stack,
};
use wasmbed_update::{Fault, Flash as _, Region, boot::Place};
use wasmbed_wire::Digest;

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
    let mut place = Ram(unsafe { slice::from_raw_parts_mut(IMAGE.cast_mut().cast(), (*IMAGE).len()) });
    match boot::choose(&mut flash, &SHEET, provision, cause, &mut place, mps2::say) {
        // SAFETY: the image in RAM is signed for this board and has the digest that was signed.
        Ok(Next::Image) => unsafe { mps2::jump(board, IMAGE as u32) },
        Ok(Next::Recovery) => {
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

mps2_handlers!(RAM);
