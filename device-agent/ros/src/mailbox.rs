//! What a module is to be told.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use ros2_client::RmwRequestId;
use wasmbed_abi::{Errno, MAX_SERVICE_CALLS};

use crate::{
    config::{ServiceSettings, TopicSettings},
    losses::{Loss, Losses},
};

/// Notices that may wait.
const MAX_NOTICES: usize = 16;

/// Time between two notices that a topic or service loses something: it may lose thousands a second.
const QUIET: Duration = Duration::from_secs(10);

/// What a module's device takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Its longest message with its name, in bytes.
    pub message_bytes: usize,
    /// What may wait for it, in bytes.
    pub waiting_bytes: usize,
}

impl Room {
    /// As much as there may be.
    pub(crate) const MOST: Room = Room { message_bytes: usize::MAX, waiting_bytes: 16 * 1024 * 1024 };
}

/// Something that happened to a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A message on a topic that it listens to.
    Message {
        /// The topic.
        topic: String,
        /// The message, as the topic is encoded.
        bytes: Vec<u8>,
    },
    /// A request to a service that it offers.
    Request {
        /// The number of the service.
        service: u32,
        /// What it is answered with.
        ticket: u32,
        /// The request, as the service is encoded.
        bytes: Vec<u8>,
    },
    /// Something is wrong with what it uses: a line for its log.
    Notice(String),
}

impl Event {
    /// What it takes of what may wait; notices have a bound of their own.
    fn bytes(&self) -> usize {
        match self {
            Event::Message { bytes, .. } | Event::Request { bytes, .. } => bytes.len(),
            Event::Notice(_) => 0,
        }
    }
}

/// Where everything for one module waits until it is told.
pub(crate) struct Mailbox {
    inner: Mutex<Inner>,
    losses: Losses,
    room: Room,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox").finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Inner {
    waiting: VecDeque<Event>,
    waiting_bytes: usize,
    /// Whoever takes knows that something waits.
    is_announced: bool,
    /// Topics that the module listens to.
    topics: BTreeSet<String>,
    /// When the module was last told of what is lost.
    told: BTreeMap<(String, Loss), Instant>,
    /// Requests that can be answered, the oldest first.
    requests: VecDeque<(u32, u32, RmwRequestId)>,
    next_ticket: u32,
}

impl Inner {
    /// Drops the oldest that is like this; whether there was any.
    fn drop_oldest(&mut self, is_like: impl Fn(&Event) -> bool) -> bool {
        let dropped = self.waiting.iter().position(is_like).and_then(|at| self.waiting.remove(at));
        self.waiting_bytes -= dropped.as_ref().map_or(0, Event::bytes);
        dropped.is_some()
    }

    fn put(&mut self, event: Event) {
        self.waiting_bytes += event.bytes();
        self.waiting.push_back(event);
    }

    fn notice(&mut self, text: String) {
        let notices = self.waiting.iter().filter(|event| matches!(event, Event::Notice(_))).count();
        if notices < MAX_NOTICES {
            self.put(Event::Notice(text));
        }
    }
}

impl Mailbox {
    /// `wake` is called when something waits, once until all of it was taken.
    pub(crate) fn new(losses: Losses, room: Room, wake: Box<dyn Fn() + Send + Sync>) -> Self {
        Mailbox { inner: Mutex::default(), losses, room, wake }
    }

    pub(crate) fn listen(&self, topic: &str) {
        self.lock().topics.insert(topic.to_owned());
    }

    pub(crate) fn listens(&self, topic: &str) -> bool {
        self.lock().topics.contains(topic)
    }

    /// Forgets what waits of a topic, too.
    pub(crate) fn listen_no_longer(&self, topic: &str) {
        let mut inner = self.lock();
        inner.topics.remove(topic);
        while inner.drop_oldest(|event| is_of(event, topic)) {}
    }

    /// Takes in a message, if the module listens. Of those that wait only as many stay as the topic keeps.
    pub(crate) fn message(&self, topic: &TopicSettings, bytes: Vec<u8>) {
        let mut inner = self.lock();
        if !inner.topics.contains(&topic.name) {
            return;
        }
        if self.is_too_long(&mut inner, &topic.name, &bytes) {
            return self.announce(inner);
        }
        let (len, most) = (bytes.len(), self.room.waiting_bytes);
        let of_topic = |inner: &Inner| inner.waiting.iter().filter(|event| is_of(event, &topic.name)).count();
        let mut lost = 0;
        while of_topic(&inner) >= topic.depth || inner.waiting_bytes.saturating_add(len) > most {
            if !inner.drop_oldest(|event| is_of(event, &topic.name)) {
                break;
            }
            lost += 1;
        }
        if inner.waiting_bytes.saturating_add(len) > most {
            lost += 1;
        } else {
            inner.put(Event::Message { topic: topic.name.clone(), bytes });
        }
        for _ in 0..lost {
            self.lose(&mut inner, &topic.name, Loss::Behind, &"the module is slower than they come");
        }
        self.announce(inner);
    }

