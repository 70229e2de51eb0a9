//! One MQTT client for brokers that speak 5 and for those that speak 3.1.1 only.
//!
//! [`connect`] gives rumqttc's MQTT 5 client in all but name: its options, its events. Where the broker speaks 3.1.1 the
//! same client speaks that, and what 3.1.1 lacks is left out: properties of messages, options of subscriptions, and
//! reasons. Whoever needs those asks [`Client::version`].
//!
//! Not here: sessions and reconnecting; as with rumqttc, whoever polls again connects again.
#![forbid(unsafe_code)]

mod client;
mod convert;
mod dialect;

pub use client::{Client, Error, Events, NotQueued, connect};
pub use dialect::{Dialect, Protocol, Version};
