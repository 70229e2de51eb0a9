//! The machine as a board.

use core::{fmt, panic::PanicInfo};

use wasmbed_abi::{Errno, Sensor};
use wasmbed_firmware_common::{
    Board, Line,
    heap::{Heap, HeapUse},
    room,
};

use super::{CLOCK, Flash, UART, flash, machine::UART_INTERRUPT, reset};
use crate::{
    clock,
    cpu::{self, PS_UNMASKED},
    fault::{self, TrapFrame},
    stack,
};

/// The board.
pub struct Lx60 {
    heap: &'static Heap,
}

/// Starts serial port, timer and interrupts; to be called once.
pub fn start(heap: &'static Heap) -> (Lx60, Flash) {
    UART.start();
    CLOCK.wake_at(None);
    cpu::enable_interrupts(1 << UART_INTERRUPT | 1 << clock::INTERRUPT);
    // SAFETY: handlers and what they use are ready, and no critical section is open.
    unsafe { cpu::restore_interrupts(PS_UNMASKED) };
    (Lx60 { heap }, flash::flash())
}

/// Stops everything that [`start`] started and jumps to the image at `image`, whose first instruction is its
/// entry.
///
/// # Safety
///
/// An image for this board lies there.
pub unsafe fn start_image(_: Lx60, image: u32) -> ! {
    UART.flush();
    cpu::disable_interrupts();
    UART.stop();
    cpu::enable_interrupts(0);
    // SAFETY: the caller's promise. Nothing of this program is in use any more.
    unsafe { cpu::jump(image) }
}

impl Board for Lx60 {
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

    fn sleep(&mut self, deadline_ms: Option<u64>) {
        CLOCK.wake_at(deadline_ms);
        loop {
            let ps = cpu::disable_interrupts();
            if UART.take_attention() || CLOCK.take_due() {
                // SAFETY: as it was.
                unsafe { cpu::restore_interrupts(ps) };
                return;
            }
            // SAFETY: no critical section is open: who sleeps holds none.
            unsafe { cpu::wait_for_interrupt() };
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

/// The handlers of a program for this machine, once in each.
#[macro_export]
macro_rules! lx60_handlers {
    () => {
        #[panic_handler]
        fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
            $crate::lx60::panic(info)
        }

        #[unsafe(no_mangle)]
        extern "C" fn on_exception(frame: &$crate::fault::TrapFrame) -> ! {
            $crate::lx60::on_exception(frame)
        }

        #[unsafe(no_mangle)]
        extern "C" fn on_interrupt() {
            $crate::lx60::on_interrupt()
        }
    };
}

/// For the panic handler.
pub fn panic(info: &PanicInfo<'_>) -> ! {
    fault::panic(info, CLOCK.now_ms(), say);
    reset()
}

/// For the handler of exceptions.
pub fn on_exception(frame: &TrapFrame) -> ! {
    fault::exception(frame, CLOCK.now_ms(), say);
    reset()
}

/// For the handler of interrupts.
pub fn on_interrupt() {
    let pending = cpu::pending_interrupts();
    if pending & 1 << UART_INTERRUPT != 0 {
        UART.on_interrupt();
    }
    if pending & 1 << clock::INTERRUPT != 0 {
        CLOCK.on_interrupt();
    }
}
