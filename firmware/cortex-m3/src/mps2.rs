//! The Arm MPS2 with the FPGA image AN385 as QEMU models it (Arm DAI 0385): link on UART0, Ethernet, chips on the I2C
//! and SPI buses of the shields, LEDs and buttons, watchdog.
//!
//! Not here: the boot controller and the clock generators, which QEMU does not have. The core runs at 25 MHz.

mod fpgaio;
mod i2c;
pub mod lan9118;
mod nvm;
mod spi;
pub mod uart0;
mod watchdog;

use core::{fmt, ops::Range, panic::PanicInfo};

use cortex_m::{Peripherals, asm, peripheral::SCB};
use cortex_m_rt::ExceptionFrame;
use wasmbed_abi::{Errno, Sensor};
use wasmbed_firmware_common::{
    Board, Line,
    heap::{Heap, HeapUse},
};

use crate::{clock, fault, stack, vectors::Vectors};

pub use nvm::{Flash, Nvm};

/// SysTick's external source is 1 MHz.
const SYSTICK_PER_MS: u32 = 1_000;
/// The peripherals' clock is 25 MHz: 115 207 baud. QEMU does not wait.
const LINK_DIVISOR: u32 = 217;

/// Interrupts of the core.
pub const INTERRUPTS: usize = 32;
const UART0_RECEIVE: usize = 0;
const UART0_SEND: usize = 1;
const ETHERNET: usize = 13;

/// The thermometer, a TMP105 on the second shield: its bus and address.
const THERMOMETER: (u32, u8) = (3, 0x48);

/// The board.
pub struct Mps2 {
    heap: &'static Heap,
}

/// Starts clock, line and buses. `None` if that was done before.
pub fn start(heap: &'static Heap) -> Option<(Mps2, Flash)> {
    let core = Peripherals::take()?;
    clock::start(core.SYST, SYSTICK_PER_MS);
    uart0::start(LINK_DIVISOR);
    Some((Mps2 { heap }, nvm::flash()))
}

/// Has the board reset if the loop stands still; what that is, is kept and told after the reset.
pub fn watch() {
    watchdog::start();
}

/// Stops everything that [`start`] started and jumps to the image whose vectors lie at `image`.
///
/// # Safety
///
/// A vector table of an image for this board lies there.
pub unsafe fn jump(_: Mps2, image: u32) -> ! {
    uart0::stop();
    clock::stop();
    // SAFETY: this board has the register; every vector there is the image's.
    unsafe { (*SCB::PTR).vtor.write(image) };
    asm::dsb();
    asm::isb();
    // SAFETY: the caller's promise; nothing of this program is in use any more.
    unsafe { asm::bootload(image as *const u32) }
}

impl Board for Mps2 {
    fn now_us(&self) -> u64 {
        clock::now_us()
    }

    /// Each round of the loop begins with it.
    fn read(&mut self, out: &mut [u8]) -> usize {
        watchdog::feed();
        uart0::read(out)
    }

    fn room(&self) -> usize {
        uart0::room()
    }

    fn write(&mut self, bytes: &[u8]) {
        uart0::queue(bytes);
    }

    #[cfg(feature = "ip")]
    fn uplink(
        &mut self,
        provision: &wasmbed_firmware_common::Provision<'static>,
        seed: u64,
        entropy: wasmbed_firmware_common::Entropy,
    ) -> Option<wasmbed_firmware_common::AnyUplink> {
        wasmbed_firmware_common::ip::Ip::uplink(lan9118::Lan9118::start()?, provision, seed, entropy)
    }

    fn sleep(&mut self, deadline_ms: Option<u64>) {
        lan9118::listen();
        let fed_until_ms = clock::now_ms() + u64::from(watchdog::SECONDS) * 1000 / 2;
        let deadline_ms = deadline_ms.unwrap_or(u64::MAX).min(fed_until_ms);
        let mut awake = critical_section::with(|cs| {
            clock::take_tick();
            clock::wake_at(cs, deadline_ms);
            clock::now_ms() >= deadline_ms
        });
        while !awake {
            awake = critical_section::with(|_| {
                let awake = uart0::take_attention() || lan9118::take_attention() || clock::take_tick();
                if !awake {
                    // An interrupt that is pending ends this at once, also while it is masked.
                    asm::wfi();
                }
                awake
            });
        }
    }

    fn reset(&mut self) -> ! {
        uart0::flush();
        SCB::sys_reset()
    }

    fn heap(&self) -> HeapUse {
        self.heap.usage()
    }

