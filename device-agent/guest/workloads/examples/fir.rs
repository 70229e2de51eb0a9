//! A module whose tick is [`filter`](wasmbed_workloads::filter), and whose health is the last result.
#![no_std]

use core::sync::atomic::{AtomicU32, Ordering};

// A panic needs a handler.
use wasmbed_guest as _;

static LAST: AtomicU32 = AtomicU32::new(0);

#[unsafe(no_mangle)]
extern "C" fn tick() {
    LAST.store(wasmbed_workloads::filter(LAST.load(Ordering::Relaxed)), Ordering::Relaxed);
}

#[unsafe(no_mangle)]
extern "C" fn health() -> i32 {
    LAST.load(Ordering::Relaxed).cast_signed()
}
