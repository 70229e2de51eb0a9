//! Threads that wait at an address until another one notifies it.
//!
//! wasmtime's own instructions for that end when they are notified or by themselves, and by nothing else: a module
//! could hold its thread for ever. They also keep every address that was ever waited at. Here a deadline and the end
//! of the group end every wait, and what is kept is who waits.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
    vec::Vec,
};

#[derive(Default)]
pub(super) struct Parking {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// In the order in which they came: no more than there are threads.
    waiting: Vec<Waiter>,
    is_closed: bool,
}

struct Waiter {
    at: usize,
    woken: Arc<Condvar>,
}

/// Why a wait is over, as the module sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Woken {
    Notified = 0,
    /// It did not wait: the number was another one already.
    NotExpected = 1,
    TimedOut = 2,
}

impl Parking {
    /// Waits to be notified, unless the number at the address is not the expected one. None if the deadline came first
    /// or the parking is closed.
    pub(super) fn wait(
        &self,
        at: usize,
        is_expected: impl FnOnce() -> bool,
        timeout: Option<Duration>,
        deadline: Instant,
    ) -> Option<Woken> {
        // A time-out that is beyond what clocks know is none.
        let timeout = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut state = self.lock();
        if state.is_closed {
            return None;
        }
        if !is_expected() {
            return Some(Woken::NotExpected);
        }
        let woken = Arc::new(Condvar::new());
        state.waiting.push(Waiter { at, woken: Arc::clone(&woken) });
        let until = timeout.map_or(deadline, |timeout| timeout.min(deadline));
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let place = state.waiting.iter().position(|waiter| Arc::ptr_eq(&waiter.woken, &woken));
            // Who is notified loses its place.
            let Some(place) = place else { return Some(Woken::Notified) };
            if state.is_closed || left.is_zero() {
                state.waiting.remove(place);
                let is_timeout = !state.is_closed && timeout.is_some_and(|timeout| timeout <= deadline);
                return is_timeout.then_some(Woken::TimedOut);
            }
            state = woken.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Wakes at most so many of those that wait at an address, the first that came first; answers how many.
    pub(super) fn notify(&self, at: usize, most: u32) -> u32 {
        let mut notified = 0;
        self.lock().waiting.retain(|waiter| {
            let stays = waiter.at != at || notified == most;
            if !stays {
                notified += 1;
                waiter.woken.notify_one();
            }
            stays
        });
        notified
    }

    /// Ends all that wait, and all that will.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        state.waiting.iter().for_each(|waiter| waiter.woken.notify_one());
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
