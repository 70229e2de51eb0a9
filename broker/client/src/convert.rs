//! Options and requests of MQTT 5 as those of 3.1.1, and events the other way.

use rumqttc::{
    self as v311, NetworkOptions,
    v5::{
        Event, MqttOptions,
        mqttbytes::{
            QoS,
            v5::{ConnAck, ConnectReturnCode, Filter, Packet, PubAck, Publish, SubAck, SubscribeReasonCode},
        },
    },
};

/// Messages of quality of service 1 under way, where the options do not say.
const IN_FLIGHT: u16 = 100;

/// The same client in 3.1.1.
pub(crate) fn options(of: &MqttOptions) -> (v311::MqttOptions, NetworkOptions) {
    let (host, port) = of.broker_address();
    let mut options = v311::MqttOptions::new(of.client_id(), host, port);
    // There the client sets the limit for both ways.
    let packet =
        of.max_packet_size().map_or(usize::MAX, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    options
        .set_transport(of.transport())
        .set_keep_alive(of.keep_alive())
        .set_clean_session(of.clean_start() || of.client_id().is_empty())
        .set_max_packet_size(packet, packet)
        .set_inflight(of.get_outgoing_inflight_upper_limit().unwrap_or(IN_FLIGHT).max(1));
    if let Some(login) = of.credentials() {
        options.set_credentials(login.username, login.password);
    }
    if let Some(will) = of.last_will() {
        let topic = String::from_utf8_lossy(&will.topic).into_owned();
        options.set_last_will(v311::LastWill::new(topic, will.message, qos(will.qos), will.retain));
    }
    (options, of.network_options())
}

pub(crate) fn qos(qos: QoS) -> v311::QoS {
    match qos {
        QoS::AtMostOnce => v311::QoS::AtMostOnce,
        QoS::AtLeastOnce => v311::QoS::AtLeastOnce,
        QoS::ExactlyOnce => v311::QoS::ExactlyOnce,
    }
}

fn qos_of(qos: v311::QoS) -> QoS {
    match qos {
        v311::QoS::AtMostOnce => QoS::AtMostOnce,
        v311::QoS::AtLeastOnce => QoS::AtLeastOnce,
        v311::QoS::ExactlyOnce => QoS::ExactlyOnce,
    }
}

pub(crate) fn filter(filter: Filter) -> v311::SubscribeFilter {
    v311::SubscribeFilter::new(filter.path, qos(filter.qos))
}

/// An event as MQTT 5 has it; none for packets that nobody looks at.
pub(crate) fn event(event: v311::Event) -> Option<Event> {
    let packet = match event {
        v311::Event::Outgoing(outgoing) => return Some(Event::Outgoing(outgoing)),
        v311::Event::Incoming(packet) => packet,
    };
    Some(Event::Incoming(match packet {
        // A refusal is an error of the poll.
        v311::Packet::ConnAck(ack) => Packet::ConnAck(ConnAck {
            session_present: ack.session_present,
            code: ConnectReturnCode::Success,
            properties: None,
        }),
        v311::Packet::SubAck(ack) => Packet::SubAck(SubAck {
            pkid: ack.pkid,
            return_codes: ack.return_codes.into_iter().map(granted).collect(),
            properties: None,
        }),
        v311::Packet::PubAck(ack) => Packet::PubAck(PubAck::new(ack.pkid, None)),
        v311::Packet::Publish(publish) => Packet::Publish(Publish {
            dup: publish.dup,
            qos: qos_of(publish.qos),
            retain: publish.retain,
            topic: publish.topic.into(),
            pkid: publish.pkid,
            payload: publish.payload,
            properties: None,
        }),
        _ => return None,
    }))
}

fn granted(code: v311::SubscribeReasonCode) -> SubscribeReasonCode {
    match code {
        v311::SubscribeReasonCode::Success(qos) => SubscribeReasonCode::Success(qos_of(qos)),
        v311::SubscribeReasonCode::Failure => SubscribeReasonCode::Unspecified,
    }
}
