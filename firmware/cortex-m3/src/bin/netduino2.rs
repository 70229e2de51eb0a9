//! Firmware of the Netduino 2 (STM32F205) as QEMU models it: link on USART1, analogue sensors on ADC1.
//!
//! Not here: the clock tree and the pins, which QEMU does not have. The model runs at 120 MHz from the
//! start.
#![no_std]
#![no_main]

use core::{fmt, panic::PanicInfo, slice};

use cortex_m::peripheral::SYST;
use cortex_m_rt::{ExceptionFrame, entry, exception};
use stm32f2::stm32f215::{ADC1, CorePeripherals, Peripherals, USART1, interrupt};
use wasmbed_abi::{Errno, Sensor};
use wasmbed_firmware_common::{
    Board, Line, crash,
    heap::{Heap, HeapUse},
};
use wasmbed_firmware_cortex_m3::{
    clock, fault, stack,
    stm32f2::{adc1::Adc1, usart1},
};

include!(concat!(env!("OUT_DIR"), "/netduino2/board.rs"));

/// SysTick's source is the core's clock divided by 8.
const SYSTICK_PER_MS: u32 = 120_000 / 8;
/// USART1 is clocked at 60 MHz: 921 600 baud, in sixteenths of the divisor.
const BAUD_DIVISOR: u16 = 65;

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
    // Taken once, because `main` runs once.
    if let (Some(core), Some(chip)) = (CorePeripherals::take(), Peripherals::take()) {
        let board = Netduino2::start(core.SYST, &chip.USART1, chip.ADC1);
        // SAFETY: the provisioning lies there, in flash, and never changes while the board runs.
        let provision = unsafe { slice::from_raw_parts(PROVISION.cast(), (*PROVISION).len()) };
        wasmbed_firmware_common::run::<_, SLOTS>(board, &SHEET, provision, start, keep_boot)
    }
    panic!("the peripherals were taken before")
}

fn keep_boot(boot: u32) {
    crash::with_record(|record| record.set_boot(boot));
}

struct Netduino2 {
    adc: Adc1,
}

impl Netduino2 {
    fn start(syst: SYST, usart: &USART1, adc: ADC1) -> Self {
        clock::start(syst, SYSTICK_PER_MS);
        usart1::start(usart, BAUD_DIVISOR);
        Netduino2 { adc: Adc1::start(adc) }
    }
}

impl Board for Netduino2 {
    fn now_us(&self) -> u64 {
        clock::now_us()
    }

    fn read(&mut self, out: &mut [u8]) -> usize {
        usart1::read(out)
    }

    fn room(&self) -> usize {
        usart1::room()
    }

    fn write(&mut self, bytes: &[u8]) {
        usart1::write(bytes);
    }

    fn sleep(&mut self, deadline_ms: Option<u64>) {
        let mut awake = critical_section::with(|cs| {
            clock::take_tick();
            clock::wake_at(cs, deadline_ms.unwrap_or(u64::MAX));
            deadline_ms.is_some_and(|deadline_ms| clock::now_ms() >= deadline_ms)
        });
        while !awake {
            awake = critical_section::with(|_| {
                let awake = usart1::take_attention() || clock::take_tick();
                if !awake {
                    // An interrupt that is pending ends this at once, also while it is masked.
                    cortex_m::asm::wfi();
                }
                awake
            });
        }
    }

    fn reset(&mut self) -> ! {
        usart1::flush();
        cortex_m::peripheral::SCB::sys_reset()
    }

    fn heap(&self) -> HeapUse {
        HEAP.usage()
    }

    fn stack_free(&self) -> usize {
        stack::untouched_bytes()
    }

    fn sensor(&mut self, sensor: Sensor) -> Result<i64, Errno> {
        self.adc.sensor(sensor)
    }
}

fn say(text: fmt::Arguments<'_>) {
    usart1::send_now(Line::new(text).frame());
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    fault::panic(info, say)
}

// SAFETY: nothing in here depends on what the fault interrupted; it ends in a reset.
#[exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    // A stack that overflowed holds no frame.
    let readable = RAM.contains(&(&raw const *frame as usize));
    fault::hard_fault(readable.then_some(frame), say)
}

#[exception]
fn SysTick() {
    clock::on_interrupt();
}

#[interrupt]
fn USART1() {
    usart1::on_interrupt();
}
