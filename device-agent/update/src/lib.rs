//! Firmware in flash: what lies where, which image starts next, and whom to believe.
//!
//! The agent (`wasmbed-core`) fills slots and decides when to try an image; the bootloader asks
//! [`boot::decide`] which one to start. Both see the same [`Record`], one entry of a [`Log`], so that
//! every decision is one atomic write. Promised: a power cut between or within any two flash operations
//! leaves at least one image that [`boot::decide`] starts, and nothing starts that no trusted key signed.
//!
//! Everything here is `no_std`, takes the flash as an argument and keeps nothing.
//!
//! Not here: fetching blocks and the steps of an update (`wasmbed-core`), patches (`wasmbed-delta`),
//! flash drivers (firmware, Linux agent).
#![no_std]
#![forbid(unsafe_code)]

#[cfg(any(test, feature = "model"))]
extern crate std;

pub mod boot;
mod ed25519;
mod flash;
mod image;
mod journal;
mod layout;
mod log;
#[cfg(any(test, feature = "model"))]
pub mod model;
mod record;
mod trust;

pub use flash::{Fault, Flash, NoFlash, Region};
pub use image::{Hashing, MAX_HEADER_BYTES, SignedManifest, read_header, write_header};
pub use journal::{Filling, Journal, What};
pub use layout::{ImageSlot, Layout};
pub use log::{Log, MAX_ENTRY_BYTES};
pub use record::{Attempt, Blocked, Record, Standing};
pub use trust::{BootKeys, Firmware, Keyring, Target, artifact_id, judge_firmware, judge_installed, key_id};
