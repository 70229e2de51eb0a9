//! Firmware of QEMU's `virt` machine with one rv32imac hart.
#![no_std]
#![no_main]

use core::{
    fmt,
    panic::PanicInfo,
    slice,
    sync::atomic::{AtomicBool, Ordering},
};

use riscv::interrupt::Interrupt;
use riscv_rt::{TrapFrame, core_interrupt, entry};
use wasmbed_abi::{Errno, Sensor};
use wasmbed_firmware_common::{
    Board, Line, crash,
    heap::{Heap, HeapUse},
};
use wasmbed_firmware_riscv32::{
    fault, stack,
    virt::{self, CLOCK, uart},
};

include!(concat!(env!("OUT_DIR"), "/rv32-virt/board.rs"));

/// Set by the timer's interrupt.
static TIME_IS_UP: AtomicBool = AtomicBool::new(false);

#[global_allocator]
static HEAP: Heap = Heap::new();

#[entry]
fn main() -> ! {
    // SAFETY: `main` runs once; between the symbols lies what the linker left of the RAM.
    unsafe { HEAP.give_rest_of_ram() };
    stack::prepare();
    let start = crash::with_record(crash::Record::begin);
    uart::start();
    CLOCK.start();
    // SAFETY: handlers and what they use are ready, and no critical section is open.
    unsafe { riscv::interrupt::enable() };
    // SAFETY: the provisioning lies there, in flash, and never changes while the board runs.
    let provision = unsafe { slice::from_raw_parts(PROVISION.cast(), (*PROVISION).len()) };
    wasmbed_firmware_common::run::<_, SLOTS>(Virt, &SHEET, provision, start, keep_boot)
}

fn keep_boot(boot: u32) {
    crash::with_record(|record| record.set_boot(boot));
}

struct Virt;

impl Board for Virt {
    fn now_us(&self) -> u64 {
        CLOCK.now_us()
    }

    fn read(&mut self, out: &mut [u8]) -> usize {
        uart::read(out)
    }

    fn room(&self) -> usize {
        uart::room()
    }

    fn write(&mut self, bytes: &[u8]) {
        uart::write(bytes);
    }

    fn sleep(&mut self, deadline_ms: Option<u64>) {
        // A deadline that has passed makes the interrupt pending at once.
        CLOCK.wake_at(deadline_ms.unwrap_or(u64::MAX));
        let mut awake = false;
        while !awake {
            awake = critical_section::with(|_| {
                let awake = uart::take_attention() || TIME_IS_UP.swap(false, Ordering::Relaxed);
                if !awake {
                    // An interrupt that is pending ends this at once, also while it is masked.
                    riscv::asm::wfi();
                }
                awake
            });
        }
    }

    fn reset(&mut self) -> ! {
        uart::flush();
        virt::reset()
    }

    fn heap(&self) -> HeapUse {
        HEAP.usage()
    }

    fn stack_free(&self) -> usize {
        stack::untouched_bytes()
    }

    fn sensor(&mut self, sensor: Sensor) -> Result<i64, Errno> {
        virt::measure(sensor, self.now_ms())
    }
}

fn say(text: fmt::Arguments<'_>) {
    uart::send_now(Line::new(text).frame());
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    fault::panic(info, CLOCK.now_ms(), say);
    virt::reset()
}

#[unsafe(export_name = "ExceptionHandler")]
fn exception(_: &TrapFrame) -> ! {
    fault::exception("exception", CLOCK.now_ms(), say);
    virt::reset()
}

/// Where the trap entry goes when too little of the thread stack is left, on the handlers' stack.
#[unsafe(no_mangle)]
extern "C" fn stack_overflow() -> ! {
    fault::exception("stack overflow", CLOCK.now_ms(), say);
    virt::reset()
}

#[core_interrupt(Interrupt::MachineTimer)]
fn machine_timer() {
    TIME_IS_UP.store(true, Ordering::Relaxed);
    CLOCK.stop();
}

#[core_interrupt(Interrupt::MachineExternal)]
fn machine_external() {
    uart::on_interrupt();
}
