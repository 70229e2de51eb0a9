//! A device as a participant of ROS 2: topics and services for its modules, over DDS.
//!
//! [`Ros`] is the device: one participant, one node of its own, and everything the configuration says about topics and
//! services. Each module that uses any of it has a [`Station`], which is a node too. A thread of [`Ros`] owns everything
//! of the middleware; a station only hands over and takes what is there, so that none of its calls waits. What it is told
//! lies in a bounded queue, of which [`Station::next`] takes the oldest.
//!
//! What ends, ends by itself: calls by an answer or a time-out, endpoints with their module.
//!
//! Not here: MQTT, and how modules run.
#![forbid(unsafe_code)]

mod calls;
mod codec;
mod config;
mod definition;
mod endpoints;
mod graph;
mod layout;
mod losses;
mod mailbox;
mod participant;
mod report;
mod station;
#[cfg(test)]
mod testing;

pub use codec::Refused;
pub use config::{Config, ConfigError, Settings};
pub use definition::DefinitionError;
pub use graph::{NameAndType, Node};
pub use losses::{Loss, Lost};
pub use mailbox::{Event, Room};
pub use participant::{Ros, StartError, Woken};
pub use report::{LOOK_MS, Report};
pub use station::{Allowed, Station};

/// Longest message, request and response, in bytes, as modules see them and in CDR.
const MAX_BYTES: usize = wasmbed_abi::MAX_ROS_BYTES;
