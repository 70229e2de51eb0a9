//! How anything in this crate reaches the broker: address, identity, topic prefix.
//!
//! One type for service, host, bridge and command line, so that what is tuned once (packet size,
//! keep-alive, clean start) is the same everywhere.
//!
//! Not here: who may do what (`wasmbed-broker`), and what is said (`host_api`, `control`).

use std::{fmt, time::Duration};

use rumqttc::v5::MqttOptions;
pub use wasmbed_broker_client::{Address, Dialect, Protocol, TlsFiles};
use wasmbed_broker_client::{Client, Events, Tls, connect};

/// Largest packet accepted and sent, in bytes: an artifact upload with room for its properties.
pub const MAX_PACKET_BYTES: u32 = wasmbed_wire::limits::MAX_PAYLOAD_BYTES + 64 * 1024;
/// Time without traffic after which the client pings, and after one and a half of which the broker
/// gives it up, in seconds.
const KEEP_ALIVE_S: u64 = 10;

/// One client's way to the broker.
#[derive(Clone, PartialEq, Eq)]
pub struct Connection {
    /// The broker.
    pub address: Address,
    /// What TLS needs; present where the address says so.
    pub tls: Option<Tls>,
    /// MQTT user name.
    pub username: String,
    /// MQTT password; empty for a client whose certificate says who it is.
    pub password: String,
    /// First level or levels of every topic.
    pub prefix: String,
    /// The version of MQTT that is spoken there.
    pub dialect: Dialect,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("address", &self.address)
            .field("tls", &self.tls)
            .field("username", &self.username)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// The same broker and prefix under another name with a password.
    #[must_use]
    pub fn with_identity(&self, username: impl Into<String>, password: impl Into<String>) -> Self {
        let tls = self.tls.as_ref().map(Tls::without_certificate);
        Connection { username: username.into(), password: password.into(), tls, ..self.clone() }
    }

    /// The same broker and prefix under the name in another certificate.
    ///
    /// # Errors
    /// If its files cannot be used.
    pub fn with_certificate(
        &self,
        username: impl Into<String>,
        files: TlsFiles,
    ) -> Result<Self, wasmbed_broker_client::TlsError> {
        let tls = Some(Tls::load(files)?);
        Ok(Connection { username: username.into(), password: String::new(), tls, ..self.clone() })
    }

    /// A client with these options and room for `capacity` messages that are not sent yet.
    pub fn client(&self, options: MqttOptions, capacity: usize) -> (Client, Events) {
        connect(options, &self.dialect, capacity)
    }

    /// Options of a client with this client id: clean start, because every message that
    /// matters is a retained level or is asked for again.
    pub fn options(&self, client_id: impl Into<String>) -> MqttOptions {
        let mut options = MqttOptions::new(client_id, &self.address.host, self.address.port);
        options
            .set_keep_alive(Duration::from_secs(KEEP_ALIVE_S))
            .set_clean_start(true)
            .set_max_packet_size(Some(MAX_PACKET_BYTES));
        // A certificate's name needs no second one, which some brokers would look up among their users.
        if !self.password.is_empty() {
            options.set_credentials(&self.username, &self.password);
        }
        if let Some(tls) = &self.tls {
            options.set_transport(tls.transport());
        }
        let mut network = options.network_options();
        // Messages are small and somebody waits for each.
        network.set_tcp_nodelay(true);
        options.set_network_options(network);
        options
    }
}
