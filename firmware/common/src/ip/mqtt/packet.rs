//! The packets of MQTT 5 that the client says and hears. Section numbers are those of MQTT 5.0 (OASIS).

use heapless::Vec;

use super::Ended;
use crate::port::Full;

/// Where a PUBLISH has its topic: behind the topic's length (3.3.2.1).
pub(super) const TOPIC_AT: usize = 2;
/// Bytes of the longest length (1.5.5).
const LENGTH_BYTES: usize = 4;

/// Property identifiers (2.2.2.2).
mod property {
    pub(super) const SERVER_KEEP_ALIVE: u8 = 0x13;
    pub(super) const RECEIVE_MAXIMUM: u8 = 0x21;
    pub(super) const MAXIMUM_QOS: u8 = 0x24;
    pub(super) const RETAIN_AVAILABLE: u8 = 0x25;
    pub(super) const MAXIMUM_PACKET_SIZE: u8 = 0x27;
}

/// Types of what a broker says (2.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    ConnAck,
    Publish,
    PubAck,
    SubAck,
    PingResp,
    Disconnect,
}

/// What a packet begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) first: u8,
    /// Bytes of type and length.
    pub(super) header_bytes: usize,
    remaining: usize,
}

impl Frame {
    /// Bytes in all.
    pub(super) fn bytes(&self) -> usize {
        self.header_bytes + self.remaining
    }

    pub(super) fn kind(&self) -> Option<Kind> {
        // The low bits are reserved but for a PUBLISH (2.1.3).
        Some(match self.first {
            0x20 => Kind::ConnAck,
            0x30..0x40 => Kind::Publish,
            0x40 => Kind::PubAck,
            0x90 => Kind::SubAck,
            0xd0 => Kind::PingResp,
            0xe0 => Kind::Disconnect,
            _ => return None,
        })
    }
}

/// Reads what a packet begins with; `None` if there is not enough of it.
pub(super) fn frame(bytes: &[u8]) -> Result<Option<Frame>, Ended> {
    let Some((first, rest)) = bytes.split_first() else { return Ok(None) };
    let mut reader = Reader(rest);
    match reader.length() {
        Some(remaining) => {
            Ok(Some(Frame { first: *first, header_bytes: bytes.len() - reader.0.len(), remaining }))
        }
        None if rest.len() < LENGTH_BYTES => Ok(None),
        None => Err(Ended::Malformed),
    }
}

/// What a broker says, but for a PUBLISH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Packet {
    Connected(Connected),
    Subscribed { id: u16, reason: u8 },
    Acknowledged { id: u16 },
    Pong,
    Disconnect { reason: u8 },
}

/// CONNACK (3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Connected {
    pub(super) reason: u8,
    pub(super) maximum_qos: u8,
    pub(super) retains: bool,
    pub(super) receive_maximum: u16,
    pub(super) packet_bytes: usize,
    /// Instead of what the client asked for.
    pub(super) keep_alive_s: Option<u16>,
}

/// PUBLISH (3.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Publish<'a> {
    pub(super) topic: &'a str,
    /// At quality of service 1.
    pub(super) id: Option<u16>,
    pub(super) payload: &'a [u8],
}

/// Reads a packet that is whole.
pub(super) fn decode(frame: &Frame, body: &[u8]) -> Result<Packet, Ended> {
    let kind = frame.kind().ok_or(Ended::Malformed)?;
    let mut reader = Reader(body);
    let packet = match kind {
        Kind::ConnAck => reader.connack().map(Packet::Connected),
        Kind::SubAck => reader.suback(),
        Kind::PubAck => reader.u16().map(|id| Packet::Acknowledged { id }),
        Kind::PingResp => Some(Packet::Pong),
        // Without a reason it is 0 (3.14.2.1).
        Kind::Disconnect => Some(Packet::Disconnect { reason: reader.u8().unwrap_or(0) }),
        Kind::Publish => None,
    };
    packet.ok_or(Ended::Malformed)
}

