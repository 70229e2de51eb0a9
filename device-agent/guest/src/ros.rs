//! ROS 2: topics and services that the operator of the device allows, on devices that are not of class MCU.
//!
//! Names are fully qualified (`/robot/chatter`). Messages, requests and responses are bytes as ROS 2 serializes them:
//! CDR after an encapsulation header of 4 bytes, or JSON where the device's configuration says so. Nothing here waits.

use crate::{Errno, Result, errno::check, messages::Subscription, raw};

/// Publishes a message on a topic.
///
/// # Errors
/// `Denied` if the module may not, `NotFound` if the device has no type for the topic, `Busy` if it cannot be sent now.
pub fn publish(topic: &str, message: impl AsRef<[u8]>) -> Result<()> {
    let message = message.as_ref();
    // SAFETY: both pointers go with the length of what they point to.
    let answer =
        unsafe { raw::publish_message(topic.as_ptr(), topic.len(), message.as_ptr(), message.len()) };
    check(answer).map(drop)
}

/// Listens to a topic from now on, with [`Module::message`](crate::Module::message).
///
/// # Errors
/// As for [`publish`]; `NoSpace` beyond 16 topics and channels.
pub fn subscribe(topic: &str) -> Result<Subscription> {
    // SAFETY: pointer and length are those of a string.
    check(unsafe { raw::subscribe_topic(topic.as_ptr(), topic.len()) }).map(Subscription::numbered)
}

/// A service that can be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client(i32);

/// A request that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket(i32);

impl Client {
    /// A client of the service with this name.
    ///
    /// # Errors
    /// `Denied` if the module may not, `NotFound` if the device has no type for it, `NoSpace` beyond 8.
    pub fn new(service: &str) -> Result<Self> {
        // SAFETY: pointer and length are those of a string.
        let answer = unsafe { raw::create_service_client(service.as_ptr(), service.len()) };
        check(answer).map(|number| Client(number.cast_signed()))
    }

    /// Sends a request.
    ///
    /// # Errors
    /// `Busy` if too many are under way.
    pub fn call(self, request: impl AsRef<[u8]>) -> Result<Ticket> {
        let request = request.as_ref();
        // SAFETY: pointer and length are those of a slice.
        let answer = unsafe { raw::call_service(self.0, request.as_ptr(), request.len()) };
        check(answer).map(|number| Ticket(number.cast_signed()))
    }
}

impl Ticket {
    /// The response, kept in `buffer`.
    ///
    /// # Errors
    /// `Busy` while there is none, `TimedOut` if none came, `NoSpace` if it is longer than the buffer, `NotFound` if 16
    /// calls came after it.
    pub fn response(self, buffer: &mut [u8]) -> Result<&[u8]> {
        // SAFETY: pointer and length are those of the buffer.
        let answer = unsafe { raw::service_response(self.0, buffer.as_mut_ptr(), buffer.len()) };
        buffer.get(..check(answer)? as usize).ok_or(Errno::NoSpace)
    }
}

/// A service that the module offers. A module that does says so to [`module!`](crate::module!):
/// `module!(Adder, service_request);`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Service(i32);

impl Service {
    /// Offers the service with this name, from now on, with [`Module::service_request`](crate::Module::service_request).
    ///
    /// # Errors
    /// `Denied` if the module may not, `NotFound` if the device has no type for it, `NoSpace` beyond 8.
    pub fn new(name: &str) -> Result<Self> {
        // SAFETY: pointer and length are those of a string.
        let answer = unsafe { raw::create_service(name.as_ptr(), name.len()) };
        check(answer).map(|number| Service(number.cast_signed()))
    }
}

/// A request that is being delivered.
#[derive(Debug)]
pub struct Request {
    /// The service it is to.
    pub service: Service,
    /// What it is answered with, now or later.
    pub reply: Reply,
    /// Its length, in bytes.
    pub len: usize,
}

/// A request that was not answered yet.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply(i32);

impl Request {
    pub(crate) fn new(service: i32, ticket: i32, len: i32) -> Self {
        let len = len.cast_unsigned() as usize;
        Request { service: Service(service), reply: Reply(ticket), len }
    }

    /// Its bytes, kept in `buffer`, while it is being delivered.
    ///
    /// # Errors
    /// `NoSpace` if the buffer is smaller than [`Request::len`].
    pub fn read<'a>(&self, buffer: &'a mut [u8]) -> Result<&'a [u8]> {
        // SAFETY: pointer and length are those of the buffer.
        let len = check(unsafe { raw::message_read(buffer.as_mut_ptr(), buffer.len()) })? as usize;
        buffer.get(..len).ok_or(Errno::NoSpace)
    }
}

impl Reply {
    /// Sends the response.
    ///
    /// # Errors
    /// `Invalid` if it is not of the service's type, `Busy` if it cannot be sent now, `NotFound` if 16 requests came after
    /// the one it is for.
    pub fn send(self, response: impl AsRef<[u8]>) -> Result<()> {
        let response = response.as_ref();
        // SAFETY: pointer and length are those of a slice.
        let answer = unsafe { raw::send_response(self.0, response.as_ptr(), response.len()) };
        check(answer).map(drop)
    }
}

