//! An MQTT 5 client for one session at a time, sans-I/O: bytes and time come in, bytes and [`Event`]s go out.
//!
//! It does what the agent needs and nothing else: clean start, a last will, one subscription, quality of service 0 and
//! 1 in both directions. A packet identifier is the agent's token, so there is no table of what is under way.
//! What the broker says is checked; what it must not say ends the session.
//!
//! Section numbers are those of MQTT 5.0 (OASIS).

mod packet;

use alloc::{boxed::Box, string::String};
use core::{fmt, ops::Range};

use heapless::Vec;
use wasmbed_core::Token;
use wasmbed_wire::{
    DeviceId,
    provision::Broker,
    topic::{Down, Full as Topic, MAX_BYTES as TOPIC_BYTES, Up},
};

use crate::port::Full;
use packet::{Connected, Frame, Kind, Packet, Publish};

/// Largest packet taken from the broker: a block of 1 KiB with its topic and what the broker adds.
const INPUT_BYTES: usize = 2048;
/// Packets that wait for the transport, in bytes.
const OUTPUT_BYTES: usize = 4096;
/// Longest last will.
const WILL_BYTES: usize = 32;
/// Bytes of a packet around topic and payload: type and length, length of the topic, identifier, no properties.
const OVERHEAD_BYTES: usize = 5 + 2 + 2 + 1;
/// Bytes of a PUBACK without a reason.
const ACK_BYTES: usize = 4;
/// How long the broker may take to answer.
const ANSWER_MS: u64 = 10_000;
/// Packets of quality of service 1 that the broker may have under way to us (3.1.2.11.3).
const RECEIVE_MAXIMUM: u16 = 8;
/// Of the SUBSCRIBE: before anything else has an identifier.
const SUBSCRIBE_ID: u16 = 1;

/// One client.
pub(super) struct Client {
    device: DeviceId,
    username: &'static str,
    password: &'static str,
    /// What topics begin with.
    base: String,
    will: Vec<u8, WILL_BYTES>,
    keep_alive_ms: u64,
    state: State,
    limits: Limits,
    /// Of quality of service 1, to the broker.
    under_way: u16,
    input: Box<[u8; INPUT_BYTES]>,
    filled: usize,
    /// Bytes at the beginning of the input that have been seen to.
    done: usize,
    /// Bytes still to come of a packet that is too large.
    skip: usize,
    message: Message,
    output: Box<Vec<u8, OUTPUT_BYTES>>,
    sent_ms: u64,
    received_ms: u64,
    /// When the broker's answer is due, if one is.
    answer_by: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No transport.
    Apart,
    /// CONNECT is said.
    Connecting,
    /// SUBSCRIBE is said.
    Subscribing,
    Up,
}

/// What the broker takes (3.2.2.3).
#[derive(Debug, Clone, Copy)]
struct Limits {
    under_way: u16,
    packet_bytes: usize,
}

impl Limits {
    const NONE: Limits = Limits { under_way: u16::MAX, packet_bytes: usize::MAX };
}

/// Where in the input the last message lies.
#[derive(Debug, Clone, Default)]
struct Message {
    topic: Range<usize>,
    payload: Range<usize>,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// Connected and subscribed; once.
    Up,
    /// The broker has answered the publish with this token.
    Acked(Token),
    /// A message arrived: [`Client::message`].
    Message,
    /// A message of so many bytes is larger than it may be.
    TooLarge(usize),
}

/// Why there is no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// CONNACK says no.
    Refused(u8),
    /// SUBACK says no.
    NotSubscribed(u8),
    /// The broker said DISCONNECT.
    Disconnected(u8),
    /// The broker has no quality of service 1, or retains nothing.
    Incapable,
    /// Nothing was heard for too long.
    Silent,
    /// What was heard is not MQTT 5, or not to be said now.
    Malformed,
}

