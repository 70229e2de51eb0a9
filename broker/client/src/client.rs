//! The client and its events.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use rumqttc::v5::{
    self, Event, MqttOptions, StateError,
    mqttbytes::{
        QoS,
        v5::{ConnectReturnCode, Filter, PublishProperties},
    },
};

use crate::{
    Dialect, Version,
    convert::{event, filter, options, qos},
};

/// The connection takes messages more slowly than they come, or has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection has no room for another message, or has ended")]
pub struct NotQueued;

/// Why a connection could not be made, or is gone.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// In MQTT 5.
    #[error(transparent)]
    V5(Box<v5::ConnectionError>),
    /// In MQTT 3.1.1.
    #[error(transparent)]
    V311(Box<rumqttc::ConnectionError>),
}

impl Error {
    /// What the broker answered, if it refused the connection.
    pub fn refusal(&self) -> Option<String> {
        match self {
            Error::V5(error) => match &**error {
                v5::ConnectionError::ConnectionRefused(code) => Some(format!("{code:?}")),
                _ => None,
            },
            Error::V311(error) => match &**error {
                rumqttc::ConnectionError::ConnectionRefused(code) => Some(format!("{code:?}")),
                _ => None,
            },
        }
    }
}

/// Sends; clones send over the same connection.
#[derive(Debug, Clone)]
pub struct Client {
    v5: v5::AsyncClient,
    v311: rumqttc::AsyncClient,
    is_v311: Arc<AtomicBool>,
}

/// Receives, and keeps the connection going; see rumqttc's event loop.
pub struct Events {
    v5: v5::EventLoop,
    v311: rumqttc::EventLoop,
    is_v311: Arc<AtomicBool>,
    dialect: Dialect,
}

/// A client with room for `capacity` messages that are not sent yet. It connects when its events are polled.
pub fn connect(options: MqttOptions, dialect: &Dialect, capacity: usize) -> (Client, Events) {
    let (v311_options, network) = self::options(&options);
    let (client_v311, mut events_v311) = rumqttc::AsyncClient::new(v311_options, capacity);
    events_v311.set_network_options(network);
    let (client_v5, events_v5) = v5::AsyncClient::new(options, capacity);
    let is_v311 = Arc::new(AtomicBool::new(dialect.version() == Some(Version::V311)));
    let client = Client { v5: client_v5, v311: client_v311, is_v311: Arc::clone(&is_v311) };
    (client, Events { v5: events_v5, v311: events_v311, is_v311, dialect: dialect.clone() })
}

impl Events {
    /// What happened next: rumqttc's events of MQTT 5, whatever is spoken.
    ///
    /// # Errors
    /// If the connection cannot be made or is gone; the next call connects again.
    pub async fn poll(&mut self) -> Result<Event, Error> {
        loop {
            if self.is_v311.load(Ordering::Relaxed) {
                match self.v311.poll().await {
                    Ok(happened) => {
                        if let Some(event) = self.on_v311(happened) {
                            return Ok(event);
                        }
                    }
                    Err(error) => {
                        let is_settled = self.dialect.version().is_some();
                        self.is_v311.store(is_settled, Ordering::Relaxed);
                        return Err(Error::V311(Box::new(error)));
                    }
                }
            } else {
                match self.v5.poll().await {
                    Ok(event) => {
                        self.settle(Version::V5);
                        return Ok(event);
                    }
                    Err(error) if self.dialect.version().is_none() && may_be_v311(&error) => {
                        self.is_v311.store(true, Ordering::Relaxed);
                    }
                    Err(error) => return Err(Error::V5(Box::new(error))),
                }
            }
        }
    }

    fn on_v311(&self, happened: rumqttc::Event) -> Option<Event> {
        self.settle(Version::V311);
        event(happened)
    }

    /// Every event comes after CONNACK.
    fn settle(&self, version: Version) {
        if self.dialect.version().is_none() {
            if version == Version::V311 {
                tracing::info!("the broker speaks MQTT 3.1.1");
            }
            self.dialect.settle(version);
        }
    }
}

