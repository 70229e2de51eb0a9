//! The fleet's decisions without a broker: messages and requests go in, messages come out, and the
//! service may die at any time.
#![allow(clippy::unwrap_used, reason = "a test may stop where its script is wrong")]

#[path = "fleet/control.rs"]
mod control;
#[path = "fleet/devices.rs"]
mod devices;
#[path = "fleet/firmware.rs"]
mod firmware;
#[path = "fleet/grants.rs"]
mod grants;
#[path = "fleet/hosts.rs"]
mod hosts;
#[path = "fleet/keys.rs"]
mod keys;
#[path = "fleet/orders.rs"]
mod orders;
#[path = "fleet/park.rs"]
mod park;
#[path = "fleet/registry.rs"]
mod registry;
#[path = "fleet/relay.rs"]
mod relay;
#[path = "fleet/restart.rs"]
mod restart;
#[path = "fleet/rollouts.rs"]
mod rollouts;
#[path = "fleet/world.rs"]
mod world;