impl Client {
    /// The client of this device, under its own name.
    pub(super) fn new(device: DeviceId, broker: &Broker<'static>) -> Self {
        let mut base = String::new();
        // Strings grow.
        let _ = fmt::write(&mut base, format_args!("{}", Topic { prefix: broker.prefix, device, rest: "" }));
        Client {
            device,
            username: broker.username,
            password: broker.password,
            base,
            will: Vec::new(),
            keep_alive_ms: 0,
            state: State::Apart,
            limits: Limits::NONE,
            under_way: 0,
            input: Box::new([0; INPUT_BYTES]),
            filled: 0,
            done: 0,
            skip: 0,
            message: Message::default(),
            output: Box::new(Vec::new()),
            sent_ms: 0,
            received_ms: 0,
            answer_by: None,
        }
    }

    /// What the next session begins with. A will that is too long is none.
    pub(super) fn open(&mut self, keep_alive_s: u16, will: &[u8]) {
        self.keep_alive_ms = u64::from(keep_alive_s) * 1000;
        self.will = Vec::from_slice(will).unwrap_or_default();
    }

    /// The transport is there.
    pub(super) fn on_connected(&mut self, now_ms: u64) {
        self.on_disconnected();
        (self.sent_ms, self.received_ms) = (now_ms, now_ms);
        self.state = State::Connecting;
        self.answer_by = Some(now_ms.saturating_add(ANSWER_MS));
        let keep_alive_s = (self.keep_alive_ms / 1000) as u16;
        let connect = packet::Connect {
            client_id: self.device.as_str(),
            keep_alive_s,
            receive_maximum: RECEIVE_MAXIMUM,
            packet_bytes: INPUT_BYTES as u32,
            will_topic: [&self.base, "up/state"],
            will: &self.will,
            username: self.username,
            password: self.password,
        };
        // The output is empty and larger than a provisioning blob.
        let _ = connect.write(&mut self.output);
    }

    /// The transport is gone.
    pub(super) fn on_disconnected(&mut self) {
        self.state = State::Apart;
        self.limits = Limits::NONE;
        (self.under_way, self.filled, self.done, self.skip) = (0, 0, 0, 0);
        self.output.clear();
        self.answer_by = None;
    }

    /// Takes bytes from the transport and returns how many; the rest has to wait until [`Client::advance`] says
    /// that nothing is left.
    pub(super) fn on_bytes(&mut self, now_ms: u64, bytes: &[u8]) -> usize {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        let rest = bytes.get(skipped..).unwrap_or_default();
        let free = self.input.get_mut(self.filled..).unwrap_or_default();
        let taken = free.iter_mut().zip(rest).map(|(place, byte)| *place = *byte).count();
        self.filled += taken;
        if skipped + taken > 0 {
            self.received_ms = now_ms;
        }
        skipped + taken
    }

    /// Bytes for the transport.
    pub(super) fn output(&self) -> &[u8] {
        &self.output
    }

    /// The transport took so many of them.
    pub(super) fn on_sent(&mut self, now_ms: u64, bytes: usize) {
        if bytes == 0 {
            return;
        }
        self.output.drain(..bytes.min(self.output.len()));
        self.sent_ms = now_ms;
    }

    /// Queues a message with its topic's own delivery.
    pub(super) fn publish(&mut self, topic: Up, payload: &[u8], token: Token) -> Result<(), Full> {
        let mut text = heapless::String::<TOPIC_BYTES>::new();
        fmt::write(&mut text, format_args!("{topic}")).map_err(|_| Full)?;
        let delivery = topic.delivery();
        let is_acked = delivery.qos > 0;
        if self.state != State::Up || (is_acked && self.under_way >= self.limits.under_way) {
            return Err(Full);
        }
        let id = is_acked.then_some(token.0);
        let publish = packet::Outgoing { topic: [&self.base, &text], id, retain: delivery.retain, payload };
        if publish.bytes() > self.limits.packet_bytes {
            return Err(Full);
        }
        publish.write(&mut self.output)?;
        self.under_way += u16::from(is_acked);
        Ok(())
    }

