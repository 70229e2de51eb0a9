//! SiFive's HiFive1 (FE310) as QEMU models it: link on UART0, flash chip on UART1.
//!
//! Not here: the clock tree and the pins, which QEMU does not have.

use core::{
    arch::asm,
    fmt,
    panic::PanicInfo,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
};

use wasmbed_firmware_common::{
    Board, Layout, Line,
    flash::SerialNor,
    heap::{Heap, HeapUse},
};

use crate::{
    clock::Clock,
    fault,
    fe310::{
        aon, uart0,
        uart1::{self, Uart1},
    },
    stack,
};

/// Set by the timer's interrupt.
static TIME_IS_UP: AtomicBool = AtomicBool::new(false);
/// Rate of the timer, in Hz; found out at the start.
static TIMER_HZ: AtomicU32 = AtomicU32::new(1);

/// The flash that holds the firmware slots.
pub type Flash = SerialNor<Uart1>;

/// The board.
pub struct Hifive1 {
    clock: Clock,
    heap: &'static Heap,
}

/// Starts timer, lines and interrupts; to be called once. `window` is where the processor sees the flash chip.
pub fn start(heap: &'static Heap, layout: &Layout, window: &'static [u8]) -> (Hifive1, Flash) {
    TIMER_HZ.store(aon::timer_hz(), Ordering::Relaxed);
    let clock = clock();
    clock.start();
    uart0::start();
    let line = Uart1::start(clock);
    // SAFETY: handlers and what they use are ready, and no critical section is open.
    unsafe { riscv::interrupt::enable() };
    (Hifive1 { clock, heap }, SerialNor::new(line, layout.sector_bytes, window))
}

/// Stops everything that [`start`] started and jumps to the image at `image`, whose first instruction is its
/// entry.
///
/// # Safety
///
/// An image for this board lies there.
pub unsafe fn jump(board: Hifive1, image: u32) -> ! {
    riscv::interrupt::disable();
    uart0::stop();
    uart1::stop();
    board.clock.stop();
    // SAFETY: interrupts are disabled.
    unsafe {
        riscv::register::mie::clear_mtimer();
        riscv::register::mie::clear_mext();
    }
    // SAFETY: the caller's promise; nothing of this program is in use any more.
    unsafe { asm!("fence.i", "jr {image}", image = in(reg) image, options(noreturn)) }
}

fn clock() -> Clock {
    // SAFETY: the CLINT's registers are at these addresses on this chip.
    unsafe { Clock::new(0x0200_bff8, 0x0200_4000, TIMER_HZ.load(Ordering::Relaxed)) }
}

/// Resets the board; memory keeps its contents.
fn reset() -> ! {
    riscv::interrupt::disable();
    // A start without a reset of the chip begins at 0 as well.
    clock().restart();
    aon::reset()
}

impl Board for Hifive1 {
    /// With its header it fills a block of 5,120 bytes; the next larger class of the heap is more than there is.
    const AGENT_BYTES: usize = 5112;

    fn now_us(&self) -> u64 {
        self.clock.now_us()
    }

    fn read(&mut self, out: &mut [u8]) -> usize {
        uart0::read(out)
    }

    fn room(&self) -> usize {
        // What is written is sent at once.
        usize::MAX
    }

    fn write(&mut self, bytes: &[u8]) {
        uart0::send(bytes);
    }

    fn sleep(&mut self, deadline_ms: Option<u64>) {
        // A deadline that has passed makes the interrupt pending at once.
        self.clock.wake_at(deadline_ms.unwrap_or(u64::MAX));
        let mut awake = false;
        while !awake {
            awake = critical_section::with(|_| {
                let awake = uart0::take_attention() || TIME_IS_UP.swap(false, Ordering::Relaxed);
                if !awake {
                    // An interrupt that is pending ends this at once, also while it is masked.
                    riscv::asm::wfi();
                }
                awake
            });
        }
    }

    fn reset(&mut self) -> ! {
        reset()
    }

    fn heap(&self) -> HeapUse {
        self.heap.usage()
    }

    fn stack_free(&self) -> usize {
        stack::untouched_bytes()
    }
}

/// Says a line without waiting for anything else; for a program that does not run the loop.
pub fn say(text: fmt::Arguments<'_>) {
    uart0::send(Line::new(text).frame());
}

/// The handlers of a program for this board, once in each. The program depends on `riscv` and `riscv_rt`.
#[macro_export]
macro_rules! hifive1_handlers {
    () => {
        use riscv::interrupt::Interrupt;

        #[panic_handler]
        fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
            $crate::hifive1::panic(info)
        }

        #[unsafe(export_name = "ExceptionHandler")]
        fn exception(_: &riscv_rt::TrapFrame) -> ! {
            $crate::hifive1::exception()
        }

        #[unsafe(no_mangle)]
        extern "C" fn stack_overflow() -> ! {
            $crate::hifive1::stack_overflow()
        }

        #[riscv_rt::core_interrupt(Interrupt::MachineTimer)]
        fn machine_timer() {
            $crate::hifive1::time_is_up();
        }

        #[riscv_rt::core_interrupt(Interrupt::MachineExternal)]
        fn machine_external() {
            $crate::fe310::interrupts::on_interrupt();
        }
    };
}

/// For the panic handler.
pub fn panic(info: &PanicInfo<'_>) -> ! {
    fault::panic(info, clock().now_ms(), say);
    reset()
}

/// For the handler of exceptions.
pub fn exception() -> ! {
    fault::exception("exception", clock().now_ms(), say);
    reset()
}

/// For where the trap entry goes when too little of the thread stack is left, on the handlers' stack.
pub fn stack_overflow() -> ! {
    fault::exception("stack overflow", clock().now_ms(), say);
    reset()
}

/// For the handler of the timer's interrupt.
pub fn time_is_up() {
    TIME_IS_UP.store(true, Ordering::Relaxed);
    clock().stop();
}
