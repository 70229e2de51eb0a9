//! The contract between devices, hosts and the fleet service: names, topics, messages, signed
//! manifests, class limits and the serial link.
//!
//! Everything here is `no_std` without allocation, append-only, and pinned by exact-bytes tests:
//! a field once given a number keeps number and meaning for ever. `topics.md` tells the same story
//! for people and is checked against [`topic`] by a test.
//!
//! Not here: sockets, clocks, keys (`wasmbed-core` verifies, the fleet service signs), and policy of
//! any kind.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod backtrace;
pub mod bridge;
mod crc32;
pub mod id;
pub mod keyring;
pub mod limits;
pub mod link;
pub mod manifest;
pub mod message;
pub mod nor;
pub mod provision;
pub mod ros;
pub mod seq;
pub mod sign1;
pub mod topic;

pub use backtrace::Backtrace;
pub use crc32::{Crc32, crc32};
pub use id::{
    ArtifactId, BoardName, Channel, CommandId, DeviceId, Digest, GatewayId, HostId, KeyId, MAX_NAME_BYTES,
    ModuleName, PublicKey, RuntimeId,
};
pub use seq::Seq;
