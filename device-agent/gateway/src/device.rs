//! The device's end: what one instance of a module has to do with ROS 2.

use alloc::{
    collections::VecDeque,
    string::{String, ToString as _},
    vec::Vec,
};

use wasmbed_abi::{Errno, MAX_SERVICE_CALLS, RosName};
use wasmbed_wire::{
    ros::{RosCall, RosHave, RosPublication, RosQuestion, RosReply, RosTaken, RosTell, RosWhat},
    topic::{RosDown, RosUp},
};

use crate::{
    calls::Calls,
    copied, encoded, fits,
    question::{About, Questions},
    said::{Malformed, decoded},
    wants::Wants,
};

/// How long a call may take at the gateway as long as that is not known, in milliseconds.
const PATIENCE_MS: u32 = 5_000;
/// How much longer a call lasts here, so that an answer of the gateway comes first.
const MARGIN_MS: u64 = 2_000;
/// Between the first two times that something is said; each pause is twice the one before, up to the last.
const FIRST_PAUSE_MS: u64 = 1_000;
const LAST_PAUSE_MS: u64 = 30_000;
/// Between two times at the least, whatever is heard.
const LEAST_PAUSE_MS: u64 = 500;
/// Until something that had no room is tried again.
const NO_ROOM_MS: u64 = 100;
/// Silence of the gateway after which the module's log says so.
const SILENCE_MS: u64 = 10_000;

/// Where messages go: it takes one, or says that it cannot now.
pub type Port<'p> = &'p mut dyn FnMut(RosUp, &[u8]) -> Result<(), Errno>;

/// Something that happened to a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A message on a topic that it listens to.
    Message {
        /// The topic.
        topic: String,
        /// The message.
        bytes: Vec<u8>,
    },
    /// A request to a service that it offers.
    Request {
        /// The number of the service.
        service: u32,
        /// What it is answered with.
        ticket: u32,
        /// The request.
        bytes: Vec<u8>,
    },
    /// A line for its log.
    Notice(String),
}

/// One instance, from its start to its end. Times are in milliseconds of any clock that only goes forward.
#[derive(Debug)]
pub struct DeviceEnd {
    run: u32,
    wants: Wants,
    want: Level,
    /// The longest time that a call takes at the gateway.
    patience_ms: u32,
    calls: Calls,
    /// Tickets of requests that can be answered, the oldest first.
    requests: VecDeque<u32>,
    questions: Questions,
    /// The number of what was heard last.
    heard: u64,
    /// What was heard last, until the module is told.
    event: Option<Event>,
    /// When to say that it was taken.
    taken_ms: Option<u64>,
    /// Since when the gateway is silent; nothing once the module's log says so.
    silent_ms: Option<u64>,
}

/// What is said until the other end has it.
#[derive(Debug)]
struct Level {
    /// Rises with every change.
    number: u32,
    /// The number that was said last, and when.
    said: (u32, u64),
    /// When to say it; nothing while the other end has it.
    due_ms: Option<u64>,
    pause_ms: u64,
}

impl Level {
    fn soon(&mut self, now_ms: u64) {
        self.due_ms = Some(now_ms.max(self.said.1.saturating_add(LEAST_PAUSE_MS)));
        self.pause_ms = FIRST_PAUSE_MS;
    }
}

impl DeviceEnd {
    /// An instance that wants nothing yet. `run` is another one than that of any instance before it in this place, also
    /// before the device was reset.
    pub fn new(now_ms: u64, run: u32) -> Self {
        DeviceEnd {
            // 0 is nobody's.
            run: run.max(1),
            wants: Wants::default(),
            want: Level { number: 1, said: (0, 0), due_ms: Some(now_ms), pause_ms: FIRST_PAUSE_MS },
            patience_ms: PATIENCE_MS,
            calls: Calls::default(),
            requests: VecDeque::new(),
            questions: Questions::default(),
            heard: 0,
            event: None,
            taken_ms: None,
            silent_ms: Some(now_ms),
        }
    }

    // ---- what the module does ----