    /// Takes in a request. Of those that wait only as many stay as can be answered.
    pub(crate) fn request(&self, number: u32, service: &ServiceSettings, id: RmwRequestId, bytes: Vec<u8>) {
        let mut inner = self.lock();
        if self.is_too_long(&mut inner, &service.name, &bytes) {
            return self.announce(inner);
        }
        if inner.waiting_bytes.saturating_add(bytes.len()) > self.room.waiting_bytes {
            self.lose(&mut inner, &service.name, Loss::Behind, &"the module is slower than they come");
            return self.announce(inner);
        }
        let ticket = inner.next_ticket;
        inner.next_ticket = ticket.wrapping_add(1) & i32::MAX.cast_unsigned();
        inner.requests.push_back((ticket, number, id));
        if inner.requests.len() > MAX_SERVICE_CALLS {
            let oldest = inner.requests.pop_front().map(|(ticket, ..)| ticket);
            let is_oldest =
                |event: &Event| matches!(event, Event::Request { ticket, .. } if Some(*ticket) == oldest);
            if inner.drop_oldest(is_oldest) {
                self.lose(&mut inner, &service.name, Loss::Behind, &"the module is slower than they come");
            }
        }
        inner.put(Event::Request { service: number, ticket, bytes });
        self.announce(inner);
    }

    /// The request behind a ticket with the number of its service, which stays.
    pub(crate) fn asked(&self, ticket: u32) -> Result<(u32, RmwRequestId), Errno> {
        let inner = self.lock();
        let found = inner.requests.iter().find(|(known, ..)| *known == ticket);
        found.map(|(_, service, id)| (*service, *id)).ok_or(Errno::NotFound)
    }

    /// It was answered.
    pub(crate) fn answered(&self, ticket: u32) {
        self.lock().requests.retain(|(known, ..)| *known != ticket);
    }

    /// Something of a topic or service went nowhere.
    pub(crate) fn lost(&self, name: &str, how: Loss, reason: &dyn fmt::Display) {
        let mut inner = self.lock();
        self.lose(&mut inner, name, how, reason);
        self.announce(inner);
    }

    pub(crate) fn notice(&self, text: String) {
        let mut inner = self.lock();
        inner.notice(text);
        self.announce(inner);
    }

    /// The oldest there is, and whether more waits.
    pub(crate) fn next(&self) -> Option<(Event, bool)> {
        let mut inner = self.lock();
        let next = inner.waiting.pop_front();
        inner.waiting_bytes -= next.as_ref().map_or(0, Event::bytes);
        inner.is_announced = !inner.waiting.is_empty();
        let more = inner.is_announced;
        next.map(|event| (event, more))
    }

    /// Whether the device takes nothing so long; then it is lost.
    fn is_too_long(&self, inner: &mut Inner, name: &str, bytes: &[u8]) -> bool {
        let (len, most) = (name.len().saturating_add(bytes.len()), self.room.message_bytes);
        if len > most {
            let reason = format!("one has {len} bytes with its name, and the device takes {most}");
            self.lose(inner, name, Loss::TooLong, &reason);
        }
        len > most
    }

    fn lose(&self, inner: &mut Inner, name: &str, how: Loss, reason: &dyn fmt::Display) {
        self.losses.add(name, how);
        let (key, now) = ((name.to_owned(), how), Instant::now());
        if inner.told.get(&key).is_none_or(|told| now.duration_since(*told) >= QUIET) {
            inner.told.insert(key, now);
            inner.notice(format!("{name}: messages are lost: {reason}"));
        }
    }

