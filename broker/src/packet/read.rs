//! Reading packets from frames.

use bytes::{Buf, Bytes};

use super::frame::{CONNECT, Frame};
use super::properties::{self, Properties};
use super::{Ack, Connect, Packet, Publish, Qos, Request, RetainHandling, Version, Violation, Will, reason};
use crate::topic;

/// Reads CONNECT.
pub(crate) fn connect(frame: Frame) -> Result<Connect, Violation> {
    if frame.first != CONNECT {
        return Err(Violation::protocol("the first packet is not CONNECT"));
    }
    let mut body = Reader(frame.body);
    let version = version(&mut body)?;
    let flags = body.u8()?;
    if flags & 1 != 0 {
        return Err(Violation::malformed("the reserved flag of CONNECT is set"));
    }
    let (has_username, has_password) = (flags & 0x80 != 0, flags & 0x40 != 0);
    if version == Version::V311 && has_password && !has_username {
        return Err(Violation::malformed("a password without a user name"));
    }
    let clean_start = flags & 2 != 0;
    let keep_alive_s = body.u16()?;
    let properties = body.properties(version, properties::CONNECT)?;
    let client_id = body.text()?;
    let will = will(&mut body, flags, version)?;
    let username = has_username.then(|| body.text()).transpose()?;
    let password = has_password.then(|| body.binary()).transpose()?;
    body.end()?;
    let default_expiry_s = if version == Version::V311 && !clean_start { u32::MAX } else { 0 };
    Ok(Connect {
        version,
        clean_start,
        keep_alive_s,
        client_id,
        will,
        username,
        password,
        session_expiry_s: properties.session_expiry_s.unwrap_or(default_expiry_s),
        receive_maximum: properties.receive_maximum.unwrap_or(u16::MAX),
        maximum_packet_bytes: properties.maximum_packet_bytes,
        wants_authentication: properties.wants_authentication,
    })
}

fn version(body: &mut Reader) -> Result<Version, Violation> {
    let name = body.binary()?;
    let level = body.u8()?;
    match (name.as_ref(), level) {
        (b"MQTT", 4) => Ok(Version::V311),
        (b"MQTT", 5) => Ok(Version::V5),
        (b"MQTT" | b"MQIsdp", _) => {
            Err(Violation { reason: reason::UNSUPPORTED_VERSION, what: "neither MQTT 3.1.1 nor MQTT 5" })
        }
        _ => Err(Violation::malformed("not MQTT")),
    }
}

fn will(body: &mut Reader, flags: u8, version: Version) -> Result<Option<Will>, Violation> {
    let qos = Qos::from_bits(flags >> 3 & 0b11)
        .ok_or(Violation::malformed("the will's quality of service is 3"))?;
    let retain = flags & 0x20 != 0;
    if flags & 4 == 0 {
        if retain || qos != Qos::AtMostOnce {
            return Err(Violation::malformed("will flags without a will"));
        }
        return Ok(None);
    }
    let properties = body.properties(version, properties::WILL)?;
    let topic = body.name()?;
    let payload = body.binary()?;
    let delay_s = properties.will_delay_s.unwrap_or(0);
    let expiry_s = properties.message_expiry_s;
    let publish = Publish { topic, payload, qos, retain, id: 0, expiry_s, properties: properties.passed_on };
    Ok(Some(Will { publish, delay_s }))
}

/// Reads any packet that may follow CONNECT.
pub(crate) fn packet(frame: Frame, version: Version) -> Result<Packet, Violation> {
    let flags = frame.first & 0x0F;
    let kind = frame.first >> 4;
    let expected_flags = match kind {
        3 => flags,
        6 | 8 | 10 => 0b0010,
        _ => 0,
    };
    if flags != expected_flags {
        return Err(Violation::malformed("the flags of the fixed header are wrong"));
    }
    let mut body = Reader(frame.body);
    let packet = match kind {
        3 => Packet::Publish(publish(&mut body, flags, version)?),
        4 => Packet::PubAck(ack(&mut body, version)?),
        5 => Packet::PubRec(ack(&mut body, version)?),
        6 => Packet::PubRel(ack(&mut body, version)?),
        7 => Packet::PubComp(ack(&mut body, version)?),
        8 => subscribe(&mut body, version)?,
        10 => unsubscribe(&mut body, version)?,
        12 => Packet::PingReq,
        14 => disconnect(&mut body, version)?,
        _ => return Err(Violation::protocol("a client does not send this packet here")),
    };
    body.end()?;
    Ok(packet)
}

fn publish(body: &mut Reader, flags: u8, version: Version) -> Result<Publish, Violation> {
    let qos = Qos::from_bits(flags >> 1 & 0b11).ok_or(Violation::malformed("the quality of service is 3"))?;
    let topic = body.name_or_empty()?;
    let id = if qos == Qos::AtMostOnce { 0 } else { body.id()? };
    let properties = body.properties(version, properties::PUBLISH)?;
    if topic.is_empty() {
        return Err(Violation::protocol("the topic is empty"));
    }
    let payload = body.everything();
    let expiry_s = properties.message_expiry_s;
    Ok(Publish {
        topic,
        payload,
        qos,
        retain: flags & 1 != 0,
        id,
        expiry_s,
        properties: properties.passed_on,
    })
}

fn ack(body: &mut Reader, version: Version) -> Result<Ack, Violation> {
    let id = body.id()?;
    if version == Version::V311 || body.is_empty() {
        return Ok(Ack { id, reason: reason::SUCCESS });
    }
    let reason = body.u8()?;
    if !body.is_empty() {
        Properties::read(body, properties::ACK)?;
    }
    Ok(Ack { id, reason })
}

