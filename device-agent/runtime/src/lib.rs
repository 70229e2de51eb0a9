//! Runs modules: the same wasmtime on boards (bytecode, `no_std`) and on Linux (native code).
//!
//! A [`Runtime`] is set up once for a device class. It turns artifacts into [`Module`]s and modules into
//! [`Instance`]s; each instance has a store of its own, so that dropping it gives everything back and
//! nothing one module does reaches another. Every call into a module is bounded in time, stack and
//! memory; whatever a module does, the caller gets control back with a result or a [`Stopped`].
//!
//! What a device offers its modules is a [`Host`]. Its methods are called on the thread that called into
//! the module and must not block: their time is not the module's, but the agent's.
//!
//! Time is bounded by fuel on boards ([`Runtime::calibrate`]) and by a watch thread on Linux. Fuel counts
//! instructions, not their cost: a call that does nothing but divide floats on a board without hardware for
//! them lasts a few times longer than its limit before it is stopped.
//!
//! A module of a class with threads may start some, if its memory is one that they share. They live no longer than a
//! call may last, and not longer than the instance; only the thread that calls the module has the [`Host`].
//!
//! Not here: who signed an artifact (check that first, see [`Runtime::load`]), when to tick, and what to
//! do with a module that was stopped; that is the agent's.
#![cfg_attr(not(feature = "std"), no_std)]
#![deny(unsafe_code)]

extern crate alloc;

mod artifact;
mod calibrate;
#[cfg(feature = "compile")]
mod compile;
mod host;
mod instance;
mod limiter;
mod link;
mod memory;
mod meter;
#[cfg(feature = "compile")]
mod native;
mod runtime;
mod stop;
mod target;
#[cfg(feature = "compile")]
mod threads;
#[cfg(not(feature = "compile"))]
#[path = "threads/none.rs"]
mod threads;
#[cfg(not(feature = "std"))]
mod tls;
mod tunables;
#[cfg(feature = "std")]
mod watch;

pub use artifact::{LoadError, Module};
#[cfg(feature = "compile")]
pub use calibrate::measuring_loop;
#[cfg(feature = "compile")]
pub use compile::{CompileError, compile};
pub use host::Host;
pub use instance::{Instance, Settings, StartError, Stats};
pub use runtime::{CalibrateError, Runtime, SetupError};
pub use stop::{Stopped, TrapCode};
pub use target::Target;
pub use tunables::{bytecode, wasm_features};
