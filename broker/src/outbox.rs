//! Messages on their way to one client: queued, sent and not yet acknowledged.
//!
//! Packet ids, the client's receive maximum, repeats after a reconnect, expiry and the client's largest packet are
//! handled here; nothing here waits or does I/O.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::BytesMut;

use crate::counters::Counters;
use crate::message::Message;
use crate::packet::write::{self, Outgoing};
use crate::packet::{Ack, Qos, Version, reason};
use crate::shares::Group;

/// Encoded bytes beyond which [`Outbox::pump`] stops for the time being.
const ENCODE_BYTES: usize = 64 * 1024;

/// One message for one subscription.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) message: Message,
    /// The lower one of publication and subscription.
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    /// The client's own identifier of the subscription.
    pub(crate) identifier: Option<u32>,
    /// The group that gets it back if this client does not take it.
    pub(crate) group: Option<Arc<Group>>,
}

/// What one connection of the client allows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) version: Version,
    /// Unacknowledged messages at a time, at least 1.
    pub(crate) window: usize,
    pub(crate) packet_bytes: usize,
}

#[derive(Debug)]
struct Flight {
    id: u16,
    stage: Stage,
    /// On this connection.
    sent: bool,
    repeated: bool,
}

#[derive(Debug)]
enum Stage {
    /// PUBLISH is to be acknowledged by PUBACK or PUBREC.
    Publish(Delivery),
    /// PUBREL is to be acknowledged by PUBCOMP.
    Release,
}

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: VecDeque<Delivery>,
    queue_bytes: usize,
    in_flight: VecDeque<Flight>,
    last_id: u16,
}

impl Outbox {
    pub(crate) fn push(&mut self, delivery: Delivery) {
        self.queue_bytes += delivery.message.size_bytes();
        self.queue.push_back(delivery);
    }

