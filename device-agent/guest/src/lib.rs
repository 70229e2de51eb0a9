//! What a module for Wasmbed devices is written with.
//!
//! A module is a type with a [`Module`] implementation, handed to [`module!`]:
//!
//! ```ignore
//! #![no_std]
//! use wasmbed_guest::{Level, Module, Result, log, module};
//!
//! struct Hello;
//!
//! impl Module for Hello {
//!     fn start() -> Result<Self> {
//!         Ok(Hello)
//!     }
//!
//!     fn tick(&mut self) {
//!         log(Level::Info, "hello").ok();
//!     }
//! }
//!
//! module!(Hello);
//! ```
//!
//! Build it as a `cdylib` with the settings in this folder's `.cargo/config.toml`. There is no heap;
//! [`Text`] holds short texts. A panic is logged and stops the module; the device starts it again.
//!
//! With the feature `optional` a module can do without every call: what it was not granted, or what its class lacks,
//! answers [`Errno::Unsupported`] instead of keeping it from being pushed or deployed.
//!
//! The calls themselves are in [`raw`]; what they mean is the device's `wasmbed-abi` crate, which tests
//! that both agree.
#![cfg_attr(not(test), no_std)]

pub mod bus;
mod calls;
mod errno;
pub mod files;
pub mod messages;
mod module;
pub mod network;
#[cfg(target_arch = "wasm32")]
mod panic;
pub mod raw;
pub mod ros;
pub mod security;
mod sensor;
pub mod store;
mod text;
pub mod vehicle;

pub use calls::{
    Edges, Level, config_get, config_number, gpio_read, gpio_watch, gpio_write, log, sensor_read, telemetry,
    thread_spawn, timer_set, uptime_ms,
};
pub use errno::{Errno, Result};
pub use module::{Module, Slot};
pub use sensor::Sensor;
pub use text::Text;
