//! The machine as a board.

use core::{
    arch::asm,
    fmt,
    panic::PanicInfo,
    sync::atomic::{AtomicBool, Ordering},
};

use wasmbed_abi::{Errno, Sensor};
use wasmbed_firmware_common::{
    Board, Line,
    heap::{Heap, HeapUse},
    room,
};

use super::{CLOCK, Flash, UART, flash, machine, reset, uart, virtio};
use crate::{fault, plic, stack};

/// Set by the timer's interrupt.
static TIME_IS_UP: AtomicBool = AtomicBool::new(false);

/// The board.
pub struct Virt {
    heap: &'static Heap,
}

/// Starts serial port, timer and interrupts; to be called once.
pub fn start(heap: &'static Heap) -> (Virt, Flash) {
    uart::start();
    CLOCK.start();
    // SAFETY: handlers and what they use are ready, and no critical section is open.
    unsafe { riscv::interrupt::enable() };
    (Virt { heap }, flash::flash())
}

/// Stops everything that [`start`] started and jumps to the image at `image`, whose first instruction is its
/// entry.
///
/// # Safety
///
/// An image for this board lies there.
pub unsafe fn jump(_: Virt, image: u32) -> ! {
    UART.flush();
    riscv::interrupt::disable();
    uart::stop();
    CLOCK.stop();
    // SAFETY: interrupts are disabled.
    unsafe {
        riscv::register::mie::clear_mtimer();
        riscv::register::mie::clear_mext();
    }
    // SAFETY: the caller's promise; the image was written as data, which the fence makes code. Nothing of this
    // program is in use any more.
    unsafe { asm!("fence.i", "jr {image}", image = in(reg) image, options(noreturn)) }
}

impl Board for Virt {
    fn now_us(&self) -> u64 {
        CLOCK.now_us()
    }

    fn read(&mut self, out: &mut [u8]) -> usize {
        UART.read(out)
    }

    fn room(&self) -> usize {
        UART.room()
    }

    fn write(&mut self, bytes: &[u8]) {
        UART.write(bytes);
    }

    #[cfg(feature = "ip")]
    fn uplink(
        &mut self,
        provision: &wasmbed_firmware_common::Provision<'static>,
        seed: u64,
        entropy: wasmbed_firmware_common::Entropy,
    ) -> Option<wasmbed_firmware_common::AnyUplink> {
        wasmbed_firmware_common::ip::Ip::uplink(super::net::VirtioNet::start()?, provision, seed, entropy)
    }

    #[cfg(feature = "ip")]
    fn noise(&mut self) -> Option<[u8; 32]> {
        super::noise::take()
    }

    fn sleep(&mut self, deadline_ms: Option<u64>) {
        // A deadline that has passed makes the interrupt pending at once.
        CLOCK.wake_at(deadline_ms.unwrap_or(u64::MAX));
        let mut awake = false;
        while !awake {
            awake = critical_section::with(|_| {
                let awake = UART.take_attention()
                    || virtio::take_attention()
                    || TIME_IS_UP.swap(false, Ordering::Relaxed);
                if !awake {
                    // An interrupt that is pending ends this at once, also while it is masked.
                    riscv::asm::wfi();
                }
                awake
            });
        }
    }

    fn reset(&mut self) -> ! {
        UART.flush();
        reset()
    }

    fn heap(&self) -> HeapUse {
        self.heap.usage()
    }

    fn stack_free(&self) -> usize {
        stack::untouched_bytes()
    }

    fn sensor(&mut self, sensor: Sensor) -> Result<i64, Errno> {
        room::measure(sensor, self.now_ms())
    }
}

/// Says a line without waiting for anything else; for a program that does not run the loop.
pub fn say(text: fmt::Arguments<'_>) {
    UART.send_now(Line::new(text).frame());
}

/// The handlers of a program for this machine, once in each. The program depends on `riscv` and `riscv_rt`.
#[macro_export]
macro_rules! virt_handlers {
    () => {
        use riscv::interrupt::Interrupt;

        #[panic_handler]
        fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
            $crate::virt::panic(info)
        }

        #[unsafe(export_name = "ExceptionHandler")]
        fn exception(_: &riscv_rt::TrapFrame) -> ! {
            $crate::virt::exception()
        }

        #[unsafe(no_mangle)]
        extern "C" fn stack_overflow() -> ! {
            $crate::virt::stack_overflow()
        }

        #[riscv_rt::core_interrupt(Interrupt::MachineTimer)]
        fn machine_timer() {
            $crate::virt::time_is_up();
        }

        #[riscv_rt::core_interrupt(Interrupt::MachineExternal)]
        fn machine_external() {
            $crate::virt::external();
        }
    };
}

/// For the panic handler.
pub fn panic(info: &PanicInfo<'_>) -> ! {
    fault::panic(info, CLOCK.now_ms(), say);
    reset()
}

/// For the handler of exceptions.
pub fn exception() -> ! {
    fault::exception("exception", CLOCK.now_ms(), say);
    reset()
}

/// For where the trap entry goes when too little of the thread stack is left, on the handlers' stack.
pub fn stack_overflow() -> ! {
    fault::exception("stack overflow", CLOCK.now_ms(), say);
    reset()
}

/// For the handler of external interrupts.
pub fn external() {
    plic::claim(|source| match source {
        machine::NETWORK => virtio::on_interrupt(),
        _ => UART.on_interrupt(),
    });
}

/// For the handler of the timer's interrupt.
pub fn time_is_up() {
    TIME_IS_UP.store(true, Ordering::Relaxed);
    CLOCK.stop();
}
