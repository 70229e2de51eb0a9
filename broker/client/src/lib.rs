//! How a client of any broker finds it, trusts it, shows who it is and speaks with it: addresses, TLS, keys, MQTT.
//!
//! For the service, hosts, the command line and the Linux agent alike. [`connect`] gives rumqttc's MQTT 5 client in all
//! but name: its options, its events. Where a broker knows 3.1.1 only, the same client speaks that, and what 3.1.1 lacks
//! is left out: properties of messages, options of subscriptions, and reasons. Whoever needs those asks
//! [`Client::version`].
//!
//! Not here: what is said, sessions and reconnecting; as with rumqttc, whoever polls again connects again.
#![forbid(unsafe_code)]

mod address;
mod client;
mod convert;
mod dialect;
mod enrol;
mod identity;
mod tls;

pub use address::{Address, BadAddress};
pub use client::{Client, Error, Events, NotQueued, connect};
pub use dialect::{Dialect, Protocol, Version};
pub use enrol::{EnrolAnswer, EnrolRequest};
pub use identity::{Identity, IdentityError};
pub use tls::{Tls, TlsError, TlsFiles};
