//! The thread that ends long calls of native code.
//!
//! It advances the engine's epoch while at least one call runs and sleeps otherwise, so that an idle
//! agent wakes nothing.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use wasmtime::{Engine, Store};

/// Time between two epochs, in milliseconds: how exactly limits are kept.
const EPOCH_MS: u32 = 10;

pub(crate) struct Watch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    running: u32,
    /// Whether the thread waits for a call, and not for the end of an epoch.
    sleeps: bool,
    done: bool,
}

/// Says that a call runs, until dropped.
pub(crate) struct Watched<'a>(&'a Shared);

impl Watch {
    /// # Errors
    /// If the system starts no thread.
    pub(crate) fn new(engine: Engine) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let for_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("wasm-watch".into())
            .spawn(move || for_thread.advance_while_running(&engine))?;
        Ok(Watch { shared, thread: Some(thread) })
    }

    pub(crate) fn start<T: 'static>(&self, store: &mut Store<T>, limit_ms: u32) -> Watched<'_> {
        // The epoch that is current may end at once: one more makes the limit a lower bound.
        store.set_epoch_deadline(u64::from(limit_ms.div_ceil(EPOCH_MS)) + 1);
        let mut state = self.shared.lock();
        state.running += 1;
        // Waking the thread costs more than a short call: between calls that follow each other it is awake.
        if state.sleeps {
            self.shared.changed.notify_all();
        }
        Watched(&self.shared)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.lock().done = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // It only counts; there is nothing to learn from how it ended.
            let _ = thread.join();
        }
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.0.lock().running -= 1;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn advance_while_running(&self, engine: &Engine) {
        let mut state = self.lock();
        while !state.done {
            if state.running == 0 {
                state.sleeps = true;
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.sleeps = false;
                continue;
            }
            drop(state);
            self.one_epoch(engine);
            state = self.lock();
        }
    }

    /// Waits for the end of an epoch and counts it, and those slept through on a busy machine.
    fn one_epoch(&self, engine: &Engine) {
        let epoch = Duration::from_millis(u64::from(EPOCH_MS));
        let start = Instant::now();
        let (state, _) = self
            .changed
            .wait_timeout_while(self.lock(), epoch, |state| !state.done)
            .unwrap_or_else(PoisonError::into_inner);
        drop(state);
        let passed = start.elapsed().as_millis() / epoch.as_millis();
        (0..passed).for_each(|_| engine.increment_epoch());
    }
}