    /// Messages not sent yet.
    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Bytes not sent yet.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.queue_bytes
    }

    /// The client is back: everything unacknowledged is sent again.
    pub(crate) fn repeat(&mut self) {
        for flight in &mut self.in_flight {
            flight.repeated |= flight.sent;
            flight.sent = false;
        }
    }

    /// Encodes what may be sent now; true if there is more than fits into `out`.
    pub(crate) fn pump(
        &mut self,
        out: &mut BytesMut,
        terms: &Terms,
        now_ms: u64,
        counters: &Counters,
    ) -> bool {
        while out.len() < ENCODE_BYTES {
            let progress =
                self.repeat_one(out, terms, now_ms, counters) || self.send_one(out, terms, now_ms, counters);
            if !progress {
                return false;
            }
        }
        true
    }

    fn repeat_one(&mut self, out: &mut BytesMut, terms: &Terms, now_ms: u64, counters: &Counters) -> bool {
        let Some(at) = self.in_flight.iter().position(|flight| !flight.sent) else { return false };
        if at >= terms.window {
            return false;
        }
        let flight = &mut self.in_flight[at];
        flight.sent = true;
        match &flight.stage {
            Stage::Release => {
                write::pubrel(out, terms.version, Ack { id: flight.id, reason: reason::SUCCESS });
            }
            Stage::Publish(delivery) => {
                let packet = packet(delivery, flight.id, flight.repeated, now_ms);
                if packet.len(terms.version) <= terms.packet_bytes {
                    packet.write(out, terms.version);
                } else {
                    counters.dropped.add(1);
                    self.in_flight.remove(at);
                }
            }
        }
        true
    }

    fn send_one(&mut self, out: &mut BytesMut, terms: &Terms, now_ms: u64, counters: &Counters) -> bool {
        let Some(first) = self.queue.front() else { return false };
        let counted = first.qos != Qos::AtMostOnce;
        if counted && self.in_flight.len() >= terms.window {
            return false;
        }
        let Some(delivery) = self.queue.pop_front() else { return false };
        self.queue_bytes -= delivery.message.size_bytes();
        let id = if counted { self.new_id() } else { 0 };
        let packet = packet(&delivery, id, false, now_ms);
        if !delivery.message.is_alive(now_ms) || packet.len(terms.version) > terms.packet_bytes {
            counters.dropped.add(1);
            return true;
        }
        packet.write(out, terms.version);
        counters.messages_out.add(1);
        if counted {
            let stage = Stage::Publish(delivery);
            self.in_flight.push_back(Flight { id, stage, sent: true, repeated: false });
        }
        true
    }

    fn new_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            if self.find(self.last_id).is_none() {
                return self.last_id;
            }
        }
    }

    fn find(&self, id: u16) -> Option<usize> {
        self.in_flight.iter().position(|flight| flight.id == id)
    }

    /// The client has a message of [`Qos::AtLeastOnce`]; unknown ids are ignored, as they come after a repeat.
    pub(crate) fn on_puback(&mut self, ack: Ack) {
        self.finish(ack.id, Qos::AtLeastOnce);
    }

    /// The client has a message of [`Qos::ExactlyOnce`]; tells what to answer.
    pub(crate) fn on_pubrec(&mut self, ack: Ack) -> Option<Ack> {
        if ack.reason >= reason::UNSPECIFIED {
            self.finish(ack.id, Qos::ExactlyOnce);
            return None;
        }
        let flight = self.find(ack.id).and_then(|at| self.in_flight.get_mut(at));
        let reason = match flight {
            Some(flight) if !matches!(&flight.stage, Stage::Publish(delivery) if delivery.qos != Qos::ExactlyOnce) =>
            {
                flight.stage = Stage::Release;
                flight.sent = true;
                reason::SUCCESS
            }
            _ => reason::PACKET_ID_NOT_FOUND,
        };
        Some(Ack { id: ack.id, reason })
    }

    /// The exchange about a message of [`Qos::ExactlyOnce`] is over.
    pub(crate) fn on_pubcomp(&mut self, ack: Ack) {
        if let Some(at) = self.find(ack.id)
            && matches!(self.in_flight[at].stage, Stage::Release)
        {
            self.in_flight.remove(at);
        }
    }

    /// Takes out what groups have to deliver to others: all but messages of exactly once that were sent.
    pub(crate) fn take_dealt(&mut self) -> Vec<(Arc<Group>, Message)> {
        let sent = self.in_flight.drain(..).filter_map(|flight| match flight.stage {
            Stage::Publish(delivery) if delivery.qos == Qos::AtLeastOnce => Some(delivery),
            _ => None,
        });
        self.queue_bytes = 0;
        let deliveries = sent.chain(self.queue.drain(..));
        deliveries.filter_map(|delivery| Some((delivery.group?, delivery.message))).collect()
    }

    fn finish(&mut self, id: u16, qos: Qos) {
        if let Some(at) = self.find(id)
            && matches!(&self.in_flight[at].stage, Stage::Publish(delivery) if delivery.qos == qos)
        {
            self.in_flight.remove(at);
        }
    }
}

