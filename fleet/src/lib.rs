//! The fleet service, the QEMU host role and the command line `wasmbed`.
#![forbid(unsafe_code)]

pub mod acl;
pub mod api;
pub mod artifacts;
pub mod ca;
pub mod cli;
pub mod client;
pub mod config;
pub mod connection;
pub mod doctor;
pub mod gateway;
pub mod host;
pub mod host_api;
mod lock;
pub mod service;
pub mod shutdown;
pub mod store;
