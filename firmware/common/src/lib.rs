//! What the firmware of every board shares: the loop around the agent, its serial link, module slots
//! and running modules, heap, rings, and the record that survives a reset.
//!
//! A board's binary implements [`Board`], owns the interrupt handlers, starts its devices and hands
//! itself to [`run`], which never returns. Everything here runs in thread mode; handlers touch only
//! [`ring`] and the clock.
//!
//! Not here: registers, addresses and start-up code (the architecture's crate), what the agent decides
//! (`wasmbed-core`), how modules run (`wasmbed-runtime`).
#![cfg_attr(not(test), no_std)]

extern crate alloc;

mod board;
mod console;
pub mod crash;
mod device;
mod driver;
pub mod flash;
pub mod heap;
mod modules;
mod port;
pub mod ring;
mod slots;
pub mod stack;
pub mod trace;

pub use board::{Board, Sheet};
pub use console::Line;
pub use driver::run;
pub use wasmbed_wire::limits::Class;
