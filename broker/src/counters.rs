//! What the broker counts.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: Counter,)*
        }

        /// All counters at one moment; they start at zero with the process.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
        pub struct Snapshot {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            pub(crate) fn snapshot(&self) -> Snapshot {
                Snapshot { $($name: self.$name.0.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Clients connected now.
    connections,
    /// Clients that have connected since the start.
    accepted,
    /// Sessions kept now for clients that are away.
    kept_sessions,
    /// Retained messages held now.
    retained,
    /// Bytes of the retained messages held now.
    retained_bytes,
    /// Refused: CONNECT was not complete in time.
    refused_timeout,
    /// Refused: not MQTT, a violation of it, or another version.
    refused_malformed,
    /// Refused: no TLS connection or WebSocket came about.
    refused_transport,
    /// Refused: unknown user name, wrong password, or a certificate that does not count.
    refused_credentials,
    /// Refused: client id not allowed.
    refused_client_id,
    /// Refused: will not allowed.
    refused_will,
    /// Refused: too many clients or handshakes.
    refused_busy,
    /// Connections ended because the same client connected again.
    taken_over,
    /// Connections ended because the client was silent for longer than it promised.
    lost_silent,
    /// Connections or sessions ended because the client did not take its messages in time.
    lost_slow,
    /// Connections ended by a violation of the protocol.
    lost_violation,
    /// Connections ended because the client's certificate was revoked or expired.
    lost_certificate,
    /// Messages accepted from clients.
    messages_in,
    /// Messages sent to clients, repeats not counted.
    messages_out,
    /// Bytes that came from clients, TLS included.
    bytes_in,
    /// Bytes that went to clients, TLS included.
    bytes_out,
    /// Publications refused because the topic is not the client's.
    publish_refused,
    /// Publications refused because no more messages can be retained.
    retain_refused,
    /// Subscriptions refused.
    subscribe_refused,
    /// Messages not delivered: expired, too large for the client, or at most once and in the way.
    dropped,
}

/// One number.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Counts one as long as the result lives.
    pub(crate) fn present(&self) -> Present<'_> {
        self.add(1);
        Present(self)
    }
}

/// One of the things present now.
#[derive(Debug)]
pub(crate) struct Present<'c>(&'c Counter);

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}
