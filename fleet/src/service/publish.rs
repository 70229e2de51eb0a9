//! A message on its way out.

use bytes::Bytes;
use rumqttc::v5::mqttbytes::{QoS, v5::PublishProperties};
use serde::Serialize;
use wasmbed_wire::topic::Delivery;

/// What CBOR messages say of themselves.
const CBOR: &str = "application/cbor";
/// What JSON messages say of themselves.
const JSON: &str = "application/json";

/// A message to publish.
#[derive(Debug, Clone, PartialEq)]
pub struct Publish {
    /// The whole topic.
    pub topic: String,
    /// The message.
    pub payload: Bytes,
    /// How it travels.
    pub delivery: Delivery,
    /// After how many seconds the broker drops it undelivered.
    pub expiry_s: Option<u32>,
    /// What the asker wants back with an answer.
    pub correlation: Option<Bytes>,
    /// What the payload is.
    pub content_type: &'static str,
}

impl Publish {
    /// A CBOR message.
    pub(crate) fn cbor(topic: String, payload: Vec<u8>, delivery: Delivery) -> Self {
        Publish {
            topic,
            payload: payload.into(),
            delivery,
            expiry_s: None,
            correlation: None,
            content_type: CBOR,
        }
    }

    /// A JSON message of quality of service 1.
    pub(crate) fn json(topic: String, message: &impl Serialize, retain: bool) -> Self {
        // Our own types always have a JSON form; an empty object is what is left if one had not.
        let payload = serde_json::to_vec(message).unwrap_or_else(|_| b"{}".to_vec());
        Publish {
            topic,
            payload: payload.into(),
            delivery: Delivery { qos: 1, retain },
            expiry_s: None,
            correlation: None,
            content_type: JSON,
        }
    }

    pub(crate) fn qos(&self) -> QoS {
        if self.delivery.qos == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce }
    }

    pub(crate) fn properties(&self) -> PublishProperties {
        PublishProperties {
            message_expiry_interval: self.expiry_s,
            correlation_data: self.correlation.clone(),
            content_type: Some(self.content_type.to_owned()),
            ..PublishProperties::default()
        }
    }
}
