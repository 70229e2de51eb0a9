//! What an instance wants to be.

use alloc::{string::String, vec::Vec};

use wasmbed_abi::{Errno, MAX_SERVICE_CLIENTS, MAX_SERVICES, RosName};
use wasmbed_wire::{
    Seq,
    ros::{MAX_ROS_CONTENT_BYTES, RosWant},
};

/// What a name takes beside its bytes.
const AROUND_BYTES: usize = 2;

/// Names, in the order in which they came: that of a client or service is its number.
#[derive(Debug, Default)]
pub(crate) struct Wants {
    pub(crate) topics: Vec<String>,
    pub(crate) clients: Vec<String>,
    pub(crate) services: Vec<String>,
}

impl Wants {
    /// Whether the topic is new; [`Errno::NoSpace`] if a message has no room for all names.
    pub(crate) fn topic(&mut self, name: RosName<'_>) -> Result<bool, Errno> {
        let room = self.room();
        Ok(add(&mut self.topics, name, room, usize::MAX)?.1)
    }

    /// Whether the topic was there.
    pub(crate) fn no_topic(&mut self, name: RosName<'_>) -> bool {
        let before = self.topics.len();
        self.topics.retain(|known| known != name.as_str());
        self.topics.len() < before
    }

    /// The number of a client, and whether it is new.
    pub(crate) fn client(&mut self, name: RosName<'_>) -> Result<(u32, bool), Errno> {
        let room = self.room();
        add(&mut self.clients, name, room, MAX_SERVICE_CLIENTS)
    }

    /// The number of a service, and whether it is new.
    pub(crate) fn service(&mut self, name: RosName<'_>) -> Result<(u32, bool), Errno> {
        let room = self.room();
        add(&mut self.services, name, room, MAX_SERVICES)
    }

    /// The whole, as a message.
    pub(crate) fn with<R>(&self, run: u32, number: u32, then: impl FnOnce(&RosWant<'_>) -> R) -> R {
        let topics: Vec<&str> = self.topics.iter().map(String::as_str).collect();
        let clients: Vec<&str> = self.clients.iter().map(String::as_str).collect();
        let services: Vec<&str> = self.services.iter().map(String::as_str).collect();
        then(&RosWant {
            run,
            number,
            topics: Seq::new(&topics),
            clients: Seq::new(&clients),
            services: Seq::new(&services),
        })
    }

    /// What is left of a message.
    fn room(&self) -> usize {
        let names = self.topics.iter().chain(&self.clients).chain(&self.services);
        let taken: usize = names.map(|name| name.len() + AROUND_BYTES).sum();
        MAX_ROS_CONTENT_BYTES.saturating_sub(taken)
    }
}

fn add(names: &mut Vec<String>, name: RosName<'_>, room: usize, most: usize) -> Result<(u32, bool), Errno> {
    let number = |at: usize| u32::try_from(at).map_err(|_| Errno::NoSpace);
    let name = name.as_str();
    if let Some(at) = names.iter().position(|known| known == name) {
        return Ok((number(at)?, false));
    }
    if names.len() >= most || name.len() + AROUND_BYTES > room {
        return Err(Errno::NoSpace);
    }
    let mut kept = String::new();
    kept.try_reserve_exact(name.len()).map_err(|_| Errno::NoSpace)?;
    names.try_reserve(1).map_err(|_| Errno::NoSpace)?;
    kept.push_str(name);
    names.push(kept);
    Ok((number(names.len() - 1)?, true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    fn name(text: &str) -> RosName<'_> {
        RosName::parse(text.as_bytes()).expect(text)
    }

    #[test]
    fn names_have_numbers_and_a_place_once() {
        let mut wants = Wants::default();
        assert_eq!(wants.client(name("/a")), Ok((0, true)));
        assert_eq!(wants.client(name("/b")), Ok((1, true)));
        assert_eq!(wants.client(name("/a")), Ok((0, false)));
        assert_eq!((wants.topic(name("/a")), wants.topic(name("/a"))), (Ok(true), Ok(false)));
        assert!(wants.no_topic(name("/a")) && !wants.no_topic(name("/a")));
        for nth in 2..MAX_SERVICE_CLIENTS {
            wants.client(name(&format!("/c{nth}"))).expect("room");
        }
        assert_eq!(wants.client(name("/d")), Err(Errno::NoSpace));
    }

    #[test]
    fn as_many_names_as_fit_a_message_are_one() {
        let mut wants = Wants::default();
        let fitted = (0..16).take_while(|nth| wants.topic(name(&format!("/{nth:a>200}"))).is_ok()).count();
        assert_eq!(fitted, MAX_ROS_CONTENT_BYTES / 203);
        let len = wants.with(u32::MAX, u32::MAX, |want| crate::encoded(want).expect("room").len());
        assert!(len <= wasmbed_wire::ros::MAX_ROS_MESSAGE_BYTES);
    }
}