    fn stack_free(&self) -> usize {
        stack::untouched_bytes()
    }

    fn sensor(&mut self, sensor: Sensor) -> Result<i64, Errno> {
        if sensor != Sensor::Temperature {
            return Err(Errno::NotFound);
        }
        let (bus, address) = THERMOMETER;
        // TMP105 (SBOS219): 12 bits, then the temperature in 256ths of a degree, most significant byte first.
        i2c::transfer(bus, address, &[1, 0x60], &mut [])?;
        let mut temperature = [0; 2];
        i2c::transfer(bus, address, &[0], &mut temperature)?;
        Ok(i64::from(i16::from_be_bytes(temperature)) * 1000 / 256)
    }

    fn i2c(&mut self, bus: u32, address: u8, write: &[u8], read: &mut [u8]) -> Result<(), Errno> {
        i2c::transfer(bus, address, write, read)
    }

    fn spi(&mut self, bus: u32, chip_select: u32, bytes: &mut [u8]) -> Result<(), Errno> {
        spi::transfer(bus, chip_select, bytes)
    }

    fn gpio_write(&mut self, pin: u32, high: bool) -> Result<(), Errno> {
        fpgaio::write(pin, high)
    }

    fn gpio_read(&mut self, pin: u32) -> Result<bool, Errno> {
        fpgaio::read(pin)
    }
}

/// Says a line without waiting for anything else; for a program that does not run the loop.
pub fn say(text: fmt::Arguments<'_>) {
    uart0::send_now(Line::new(text).frame());
}

/// The handlers of a program for this board, once in each; `$ram` is where its stacks can be. The program
/// depends on `cortex_m_rt`.
#[macro_export]
macro_rules! mps2_handlers {
    ($ram:expr) => {
        #[panic_handler]
        fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
            $crate::mps2::panic(info)
        }

        // SAFETY: as below.
        #[cortex_m_rt::exception]
        unsafe fn NonMaskableInt() -> ! {
            $crate::mps2::unmaskable($ram)
        }

        // SAFETY: nothing in here depends on what the fault interrupted; it ends in a reset.
        #[cortex_m_rt::exception]
        unsafe fn HardFault(frame: &cortex_m_rt::ExceptionFrame) -> ! {
            $crate::mps2::hard_fault(frame, $ram)
        }

        #[cortex_m_rt::exception]
        fn SysTick() {
            $crate::clock::on_interrupt();
        }

        #[unsafe(link_section = ".vector_table.interrupts")]
        #[unsafe(no_mangle)]
        static __INTERRUPTS: $crate::vectors::Vectors<{ $crate::mps2::INTERRUPTS }> = $crate::mps2::vectors();
    };
}

/// For the vector table.
pub const fn vectors() -> Vectors<INTERRUPTS> {
    extern "C" fn receive() {
        uart0::on_received();
    }
    extern "C" fn send() {
        uart0::on_sent();
    }
    extern "C" fn ethernet() {
        lan9118::on_interrupt();
    }
    Vectors::new(&[(UART0_RECEIVE, receive), (UART0_SEND, send), (ETHERNET, ethernet)])
}

/// For the panic handler.
pub fn panic(info: &PanicInfo<'_>) -> ! {
    fault::panic(info, say)
}

/// For the handler of interrupts that cannot be masked; `ram` is where stacks can be.
pub fn unmaskable(ram: Range<usize>) -> ! {
    let frame = cortex_m::register::psp::read() as usize;
    // SAFETY: the thread was interrupted, if by way of another handler, and its frame is where its stack ends.
    let frame = ram.contains(&frame).then(|| unsafe { &*(frame as *const ExceptionFrame) });
    match watchdog::has_expired() {
        true => fault::hang(frame, watchdog::SECONDS, say),
        false => fault::unmaskable(frame, say),
    }
}

/// For the handler of hard faults; `ram` is where stacks can be.
pub fn hard_fault(frame: &ExceptionFrame, ram: Range<usize>) -> ! {
    // A stack that overflowed holds no frame.
    let is_readable = ram.contains(&(&raw const *frame as usize));
    fault::hard_fault(is_readable.then_some(frame), say)
}

/// An interrupt of the core, by its number.
#[derive(Clone, Copy)]
struct Irq(usize);

// SAFETY: the numbers are constants below INTERRUPTS.
unsafe impl cortex_m::interrupt::InterruptNumber for Irq {
    fn number(self) -> u16 {
        self.0 as u16
    }
}
