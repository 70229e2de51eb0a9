//! The embedded MQTT broker: MQTT 3.1.1 and 5 over TCP and TLS, plain or in WebSockets, with a role for every client.
//!
//! A guard of our own accepts connections, reads packets, checks identity and permission and speaks MQTT; behind it
//! rumqttd's router fans messages out. What it promises:
//!
//! - no client, authenticated or not, can stop it, block others or fill its memory: handshakes, packet sizes, queues,
//!   retained messages, subscriptions and sessions are all bounded;
//! - a device reads and writes its own topics only ([`credentials`] is the whole permission model);
//! - MQTT as written: the lower quality of service of publication and subscription, every retained message, exactly
//!   once, No Local, retain as published and retain handling, receive maximum, message expiry, subscription
//!   identifiers, request and response properties, wills with delay, sessions with expiry, takeover;
//! - the router's death ends [`Broker::run`] with an error within seconds.
//!
//! Who owns what: `connection` the life of one connection, `transport` and `tls` what carries it, `admission` CONNECT, `serve` the packets after it, `session`
//! and `outbox` what is kept for a client, `sessions` who holds it, `shares` shared subscriptions, `retained` the retained messages, `router` the link
//! to rumqttd, `packet` the wire format.
//!
//! # What stands between clients and rumqttd 0.20
//!
//! | defect of rumqttd | here |
//! |---|---|
//! | a client id with `/ + # $` panics with a lock held; so does one client too many | its server is not used; ids are checked; links are few and named by us |
//! | handshakes block the accept loop | each connection is a task with a time limit |
//! | a persistent sole member of a shared subscription kills the router | links are never persistent and never acknowledge; groups are ours (`shares`) and not for sessions that are kept |
//! | waking a link that has left kills the router | links are reused and do not leave |
//! | retained messages are cut at 100 or 200; an empty payload deletes one | `retained` |
//! | quality of service of the subscription; no receive maximum, No Local, retain options | `outbox`, `session` |
//! | duplicates of exactly-once publications are delivered, the next one is lost | `serve` |
//! | keep-alive 0 is refused | it means none |
//! | wrong topic aliases | none are offered or accepted |
//! | topics and filters are remembered for ever | `topic::Folding` |
//! | messages are lost without a word when a reader is slow | counted; a client that asked for more than at most once is disconnected |
//! | packets that panic its reader | `packet` |
//!
//! # What is not here
//!
//! Persistence (nothing may depend on a broker's memory), topic aliases,
//! authentication exchanges (AUTH), clusters. A peer that vanishes without a word while its keep-alive is 0 holds its
//! place until something is sent to it. Overlapping subscriptions of one client each get their copy. The router keeps
//! some hundred bytes for every distinct folded topic and filter, and the last messages of every filter, until the
//! process ends.
//!
//! # For those who embed it
//!
//! The router's thread goes on after [`Broker::run`]; end the process, or at least the runtime with
//! `shutdown_timeout`. The router logs under `rumqttd`, of which only warnings are of interest, and none of its spans:
//! [`is_worth_logging`].
#![forbid(unsafe_code)]

mod admission;
mod broker;
mod connection;
mod counters;
pub mod credentials;
mod hub;
mod message;
mod metrics;
mod outbox;
mod packet;
mod patterns;
mod retained;
mod router;
mod serve;
mod session;
mod sessions;
mod settings;
mod shares;
mod tls;
mod topic;
mod transport;

pub use broker::{Broker, Error, Meter};
pub use counters::Snapshot;
pub use patterns::Patterns;
pub use router::RouterStopped;
pub use settings::{Config, Settings, SettingsError};
pub use tls::{TlsConfig, TlsError};

/// Whether to record a span or an event at all: the router describes each message in spans, which takes longer than to
/// pass it on.
pub fn is_worth_logging(metadata: &tracing::Metadata<'_>) -> bool {
    metadata.is_event() || !metadata.target().starts_with("rumqttd")
}