/// Reads a message; of one that is not whole, as much of the payload as there is.
pub(super) fn publish(first: u8, body: &[u8], is_whole: bool) -> Result<Publish<'_>, Ended> {
    Reader(body).publish(first, is_whole).ok_or(Ended::Malformed)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_be_bytes)
    }

    /// Bytes behind their number.
    fn prefixed(&mut self) -> Option<&'a [u8]> {
        let bytes = self.u16()?;
        self.take(bytes.into())
    }

    /// A variable byte integer (1.5.5).
    fn length(&mut self) -> Option<usize> {
        let mut length = 0;
        for place in 0..LENGTH_BYTES {
            let byte = self.u8()?;
            length |= usize::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                return Some(length);
            }
        }
        None
    }

    fn publish(mut self, first: u8, is_whole: bool) -> Option<Publish<'a>> {
        let topic = core::str::from_utf8(self.prefixed()?).ok()?;
        let id = match first >> 1 & 0b11 {
            0 => None,
            1 => Some(self.u16().filter(|id| *id != 0)?),
            _ => return None,
        };
        let properties = self.length()?;
        let payload = match self.take(properties) {
            Some(_) => self.0,
            None if is_whole => return None,
            None => &[],
        };
        // No topic stands for an alias, which the client does not allow (3.3.2.3.4).
        (!topic.is_empty()).then_some(Publish { topic, id, payload })
    }

    fn connack(&mut self) -> Option<Connected> {
        let (_, reason) = (self.u8()?, self.u8()?);
        let mut connected = Connected {
            reason,
            maximum_qos: 2,
            retains: true,
            receive_maximum: u16::MAX,
            packet_bytes: usize::MAX,
            keep_alive_s: None,
        };
        // A broker of an earlier version has none, and refuses.
        if self.0.is_empty() {
            return (reason != 0).then_some(connected);
        }
        let length = self.length()?;
        let mut properties = Reader(self.take(length)?);
        while let Some(id) = properties.u8() {
            match id {
                property::SERVER_KEEP_ALIVE => connected.keep_alive_s = Some(properties.u16()?),
                property::RECEIVE_MAXIMUM => connected.receive_maximum = properties.u16()?,
                property::MAXIMUM_QOS => connected.maximum_qos = properties.u8()?,
                property::RETAIN_AVAILABLE => connected.retains = properties.u8()? != 0,
                property::MAXIMUM_PACKET_SIZE => connected.packet_bytes = properties.u32()? as usize,
                _ => properties.skip(id)?,
            }
        }
        Some(connected)
    }

    /// Passes over the value of a property (2.2.2.2).
    fn skip(&mut self, id: u8) -> Option<()> {
        match id {
            0x01 | 0x17 | 0x19 | 0x28..=0x2a => drop(self.u8()?),
            0x22 | 0x23 => drop(self.u16()?),
            0x02 | 0x11 | 0x18 => drop(self.u32()?),
            0x0b => drop(self.length()?),
            0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => drop(self.prefixed()?),
            0x26 => drop((self.prefixed()?, self.prefixed()?)),
            _ => return None,
        }
        Some(())
    }

    fn suback(&mut self) -> Option<Packet> {
        let id = self.u16()?;
        let length = self.length()?;
        self.take(length)?;
        Some(Packet::Subscribed { id, reason: self.u8()? })
    }
}

/// CONNECT (3.1) with a will at quality of service 1, retained.
pub(super) struct Connect<'a> {
    pub(super) client_id: &'a str,
    pub(super) keep_alive_s: u16,
    /// What the broker may have under way.
    pub(super) receive_maximum: u16,
    /// Its largest packet.
    pub(super) packet_bytes: u32,
    /// In two pieces.
    pub(super) will_topic: [&'a str; 2],
    pub(super) will: &'a [u8],
    /// Without a password it is not said: some brokers would look it up among their users, and not in the certificate.
    pub(super) username: &'a str,
    pub(super) password: &'a str,
}

impl Connect<'_> {
    pub(super) fn write<const N: usize>(&self, out: &mut Vec<u8, N>) -> Result<(), Full> {
        /// A will that is retained, its quality of service 1, clean start (3.1.2.3).
        const FLAGS: u8 = 0b0010_1110;
        /// User name and password.
        const CREDENTIALS: u8 = 0b1100_0000;
        const PROPERTIES: u8 = 8;
        let [keep_alive, receive] = [self.keep_alive_s, self.receive_maximum].map(u16::to_be_bytes);
        let size = self.packet_bytes.to_be_bytes();
        let [base, rest] = self.will_topic;
        let lengths = [
            self.client_id.len(),
            base.len() + rest.len(),
            self.will.len(),
            self.username.len(),
            self.password.len(),
        ];
        let [client_id, will_topic, will, username, password] = prefixes(lengths)?;
        let credentials = [&username, self.username.as_bytes(), &password, self.password.as_bytes()];
        let (flags, [username_length, username, password_length, password]) = match self.password {
            "" => (FLAGS, [&[][..]; 4]),
            _ => (FLAGS | CREDENTIALS, credentials),
        };
        packet(
            out,
            0x10,
            &[
                &[0, 4, b'M', b'Q', b'T', b'T', 5, flags],
                &keep_alive,
                &[PROPERTIES, property::MAXIMUM_PACKET_SIZE],
                &size,
                &[property::RECEIVE_MAXIMUM],
                &receive,
                &client_id,
                self.client_id.as_bytes(),
                // The will has no properties.
                &[0],
                &will_topic,
                base.as_bytes(),
                rest.as_bytes(),
                &will,
                self.will,
                username_length,
                username,
                password_length,
                password,
            ],
        )
    }
}

