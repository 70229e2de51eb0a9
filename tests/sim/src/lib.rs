//! Real agents in virtual time, on a network that loses, repeats, reorders and corrupts.
//!
//! A [`World`] holds devices, a broker and the least of a fleet: someone who publishes desired states and
//! serves blocks. Time jumps from event to event, so an hour takes milliseconds, and everything random
//! comes from one seed, so a failure can be repeated. While it runs, the world checks what must hold at
//! every instant: nothing starts that was not signed, no slot is written while its module runs, and
//! no two versions of a module run at once. A breach panics with the seed.
//!
//! Devices with firmware ([`World::board`]) start through the real bootloader's decision from a model of NOR
//! flash, and lose power in the middle of any flash operation.
//!
//! Not here: the serial link (tested in `wire`), the planner and the real service.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "this crate is a test: it fails by panicking")]

mod artifact;
mod device;
mod firmware;
mod flash;
mod fleet;
mod keys;
mod network;
mod platform;
mod rng;
mod trace;
mod world;

pub use artifact::{BLOCK_BYTES, Behaviour, CONTROLLER, Maker, TRUSTED};
pub use device::Memory;
pub use firmware::{Build, Delta, FIRMWARE_BLOCK_BYTES, Image, Start};
pub use fleet::Served;
pub use keys::Ring;
pub use network::{Faults, Harm};
pub use wasmbed_update::{ImageSlot, model::Cut};
pub use world::World;