fn packet(delivery: &Delivery, id: u16, duplicate: bool, now_ms: u64) -> Outgoing<'_> {
    let message = &delivery.message;
    let expiry_s =
        message.deadline_ms().map(|deadline| deadline.saturating_sub(now_ms).div_ceil(1000) as u32);
    Outgoing {
        topic: message.topic(),
        payload: message.payload(),
        properties: message.properties(),
        qos: delivery.qos,
        id,
        retain: delivery.retain,
        duplicate,
        expiry_s,
        identifier: delivery.identifier,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Parts;
    use bytes::Bytes;

    const TERMS: Terms = Terms { version: Version::V311, window: 2, packet_bytes: 100 };

    fn delivery(payload: &str, qos: Qos) -> Delivery {
        let message = Message::new(&Parts {
            topic: "t",
            payload: &Bytes::copy_from_slice(payload.as_bytes()),
            properties: &[],
            qos,
            retain: false,
            origin: 1,
            deadline_ms: Some(1000),
        });
        Delivery { message, qos, retain: false, identifier: None, group: None }
    }

    fn outbox(deliveries: &[(&str, Qos)]) -> Outbox {
        let mut outbox = Outbox::default();
        for (payload, qos) in deliveries {
            outbox.push(delivery(payload, *qos));
        }
        outbox
    }

    /// First byte, id and payload of each packet.
    fn pump(outbox: &mut Outbox, terms: &Terms) -> Vec<(u8, u16, String)> {
        let mut out = BytesMut::new();
        while outbox.pump(&mut out, terms, 0, &Counters::default()) {}
        let mut seen = Vec::new();
        let mut rest = &out[..];
        while let [first, len, after @ ..] = rest {
            let (body, next) = after.split_at(usize::from(*len));
            rest = next;
            let at = if first >> 4 == 3 { 3 } else { 0 };
            let has_id = *first != 0x30;
            let id = if has_id { u16::from_be_bytes([body[at], body[at + 1]]) } else { 0 };
            let payload = &body[if has_id { at + 2 } else { at }..];
            seen.push((*first, id, String::from_utf8_lossy(payload).into_owned()));
        }
        seen
    }

    fn ack(id: u16) -> Ack {
        Ack { id, reason: reason::SUCCESS }
    }

    #[test]
    fn no_more_than_the_window_is_unacknowledged() {
        let mut outbox = outbox(&[("a", Qos::AtLeastOnce), ("b", Qos::AtLeastOnce), ("c", Qos::AtLeastOnce)]);
        assert_eq!(pump(&mut outbox, &TERMS), [(0x32, 1, "a".to_owned()), (0x32, 2, "b".to_owned())]);
        outbox.on_puback(ack(9));
        assert_eq!(pump(&mut outbox, &TERMS), []);
        outbox.on_puback(ack(2));
        assert_eq!(pump(&mut outbox, &TERMS), [(0x32, 3, "c".to_owned())]);
    }

    #[test]
    fn what_was_not_acknowledged_is_repeated_first() {
        let mut outbox = outbox(&[("a", Qos::AtLeastOnce), ("b", Qos::ExactlyOnce), ("c", Qos::AtMostOnce)]);
        assert_eq!(pump(&mut outbox, &TERMS).len(), 3);
        assert_eq!(outbox.on_pubrec(ack(2)), Some(ack(2)));
        outbox.push(delivery("d", Qos::AtLeastOnce));
        outbox.repeat();
        let repeated = [(0x3A, 1, "a".to_owned()), (0x62, 2, String::new())];
        assert_eq!(pump(&mut outbox, &TERMS), repeated);
        outbox.on_puback(ack(1));
        assert_eq!(pump(&mut outbox, &TERMS), [(0x32, 3, "d".to_owned())]);
    }

    #[test]
    fn exactly_once_takes_its_four_steps() {
        let mut outbox = outbox(&[("a", Qos::ExactlyOnce)]);
        pump(&mut outbox, &TERMS);
        outbox.on_puback(ack(1));
        outbox.on_pubcomp(ack(1));
        assert_eq!(outbox.in_flight.len(), 1, "neither ends it");
        assert_eq!(outbox.on_pubrec(ack(1)), Some(ack(1)));
        assert_eq!(outbox.on_pubrec(ack(1)), Some(ack(1)), "a repeat is answered again");
        outbox.on_pubcomp(ack(1));
        assert!(outbox.in_flight.is_empty());
        assert_eq!(outbox.on_pubrec(ack(1)), Some(Ack { id: 1, reason: reason::PACKET_ID_NOT_FOUND }));
    }

    #[test]
    fn what_is_too_large_or_too_old_is_dropped() {
        let counters = Counters::default();
        let mut outbox = outbox(&[(&"x".repeat(200), Qos::AtLeastOnce), ("late", Qos::AtMostOnce)]);
        let mut out = BytesMut::new();
        assert!(!outbox.pump(&mut out, &TERMS, 1000, &counters));
        assert_eq!((out.len(), counters.snapshot().dropped), (0, 2));
        assert_eq!((outbox.queued(), outbox.queued_bytes(), outbox.in_flight.len()), (0, 0, 0));
    }
}
