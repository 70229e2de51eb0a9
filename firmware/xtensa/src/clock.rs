//! Monotonic time from the cycle counter; its timer's interrupt comes only when something is due.
//!
//! The counter has 32 bits and is carried on in software, so it has to be looked at once a turn: the interrupt comes
//! at least twice in one.

use core::{
    cell::Cell,
    sync::atomic::{AtomicBool, Ordering},
};

use critical_section::Mutex;

use crate::cpu::{cycle_count, set_compare};

/// The number of the timer's interrupt, on dc232b and on Espressif's cores.
pub(crate) const INTERRUPT: u32 = 6;

/// Longest time to the next interrupt, in cycles.
const LONGEST: u32 = u32::MAX / 2;

/// The clock.
pub struct Clock {
    cycles_per_ms: u32,
    /// Cycles at the last look.
    cycles: Mutex<Cell<u64>>,
    is_due: AtomicBool,
}

impl Clock {
    /// The clock of a processor with this rate.
    pub const fn new(cycles_per_ms: u32) -> Self {
        Clock { cycles_per_ms, cycles: Mutex::new(Cell::new(0)), is_due: AtomicBool::new(false) }
    }

    /// Milliseconds since the program started.
    pub fn now_ms(&self) -> u64 {
        self.now() / u64::from(self.cycles_per_ms)
    }

    /// Microseconds since the program started.
    pub fn now_us(&self) -> u64 {
        self.now() * 1000 / u64::from(self.cycles_per_ms)
    }

    /// Makes the interrupt come at `deadline_ms`, or earlier where there is none or it is far.
    pub fn wake_at(&self, deadline_ms: Option<u64>) {
        let cycles = |ms: u64| ms.saturating_mul(u64::from(self.cycles_per_ms));
        let deadline = deadline_ms.map_or(u64::MAX, cycles);
        let left = deadline.saturating_sub(self.now()).min(u64::from(LONGEST));
        let compare = cycle_count().wrapping_add(left as u32);
        set_compare(compare);
        // The interrupt comes when the two are equal: where that has been, not for a whole turn.
        if compare.wrapping_sub(cycle_count()) > LONGEST {
            self.is_due.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the interrupt has come since the last call, or would have.
    pub fn take_due(&self) -> bool {
        self.is_due.swap(false, Ordering::Relaxed)
    }

    /// To be called by the handler of the interrupt.
    pub fn on_interrupt(&self) {
        self.is_due.store(true, Ordering::Relaxed);
        set_compare(cycle_count().wrapping_add(LONGEST));
        self.now();
    }

    fn now(&self) -> u64 {
        critical_section::with(|cs| {
            let cycles = self.cycles.borrow(cs);
            let last = cycles.get();
            let now = last + u64::from(cycle_count().wrapping_sub(last as u32));
            cycles.set(now);
            now
        })
    }
}
