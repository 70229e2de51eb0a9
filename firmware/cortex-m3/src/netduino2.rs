//! The Netduino 2 (STM32F205) as QEMU models it: link on USART1, flash chip on USART2, an autopilot on
//! USART3, sensors on ADC1, and SPI3 for modules.
//!
//! Not here: the clock tree and the pins, which QEMU does not have. The model runs at 120 MHz from the
//! start.

use core::{fmt, ops::Range, panic::PanicInfo};

use cortex_m::{asm, peripheral::SCB};
use cortex_m_rt::ExceptionFrame;
use stm32f2::stm32f215::{CorePeripherals, Interrupt, Peripherals};
use wasmbed_abi::{Errno, Sensor};
use wasmbed_firmware_common::{
    Board, Layout, Line, Serial,
    flash::SerialNor,
    heap::{Heap, HeapUse},
};

use crate::{
    clock, fault, stack,
    stm32f2::{
        adc1::Adc1,
        spi3::{self, Spi3},
        usart1,
        usart2::{self, Usart2},
        usart3::{self, Usart3},
    },
    vectors::Vectors,
};

/// SysTick's source is the core's clock divided by 8.
const SYSTICK_PER_MS: u32 = 120_000 / 8;
/// USART1 is clocked at 60 MHz: 921 600 baud, in sixteenths of the divisor.
const LINK_DIVISOR: u16 = 65;
/// USART2 is clocked at 30 MHz.
const FLASH_DIVISOR: u16 = 33;
/// USART3 too: 921 600 baud, as PX4 has them on TELEM2, where it expects a computer.
const AUTOPILOT_DIVISOR: u16 = 33;

/// SPI3 is clocked at 30 MHz: 0.94 MHz, which every chip keeps up with.
const SPI_DIVISOR: spi3::Divisor = spi3::Divisor::Div32;
/// SPI3 as modules name it.
const SPI_BUS: u32 = 3;
/// The chip on its NSS pin.
const SPI_CHIP_SELECT: u32 = 0;

/// The flash that holds the firmware slots.
pub type Flash = SerialNor<Usart2>;

/// The board.
pub struct Netduino2 {
    adc: Adc1,
    spi: Spi3,
    autopilot: Usart3,
    heap: &'static Heap,
}

/// Starts clock, lines and converter; `window` is where the processor sees the flash chip. `None` if that was
/// done before.
pub fn start(heap: &'static Heap, layout: &Layout, window: &'static [u8]) -> Option<(Netduino2, Flash)> {
    let (core, chip) = (CorePeripherals::take()?, Peripherals::take()?);
    clock::start(core.SYST, SYSTICK_PER_MS);
    usart1::start(&chip.USART1, LINK_DIVISOR);
    let line = Usart2::start(chip.USART2, FLASH_DIVISOR);
    let flash = SerialNor::new(line, layout.sector_bytes, window);
    let (adc, spi) = (Adc1::start(chip.ADC1), Spi3::start(chip.SPI3, SPI_DIVISOR));
    let autopilot = Usart3::start(chip.USART3, AUTOPILOT_DIVISOR);
    Some((Netduino2 { adc, spi, autopilot, heap }, flash))
}

/// Stops everything that [`start`] started and jumps to the image whose vectors lie at `image`.
///
/// # Safety
///
/// A vector table of an image for this board lies there.
pub unsafe fn jump(mut board: Netduino2, image: u32) -> ! {
    board.adc.stop();
    board.spi.stop();
    board.autopilot.stop();
    usart1::stop();
    usart2::stop();
    clock::stop();
    // SAFETY: this board has the register; every vector there is the image's.
    unsafe { (*SCB::PTR).vtor.write(image) };
    asm::dsb();
    asm::isb();
    // SAFETY: the caller's promise; nothing of this program is in use any more.
    unsafe { asm::bootload(image as *const u32) }
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
                let awake = usart1::take_attention() || usart3::take_attention() || clock::take_tick();
                if !awake {
                    // An interrupt that is pending ends this at once, also while it is masked.
                    asm::wfi();
                }
                awake
            });
        }
    }

    fn autopilot(&mut self) -> Option<&mut dyn Serial> {
        Some(&mut self.autopilot)
    }

    fn reset(&mut self) -> ! {
        usart1::flush();
        SCB::sys_reset()
    }

    fn heap(&self) -> HeapUse {
        self.heap.usage()
    }

    fn stack_free(&self) -> usize {
        stack::untouched_bytes()
    }

    fn sensor(&mut self, sensor: Sensor) -> Result<i64, Errno> {
        self.adc.sensor(sensor)
    }

    fn spi(&mut self, bus: u32, chip_select: u32, bytes: &mut [u8]) -> Result<(), Errno> {
        if (bus, chip_select) != (SPI_BUS, SPI_CHIP_SELECT) {
            return Err(Errno::NotFound);
        }
        self.spi.transfer(bytes)
    }
}

/// Says a line without waiting for anything else; for a program that does not run the loop.
pub fn say(text: fmt::Arguments<'_>) {
    usart1::send_now(Line::new(text).frame());
}

/// Interrupts of the chip.
pub const INTERRUPTS: usize = 81;

/// The handlers of a program for this board, once in each; `$ram` is where its stacks can be. The program
/// depends on `cortex_m_rt`.
#[macro_export]
macro_rules! netduino2_handlers {
    ($ram:expr) => {
        #[panic_handler]
        fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
            $crate::netduino2::panic(info)
        }

        // SAFETY: nothing in here depends on what the fault interrupted; it ends in a reset.
        #[cortex_m_rt::exception]
        unsafe fn HardFault(frame: &cortex_m_rt::ExceptionFrame) -> ! {
            $crate::netduino2::hard_fault(frame, $ram)
        }

        #[cortex_m_rt::exception]
        fn SysTick() {
            $crate::clock::on_interrupt();
        }

        #[unsafe(link_section = ".vector_table.interrupts")]
        #[unsafe(no_mangle)]
        static __INTERRUPTS: $crate::vectors::Vectors<{ $crate::netduino2::INTERRUPTS }> =
            $crate::netduino2::vectors();
    };
}

/// For the vector table.
pub const fn vectors() -> Vectors<INTERRUPTS> {
    extern "C" fn usart1() {
        usart1::on_interrupt();
    }
    extern "C" fn usart2() {
        usart2::on_interrupt();
    }
    extern "C" fn usart3() {
        usart3::on_interrupt();
    }
    Vectors::new(&[
        (Interrupt::USART1 as usize, usart1),
        (Interrupt::USART2 as usize, usart2),
        (Interrupt::USART3 as usize, usart3),
    ])
}

/// For the panic handler.
pub fn panic(info: &PanicInfo<'_>) -> ! {
    fault::panic(info, say)
}

/// For the handler of hard faults; `ram` is where stacks can be.
pub fn hard_fault(frame: &ExceptionFrame, ram: Range<usize>) -> ! {
    // A stack that overflowed holds no frame.
    let is_readable = ram.contains(&(&raw const *frame as usize));
    fault::hard_fault(is_readable.then_some(frame), say)
}