/// A topic there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicInfo<'b> {
    /// How many publish on it.
    pub publishers: u16,
    /// How many subscribe to it.
    pub subscribers: u16,
    /// As its publishers offer it; 0 unknown, 1 reliable, 2 best effort.
    pub reliability: u8,
    /// 0 unknown, 1 transient local, 2 volatile.
    pub durability: u8,
    /// 0 unknown, 1 keep last, 2 keep all.
    pub history: u8,
    /// 0 unknown, 1 automatic, 3 manual by topic.
    pub liveliness: u8,
    /// Longest time between two messages, in milliseconds; 0 if there is no limit or it is unknown.
    pub deadline_ms: u32,
    /// Its name, UTF-8.
    pub name: &'b [u8],
    /// Its type, such as `std_msgs/msg/String`.
    pub ty: &'b [u8],
}

/// Topic number `nth`, in the order of their names, of those the module may subscribe to.
///
/// # Errors
/// `NotFound` after the last one, `NoSpace` if the buffer is too small; 512 bytes are enough.
pub fn topic(nth: u32, buffer: &mut [u8]) -> Result<TopicInfo<'_>> {
    // SAFETY: pointer and length are those of the buffer.
    let answer = unsafe { raw::get_available_topics(nth.cast_signed(), buffer.as_mut_ptr(), buffer.len()) };
    let bytes = buffer.get(..check(answer)? as usize).ok_or(Errno::NoSpace)?;
    topic_from(bytes).ok_or(Errno::Other)
}

fn topic_from(bytes: &[u8]) -> Option<TopicInfo<'_>> {
    let (head, texts) = bytes.split_first_chunk::<16>()?;
    let [
        p0,
        p1,
        s0,
        s1,
        reliability,
        durability,
        history,
        liveliness,
        d0,
        d1,
        d2,
        d3,
        name_len,
        type_len,
        ..,
    ] = *head;
    let (name, rest) = texts.split_at_checked(name_len.into())?;
    Some(TopicInfo {
        publishers: u16::from_le_bytes([p0, p1]),
        subscribers: u16::from_le_bytes([s0, s1]),
        reliability,
        durability,
        history,
        liveliness,
        deadline_ms: u32::from_le_bytes([d0, d1, d2, d3]),
        name,
        ty: rest.get(..type_len.into())?,
    })
}

/// What an entry of a [`NodeInfo`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A topic that the node publishes on.
    Publisher,
    /// A topic that it subscribes to.
    Subscriber,
    /// A service that it offers.
    Service,
    /// A service that it calls.
    Client,
}

/// A node there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeInfo<'b> {
    /// Of each role.
    counts: [u16; 4],
    entries: &'b [u8],
}

/// What a node has to do with a topic or service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'b> {
    /// What.
    pub role: Role,
    /// The name of the topic or service, UTF-8.
    pub name: &'b [u8],
    /// Its type.
    pub ty: &'b [u8],
}

/// A node, as far as the module may use what it has.
///
/// # Errors
/// `NotFound` if there is no such node, `NoSpace` if the buffer is too small.
pub fn node<'b>(name: &str, buffer: &'b mut [u8]) -> Result<NodeInfo<'b>> {
    let (out, room) = (buffer.as_mut_ptr(), buffer.len());
    // SAFETY: both pointers go with the length of what they point to.
    let answer = unsafe { raw::get_node_info(name.as_ptr(), name.len(), out, room) };
    let bytes = buffer.get(..check(answer)? as usize).ok_or(Errno::NoSpace)?;
    node_from(bytes).ok_or(Errno::Other)
}

fn node_from(bytes: &[u8]) -> Option<NodeInfo<'_>> {
    let ([p0, p1, s0, s1, o0, o1, c0, c1], entries) = bytes.split_first_chunk::<8>()?;
    let counts =
        [[p0, p1], [s0, s1], [o0, o1], [c0, c1]].map(|[low, high]| u16::from_le_bytes([*low, *high]));
    Some(NodeInfo { counts, entries })
}

impl<'b> Iterator for NodeInfo<'b> {
    type Item = Entry<'b>;

    fn next(&mut self) -> Option<Entry<'b>> {
        let [publishers, subscribers, services, clients] = &mut self.counts;
        let (left, role) = if *publishers > 0 {
            (publishers, Role::Publisher)
        } else if *subscribers > 0 {
            (subscribers, Role::Subscriber)
        } else if *services > 0 {
            (services, Role::Service)
        } else {
            (clients, Role::Client)
        };
        *left = left.checked_sub(1)?;
        let ([name_len, type_len], rest) = self.entries.split_first_chunk::<2>()?;
        let (name, rest) = rest.split_at_checked((*name_len).into())?;
        let (ty, rest) = rest.split_at_checked((*type_len).into())?;
        self.entries = rest;
        Some(Entry { role, name, ty })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_devices_write_them() {
        let topic =
            topic_from(b"\x01\0\x02\0\x01\x02\x01\x01\xe8\x03\0\0\x02\x03\0\0/aT/U").expect("a topic");
        assert_eq!((topic.publishers, topic.subscribers, topic.durability), (1, 2, 2));
        assert_eq!((topic.deadline_ms, topic.name, topic.ty), (1000, &b"/a"[..], &b"T/U"[..]));
        assert_eq!(topic_from(b"\x01\0\x02\0\x01\x02\x01\x01\xe8\x03\0\0\x02\x03\0\0/aT/"), None);
        let node = node_from(b"\x01\0\0\0\x01\0\0\0\x02\x01/aT\x02\x01/sU").expect("a node");
        let found: Vec<_> = node.map(|entry| (entry.role, entry.name, entry.ty)).collect();
        let expected = [(Role::Publisher, &b"/a"[..], &b"T"[..]), (Role::Service, b"/s", b"U")];
        assert_eq!(found, expected);
        assert_eq!(node_from(b"\x02\0\0\0\0\0\0\0\x02\x01/aT").expect("a node").count(), 1, "it is cut off");
    }
}
