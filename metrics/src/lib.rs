//! How an operator sees a role from outside: `/metrics` in Prometheus' text format and `/healthz`, over HTTP.
//!
//! A role implements [`Source`] and hands it to a [`Server`]. What the server promises whoever connects: at most
//! [`MAX_CONNECTIONS`] at a time, [`PATIENCE`] for each, a request of at most 8 KiB, one request a connection; what
//! is over that is closed, and costs the role nothing else.
//!
//! Not here: what a role measures. There is no login and no TLS: listen where only the operator's network reaches.
#![forbid(unsafe_code)]

mod ask;
mod page;
mod process;
mod server;

pub use ask::{AskError, get, healthy};
pub use page::{Family, Page, Value};
pub use server::{Listen, MAX_CONNECTIONS, PATIENCE, Server, Source, maybe_serve};
