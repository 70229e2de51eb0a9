//! The device agent, sans I/O: what a device does, decided in one place for boards, Linux and the
//! simulator.
//!
//! [`Agent`] takes input through `on_*`, gives output through [`Agent::poll_effect`] and says with
//! [`Agent::next_deadline`] when it wants to be asked again. It promises to converge on the last
//! desired state from any state, never to run anything unsigned, never to panic on input and never to
//! grow: every table is an array, and effects are derived from flags instead of being queued.
//!
//! The driver owns sockets, clock, memory and the WebAssembly runtime. It calls the agent with the
//! time, carries out each effect completely before it asks for the next one, and asks only when it has
//! room for one more message.
//!
//! Not here: the runtime (`wasmbed-runtime`), the transport (MQTT, or `wasmbed_wire::bridge` on a
//! serial board), and telemetry and logs of modules, which the driver publishes itself.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod agent;
mod effect;
mod module;
mod platform;
mod session;
mod settings;
mod tables;
#[cfg(test)]
mod testing;
mod time;
mod trust;
mod window;

pub use agent::{Agent, Config, largest_desired_bytes, largest_message_bytes};
pub use effect::{
    Assignment, Effect, ModuleEvent, ModuleInfo, OWNER_BYTES, Owner, Rejected, Slot, Token, Used,
};
pub use platform::{Facts, Platform, Store, StoreError, Vitals};
pub use time::Instant;
pub use wasmbed_update::{Fault, Flash, Layout, NoFlash};
