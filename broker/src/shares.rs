//! Shared subscriptions: each message for a group goes to one of its members.
//!
//! Kept here because the router mixes up groups of one name, keeps a processor busy while a member is slow, and can be
//! killed by a member that leaves. A group has one link to the router and deals its messages out in turn to members
//! with room. What a member did not acknowledge when it leaves goes to another, except messages of exactly once that
//! it may have seen.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, mpsc};

use crate::counters::Counters;
use crate::message::Message;
use crate::router::{Link, Router, SubscribeError, lock};
use crate::topic;

/// Messages that may wait for one member before others get the rest.
pub(crate) const MAILBOX: usize = 16;

/// A message for one member of a group.
#[derive(Debug)]
pub(crate) struct Dealt {
    pub(crate) group: Arc<Group>,
    pub(crate) message: Message,
}

/// Splits `$share/{name}/{filter}`; `None` for a plain filter or a malformed one.
pub(crate) fn split(filter: &str) -> Option<(&str, &str)> {
    let (name, filter) = filter.strip_prefix("$share/")?.split_once('/')?;
    (!name.is_empty() && !name.contains(['+', '#'])).then_some((name, filter))
}

/// All groups that have members.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    /// By the whole `$share/...`.
    groups: Mutex<HashMap<String, Arc<Group>>>,
}

/// The members of one shared subscription.
pub(crate) struct Group {
    /// `$share/...`
    pub(crate) name: String,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    members: Vec<Member>,
    next: usize,
    /// Left over from members that left.
    returned: VecDeque<Message>,
}

#[derive(Clone)]
struct Member {
    id: u64,
    mailbox: mpsc::Sender<Dealt>,
}

impl Shares {
    /// Makes `id` a member of the group `name`, which is `$share/...` with a valid filter.
    pub(crate) async fn join(
        self: &Arc<Self>,
        router: &Arc<Router>,
        counters: &Arc<Counters>,
        name: &str,
        id: u64,
        mailbox: mpsc::Sender<Dealt>,
    ) -> Result<(), SubscribeError> {
        let member = Member { id, mailbox };
        if self.add(name, &member) {
            return Ok(());
        }
        let mut link = router.link().await?;
        let filter = split(name).map_or(name, |(_, filter)| filter).to_owned();
        link.subscribe(&filter).await?;
        let founded = match lock(&self.groups).entry(name.to_owned()) {
            // Somebody else was quicker.
            Entry::Occupied(group) => {
                group.get().add(member);
                None
            }
            Entry::Vacant(place) => {
                let group = place.insert(Arc::new(Group::new(name)));
                group.add(member);
                Some(group.clone())
            }
        };
        match founded {
            Some(group) => drop(tokio::spawn(group.deal(link, filter, counters.clone()))),
            None => link.close().await,
        }
        Ok(())
    }

    fn add(&self, name: &str, member: &Member) -> bool {
        let groups = lock(&self.groups);
        let Some(group) = groups.get(name) else { return false };
        group.add(member.clone());
        true
    }

    /// Ends one membership; a group without members ends, too.
    pub(crate) fn leave(&self, name: &str, id: u64) {
        let mut groups = lock(&self.groups);
        let Some(group) = groups.get(name) else { return };
        let mut state = lock(&group.state);
        state.members.retain(|member| member.id != id);
        let is_empty = state.members.is_empty();
        drop(state);
        group.changed.notify_one();
        if is_empty {
            groups.remove(name);
        }
    }
}

impl Group {
    fn new(name: &str) -> Self {
        Group { name: name.to_owned(), state: Mutex::default(), changed: Notify::new() }
    }

    fn add(&self, member: Member) {
        lock(&self.state).members.push(member);
        self.changed.notify_one();
    }

    /// Takes back what a member that left has not delivered.
    pub(crate) fn give_back(&self, message: Message) {
        lock(&self.state).returned.push_back(message);
        self.changed.notify_one();
    }

    /// Deals out messages as long as there are members.
    async fn deal(self: Arc<Self>, mut link: Link, filter: String, counters: Arc<Counters>) {
        loop {
            let returned = {
                let mut state = lock(&self.state);
                if state.members.is_empty() {
                    break;
                }
                state.returned.pop_front()
            };
            if let Some(message) = returned {
                self.give(message).await;
                continue;
            }
            tokio::select! {
                () = self.changed.notified() => {}
                arrival = link.next() => match arrival {
                    Ok(Some(arrival)) => {
                        counters.dropped.add(arrival.missed);
                        if topic::matches(&filter, arrival.message.topic()) {
                            self.give(arrival.message).await;
                        }
                    }
                    Ok(None) => {}
                    // The whole broker is ending.
                    Err(_) => break,
                },
            }
        }
        link.close().await;
    }

    /// Gives a message to the next member with room, waiting for one if need be.
    async fn give(self: &Arc<Self>, message: Message) {
        loop {
            let Some(members) = self.in_turn() else { return };
            for member in &members {
                if let Ok(place) = member.mailbox.try_reserve() {
                    return place.send(Dealt { group: self.clone(), message });
                }
            }
            let Some(first) = members.first() else { return };
            tokio::select! {
                place = first.mailbox.reserve() => {
                    if let Ok(place) = place {
                        return place.send(Dealt { group: self.clone(), message });
                    }
                    // It is leaving; its membership ends soon.
                    tokio::task::yield_now().await;
                }
                () = self.changed.notified() => {}
            }
        }
    }

    /// The members, beginning with the one whose turn it is; `None` without members.
    fn in_turn(&self) -> Option<Vec<Member>> {
        let mut state = lock(&self.state);
        let count = state.members.len();
        if count == 0 {
            return None;
        }
        let start = state.next % count;
        state.next = start + 1;
        Some(state.members[start..].iter().chain(&state.members[..start]).cloned().collect())
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_filter_has_a_plain_name() {
        assert_eq!(split("$share/g/a/+"), Some(("g", "a/+")));
        for other in ["a/b", "$share", "$share/g", "$share//a", "$share/+/a", "$share/a#/b"] {
            assert_eq!(split(other), None, "{other}");
        }
    }
}
