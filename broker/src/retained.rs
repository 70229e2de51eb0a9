//! Retained messages.
//!
//! Kept here and not in the router: the router hands a new subscriber only the first hundred or two, and forgets one
//! on any empty payload. Bounded in number and bytes, for all and for each publishing role; a full store refuses new
//! messages and never drops old ones, so what a subscriber was promised stays.
//!
//! Not here: persistence. After a restart whoever publishes retained messages publishes them again.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use crate::credentials::Role;
use crate::message::Message;
use crate::topic;

/// Room for retained messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

/// The store is full, for everybody or for this publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

#[derive(Debug)]
pub(crate) struct Retained {
    by_topic: BTreeMap<String, (Role, Message)>,
    used: Room,
    used_by: HashMap<Role, Room>,
    room: Room,
    /// For one device or host.
    room_each: Room,
}

const NOTHING: Room = Room { messages: 0, bytes: 0 };

impl Retained {
    pub(crate) fn new(room: Room, room_each: Room) -> Self {
        Retained { by_topic: BTreeMap::new(), used: NOTHING, used_by: HashMap::new(), room, room_each }
    }

    pub(crate) fn used(&self) -> Room {
        self.used
    }

    /// Replaces the message of its topic, or removes it when the payload is empty.
    pub(crate) fn apply(&mut self, now_ms: u64, owner: Role, message: &Message) -> Result<(), Full> {
        let old = self.take(message.topic());
        if message.payload().is_empty() {
            return Ok(());
        }
        let fits = self.fits(owner, message) || {
            self.remove_expired(now_ms);
            self.fits(owner, message)
        };
        if fits {
            self.put(owner, message.clone());
            return Ok(());
        }
        if let Some((owner, message)) = old {
            self.put(owner, message);
        }
        Err(Full)
    }

    /// All messages that match `filter`, by topic.
    pub(crate) fn matching(&mut self, now_ms: u64, filter: &str) -> Vec<Message> {
        let start = topic::literal_start(filter);
        let from = (Bound::Included(start), Bound::Unbounded);
        let candidates =
            self.by_topic.range::<str, _>(from).take_while(|(topic, _)| topic.starts_with(start));
        let wanted = candidates
            .filter(|(topic, (_, message))| topic::matches(filter, topic) && message.is_alive(now_ms));
        wanted.map(|(_, (_, message))| message.clone()).collect()
    }

    fn fits(&self, owner: Role, message: &Message) -> bool {
        let fits = |used: Room, room: Room| {
            used.messages < room.messages && used.bytes + message.size_bytes() <= room.bytes
        };
        let used = self.used_by.get(&owner).copied().unwrap_or(NOTHING);
        fits(self.used, self.room) && (owner.is_trusted() || fits(used, self.room_each))
    }

    fn put(&mut self, owner: Role, message: Message) {
        let size = message.size_bytes();
        for used in [&mut self.used, self.used_by.entry(owner).or_insert(NOTHING)] {
            used.messages += 1;
            used.bytes += size;
        }
        self.by_topic.insert(message.topic().to_owned(), (owner, message));
    }

    fn take(&mut self, topic: &str) -> Option<(Role, Message)> {
        let (owner, message) = self.by_topic.remove(topic)?;
        let size = message.size_bytes();
        let used_by = self.used_by.entry(owner).or_insert(NOTHING);
        for used in [&mut self.used, used_by] {
            used.messages -= 1;
            used.bytes -= size;
        }
        if self.used_by.get(&owner) == Some(&NOTHING) {
            self.used_by.remove(&owner);
        }
        Some((owner, message))
    }

    fn remove_expired(&mut self, now_ms: u64) {
        let expired = self.by_topic.iter().filter(|(_, (_, message))| !message.is_alive(now_ms));
        let expired: Vec<String> = expired.map(|(topic, _)| topic.clone()).collect();
        for topic in expired {
            self.take(&topic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Parts;
    use crate::packet::Qos;
    use bytes::Bytes;

    fn message(topic: &str, payload: &'static str, deadline_ms: Option<u64>) -> Message {
        Message::new(&Parts {
            topic,
            payload: &Bytes::from_static(payload.as_bytes()),
            properties: &[],
            qos: Qos::AtLeastOnce,
            retain: true,
            origin: 1,
            deadline_ms,
        })
    }

    fn store(messages: usize, each: usize) -> Retained {
        let bytes = 1 << 20;
        Retained::new(Room { messages, bytes }, Room { messages: each, bytes })
    }

    fn topics(store: &mut Retained, filter: &str) -> Vec<String> {
        store.matching(0, filter).iter().map(|message| message.topic().to_owned()).collect()
    }

    fn pump() -> Role {
        Role::parse("pump-7").expect("a device")
    }

    #[test]
    fn the_last_message_stays_until_an_empty_one() {
        let mut store = store(10, 10);
        for payload in ["one", "two"] {
            store.apply(0, Role::Service, &message("a/b", payload, None)).expect("room");
        }
        assert_eq!(store.matching(0, "a/+")[0].payload(), "two");
        store.apply(0, Role::Service, &message("a/b", "", None)).expect("room");
        assert_eq!((topics(&mut store, "#"), store.used()), (vec![], NOTHING));
        assert!(store.used_by.is_empty());
    }

    #[test]
    fn a_filter_finds_all_and_only_its_topics() {
        let mut store = store(10, 10);
        for topic in ["a", "a/b", "a/b/c", "ab", "b/b"] {
            store.apply(0, Role::Service, &message(topic, "x", None)).expect("room");
        }
        assert_eq!(topics(&mut store, "a/#"), ["a", "a/b", "a/b/c"]);
        assert_eq!(topics(&mut store, "+/b"), ["a/b", "b/b"]);
        assert_eq!(topics(&mut store, "a/b"), ["a/b"]);
        assert_eq!(topics(&mut store, "#").len(), 5);
    }

    #[test]
    fn a_full_store_keeps_what_it_has() {
        let mut store = store(2, 1);
        store.apply(0, pump(), &message("a", "1", None)).expect("room");
        assert_eq!(store.apply(0, pump(), &message("b", "1", None)), Err(Full), "one device, one message");
        store.apply(0, Role::Service, &message("b", "1", None)).expect("room");
        assert_eq!(store.apply(0, Role::Service, &message("c", "1", None)), Err(Full));
        store.apply(0, pump(), &message("a", "2", None)).expect("replaces");
        assert_eq!(topics(&mut store, "#"), ["a", "b"]);
    }

    #[test]
    fn an_expired_message_is_not_delivered_and_makes_room() {
        let mut store = store(1, 1);
        store.apply(0, Role::Service, &message("a", "1", Some(10))).expect("room");
        assert_eq!(store.matching(9, "a").len(), 1);
        assert_eq!(store.matching(10, "a").len(), 0);
        store.apply(10, Role::Service, &message("b", "1", None)).expect("room again");
    }
}
