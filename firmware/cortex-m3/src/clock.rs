//! Monotonic time from SysTick, without a periodic tick.
//!
//! The 24-bit counter runs freely in its longest period; asking to be woken earlier makes one period
//! shorter. Each change of period costs about one tick of drift.

use core::{
    cell::RefCell,
    sync::atomic::{AtomicBool, Ordering},
};

use cortex_m::peripheral::{SCB, SYST, syst::SystClkSource};
use critical_section::{CriticalSection, Mutex};

const LONGEST_RELOAD: u32 = 0x00ff_ffff;
/// A period must be so long that the handler never misses one.
const SHORTEST_RELOAD: u32 = 1_500;

static CLOCK: Mutex<RefCell<Option<Clock>>> = Mutex::new(RefCell::new(None));

static TICKED: AtomicBool = AtomicBool::new(false);

struct Clock {
    syst: SYST,
    ticks_per_ms: u32,
    /// Ticks until the running period began.
    before: u64,
    reload: u32,
}

/// Starts the clock at 0; `ticks_per_ms` is the rate of SysTick's external source.
pub fn start(mut syst: SYST, ticks_per_ms: u32) {
    syst.set_clock_source(SystClkSource::External);
    syst.set_reload(LONGEST_RELOAD);
    syst.clear_current();
    syst.enable_interrupt();
    syst.enable_counter();
    let clock = Clock { syst, ticks_per_ms, before: 0, reload: LONGEST_RELOAD };
    critical_section::with(|cs| CLOCK.replace(cs, Some(clock)));
}

/// Leaves the timer as it is after a reset.
pub fn stop() {
    critical_section::with(|cs| {
        let Some(Clock { mut syst, .. }) = CLOCK.replace(cs, None) else { return };
        syst.disable_counter();
        syst.disable_interrupt();
        syst.set_clock_source(SystClkSource::External);
        SCB::clear_pendst();
    });
}

/// Milliseconds since [`start`].
pub fn now_ms() -> u64 {
    with(|clock| clock.now() / u64::from(clock.ticks_per_ms)).unwrap_or(0)
}

/// Microseconds since [`start`].
pub fn now_us() -> u64 {
    with(|clock| clock.now() * 1000 / u64::from(clock.ticks_per_ms)).unwrap_or(0)
}

/// Makes the SysTick interrupt come no later than at `deadline_ms`. It may come earlier.
pub fn wake_at(cs: CriticalSection<'_>, deadline_ms: u64) {
    if let Some(clock) = CLOCK.borrow_ref_mut(cs).as_mut() {
        clock.wake_at(deadline_ms);
    }
}

/// Whether the SysTick interrupt came since the last call.
pub fn take_tick() -> bool {
    TICKED.swap(false, Ordering::Relaxed)
}

/// To be called by the SysTick handler.
pub fn on_interrupt() {
    TICKED.store(true, Ordering::Relaxed);
    with(Clock::on_interrupt);
}

fn with<R>(f: impl FnOnce(&mut Clock) -> R) -> Option<R> {
    critical_section::with(|cs| CLOCK.borrow_ref_mut(cs).as_mut().map(f))
}

impl Clock {
    fn now(&self) -> u64 {
        let mut pending = SCB::is_pendst_pending();
        let mut counter = SYST::get_current();
        if !pending && SCB::is_pendst_pending() {
            // The period ended between the two reads.
            pending = true;
            counter = SYST::get_current();
        }
        let period = u64::from(self.reload) + 1;
        // Zero is both where a period ends and where a fresh one waits for its first tick.
        let in_period = if counter == 0 { 0 } else { period - u64::from(counter) };
        self.before + in_period + if pending { period } else { 0 }
    }

    fn wake_at(&mut self, deadline_ms: u64) {
        let deadline = deadline_ms.saturating_mul(u64::from(self.ticks_per_ms));
        let ends = self.before + u64::from(self.reload) + 1;
        let ends_soon_enough = ends <= deadline + u64::from(SHORTEST_RELOAD);
        let ends_too_soon = self.reload < LONGEST_RELOAD && ends + u64::from(self.ticks_per_ms) < deadline;
        if !ends_soon_enough || ends_too_soon {
            let wait = deadline.saturating_sub(self.now());
            self.restart(wait.clamp(u64::from(SHORTEST_RELOAD), u64::from(LONGEST_RELOAD)) as u32);
        }
    }

    fn on_interrupt(&mut self) {
        self.before += u64::from(self.reload) + 1;
        if self.reload < LONGEST_RELOAD {
            self.restart(LONGEST_RELOAD);
        }
    }

    /// Begins a new period now.
    fn restart(&mut self, reload: u32) {
        self.before = self.now();
        self.reload = reload;
        self.syst.set_reload(reload);
        self.syst.clear_current();
        SCB::clear_pendst();
    }
}
