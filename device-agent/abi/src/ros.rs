//! ROS 2, as far as modules see it: names, which of them are allowed, and what there is.
//!
//! Messages, requests and responses are bytes as ROS 2 serializes them: CDR after an encapsulation header of 4 bytes
//! (OMG DDSI-RTPS 2.5, section 10), or JSON where the device's configuration says so. It also says of which type a topic
//! or service is.

use core::fmt;

use crate::{Errno, layout::layout};

/// Longest name, in bytes: what DDS takes less what ROS 2 puts before it (`RMW_TOPIC_MAX_NAME_LENGTH`).
pub const MAX_ROS_NAME_BYTES: usize = 247;
/// Longest message, request and response, in bytes; a device may take less.
pub const MAX_ROS_BYTES: usize = 4 * 1024 * 1024;
/// Service clients of one instance.
pub const MAX_SERVICE_CLIENTS: usize = 8;
/// Services that one instance offers.
pub const MAX_SERVICES: usize = 8;
/// Calls of one instance whose responses can be asked for; the response to an earlier one is forgotten. As many requests
/// to its services can be answered.
pub const MAX_SERVICE_CALLS: usize = 16;
/// The setting whose value says what a module may publish on: [`RosPattern`]s separated by spaces.
pub const ALLOW_ROS_PUBLISH: &str = "allow.ros.publish";
/// The setting whose value says what a module may subscribe to, likewise.
pub const ALLOW_ROS_SUBSCRIBE: &str = "allow.ros.subscribe";
/// The setting whose value says which services a module may call, likewise.
pub const ALLOW_ROS_CALL: &str = "allow.ros.call";
/// The setting whose value says which services a module may offer, likewise.
pub const ALLOW_ROS_SERVE: &str = "allow.ros.serve";

/// A fully qualified name of a topic, service or node: `/robot/chatter`. Between slashes are letters, digits and
/// underscores, not a digit first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RosName<'n>(&'n str);

impl<'n> RosName<'n> {
    /// Reads a name of at most [`MAX_ROS_NAME_BYTES`] bytes.
    ///
    /// # Errors
    /// [`Errno::TooLong`], [`Errno::Invalid`].
    pub fn parse(name: &'n [u8]) -> Result<Self, Errno> {
        if name.len() > MAX_ROS_NAME_BYTES {
            return Err(Errno::TooLong);
        }
        let name = core::str::from_utf8(name).map_err(|_| Errno::Invalid)?;
        let tokens = name.strip_prefix('/').ok_or(Errno::Invalid)?;
        if tokens.split('/').all(|token| is_begun(token) && !token.is_empty()) {
            Ok(RosName(name))
        } else {
            Err(Errno::Invalid)
        }
    }

    /// The name, which begins with `/`.
    pub const fn as_str(self) -> &'n str {
        self.0
    }

    /// Whether one of the patterns, separated by spaces, allows it. What is no [`RosPattern`] allows nothing.
    pub fn is_allowed_by(self, patterns: &str) -> bool {
        patterns
            .split_ascii_whitespace()
            .filter_map(|text| RosPattern::parse(text).ok())
            .any(|pattern| pattern.allows(self))
    }
}

impl fmt::Display for RosName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Whether a token of a name may begin so.
fn is_begun(token: &str) -> bool {
    token.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !token.starts_with(|first: char| first.is_ascii_digit())
}

/// Names that an operator allows: a [`RosName`], or what names begin with and `*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RosPattern<'p> {
    text: &'p str,
    /// Whether `text` is only the beginning.
    is_open: bool,
}

