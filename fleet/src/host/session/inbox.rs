//! What a session has for its reader; bounded.

use std::{collections::VecDeque, sync::Mutex};

use tokio::sync::Notify;

use super::{Event, Message, Policy, lock};

/// Droppable messages give way beyond this many messages ...
const MESSAGES: usize = 64;
/// ... or this many bytes.
const BYTES: usize = 256 * 1024;
/// All messages give way beyond this many.
const MOST_MESSAGES: usize = 2 * MESSAGES;

#[derive(Debug, Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    up: Up,
    acked: VecDeque<u16>,
    messages: VecDeque<Message>,
    bytes: usize,
    closed: Option<String>,
}

/// A broker may send what it retains before it confirms the subscription; the reader hears of the
/// session first.
#[derive(Debug, Default, PartialEq, Eq)]
enum Up {
    #[default]
    NotYet,
    ToTell,
    Told,
}

impl Inbox {
    pub(super) fn up(&self) {
        self.change(|state| state.up = Up::ToTell);
    }

    pub(super) fn acked(&self, token: u16) {
        self.change(|state| state.acked.push_back(token));
    }

    /// Nothing follows; what was not read is of no use without a connection.
    pub(super) fn close(&self, reason: String) {
        self.change(|state| *state = State { closed: Some(reason), ..State::default() });
    }

    pub(super) fn message(&self, policy: Policy, message: Message) {
        self.change(|state| state.push(policy, message));
    }

    /// For one reader at a time. Safe to drop and call again.
    pub(super) async fn next(&self) -> Event {
        loop {
            if let Some(event) = lock(&self.state).pop() {
                return event;
            }
            self.changed.notified().await;
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut lock(&self.state));
        self.changed.notify_one();
    }
}

impl State {
    fn push(&mut self, policy: Policy, message: Message) {
        let room = match policy {
            Policy::Ignored => return,
            Policy::Latest => {
                if let Some(at) = self.messages.iter().position(|queued| queued.topic == message.topic) {
                    self.remove(at);
                }
                true
            }
            Policy::Droppable => {
                self.messages.len() < MESSAGES && self.bytes.saturating_add(message.payload.len()) <= BYTES
            }
            Policy::Wanted => self.messages.len() < MOST_MESSAGES,
        };
        if room {
            self.bytes += message.payload.len();
            self.messages.push_back(message);
        } else {
            tracing::debug!(topic = message.topic, "dropped: the reader is behind");
        }
    }

    fn remove(&mut self, at: usize) -> Option<Message> {
        let message = self.messages.remove(at)?;
        self.bytes -= message.payload.len();
        Some(message)
    }

    fn pop(&mut self) -> Option<Event> {
        if self.closed.is_some() {
            // Kept, so that a reader that asks again is told again.
            return self.closed.clone().map(Event::Closed);
        }
        match self.up {
            Up::NotYet => return None,
            Up::ToTell => {
                self.up = Up::Told;
                return Some(Event::Up);
            }
            Up::Told => {}
        }
        match self.acked.pop_front() {
            Some(token) => Some(Event::Acked(token)),
            None => self.remove(0).map(Event::Message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn message(topic: &str, size: usize) -> Message {
        Message { topic: topic.to_owned(), payload: Bytes::from(vec![0; size]) }
    }

    fn told() -> State {
        State { up: Up::Told, ..State::default() }
    }

    fn drain(state: &mut State) -> Vec<Event> {
        std::iter::from_fn(|| state.pop()).collect()
    }

    #[test]
    fn only_the_last_level_of_a_topic_is_kept() {
        let mut state = told();
        state.push(Policy::Latest, message("dn/desired", 1));
        state.push(Policy::Wanted, message("dn/cmd/a", 1));
        state.push(Policy::Latest, message("dn/desired", 2));
        assert_eq!(state.bytes, 3);
        let expected = [Event::Message(message("dn/cmd/a", 1)), Event::Message(message("dn/desired", 2))];
        assert_eq!(drain(&mut state), expected);
        assert_eq!(state.bytes, 0);
    }

    #[test]
    fn blocks_give_way_before_commands_and_nothing_grows_without_end() {
        let mut state = told();
        for _ in 0..1000 {
            state.push(Policy::Droppable, message("dn/blk/0011223344556677", 16 * 1024));
        }
        assert!(state.bytes <= BYTES);
        let blocks = state.messages.len();
        for n in 0..1000 {
            state.push(Policy::Wanted, message(&format!("dn/cmd/{n}"), 10));
        }
        assert_eq!(state.messages.len(), MOST_MESSAGES);
        state.push(Policy::Latest, message("dn/desired", 10));
        assert_eq!(state.messages.len(), MOST_MESSAGES + 1);
        assert!(drain(&mut state).len() > blocks);
    }

    #[test]
    fn nothing_is_read_before_the_session_is_up() {
        let mut state = State::default();
        state.push(Policy::Latest, message("dn/desired", 1));
        assert_eq!(state.pop(), None);
        state.up = Up::ToTell;
        assert_eq!(drain(&mut state), [Event::Up, Event::Message(message("dn/desired", 1))]);
    }

    #[tokio::test]
    async fn the_end_is_told_to_whoever_asks() {
        let inbox = Inbox::default();
        inbox.up();
        inbox.message(Policy::Wanted, message("dn/cmd/a", 1));
        inbox.close("gone".to_owned());
        for _ in 0..2 {
            assert_eq!(inbox.next().await, Event::Closed("gone".to_owned()));
        }
    }
}