/// Whether a broker that knows only 3.1.1 ends a connection of MQTT 5 so: with its own refusal, or without a word.
fn may_be_v311(error: &v5::ConnectionError) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, UnexpectedEof};
    let is_end =
        |error: &io::Error| matches!(error.kind(), ConnectionAborted | ConnectionReset | UnexpectedEof);
    match error {
        v5::ConnectionError::ConnectionRefused(code) => matches!(
            code,
            ConnectReturnCode::UnsupportedProtocolVersion | ConnectReturnCode::RefusedProtocolVersion
        ),
        v5::ConnectionError::MqttState(StateError::Io(error)) | v5::ConnectionError::Io(error) => {
            is_end(error)
        }
        v5::ConnectionError::MqttState(error) => {
            matches!(error, StateError::Deserialization(_) | StateError::ConnectionAborted)
        }
        _ => false,
    }
}

impl Client {
    /// The version that is spoken, or tried.
    pub fn version(&self) -> Version {
        if self.is_v311.load(Ordering::Relaxed) { Version::V311 } else { Version::V5 }
    }

    /// Publishes when there is room.
    ///
    /// # Errors
    /// If the connection has ended for good.
    pub async fn publish(
        &self,
        topic: impl Into<String>,
        qos: QoS,
        retain: bool,
        payload: impl Into<Bytes>,
        properties: PublishProperties,
    ) -> Result<(), NotQueued> {
        let (topic, payload) = (topic.into(), payload.into());
        match self.version() {
            Version::V5 => {
                let sent = self.v5.publish_with_properties(topic, qos, retain, payload, properties).await;
                sent.map_err(|_| NotQueued)
            }
            Version::V311 => {
                let sent = self.v311.publish_bytes(topic, self::qos(qos), retain, payload).await;
                sent.map_err(|_| NotQueued)
            }
        }
    }

    /// Publishes if there is room.
    ///
    /// # Errors
    /// If there is none, or the connection has ended for good.
    pub fn try_publish(
        &self,
        topic: impl Into<String>,
        qos: QoS,
        retain: bool,
        payload: impl Into<Bytes>,
    ) -> Result<(), NotQueued> {
        let (topic, payload) = (topic.into(), payload.into());
        match self.version() {
            Version::V5 => self.v5.try_publish(topic, qos, retain, payload).map_err(|_| NotQueued),
            // It takes no `Bytes`.
            Version::V311 => {
                let payload: Vec<u8> = payload.into();
                self.v311.try_publish(topic, self::qos(qos), retain, payload).map_err(|_| NotQueued)
            }
        }
    }

    /// Subscribes when there is room.
    ///
    /// # Errors
    /// If the connection has ended for good.
    pub async fn subscribe_many(&self, filters: Vec<Filter>) -> Result<(), NotQueued> {
        match self.version() {
            Version::V5 => self.v5.subscribe_many(filters).await.map_err(|_| NotQueued),
            Version::V311 => {
                let filters = filters.into_iter().map(filter);
                self.v311.subscribe_many(filters).await.map_err(|_| NotQueued)
            }
        }
    }

    /// Subscribes if there is room.
    ///
    /// # Errors
    /// If there is none, or the connection has ended for good.
    pub fn try_subscribe_many(&self, filters: Vec<Filter>) -> Result<(), NotQueued> {
        match self.version() {
            Version::V5 => self.v5.try_subscribe_many(filters).map_err(|_| NotQueued),
            Version::V311 => {
                let filters = filters.into_iter().map(filter);
                self.v311.try_subscribe_many(filters).map_err(|_| NotQueued)
            }
        }
    }

    /// Ends the connection in order, after what was published before, when there is room.
    ///
    /// # Errors
    /// If it has ended already.
    pub async fn disconnect(&self) -> Result<(), NotQueued> {
        match self.version() {
            Version::V5 => self.v5.disconnect().await.map_err(|_| NotQueued),
            Version::V311 => self.v311.disconnect().await.map_err(|_| NotQueued),
        }
    }

    /// Ends the connection in order, after what was published before, if there is room.
    ///
    /// # Errors
    /// If there is none, or it has ended already.
    pub fn try_disconnect(&self) -> Result<(), NotQueued> {
        match self.version() {
            Version::V5 => self.v5.try_disconnect().map_err(|_| NotQueued),
            Version::V311 => self.v311.try_disconnect().map_err(|_| NotQueued),
        }
    }
}
