//! The two words of thread-local storage wasmtime asks of a system without threads.
#![allow(unsafe_code, reason = "wasmtime looks these functions up by their symbols")]

use core::{
    ptr::null_mut,
    sync::atomic::{AtomicPtr, Ordering},
};

// One core and no threads: a static is as local as it gets. Interrupt handlers never run modules.
static SLOTS: [AtomicPtr<u8>; 2] = [AtomicPtr::new(null_mut()), AtomicPtr::new(null_mut())];

// SAFETY: wasmtime declares the symbol with this type; nothing else in a firmware defines it.
#[unsafe(no_mangle)]
extern "C" fn wasmtime_tls_get(slot: usize) -> *mut u8 {
    SLOTS.get(slot).map_or(null_mut(), |word| word.load(Ordering::Relaxed))
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn wasmtime_tls_set(slot: usize, value: *mut u8) {
    if let Some(word) = SLOTS.get(slot) {
        word.store(value, Ordering::Relaxed);
    }
}
