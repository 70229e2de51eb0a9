//! How time is measured inside a module.

use core::sync::atomic::{AtomicU32, Ordering};

#[cfg(feature = "std")]
use crate::watch::Watch;

/// Fuel of a call into the host, in addition to one per byte it carries: without it a module could spend
/// its time in the host and hardly any fuel.
pub(crate) const HOST_CALL_FUEL: u64 = 200;

/// Assumed until calibrated: fewer than any board of ours does, so that an early call is cut short
/// rather than late.
const UNCALIBRATED_PER_MS: u32 = 500;

pub(crate) enum Meter {
    /// Bytecode counts what it executes.
    Fuel { per_ms: AtomicU32 },
    /// Native code looks at a counter that a thread advances.
    #[cfg(feature = "std")]
    Watch(Watch),
}

impl Meter {
    pub(crate) fn fuel() -> Self {
        Meter::Fuel { per_ms: AtomicU32::new(UNCALIBRATED_PER_MS) }
    }

    pub(crate) fn fuel_per_ms(&self) -> Option<u32> {
        match self {
            Meter::Fuel { per_ms } => Some(per_ms.load(Ordering::Relaxed)),
            #[cfg(feature = "std")]
            Meter::Watch(_) => None,
        }
    }

    pub(crate) fn set_fuel_per_ms(&self, value: u32) {
        match self {
            Meter::Fuel { per_ms } => per_ms.store(value.max(1), Ordering::Relaxed),
            #[cfg(feature = "std")]
            Meter::Watch(_) => {}
        }
    }

    /// The fuel of a call with this limit; none where a clock limits it.
    pub(crate) fn budget(&self, limit_ms: u32) -> Option<u64> {
        Some(u64::from(limit_ms) * u64::from(self.fuel_per_ms()?))
    }

    /// Runs `call` with a limit; returns its result and the fuel it used.
    pub(crate) fn run<T: 'static, R>(
        &self,
        store: &mut wasmtime::Store<T>,
        limit_ms: u32,
        call: impl FnOnce(&mut wasmtime::Store<T>) -> wasmtime::Result<R>,
    ) -> (wasmtime::Result<R>, u64) {
        #[cfg(feature = "std")]
        if let Meter::Watch(watch) = self {
            let _watched = watch.start(store, limit_ms);
            return (call(store), 0);
        }
        burn(store, self.budget(limit_ms).unwrap_or_default(), call)
    }
}

/// Runs `call` with `budget` fuel; returns its result and the fuel it used.
pub(crate) fn burn<T: 'static, R>(
    store: &mut wasmtime::Store<T>,
    budget: u64,
    call: impl FnOnce(&mut wasmtime::Store<T>) -> wasmtime::Result<R>,
) -> (wasmtime::Result<R>, u64) {
    let result = store.set_fuel(budget).and_then(|()| call(store));
    let left = store.get_fuel().unwrap_or(0);
    (result, budget.saturating_sub(left))
}