/// SUBSCRIBE (3.8) to one filter, in two pieces.
pub(super) struct Subscribe<'a> {
    pub(super) id: u16,
    pub(super) filter: [&'a str; 2],
    pub(super) qos: u8,
}

impl Subscribe<'_> {
    pub(super) fn write<const N: usize>(&self, out: &mut Vec<u8, N>) -> Result<(), Full> {
        let [base, rest] = self.filter;
        let [filter] = prefixes([base.len() + rest.len()])?;
        let id = self.id.to_be_bytes();
        packet(out, 0x82, &[&id, &[0], &filter, base.as_bytes(), rest.as_bytes(), &[self.qos]])
    }
}

/// PUBLISH (3.3) with its topic in two pieces.
pub(super) struct Outgoing<'a> {
    pub(super) topic: [&'a str; 2],
    /// At quality of service 1.
    pub(super) id: Option<u16>,
    pub(super) retain: bool,
    pub(super) payload: &'a [u8],
}

impl Outgoing<'_> {
    pub(super) fn write<const N: usize>(&self, out: &mut Vec<u8, N>) -> Result<(), Full> {
        let [base, rest] = self.topic;
        let [topic] = prefixes([base.len() + rest.len()])?;
        let id = self.id.map(u16::to_be_bytes);
        let id = id.as_ref().map_or(&[][..], |id| id);
        let first = 0x30 | u8::from(self.id.is_some()) << 1 | u8::from(self.retain);
        packet(out, first, &[&topic, base.as_bytes(), rest.as_bytes(), id, &[0], self.payload])
    }

    /// Bytes that it takes at most.
    pub(super) fn bytes(&self) -> usize {
        super::OVERHEAD_BYTES + self.topic.iter().map(|piece| piece.len()).sum::<usize>() + self.payload.len()
    }
}

/// PUBACK (3.4) that says success.
pub(super) fn acknowledge<const N: usize>(out: &mut Vec<u8, N>, id: u16) -> Result<(), Full> {
    packet(out, 0x40, &[&id.to_be_bytes()])
}

/// PINGREQ (3.12).
pub(super) fn ping<const N: usize>(out: &mut Vec<u8, N>) -> Result<(), Full> {
    packet(out, 0xc0, &[])
}

/// The lengths before strings.
fn prefixes<const N: usize>(lengths: [usize; N]) -> Result<[[u8; 2]; N], Full> {
    let mut prefixes = [[0; 2]; N];
    for (prefix, length) in prefixes.iter_mut().zip(lengths) {
        *prefix = u16::try_from(length).map_err(|_| Full)?.to_be_bytes();
    }
    Ok(prefixes)
}

/// Writes a whole packet or nothing.
fn packet<const N: usize>(out: &mut Vec<u8, N>, first: u8, parts: &[&[u8]]) -> Result<(), Full> {
    let remaining: usize = parts.iter().map(|part| part.len()).sum();
    let mut header = Vec::<u8, { 1 + LENGTH_BYTES }>::new();
    header.push(first).map_err(|_| Full)?;
    let mut length = remaining;
    loop {
        let more = if length > 0x7f { 0x80 } else { 0 };
        header.push((length & 0x7f) as u8 | more).map_err(|_| Full)?;
        length >>= 7;
        if length == 0 {
            break;
        }
    }
    if N - out.len() < header.len() + remaining {
        return Err(Full);
    }
    let pieces = core::iter::once(&header[..]).chain(parts.iter().copied());
    pieces.into_iter().try_for_each(|piece| out.extend_from_slice(piece)).map_err(|_| Full)
}