impl<'p> RosPattern<'p> {
    /// Reads a pattern.
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(text: &'p str) -> Result<Self, NoRosPattern> {
        let Some(begin) = text.strip_suffix('*') else {
            let name = RosName::parse(text.as_bytes()).map_err(|_| NoRosPattern)?;
            return Ok(RosPattern { text: name.as_str(), is_open: false });
        };
        let (complete, last) = begin.rsplit_once('/').ok_or(NoRosPattern)?;
        let is_prefix = complete.is_empty() || RosName::parse(complete.as_bytes()).is_ok();
        if is_prefix && is_begun(last) && begin.len() <= MAX_ROS_NAME_BYTES {
            Ok(RosPattern { text: begin, is_open: true })
        } else {
            Err(NoRosPattern)
        }
    }

    /// Whether it allows a name.
    pub fn allows(&self, name: RosName<'_>) -> bool {
        if self.is_open { name.0.starts_with(self.text) } else { name.0 == self.text }
    }
}

/// The text is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRosPattern;

impl fmt::Display for NoRosPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a ROS 2 name; write /NAME, /NAME/NAME or what names begin with and *")
    }
}

impl core::error::Error for NoRosPattern {}

layout! {
    /// A topic there is. Its name and its type (`std_msgs/msg/String`) follow, as long as it says.
    TopicInfo, 16 {
        /// How many publish on it.
        0 publishers: u16 U16,
        /// How many subscribe to it.
        2 subscribers: u16 U16,
        /// Quality of service as its publishers offer it, of several the weakest; as rmw numbers it, with 0 for
        /// unknown. Reliability: 1 reliable, 2 best effort.
        4 reliability: u8 U8,
        /// 1 transient local, 2 volatile.
        5 durability: u8 U8,
        /// 1 keep last, 2 keep all.
        6 history: u8 U8,
        /// 1 automatic, 3 manual by topic.
        7 liveliness: u8 U8,
        /// Longest time between two messages, in milliseconds; 0 if there is no limit or it is unknown.
        8 deadline_ms: u32 U32,
        /// Bytes of its name.
        12 name_len: u8 U8,
        /// Bytes of its type.
        13 type_len: u8 U8,
    }
}

layout! {
    /// A node there is. So many entries follow, in this order: each is a byte with the length of a name, one with the
    /// length of its type, the name and the type.
    NodeInfo, 8 {
        /// Topics it publishes on.
        0 publishers: u16 U16,
        /// Topics it subscribes to.
        2 subscribers: u16 U16,
        /// Services it offers.
        4 services: u16 U16,
        /// Services it calls.
        6 clients: u16 U16,
    }
}

/// A topic or service with its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Typed<'t> {
    /// Its name.
    pub name: &'t str,
    /// Its type, `std_msgs/msg/String`.
    pub ty: &'t str,
}

impl TopicInfo {
    /// Writes it with name and type, whose lengths take the place of those in it; returns the length of all.
    ///
    /// # Errors
    /// [`Errno::NoSpace`] if it does not fit, [`Errno::TooLong`] if no structure holds the texts.
    pub fn write(mut self, topic: Typed<'_>, out: &mut [u8]) -> Result<usize, Errno> {
        (self.name_len, self.type_len) = topic.lengths()?;
        let mut writer = Writer { out, len: 0 };
        writer.put(&self.encode())?;
        writer.put(topic.name.as_bytes())?;
        writer.put(topic.ty.as_bytes())?;
        Ok(writer.len)
    }
}

