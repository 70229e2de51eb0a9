//! The runtime from outside: every behaviour on both ways a module can run, as native code and as the
//! bytecode of the boards.
#![cfg(feature = "compile")]

mod artifacts;
mod bus;
mod calibration;
mod calls;
mod events;
mod examples;
mod features;
mod files;
mod limits;
mod network;
mod ros;
mod security;
mod threads;
mod vehicle;
mod world;
