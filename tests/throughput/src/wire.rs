//! MQTT 3.1.1 as bytes, as little of it as a load needs: what measures should cost less than what is measured.

use bytes::{Buf, BufMut, Bytes, BytesMut};

pub(crate) const CONNACK: u8 = 2;
pub(crate) const PUBLISH: u8 = 3;
pub(crate) const SUBACK: u8 = 9;

pub(crate) fn connect(client_id: &str, login: Option<(&str, &str)>, out: &mut BytesMut) {
    let mut body = BytesMut::new();
    text("MQTT", &mut body);
    body.put_u8(4);
    // A clean session, and a login if there is one.
    body.put_u8(0x02 | if login.is_some() { 0xc0 } else { 0 });
    body.put_u16(600);
    text(client_id, &mut body);
    if let Some((user, password)) = login {
        text(user, &mut body);
        text(password, &mut body);
    }
    packet(0x10, &body, out);
}

pub(crate) fn subscribe(filter: &str, qos: u8, out: &mut BytesMut) {
    let mut body = BytesMut::new();
    body.put_u16(1);
    text(filter, &mut body);
    body.put_u8(qos);
    packet(0x82, &body, out);
}

/// A publication of a payload; `id` counts at quality of service 1.
pub(crate) fn publish(topic: &str, qos: u8, id: u16, payload: &[u8], out: &mut BytesMut) {
    out.put_u8(0x30 | qos << 1);
    length(2 + topic.len() + if qos == 0 { 0 } else { 2 } + payload.len(), out);
    text(topic, out);
    if qos != 0 {
        out.put_u16(id);
    }
    out.put_slice(payload);
}

pub(crate) fn puback(id: u16, out: &mut BytesMut) {
    out.put_u8(0x40);
    out.put_u8(2);
    out.put_u16(id);
}

fn packet(first: u8, body: &[u8], out: &mut BytesMut) {
    out.put_u8(first);
    length(body.len(), out);
    out.put_slice(body);
}

fn text(text: &str, out: &mut BytesMut) {
    // Names and passwords here have some dozen bytes.
    out.put_u16(text.len() as u16);
    out.put_slice(text.as_bytes());
}

fn length(mut length: usize, out: &mut BytesMut) {
    loop {
        let low = (length % 128) as u8;
        length /= 128;
        out.put_u8(if length == 0 { low } else { low | 0x80 });
        if length == 0 {
            return;
        }
    }
}

/// A packet that has arrived: its first byte and what follows its length.
pub(crate) struct Packet {
    pub(crate) first: u8,
    pub(crate) body: Bytes,
}

impl Packet {
    pub(crate) fn kind(&self) -> u8 {
        self.first >> 4
    }

    /// Packet identifier, 0 at quality of service 0, and payload of a publication.
    pub(crate) fn into_message(mut self) -> Option<(u16, Bytes)> {
        let qos = self.first >> 1 & 3;
        let topic = usize::from(self.body.try_get_u16().ok()?);
        if self.body.len() < topic {
            return None;
        }
        self.body.advance(topic);
        let id = if qos == 0 { 0 } else { self.body.try_get_u16().ok()? };
        Some((id, self.body))
    }
}

/// Takes the next whole packet off what was read.
pub(crate) fn next(read: &mut BytesMut) -> Option<Packet> {
    let mut size = 0_usize;
    for at in 0..4 {
        let byte = *read.get(1 + at)?;
        size |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            let head = 2 + at;
            if read.len() < head + size {
                return None;
            }
            let first = read[0];
            read.advance(head);
            return Some(Packet { first, body: read.split_to(size).freeze() });
        }
    }
    None
}
