//! Patches made by this crate, whole and broken.

mod hostile;
mod roundtrip;
#[path = "../support/mod.rs"]
mod support;