fn subscribe(body: &mut Reader, version: Version) -> Result<Packet, Violation> {
    let id = body.id()?;
    let identifier = body.properties(version, properties::SUBSCRIBE)?.identifier;
    let mut requests = Vec::new();
    while !body.is_empty() {
        requests.push(request(body, version)?);
    }
    if requests.is_empty() {
        return Err(Violation::protocol("SUBSCRIBE without a filter"));
    }
    Ok(Packet::Subscribe { id, requests, identifier })
}

fn request(body: &mut Reader, version: Version) -> Result<Request, Violation> {
    let filter = body.text()?;
    let options = body.u8()?;
    let reserved = if version == Version::V5 { 0xC0 } else { 0xFC };
    if options & reserved != 0 {
        return Err(Violation::malformed("reserved subscription options are set"));
    }
    let retain_handling = match options >> 4 & 0b11 {
        0 => RetainHandling::Always,
        1 => RetainHandling::IfNew,
        2 => RetainHandling::Never,
        _ => return Err(Violation::protocol("the retain handling is 3")),
    };
    let no_local = options & 4 != 0;
    if no_local && filter.starts_with("$share/") {
        return Err(Violation::protocol("No Local on a shared subscription"));
    }
    Ok(Request {
        filter,
        qos: Qos::from_bits(options & 0b11).ok_or(Violation::malformed("the quality of service is 3"))?,
        no_local,
        retain_as_published: options & 8 != 0,
        retain_handling,
    })
}

fn unsubscribe(body: &mut Reader, version: Version) -> Result<Packet, Violation> {
    let id = body.id()?;
    body.properties(version, properties::UNSUBSCRIBE)?;
    let mut filters = Vec::new();
    while !body.is_empty() {
        filters.push(body.text()?);
    }
    if filters.is_empty() {
        return Err(Violation::protocol("UNSUBSCRIBE without a filter"));
    }
    Ok(Packet::Unsubscribe { id, filters })
}

fn disconnect(body: &mut Reader, version: Version) -> Result<Packet, Violation> {
    if version == Version::V311 || body.is_empty() {
        return Ok(Packet::Disconnect { reason: reason::SUCCESS, session_expiry_s: None });
    }
    let reason = body.u8()?;
    let properties =
        if body.is_empty() { Properties::default() } else { Properties::read(body, properties::DISCONNECT)? };
    Ok(Packet::Disconnect { reason, session_expiry_s: properties.session_expiry_s })
}

/// A cursor over one frame that never reads past its end.
pub(super) struct Reader(Bytes);

const TRUNCATED: Violation = Violation::malformed("the packet ends too early");

impl Reader {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What has not been read, without reading it.
    pub(super) fn rest(&self) -> Bytes {
        self.0.clone()
    }

    pub(super) fn u8(&mut self) -> Result<u8, Violation> {
        self.0.try_get_u8().map_err(|_| TRUNCATED)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Violation> {
        self.0.try_get_u16().map_err(|_| TRUNCATED)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Violation> {
        self.0.try_get_u32().map_err(|_| TRUNCATED)
    }

    /// A variable byte integer.
    pub(super) fn variable(&mut self) -> Result<u32, Violation> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.u8()?;
            value |= u32::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Violation::malformed("a length has more than four bytes"))
    }

    pub(super) fn take(&mut self, len: usize) -> Result<Reader, Violation> {
        if len > self.0.len() {
            return Err(TRUNCATED);
        }
        Ok(Reader(self.0.split_to(len)))
    }

    pub(super) fn binary(&mut self) -> Result<Bytes, Violation> {
        let len = self.u16()?;
        Ok(self.take(usize::from(len))?.0)
    }

    pub(super) fn text(&mut self) -> Result<String, Violation> {
        let bytes = self.binary()?;
        let text = std::str::from_utf8(&bytes).map_err(|_| Violation::malformed("a text is not UTF-8"))?;
        if text.contains('\0') {
            return Err(Violation::malformed("a text contains NUL"));
        }
        Ok(text.to_owned())
    }

    /// A topic name.
    fn name(&mut self) -> Result<String, Violation> {
        let name = self.name_or_empty()?;
        if name.is_empty() {
            return Err(Violation { reason: reason::BAD_TOPIC, what: "the topic is empty" });
        }
        Ok(name)
    }

    fn name_or_empty(&mut self) -> Result<String, Violation> {
        let name = self.text()?;
        if !name.is_empty() && !topic::is_name(&name) {
            return Err(Violation {
                reason: reason::BAD_TOPIC,
                what: "the topic has wildcards or is too long",
            });
        }
        Ok(name)
    }

    /// A packet id.
    fn id(&mut self) -> Result<u16, Violation> {
        match self.u16()? {
            0 => Err(Violation::protocol("the packet id is 0")),
            id => Ok(id),
        }
    }

    /// The property block, which only MQTT 5 has.
    fn properties(&mut self, version: Version, allowed: &[u8]) -> Result<Properties, Violation> {
        match version {
            Version::V311 => Ok(Properties::default()),
            Version::V5 => Properties::read(self, allowed),
        }
    }

    fn everything(&mut self) -> Bytes {
        std::mem::take(&mut self.0)
    }

    fn end(&self) -> Result<(), Violation> {
        if self.is_empty() { Ok(()) } else { Err(Violation::malformed("bytes follow the end of the packet")) }
    }
}
