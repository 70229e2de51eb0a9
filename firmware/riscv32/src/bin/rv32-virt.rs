//! Firmware of QEMU's `virt` machine with one rv32imac hart.
#![no_std]
#![no_main]

use core::{panic::PanicInfo, slice};

use riscv::interrupt::Interrupt;
use riscv_rt::{TrapFrame, core_interrupt, entry};
use wasmbed_firmware_common::{Running, Setup, crash, heap::Heap};
use wasmbed_firmware_riscv32::{stack, virt};

include!(concat!(env!("OUT_DIR"), "/rv32-virt/board.rs"));

#[global_allocator]
static HEAP: Heap = Heap::new();

#[entry]
fn main() -> ! {
    // SAFETY: `main` runs once; between the symbols lies what the linker left of the RAM.
    unsafe { HEAP.give_rest_of_ram() };
    stack::prepare();
    let start = crash::with_record(crash::Record::begin);
    // SAFETY: the provisioning lies there, in flash, and never changes while the board runs.
    let provision = unsafe { slice::from_raw_parts(PROVISION.cast(), (*PROVISION).len()) };
    let (board, mut flash) = virt::start(&HEAP);
    // A flash that fails now may answer the agent later.
    let running = Running::load(&mut flash, &SHEET.layout).ok().flatten();
    let setup = Setup { sheet: &SHEET, provision, flash, running, start, keep_boot };
    wasmbed_firmware_common::run::<_, _, SLOTS>(board, setup)
}

fn keep_boot(boot: u32) {
    crash::with_record(|record| record.set_boot(boot));
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    virt::panic(info)
}

#[unsafe(export_name = "ExceptionHandler")]
fn exception(_: &TrapFrame) -> ! {
    virt::exception()
}

#[unsafe(no_mangle)]
extern "C" fn stack_overflow() -> ! {
    virt::stack_overflow()
}

#[core_interrupt(Interrupt::MachineTimer)]
fn machine_timer() {
    virt::time_is_up();
}

#[core_interrupt(Interrupt::MachineExternal)]
fn machine_external() {
    virt::uart::on_interrupt();
}
