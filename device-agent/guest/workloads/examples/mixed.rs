//! A module whose tick is [`mixed`](wasmbed_workloads::mixed), and whose health is the last result.
#![no_std]

use core::sync::atomic::{AtomicU32, Ordering};

// A panic needs a handler.
use wasmbed_guest as _;

static LAST: AtomicU32 = AtomicU32::new(0);

#[unsafe(no_mangle)]
extern "C" fn tick() {
    LAST.store(wasmbed_workloads::mixed(LAST.load(Ordering::Relaxed)), Ordering::Relaxed);
}

#[unsafe(no_mangle)]
extern "C" fn health() -> i32 {
    LAST.load(Ordering::Relaxed).cast_signed()
}