    /// Publishes a message.
    ///
    /// # Errors
    /// [`Errno::TooLong`] if a message of the device has no room for it, [`Errno::Busy`].
    pub fn publish(
        &mut self,
        now_ms: u64,
        topic: RosName<'_>,
        message: &[u8],
        port: Port<'_>,
    ) -> Result<(), Errno> {
        let topic = topic.as_str();
        fits(topic, message)?;
        self.introduce(now_ms, port)?;
        port(RosUp::Publish, &encoded(RosPublication { run: self.run, topic, bytes: message })?)
    }

    /// Listens to a topic.
    ///
    /// # Errors
    /// [`Errno::NoSpace`] if the names that the instance uses are too long together.
    pub fn subscribe(&mut self, now_ms: u64, topic: RosName<'_>) -> Result<(), Errno> {
        if self.wants.topic(topic)? {
            self.changed(now_ms);
        }
        Ok(())
    }

    /// Listens to it no longer.
    pub fn unsubscribe(&mut self, now_ms: u64, topic: RosName<'_>) {
        if self.wants.no_topic(topic) {
            self.changed(now_ms);
        }
        if matches!(&self.event, Some(Event::Message { topic: heard, .. }) if heard == topic.as_str()) {
            self.take_event(now_ms);
        }
    }

    /// The number of a client of a service.
    ///
    /// # Errors
    /// As for [`subscribe`](Self::subscribe), and if there are too many.
    pub fn client(&mut self, now_ms: u64, service: RosName<'_>) -> Result<u32, Errno> {
        let (number, is_new) = self.wants.client(service)?;
        if is_new {
            self.changed(now_ms);
        }
        Ok(number)
    }

    /// Sends a request; the ticket is for its response.
    ///
    /// # Errors
    /// [`Errno::NotFound`] if there is no such client, [`Errno::TooLong`], [`Errno::Busy`].
    pub fn call(&mut self, now_ms: u64, client: u32, request: &[u8], port: Port<'_>) -> Result<u32, Errno> {
        let service = nth(&self.wants.clients, client)?;
        fits(service, request)?;
        let ticket = self.calls.next()?;
        let call = encoded(RosCall { run: self.run, ticket, service, bytes: request })?;
        self.introduce(now_ms, port)?;
        port(RosUp::Call, &call)?;
        self.calls.begin(now_ms);
        Ok(ticket)
    }

    /// Copies the response to the start of `out` and returns its length.
    ///
    /// # Errors
    /// [`Errno::Busy`] while there is none, [`Errno::TimedOut`] if none came, [`Errno::Io`] if it is of no use,
    /// [`Errno::NoSpace`] if it does not fit, [`Errno::NotFound`] if there is no such ticket any more.
    pub fn response(&self, ticket: u32, out: &mut [u8]) -> Result<usize, Errno> {
        self.calls.response(ticket, out)
    }

    /// Offers a service; its number is in the requests to it.
    ///
    /// # Errors
    /// As for [`client`](Self::client).
    pub fn offer(&mut self, now_ms: u64, service: RosName<'_>) -> Result<u32, Errno> {
        let (number, is_new) = self.wants.service(service)?;
        if is_new {
            self.changed(now_ms);
        }
        Ok(number)
    }

    /// Answers a request, once.
    ///
    /// # Errors
    /// [`Errno::NotFound`] if there is no such request any more, [`Errno::TooLong`], [`Errno::Busy`].
    pub fn respond(&mut self, ticket: u32, response: &[u8], port: Port<'_>) -> Result<(), Errno> {
        let at = self.requests.iter().position(|known| *known == ticket).ok_or(Errno::NotFound)?;
        fits("", response)?;
        port(RosUp::Reply, &encoded(RosReply { run: self.run, ticket, bytes: response })?)?;
        self.requests.remove(at);
        Ok(())
    }

    /// Writes topic number `nth` of those that it may subscribe to, in the order of their names.
    ///
    /// # Errors
    /// [`Errno::Busy`] until the gateway has answered: the module asks again; [`Errno::TimedOut`] if it does not,
    /// [`Errno::NotFound`] after the last one, [`Errno::NoSpace`].
    pub fn topic(&mut self, now_ms: u64, nth: u32, out: &mut [u8], port: Port<'_>) -> Result<usize, Errno> {
        self.ask(now_ms, About::Topic(nth), out, port)
    }

