//! The fleet service, the QEMU host role and the command line `wasmbed`.
#![forbid(unsafe_code)]

pub mod connection;
pub mod host_api;
pub mod shutdown;
