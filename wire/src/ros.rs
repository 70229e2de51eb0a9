//! What instances of modules and a gateway say to each other about ROS 2: CBOR maps like [`crate::message`], without
//! signatures, at quality of service 0.
//!
//! An instance says as a level what it wants to be ([`RosWant`]) until the gateway has the same ([`RosHave`]). What the
//! gateway has for it comes in numbered pieces ([`RosTell`]), the next one after the last was taken ([`RosTaken`]), so
//! that a board is never flooded. Everything names the `run` of the instance, so that nothing reaches another one.
//!
//! Not here: when to say it again (`wasmbed-gateway`), and what a module may say at all.

use minicbor::{Decode, Encode};

use crate::Seq;

/// Longest of these messages, in bytes.
pub const MAX_ROS_MESSAGE_BYTES: usize = 1024;
/// Longest name and content of one of them together, in bytes.
pub const MAX_ROS_CONTENT_BYTES: usize = MAX_ROS_MESSAGE_BYTES - AROUND_BYTES;
/// What is around them, at most, in bytes.
const AROUND_BYTES: usize = 64;

/// `up/nodes`, without a gateway, and on the gateway's `up/nodes/{device}` otherwise: what a device's modules are in
/// ROS 2.
#[derive(Debug, Clone, Copy, Default, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct RosNodes<'a> {
    /// A node for each instance that has anything.
    #[b(0)]
    pub nodes: Seq<'a, RosNode<'a>>,
    /// Topics and services that there was no room for.
    #[n(1)]
    pub omitted: u32,
}

/// A node and what it has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct RosNode<'a> {
    /// Its fully qualified name.
    #[b(0)]
    pub name: &'a str,
    /// Topics that it publishes on.
    #[b(1)]
    #[cbor(default, skip_if = "Seq::is_empty")]
    pub publishers: Seq<'a, RosTyped<'a>>,
    /// Topics that it listens to.
    #[b(2)]
    #[cbor(default, skip_if = "Seq::is_empty")]
    pub subscribers: Seq<'a, RosTyped<'a>>,
    /// Services that it calls.
    #[b(3)]
    #[cbor(default, skip_if = "Seq::is_empty")]
    pub clients: Seq<'a, RosTyped<'a>>,
    /// Services that it offers.
    #[b(4)]
    #[cbor(default, skip_if = "Seq::is_empty")]
    pub services: Seq<'a, RosTyped<'a>>,
}

/// A topic or service with its type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RosTyped<'a> {
    /// Its name.
    #[b(0)]
    pub name: &'a str,
    /// Its type, as `std_msgs/msg/String`.
    #[b(1)]
    pub ty: &'a str,
}

/// `up/ros/want/{instance}`: everything that an instance wants to be; with `run` 0, that it is nothing any more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct RosWant<'a> {
    /// Another one for each start of the instance.
    #[n(0)]
    pub run: u32,
    /// Rises with every change in this run.
    #[n(1)]
    pub number: u32,
    /// Topics that it listens to.
    #[b(2)]
    #[cbor(default, skip_if = "Seq::is_empty")]
    pub topics: Seq<'a, &'a str>,
    /// Services that it calls.
    #[b(3)]
    #[cbor(default, skip_if = "Seq::is_empty")]
    pub clients: Seq<'a, &'a str>,
    /// Services that it offers.
    #[b(4)]
    #[cbor(default, skip_if = "Seq::is_empty")]
    pub services: Seq<'a, &'a str>,
}

/// `up/ros/publish/{instance}`: a message on a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RosPublication<'a> {
    /// The run of the instance.
    #[n(0)]
    pub run: u32,
    /// The topic.
    #[b(1)]
    pub topic: &'a str,
    /// The message, in the encoding that the gateway is configured with.
    #[cbor(b(2), with = "minicbor::bytes")]
    pub bytes: &'a [u8],
}

/// `up/ros/call/{instance}`: a request to a service. Said twice it is made once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RosCall<'a> {
    /// The run of the instance.
    #[n(0)]
    pub run: u32,
    /// Comes back with the response; rises by one with every call of this run.
    #[n(1)]
    pub ticket: u32,
    /// The service.
    #[b(2)]
    pub service: &'a str,
    /// The request.
    #[cbor(b(3), with = "minicbor::bytes")]
    pub bytes: &'a [u8],
}

/// `up/ros/reply/{instance}`: the response to a request that came with a ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RosReply<'a> {
    /// The run of the instance.
    #[n(0)]
    pub run: u32,
    /// The ticket.
    #[n(1)]
    pub ticket: u32,
    /// The response.
    #[cbor(b(2), with = "minicbor::bytes")]
    pub bytes: &'a [u8],
}

/// `up/ros/ask/{instance}`: who is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RosQuestion<'a> {
    /// The run of the instance.
    #[n(0)]
    pub run: u32,
    /// Comes back with the answer.
    #[n(1)]
    pub ticket: u32,
    /// A node, if it is about one.
    #[b(2)]
    pub node: Option<&'a str>,
    /// Number of a topic, otherwise.
    #[n(3)]
    #[cbor(default, skip_if = "crate::manifest::is_zero")]
    pub nth: u32,
}

/// `up/ros/taken/{instance}`: everything up to a number was taken; the credit for the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RosTaken {
    /// The run of the instance.
    #[n(0)]
    pub run: u32,
    /// The number of the last [`RosTell`] that was taken.
    #[n(1)]
    pub seq: u64,
}

/// `dn/ros/have/{instance}`: what the gateway has of what an instance wants. An instance that wants something else says
/// so again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RosHave {
    /// The run of the instance; 0 if the gateway knows of none.
    #[n(0)]
    pub run: u32,
    /// The number of the last [`RosWant`].
    #[n(1)]
    pub number: u32,
    /// The longest time in which one of its calls ends at the gateway, in milliseconds.
    #[n(2)]
    pub patience_ms: u32,
}

/// `dn/ros/tell/{instance}`: one thing for a module. It is said until it was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RosTell<'a> {
    /// The run of the instance.
    #[n(0)]
    pub run: u32,
    /// Rises with everything that is told.
    #[n(1)]
    pub seq: u64,
    /// What it is.
    #[n(2)]
    pub what: RosWhat,
    /// The topic of a message, the service of a request; otherwise empty.
    #[b(3)]
    #[cbor(default, skip_if = "str::is_empty")]
    pub name: &'a str,
    /// Of a request, what it is answered with; otherwise that of the call or question.
    #[n(4)]
    #[cbor(default, skip_if = "crate::manifest::is_zero")]
    pub ticket: u32,
    /// Why there is no response or answer: the number of an `Errno` of the guest ABI, without its sign.
    #[n(5)]
    pub error: Option<u8>,
    /// The message, request, response, answer or text.
    #[cbor(b(6), with = "minicbor::bytes")]
    pub bytes: &'a [u8],
}

/// What a [`RosTell`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum RosWhat {
    /// A message on a topic.
    #[n(0)]
    Message,
    /// A request to a service.
    #[n(1)]
    Request,
    /// The end of a call.
    #[n(2)]
    Response,
    /// The answer to a question.
    #[n(3)]
    Answer,
    /// A line for the module's log.
    #[n(4)]
    Notice,
}