    /// Writes what a node has of what the module may use.
    ///
    /// # Errors
    /// As for [`topic`](Self::topic).
    pub fn node(
        &mut self,
        now_ms: u64,
        node: RosName<'_>,
        out: &mut [u8],
        port: Port<'_>,
    ) -> Result<usize, Errno> {
        self.ask(now_ms, About::Node(node.as_str().to_string()), out, port)
    }

    fn ask(&mut self, now_ms: u64, about: About, out: &mut [u8], port: Port<'_>) -> Result<usize, Errno> {
        if let Some(answered) = self.questions.answer(now_ms, &about, out) {
            return answered;
        }
        self.introduce(now_ms, port)?;
        let (node, nth) = match &about {
            About::Topic(nth) => (None, *nth),
            About::Node(node) => (Some(node.clone()), 0),
        };
        let ticket = self.questions.ask(now_ms, about);
        let question = RosQuestion { run: self.run, ticket, node: node.as_deref(), nth };
        let asked = encoded(question).and_then(|question| port(RosUp::Ask, &question));
        if asked.is_err() {
            self.questions.forget();
        }
        asked.and(Err(Errno::Busy))
    }

    // ---- what happens ----

    /// The device has a connection, perhaps after it had none: what was under way then may be lost.
    pub fn connected(&mut self, now_ms: u64) {
        self.want.soon(now_ms);
        self.silent_ms = Some(now_ms);
    }

    /// Takes in what the gateway says.
    ///
    /// # Errors
    /// If it is no message of its topic.
    pub fn on_message(&mut self, now_ms: u64, kind: RosDown, payload: &[u8]) -> Result<(), Malformed> {
        match kind {
            RosDown::Have => self.on_have(now_ms, &decoded(payload)?),
            RosDown::Tell => self.on_tell(now_ms, &decoded(payload)?),
        }
        Ok(())
    }

    fn on_have(&mut self, now_ms: u64, have: &RosHave) {
        if have.run != self.run {
            return self.want.soon(now_ms);
        }
        self.silent_ms = None;
        self.patience_ms = have.patience_ms;
        if have.number == self.want.number {
            self.want.due_ms = None;
        }
    }

    fn on_tell(&mut self, now_ms: u64, tell: &RosTell<'_>) {
        if tell.run != self.run {
            return;
        }
        if tell.seq <= self.heard {
            // Its acknowledgement got lost, unless the module still has to be told.
            if self.event.is_none() {
                self.taken_ms = Some(now_ms);
            }
        } else if self.event.is_none() && self.hear(now_ms, tell).is_ok() {
            self.heard = tell.seq;
        }
    }

    /// Takes it in, if there is memory for it: it is said again otherwise.
    fn hear(&mut self, now_ms: u64, tell: &RosTell<'_>) -> Result<(), Errno> {
        let bytes = copied(tell.bytes)?;
        let outcome = |bytes| match tell.error {
            None => Ok(bytes),
            Some(number) => Err(errno(number)),
        };
        match tell.what {
            RosWhat::Message => {
                let is_wanted = self.wants.topics.iter().any(|topic| topic == tell.name);
                self.event = is_wanted.then(|| Event::Message { topic: tell.name.to_string(), bytes });
            }
            RosWhat::Request => self.event = self.request(tell, bytes),
            RosWhat::Response => self.calls.end(tell.ticket, outcome(bytes)),
            RosWhat::Answer => self.questions.answered(tell.ticket, outcome(bytes)),
            RosWhat::Notice => {
                self.event = Some(Event::Notice(String::from_utf8_lossy(tell.bytes).into_owned()));
            }
        }
        if self.event.is_none() {
            self.taken_ms = Some(now_ms);
        }
        Ok(())
    }

