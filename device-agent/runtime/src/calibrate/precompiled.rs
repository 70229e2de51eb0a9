//! The loop as boards have it: compiled while their firmware is built, because they have no compiler.
#![allow(unsafe_code, reason = "precompiled code is trusted by its loader")]

use core::ptr::NonNull;

use wasmtime::{Engine, Module, Result};

/// `cargo xtask fw` makes it and says where it is. Where a board's code is only tested there is none, and
/// nothing to measure.
#[cfg(target_os = "none")]
static LOOP: &Aligned<[u8]> = &Aligned(*include_bytes!(env!(
    "WASMBED_MEASURING_LOOP",
    "firmware needs the measuring loop compiled first; build it with `cargo xtask fw`"
)));

#[cfg(not(target_os = "none"))]
static LOOP: &Aligned<[u8]> = &Aligned([]);

#[repr(C, align(16))]
struct Aligned<T: ?Sized>(T);

pub(super) fn module(engine: &Engine) -> Result<Module> {
    // SAFETY: the bytes are part of this program, made by `compile` or none, and live as long as it.
    unsafe { Module::deserialize_raw(engine, NonNull::from(&LOOP.0)) }
}
