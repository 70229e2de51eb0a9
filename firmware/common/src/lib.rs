//! What the firmware of every board shares, and its bootloader: the loop around the agent, its serial link, MQTT over
//! Ethernet, with TLS (feature `ip`), module slots and running modules, flash drivers, heap, rings, and the record that survives a reset.
//!
//! A board implements [`Board`]; its binaries start its devices and hand themselves to [`run`], which never
//! returns. A bootloader asks [`boot::choose`] first, and runs the agent only where there is no image: it is
//! built without the feature `modules`. Everything here runs in thread mode; interrupt handlers touch only
//! [`ring`] and the clock.
//!
//! Not here: registers, addresses and start-up code (the architecture's crate), what the agent decides
//! (`wasmbed-core`), how modules run (`wasmbed-runtime`).
#![cfg_attr(not(test), no_std)]

extern crate alloc;

mod board;
pub mod boot;
mod console;
pub mod crash;
mod device;
mod driver;
pub mod flash;
pub mod heap;
#[cfg(feature = "ip")]
pub mod ip;
#[cfg(feature = "modules")]
mod modules;
#[cfg(not(feature = "modules"))]
#[path = "modules/none.rs"]
mod modules;
mod nic;
pub mod ns16550;
mod port;
#[cfg(feature = "modules")]
mod random;
pub mod ring;
pub mod room;
mod running;
mod serial;
mod slots;
pub mod stack;
pub mod trace;
mod uplink;
mod variant;

pub use board::{Board, Sheet};
pub use console::Line;
pub use driver::{Setup, run};
pub use nic::{FRAME_BYTES, Nic};
pub use port::Full;
pub use running::Running;
pub use serial::Serial;
pub use uplink::{AnyUplink, Entropy, Uplink};
pub use wasmbed_core::largest_desired_bytes;
pub use wasmbed_update::Layout;
pub use wasmbed_wire::{limits::Class, provision::Provision};