    fn request(&mut self, tell: &RosTell<'_>, bytes: Vec<u8>) -> Option<Event> {
        let service = self.wants.services.iter().position(|service| service == tell.name)?;
        let service = u32::try_from(service).ok()?;
        self.requests.push_back(tell.ticket);
        if self.requests.len() > MAX_SERVICE_CALLS {
            self.requests.pop_front();
        }
        Some(Event::Request { service, ticket: tell.ticket, bytes })
    }

    /// What the module is to be told, once.
    pub fn take_event(&mut self, now_ms: u64) -> Option<Event> {
        let event = self.event.take()?;
        self.taken_ms = Some(now_ms);
        Some(event)
    }

    /// The number of what it wants, which the gateway has once it says so.
    pub fn wanted(&self) -> u32 {
        self.want.number
    }

    /// Whether there is something to tell the module.
    pub fn has_event(&self) -> bool {
        self.event.is_some()
    }

    /// Says and ends what is due.
    pub fn poll(&mut self, now_ms: u64, port: Port<'_>) {
        self.calls.expire(now_ms, self.call_ms());
        if self.want.due_ms.is_some_and(|due| due <= now_ms) {
            // It is tried again.
            let _ = self.say_want(now_ms, port);
        }
        if self.taken_ms.is_some_and(|due| due <= now_ms) {
            let taken = encoded(RosTaken { run: self.run, seq: self.heard });
            let said = taken.and_then(|taken| port(RosUp::Taken, &taken));
            self.taken_ms = said.is_err().then(|| now_ms.saturating_add(NO_ROOM_MS));
        }
        let is_silent = self.silent_ms.is_some_and(|since| since.saturating_add(SILENCE_MS) <= now_ms);
        if is_silent && self.event.is_none() {
            self.silent_ms = None;
            self.event = Some(Event::Notice(
                "no gateway of ROS 2 answers: what is published goes nowhere, and calls time out".to_string(),
            ));
        }
    }

    /// When to poll again even if nothing happens.
    pub fn next_deadline(&self) -> Option<u64> {
        let silent = self.silent_ms.map(|since| since.saturating_add(SILENCE_MS));
        let calls = self.calls.next_deadline(self.call_ms());
        // The module is told first.
        let silent = silent.filter(|_| self.event.is_none());
        [self.want.due_ms, self.taken_ms, calls, silent].into_iter().flatten().min()
    }

    fn call_ms(&self) -> u64 {
        u64::from(self.patience_ms).saturating_add(MARGIN_MS)
    }

    fn changed(&mut self, now_ms: u64) {
        self.want.number = self.want.number.wrapping_add(1);
        self.want.due_ms = Some(now_ms);
        self.want.pause_ms = FIRST_PAUSE_MS;
        self.silent_ms = self.silent_ms.or(Some(now_ms));
    }

    /// Says what it wants before anything else that depends on it.
    fn introduce(&mut self, now_ms: u64, port: Port<'_>) -> Result<(), Errno> {
        match self.want.said.0 == self.want.number {
            true => Ok(()),
            false => self.say_want(now_ms, port),
        }
    }

    fn say_want(&mut self, now_ms: u64, port: Port<'_>) -> Result<(), Errno> {
        let want = self.wants.with(self.run, self.want.number, |want| encoded(want));
        let said = want.and_then(|want| port(RosUp::Want, &want));
        let pause_ms = match said {
            Ok(()) => {
                self.want.said = (self.want.number, now_ms);
                let next = self.want.pause_ms.saturating_mul(2).min(LAST_PAUSE_MS);
                core::mem::replace(&mut self.want.pause_ms, next)
            }
            Err(_) => NO_ROOM_MS,
        };
        self.want.due_ms = Some(now_ms.saturating_add(pause_ms));
        said
    }
}

fn nth(names: &[String], number: u32) -> Result<&str, Errno> {
    let name = usize::try_from(number).ok().and_then(|nth| names.get(nth));
    name.map(String::as_str).ok_or(Errno::NotFound)
}

/// What a gateway means by a number; [`Errno::Io`] for what is not known here.
fn errno(number: u8) -> Errno {
    let code = -i32::from(number);
    Errno::ALL.iter().copied().find(|errno| errno.code() == code).unwrap_or(Errno::Io)
}
