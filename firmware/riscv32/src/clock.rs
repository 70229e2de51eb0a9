//! Monotonic time from the machine timer; its interrupt comes only when something is due.

use riscv_peripheral::common::{RW, Reg};

/// The machine timer of one hart.
#[derive(Clone, Copy)]
pub struct Clock {
    time: [Reg<u32, RW>; 2],
    compare: [Reg<u32, RW>; 2],
    ticks_per_s: u32,
}

impl Clock {
    /// The timer with these register addresses and this rate, in Hz.
    ///
    /// # Safety
    ///
    /// The addresses must be those of `mtime` and of this hart's `mtimecmp`.
    pub const unsafe fn new(mtime: usize, mtimecmp: usize, ticks_per_s: u32) -> Self {
        // SAFETY: the caller's promise; both registers are 8 bytes long and 8-aligned.
        unsafe {
            Clock {
                time: [Reg::new(mtime as *mut u32), Reg::new((mtime + 4) as *mut u32)],
                compare: [Reg::new(mtimecmp as *mut u32), Reg::new((mtimecmp + 4) as *mut u32)],
                ticks_per_s,
            }
        }
    }

    /// Lets the timer interrupt come when [`Clock::wake_at`] asks for it.
    pub fn start(&self) {
        self.stop();
        // SAFETY: the timer's handler is static and ready; nothing masks interrupts by this bit.
        unsafe { riscv::register::mie::set_mtimer() };
    }

    /// Milliseconds since the timer started.
    pub fn now_ms(&self) -> u64 {
        self.now() * 1000 / u64::from(self.ticks_per_s)
    }

    /// Microseconds since the timer started.
    pub fn now_us(&self) -> u64 {
        let (now, rate) = (self.now(), u64::from(self.ticks_per_s));
        now / rate * 1_000_000 + now % rate * 1_000_000 / rate
    }

    /// Makes the timer interrupt come at `deadline_ms`.
    pub fn wake_at(&self, deadline_ms: u64) {
        self.set_compare(deadline_ms.saturating_mul(u64::from(self.ticks_per_s)).div_ceil(1000));
    }

    /// Withdraws the timer interrupt.
    pub fn stop(&self) {
        self.set_compare(u64::MAX);
    }

    /// Lets the time begin again at 0.
    pub fn restart(&self) {
        let [low, high] = &self.time;
        low.write(0);
        high.write(0);
    }

    fn now(&self) -> u64 {
        let [low, high] = &self.time;
        loop {
            let before = high.read();
            let ticks = u64::from(before) << 32 | u64::from(low.read());
            if high.read() == before {
                return ticks;
            }
        }
    }

    fn set_compare(&self, ticks: u64) {
        let [low, high] = &self.compare;
        // No moment between the three writes has a value that lies in the past.
        low.write(u32::MAX);
        high.write((ticks >> 32) as u32);
        low.write(ticks as u32);
    }
}
