//! The fleet service: keeps devices at their desired state over MQTT.
//!
//! [`Fleet`] decides: it takes messages, requests and the time, writes the store, and gives messages to
//! publish. One thread owns it. Around it, tasks speak MQTT ([`run`]): one polls the connection, one
//! publishes, one answers block requests without waiting for anything else, one compiles uploads, one makes
//! patches.
//!
//! What it promises: whatever was answered or published was durable before, so the service may be killed
//! at any instant. Nothing depends on the broker's memory: with every connection all desired states are
//! published again.
//!
//! Not here: the judgement of devices (`wasmbed-plan`), and the command line (`cli`).

mod blocks;
mod certificates;
mod change;
mod control;
mod devices;
mod encode;
mod execute;
mod firmware;
mod fleet;
mod hosts;
mod keys;
mod metrics;
mod orders;
mod patches;
mod publish;
mod relay;
mod rollouts;
mod run;
mod traps;
mod uploads;
mod worker;

pub use certificates::CERTIFICATE_LIFE;
pub use control::Reaction;
pub(crate) use devices::{failure_text, reason_text};
pub use fleet::{Fleet, Options};
pub use patches::{Pair, PatchOrder, make_patch};
pub use publish::Publish;
pub use run::{KEY_FILE, ServiceConfig, run};
pub use uploads::Built;

use wasmbed_wire::topic::VERSION;

/// The level that stands for the fleet itself in topics.
pub const FLEET_LEVEL: &str = "_fleet";

/// The whole topic `{prefix}/v1/_fleet/{rest}`.
pub fn fleet_topic(prefix: &str, rest: impl std::fmt::Display) -> String {
    format!("{prefix}/{VERSION}/{FLEET_LEVEL}/{rest}")
}