    fn announce(&self, mut inner: MutexGuard<'_, Inner>) {
        let is_new = !inner.waiting.is_empty() && !std::mem::replace(&mut inner.is_announced, true);
        drop(inner);
        if is_new {
            (self.wake)();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_of(event: &Event, name: &str) -> bool {
    matches!(event, Event::Message { topic, .. } if topic == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Lost, config::Config};
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    fn mailbox() -> (Mailbox, Arc<AtomicUsize>, Losses) {
        let (woken, losses) = (Arc::new(AtomicUsize::new(0)), Losses::default());
        let count = Arc::clone(&woken);
        let wake = Box::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        (Mailbox::new(losses.clone(), Room::MOST, wake), woken, losses)
    }

    fn topic(depth: u16) -> Arc<TopicSettings> {
        let text = format!("[[topic]]\nname = '/a'\ntype = 'std_msgs/msg/String'\ndepth = {depth}\n");
        let config: Config = toml::from_str(&text).expect("TOML");
        Arc::clone(&config.validate("d").expect("valid").topics["/a"])
    }

    fn taken(mailbox: &Mailbox) -> (Vec<Vec<u8>>, Vec<String>) {
        let (mut messages, mut notices) = (Vec::new(), Vec::new());
        while let Some((event, _)) = mailbox.next() {
            match event {
                Event::Message { bytes, .. } | Event::Request { bytes, .. } => messages.push(bytes),
                Event::Notice(text) => notices.push(text),
            }
        }
        (messages, notices)
    }

    #[test]
    fn a_slow_module_keeps_the_newest_and_is_told_once() {
        let ((mailbox, woken, losses), topic) = (mailbox(), topic(3));
        mailbox.message(&topic, vec![0]);
        assert_eq!(mailbox.next(), None, "it does not listen");
        mailbox.listen("/a");
        (1..=9).for_each(|nth| mailbox.message(&topic, vec![nth]));
        assert_eq!(woken.load(Ordering::Relaxed), 1);
        let (messages, notices) = taken(&mailbox);
        assert_eq!(messages, [[7], [8], [9]]);
        assert_eq!(notices.len(), 1, "{notices:?}");
        assert_eq!(losses.all(), [Lost { name: "/a".to_owned(), how: Loss::Behind, count: 6 }]);
        mailbox.message(&topic, vec![1]);
        assert_eq!(woken.load(Ordering::Relaxed), 2);
        mailbox.listen_no_longer("/a");
        assert_eq!(taken(&mailbox).0.len(), 0);
    }

    #[test]
    fn what_waits_has_a_bound_in_bytes() {
        let ((mailbox, _, losses), topic) = (mailbox(), topic(1000));
        mailbox.listen("/a");
        (0..20).for_each(|_| mailbox.message(&topic, vec![0; 1024 * 1024]));
        assert_eq!(taken(&mailbox).0.len(), 16);
        assert_eq!(losses.all()[0].count, 4);
    }

    #[test]
    fn what_the_device_does_not_take_is_lost_and_told() {
        let (losses, topic) = (Losses::default(), topic(10));
        let room = Room { message_bytes: 10, waiting_bytes: 20 };
        let mailbox = Mailbox::new(losses.clone(), room, Box::new(|| {}));
        mailbox.listen("/a");
        [8, 9, 8, 8].into_iter().for_each(|len| mailbox.message(&topic, vec![0; len]));
        let (messages, notices) = taken(&mailbox);
        assert_eq!(messages.iter().map(Vec::len).collect::<Vec<_>>(), [8, 8], "no more than 20 bytes wait");
        assert!(
            notices[0].ends_with("one has 11 bytes with its name, and the device takes 10"),
            "{notices:?}"
        );
        assert_eq!(
            losses.all().iter().map(|lost| lost.how).collect::<Vec<_>>(),
            [Loss::Behind, Loss::TooLong]
        );
    }

    #[test]
    fn the_oldest_request_is_forgotten() {
        let (mailbox, _, _) = mailbox();
        let text = "[[service]]\nname = '/s'\ntype = 'std_srvs/srv/Empty'\n";
        let config: Config = toml::from_str(text).expect("TOML");
        let service = Arc::clone(&config.validate("d").expect("valid").services["/s"]);
        for nth in 0..=MAX_SERVICE_CALLS {
            let id = RmwRequestId { sequence_number: nth as i64, ..RmwRequestId::default() };
            mailbox.request(2, &service, id, vec![nth as u8]);
        }
        assert_eq!(mailbox.asked(0), Err(Errno::NotFound));
        assert_eq!(mailbox.asked(1).map(|(service, id)| (service, id.sequence_number)), Ok((2, 1)));
        mailbox.answered(1);
        assert_eq!(mailbox.asked(1), Err(Errno::NotFound));
        let (requests, _) = taken(&mailbox);
        assert_eq!(requests.first(), Some(&vec![1]));
        assert_eq!(requests.len(), MAX_SERVICE_CALLS);
    }
}