impl NodeInfo {
    /// Writes one of these publishers, subscribers, services and clients; returns its length.
    ///
    /// # Errors
    /// As for [`TopicInfo::write`].
    pub fn write(lists: [&[Typed<'_>]; 4], out: &mut [u8]) -> Result<usize, Errno> {
        let mut counts = [0; 4];
        for (count, list) in counts.iter_mut().zip(lists) {
            *count = u16::try_from(list.len()).map_err(|_| Errno::TooLong)?;
        }
        let [publishers, subscribers, services, clients] = counts;
        let mut writer = Writer { out, len: 0 };
        writer.put(&NodeInfo { publishers, subscribers, services, clients }.encode())?;
        for entry in lists.into_iter().flatten() {
            let (name_len, type_len) = entry.lengths()?;
            writer.put(&[name_len, type_len])?;
            writer.put(entry.name.as_bytes())?;
            writer.put(entry.ty.as_bytes())?;
        }
        Ok(writer.len)
    }
}

impl Typed<'_> {
    fn lengths(&self) -> Result<(u8, u8), Errno> {
        let length = |text: &str| u8::try_from(text.len()).map_err(|_| Errno::TooLong);
        Ok((length(self.name)?, length(self.ty)?))
    }
}

struct Writer<'o> {
    out: &'o mut [u8],
    len: usize,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        let end = self.len + bytes.len();
        self.out.get_mut(self.len..end).ok_or(Errno::NoSpace)?.copy_from_slice(bytes);
        self.len = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> RosName<'_> {
        RosName::parse(text.as_bytes()).expect(text)
    }

    #[test]
    fn a_name_is_absolute_and_made_of_tokens() {
        for text in ["/a", "/chatter", "/robot_1/imu/Data", "/_hidden"] {
            assert_eq!(name(text).as_str(), text);
        }
        for text in
            ["", "/", "a", "chatter/a", "/a/", "//a", "/a//b", "/1a", "/a/1", "/a-b", "/a b", "/~", "/a*"]
        {
            assert_eq!(RosName::parse(text.as_bytes()), Err(Errno::Invalid), "{text:?}");
        }
        assert_eq!(RosName::parse(b"/a\xff"), Err(Errno::Invalid));
        let longest = [b"/".as_slice(), &[b'a'; MAX_ROS_NAME_BYTES]].concat();
        assert!(RosName::parse(&longest[..MAX_ROS_NAME_BYTES]).is_ok());
        assert_eq!(RosName::parse(&longest), Err(Errno::TooLong));
    }

    #[test]
    fn a_pattern_allows_a_name_or_what_begins_so() {
        for (pattern, allowed, refused) in [
            ("/chatter", "/chatter", "/chatter2"),
            ("/robot/*", "/robot/imu/data", "/robot2/imu"),
            ("/robot*", "/robot2/imu", "/rob"),
            ("/*", "/a", ""),
        ] {
            let read = RosPattern::parse(pattern).expect(pattern);
            assert!(read.allows(name(allowed)), "{pattern} {allowed}");
            assert!(refused.is_empty() || !read.allows(name(refused)), "{pattern} {refused}");
        }
        for text in ["", "*", "a*", "/a*b", "/1*", "//*", "/a//*", "/a b", "/**", "/a/"] {
            assert_eq!(RosPattern::parse(text), Err(NoRosPattern), "{text:?}");
        }
        assert!(name("/b").is_allowed_by("/a /b*"));
        assert!(!name("/b").is_allowed_by(""));
    }

    #[test]
    fn lists_are_written_where_they_fit() {
        let topic = Typed { name: "/a", ty: "std_msgs/msg/Bool" };
        let mut out = [0; 64];
        let info = TopicInfo { publishers: 1, reliability: 2, ..TopicInfo::default() };
        assert_eq!(info.write(topic, &mut out), Ok(16 + 2 + 17));
        assert_eq!(out[..16], [1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 2, 17, 0, 0]);
        assert_eq!(&out[16..35], b"/astd_msgs/msg/Bool");
        assert_eq!(info.write(topic, &mut out[..34]), Err(Errno::NoSpace));
        let lists: [&[Typed<'_>]; 4] = [&[topic], &[], &[Typed { name: "/s", ty: "t" }], &[]];
        assert_eq!(NodeInfo::write(lists, &mut out), Ok(8 + 21 + 5));
        assert_eq!(out[..10], [1, 0, 0, 0, 1, 0, 0, 0, 2, 17]);
        assert_eq!(&out[29..34], b"\x02\x01/st");
        assert_eq!(NodeInfo::write(lists, &mut out[..33]), Err(Errno::NoSpace));
    }
}
