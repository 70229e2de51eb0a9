//! Bootloader of the Netduino 2: starts the image that the flash chip shows in the processor's memory, or waits
//! for one to be sent.
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
    netduino2::{self, Flash},
    netduino2_handlers, stack,
};
use wasmbed_update::{Fault, Region, boot::Place};
use wasmbed_wire::Digest;

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
    match boot::choose(&mut flash, &SHEET, provision, cause, &mut Window, netduino2::say) {
        // SAFETY: the image in the window is signed for this board and has the digest that was signed.
        Ok(Next::Image) => unsafe { netduino2::jump(board, IMAGE as u32) },
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

/// Images run where the flash chip's window is.
struct Window;

impl Place<Flash> for Window {
    fn place(&mut self, flash: &mut Flash, region: Region, bytes: u32) -> Result<Digest, Fault> {
        let image = flash.map(region.origin)?.get(..bytes as usize).ok_or(Fault::OutOfRange)?;
        Ok(Digest(Sha256::digest(image).into()))
    }
}

netduino2_handlers!(RAM);
