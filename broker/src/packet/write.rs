//! Writing the packets a server sends.

use bytes::{BufMut, BytesMut};

use super::{Ack, Qos, Version, reason};

/// What CONNACK tells an MQTT 5 client; 3.1.1 gets code and session flag only.
#[derive(Debug, Default)]
pub(crate) struct Welcome<'a> {
    pub(crate) session_present: bool,
    /// As long as the session is kept, which may be shorter than asked for.
    pub(crate) session_expiry_s: u32,
    pub(crate) receive_maximum: u16,
    pub(crate) maximum_packet_bytes: u32,
    /// Given when the client left the choice to us.
    pub(crate) client_id: Option<&'a str>,
}

/// CONNACK for an accepted client.
pub(crate) fn welcome(out: &mut BytesMut, version: Version, welcome: &Welcome<'_>) {
    let mut body = vec![u8::from(welcome.session_present), reason::SUCCESS];
    if version == Version::V5 {
        let mut properties = Vec::new();
        properties.put_u8(17);
        properties.put_u32(welcome.session_expiry_s);
        properties.put_u8(33);
        properties.put_u16(welcome.receive_maximum);
        properties.put_u8(39);
        properties.put_u32(welcome.maximum_packet_bytes);
        if let Some(id) = welcome.client_id {
            properties.put_u8(18);
            text(&mut properties, id);
        }
        variable(&mut body, properties.len());
        body.extend(properties);
    }
    packet(out, 0x20, &body);
}

/// CONNACK for a refused client, with an MQTT 5 reason; 3.1.1 gets the nearest of its codes.
pub(crate) fn refusal(out: &mut BytesMut, version: Version, reason: u8) {
    match version {
        Version::V5 => packet(out, 0x20, &[0, reason, 0]),
        Version::V311 => packet(out, 0x20, &[0, return_code(reason)]),
    }
}

fn return_code(reason: u8) -> u8 {
    match reason {
        reason::UNSUPPORTED_VERSION => 1,
        reason::BAD_CLIENT_ID => 2,
        reason::BAD_CREDENTIALS => 4,
        reason::NOT_AUTHORIZED | reason::BAD_AUTHENTICATION_METHOD => 5,
        _ => 3,
    }
}

/// A PUBLISH to a subscriber.
#[derive(Debug)]
pub(crate) struct Outgoing<'a> {
    pub(crate) topic: &'a str,
    pub(crate) payload: &'a [u8],
    /// As on the wire; left out for 3.1.1.
    pub(crate) properties: &'a [u8],
    pub(crate) qos: Qos,
    /// Unused for [`Qos::AtMostOnce`].
    pub(crate) id: u16,
    pub(crate) retain: bool,
    pub(crate) duplicate: bool,
    pub(crate) expiry_s: Option<u32>,
    pub(crate) identifier: Option<u32>,
}

impl Outgoing<'_> {
    /// Bytes of the whole packet.
    pub(crate) fn len(&self, version: Version) -> usize {
        let body = self.body_len(version);
        1 + variable_len(body) + body
    }

    /// Appends the packet.
    pub(crate) fn write(&self, out: &mut BytesMut, version: Version) {
        out.reserve(self.len(version));
        out.put_u8(0x30 | u8::from(self.duplicate) << 3 | (self.qos as u8) << 1 | u8::from(self.retain));
        variable(out, self.body_len(version));
        text(out, self.topic);
        if self.qos != Qos::AtMostOnce {
            out.put_u16(self.id);
        }
        if version == Version::V5 {
            variable(out, self.properties_len());
            out.put_slice(self.properties);
            if let Some(seconds) = self.expiry_s {
                out.put_u8(2);
                out.put_u32(seconds);
            }
            if let Some(identifier) = self.identifier {
                out.put_u8(11);
                variable(out, identifier as usize);
            }
        }
        out.put_slice(self.payload);
    }

    fn body_len(&self, version: Version) -> usize {
        let id = if self.qos == Qos::AtMostOnce { 0 } else { 2 };
        let properties = match version {
            Version::V311 => 0,
            Version::V5 => variable_len(self.properties_len()) + self.properties_len(),
        };
        2 + self.topic.len() + id + properties + self.payload.len()
    }

    fn properties_len(&self) -> usize {
        let expiry = if self.expiry_s.is_some() { 5 } else { 0 };
        let identifier = self.identifier.map_or(0, |identifier| 1 + variable_len(identifier as usize));
        self.properties.len() + expiry + identifier
    }
}

/// PUBACK.
pub(crate) fn puback(out: &mut BytesMut, version: Version, ack: Ack) {
    acknowledge(out, 0x40, version, ack);
}

/// PUBREC.
pub(crate) fn pubrec(out: &mut BytesMut, version: Version, ack: Ack) {
    acknowledge(out, 0x50, version, ack);
}

/// PUBREL.
pub(crate) fn pubrel(out: &mut BytesMut, version: Version, ack: Ack) {
    acknowledge(out, 0x62, version, ack);
}

/// PUBCOMP.
pub(crate) fn pubcomp(out: &mut BytesMut, version: Version, ack: Ack) {
    acknowledge(out, 0x70, version, ack);
}

fn acknowledge(out: &mut BytesMut, first: u8, version: Version, ack: Ack) {
    let [high, low] = ack.id.to_be_bytes();
    if version == Version::V5 && ack.reason != reason::SUCCESS {
        packet(out, first, &[high, low, ack.reason]);
    } else {
        packet(out, first, &[high, low]);
    }
}

/// SUBACK; `reasons` are granted qualities of service or MQTT 5 failures, one for each filter.
pub(crate) fn suback(out: &mut BytesMut, version: Version, id: u16, reasons: &[u8]) {
    let mut body = id.to_be_bytes().to_vec();
    match version {
        Version::V5 => {
            body.push(0);
            body.extend_from_slice(reasons);
        }
        Version::V311 => body.extend(reasons.iter().map(|reason| (*reason).min(reason::UNSPECIFIED))),
    }
    packet(out, 0x90, &body);
}

/// UNSUBACK; 3.1.1 knows no reasons.
pub(crate) fn unsuback(out: &mut BytesMut, version: Version, id: u16, reasons: &[u8]) {
    let mut body = id.to_be_bytes().to_vec();
    if version == Version::V5 {
        body.push(0);
        body.extend_from_slice(reasons);
    }
    packet(out, 0xB0, &body);
}

/// PINGRESP.
pub(crate) fn pingresp(out: &mut BytesMut) {
    packet(out, 0xD0, &[]);
}

/// DISCONNECT, which a server only sends in MQTT 5.
pub(crate) fn disconnect(out: &mut BytesMut, version: Version, reason: u8) {
    if version == Version::V5 {
        packet(out, 0xE0, &[reason, 0]);
    }
}

fn packet(out: &mut BytesMut, first: u8, body: &[u8]) {
    out.put_u8(first);
    variable(out, body.len());
    out.put_slice(body);
}

fn text(out: &mut impl BufMut, text: &str) {
    out.put_u16(text.len() as u16);
    out.put_slice(text.as_bytes());
}

fn variable(out: &mut impl BufMut, mut value: usize) {
    while value >= 0x80 {
        out.put_u8((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

fn variable_len(value: usize) -> usize {
    match value {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    }
}