    /// Whether a message of so many bytes, its topic included, would be queued, or there is no session for it.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        let room = OUTPUT_BYTES - self.output.len();
        let fits = room >= bytes + self.base.len() + OVERHEAD_BYTES && self.under_way < self.limits.under_way;
        self.state != State::Up || fits
    }

    /// Whether a whole packet waits for [`Client::advance`].
    pub(super) fn has_packet(&self) -> bool {
        let waiting = self.waiting();
        packet::frame(waiting).is_ok_and(|frame| frame.is_some_and(|frame| frame.bytes() <= waiting.len()))
    }

    /// The last message: the rest of its topic, and its payload.
    pub(super) fn message(&self) -> (&str, &[u8]) {
        let part = |range: &Range<usize>| self.input.get(range.clone()).unwrap_or_default();
        (core::str::from_utf8(part(&self.message.topic)).unwrap_or_default(), part(&self.message.payload))
    }

    /// When to advance again even if nothing arrives.
    pub(super) fn next_deadline(&self) -> Option<u64> {
        self.answer_by.or_else(|| self.ping_at())
    }

    /// What happened next; to be called until that is nothing.
    ///
    /// # Errors
    /// Why the session has ended. The transport is to be closed.
    pub(super) fn advance(&mut self, now_ms: u64) -> Result<Option<Event>, Ended> {
        if self.state == State::Apart {
            return Ok(None);
        }
        // What is received may have to be acknowledged.
        while OUTPUT_BYTES - self.output.len() >= ACK_BYTES && self.next_packet()? {
            if let Some(event) = self.on_packet(now_ms)? {
                return Ok(Some(event));
            }
        }
        if self.answer_by.is_some_and(|due| now_ms >= due) {
            return Err(Ended::Silent);
        }
        if self.answer_by.is_none() && self.ping_at().is_some_and(|due| now_ms >= due) {
            // Without room there is something else to be sent.
            if packet::ping(&mut self.output).is_ok() {
                self.answer_by = Some(now_ms.saturating_add(ANSWER_MS));
            }
        }
        Ok(None)
    }

    /// When silence in either direction has lasted for half of what the broker would stand.
    fn ping_at(&self) -> Option<u64> {
        let asks = self.state == State::Up && self.keep_alive_ms > 0;
        asks.then(|| self.sent_ms.min(self.received_ms).saturating_add(self.keep_alive_ms / 2))
    }

    fn waiting(&self) -> &[u8] {
        self.input.get(self.done..self.filled).unwrap_or_default()
    }

    /// Moves what is left to the beginning of the input; whether it has a whole packet, or as much of one as fits.
    fn next_packet(&mut self) -> Result<bool, Ended> {
        let Range { start, end } = core::mem::take(&mut self.done)..self.filled;
        self.input.copy_within(start..end, 0);
        self.filled = end - start;
        let Some(frame) = packet::frame(self.waiting())? else { return Ok(false) };
        Ok(self.filled >= frame.bytes().min(INPUT_BYTES))
    }

    fn on_packet(&mut self, now_ms: u64) -> Result<Option<Event>, Ended> {
        let Some(frame) = packet::frame(self.waiting())? else { return Ok(None) };
        let end = frame.bytes().min(self.filled);
        let body = self.input.get(frame.header_bytes..end).ok_or(Ended::Malformed)?;
        if frame.kind() == Some(Kind::Publish) {
            return self.on_publish(&frame, end);
        }
        if end < frame.bytes() {
            return Err(Ended::Malformed);
        }
        let packet = packet::decode(&frame, body)?;
        self.done = end;
        match (packet, self.state) {
            (Packet::Connected(connected), State::Connecting) => {
                self.on_connack(now_ms, &connected).map(|()| None)
            }
            (Packet::Subscribed { id: SUBSCRIBE_ID, reason }, State::Subscribing | State::Up) => {
                self.answer_by = None;
                // 3.9.3: what was granted, or why not.
                match (reason, core::mem::replace(&mut self.state, State::Up)) {
                    (2.., _) => Err(Ended::NotSubscribed(reason)),
                    (_, State::Subscribing) => Ok(Some(Event::Up)),
                    _ => Ok(None),
                }
            }
            // A message that was refused would be refused again: whoever sent it goes on.
            (Packet::Acknowledged { id }, State::Up) => {
                self.under_way = self.under_way.saturating_sub(1);
                Ok(Some(Event::Acked(Token(id))))
            }
            (Packet::Pong, State::Up) => {
                self.answer_by = None;
                Ok(None)
            }
            (Packet::Disconnect { reason }, _) => Err(Ended::Disconnected(reason)),
            _ => Err(Ended::Malformed),
        }
    }

    fn on_connack(&mut self, now_ms: u64, connected: &Connected) -> Result<(), Ended> {
        if connected.reason != 0 {
            return Err(Ended::Refused(connected.reason));
        }
        if connected.maximum_qos == 0 || !connected.retains {
            return Err(Ended::Incapable);
        }
        self.limits = Limits { under_way: connected.receive_maximum, packet_bytes: connected.packet_bytes };
        if let Some(keep_alive_s) = connected.keep_alive_s {
            self.keep_alive_ms = u64::from(keep_alive_s) * 1000;
        }
        self.state = State::Subscribing;
        self.answer_by = Some(now_ms.saturating_add(ANSWER_MS));
        let subscribe = packet::Subscribe { id: SUBSCRIBE_ID, filter: [&self.base, Down::FILTER], qos: 1 };
        subscribe.write(&mut self.output).map_err(|_| Ended::Malformed)
    }

    /// A message whose packet ends there, in the input; more than fits is dropped, but acknowledged.
    fn on_publish(&mut self, frame: &Frame, end: usize) -> Result<Option<Event>, Ended> {
        let body = self.input.get(frame.header_bytes..end).ok_or(Ended::Malformed)?;
        let is_whole = end == frame.bytes();
        let Publish { topic, id, payload } = packet::publish(frame.first, body, is_whole)?;
        match self.state {
            State::Up => {}
            // What the subscription brings may come before its answer; the agent hears of the session first.
            State::Subscribing => {
                self.state = State::Up;
                return Ok(Some(Event::Up));
            }
            State::Apart | State::Connecting => return Err(Ended::Malformed),
        }
        let is_ours = topic.starts_with(self.base.as_str());
        let topic_at = frame.header_bytes + packet::TOPIC_AT;
        let topic = topic_at + self.base.len()..topic_at + topic.len();
        self.message = Message { topic, payload: end - payload.len()..end };
        if let Some(id) = id {
            packet::acknowledge(&mut self.output, id).map_err(|_| Ended::Malformed)?;
        }
        self.done = end;
        self.skip = frame.bytes() - end;
        Ok(match is_whole {
            true => is_ours.then_some(Event::Message),
            false => Some(Event::TooLarge(frame.bytes())),
        })
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ended::Refused(reason) => write!(f, "the broker refused it: {}", Reason(*reason)),
            Ended::NotSubscribed(reason) => {
                write!(f, "the broker refused the subscription: {}", Reason(*reason))
            }
            Ended::Disconnected(reason) => write!(f, "the broker ended it: {}", Reason(*reason)),
            Ended::Incapable => f.write_str("the broker has no quality of service 1, or retains nothing"),
            Ended::Silent => f.write_str("the broker does not answer"),
            Ended::Malformed => f.write_str("the broker does not keep to MQTT 5"),
        }
    }
}

/// A reason code (2.4).
struct Reason(u8);

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.0 {
            0x84 => "it does not speak MQTT 5",
            0x85 => "bad client id",
            0x86 => "bad user name or password",
            0x87 => "not authorized",
            0x88 => "server unavailable",
            0x89 => "server busy",
            0x8b => "server shutting down",
            0x8d => "keep-alive timeout",
            0x8e => "another client with this id",
            0x97 => "quota exceeded",
            code => return write!(f, "reason {code:#04x}"),
        };
        f.write_str(text)
    }
}

#[cfg(test)]
mod tests;
