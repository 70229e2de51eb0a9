//! One run of an instance: its place in ROS 2, and its device's end of the way there.

use std::{
    collections::{BTreeSet, VecDeque},
    fmt,
};

use wasmbed_abi::{Errno, MAX_LOG_BYTES, MAX_SERVICE_CALLS, RosName};
use wasmbed_gateway::{GatewayEnd, Said, Tell};
use wasmbed_ros::{Event, Refused, Ros, Station};
use wasmbed_wire::ros::{
    MAX_ROS_CONTENT_BYTES, RosCall, RosHave, RosPublication, RosQuestion, RosReply, RosWant, RosWhat,
};

/// Time between two explanations of what a module is refused, in milliseconds: it may ask hundreds of times a second.
const QUIET_MS: u64 = 1_000;
/// What may wait to be explained.
const MAX_NOTICES: usize = 16;
/// The longest time of an instance that calls nothing which is configured: what it calls ends at once.
const PATIENCE_MS: u32 = 5_000;

pub(super) struct Post {
    end: GatewayEnd,
    station: Station,
    topics: BTreeSet<String>,
    /// Those that it calls.
    clients: Vec<String>,
    /// Those that it offers, by the station's number.
    services: Vec<String>,
    /// Calls under way: the station's ticket and the device's.
    calls: VecDeque<(u32, u32)>,
    /// Responses of calls that never began, and the answer to the last question.
    answers: VecDeque<Tell>,
    notices: VecDeque<String>,
    explained_ms: Option<u64>,
}

impl Post {
    pub(super) fn new(run: u32, first: u64, station: Station) -> Self {
        Post {
            end: GatewayEnd::new(run, first),
            station,
            topics: BTreeSet::new(),
            clients: Vec::new(),
            services: Vec::new(),
            calls: VecDeque::new(),
            answers: VecDeque::new(),
            notices: VecDeque::new(),
            explained_ms: None,
        }
    }

    pub(super) fn run(&self) -> u32 {
        self.end.run()
    }

    /// What its device is told that the gateway knows.
    pub(super) fn have(&self, ros: &Ros) -> RosHave {
        let longest = ros.longest_timeout(self.clients.iter().map(String::as_str));
        let patience_ms = longest.and_then(|longest| u32::try_from(longest.as_millis()).ok());
        self.end.have(patience_ms.unwrap_or(PATIENCE_MS))
    }

    /// Becomes what it wants to be, if that is news.
    pub(super) fn want(&mut self, want: &RosWant<'_>) {
        if !self.end.is_newer(want.number) {
            return;
        }
        let wanted: BTreeSet<String> = want.topics.iter().map(str::to_owned).collect();
        for gone in self.topics.difference(&wanted) {
            if let Ok(topic) = RosName::parse(gone.as_bytes()) {
                self.station.unsubscribe(topic);
            }
        }
        let new: Vec<String> = wanted.difference(&self.topics).cloned().collect();
        self.topics = wanted;
        for topic in new {
            let subscribed = name(&topic).and_then(|topic| self.station.subscribe(topic));
            self.told(&topic, subscribed);
        }
        for service in want.clients.iter() {
            if self.clients.iter().any(|known| known == service) {
                continue;
            }
            let client = name(service).and_then(|service| self.station.client(service));
            if self.told(service, client).is_some() {
                self.clients.push(service.to_owned());
            }
        }
        for service in want.services.iter() {
            if self.services.iter().any(|known| known == service) {
                continue;
            }
            let number = name(service).and_then(|service| self.station.offer(service));
            if self.told(service, number).is_some() {
                self.services.push(service.to_owned());
            }
        }
    }

    /// Takes in anything else that it says.
    pub(super) fn hear(&mut self, now_ms: u64, said: &Said<'_>) {
        match said {
            Said::Publish(publication) => self.publish(now_ms, publication),
            Said::Call(call) => self.call(now_ms, call),
            Said::Reply(reply) => self.reply(now_ms, reply),
            Said::Ask(question) => self.answer(question),
            Said::Taken(taken) => self.end.on_taken(now_ms, taken.seq),
            // It is more than a message for this run.
            Said::Want(_) => {}
        }
    }

    fn publish(&mut self, now_ms: u64, publication: &RosPublication<'_>) {
        let RosPublication { topic, bytes, .. } = *publication;
        let published = name(topic).and_then(|topic| self.station.publish(topic, bytes));
        if let Err(refused) = published {
            self.explain(now_ms, &format_args!("{topic}: {refused}"));
        }
    }

    fn call(&mut self, now_ms: u64, call: &RosCall<'_>) {
        let RosCall { ticket, service, bytes, .. } = *call;
        if !self.end.is_first_call(ticket) {
            return;
        }
        let client = name(service).and_then(|service| self.station.client(service));
        match client.and_then(|client| self.station.call(client, bytes)) {
            Ok(own) => self.calls.push_back((own, ticket)),
            Err(refused) => {
                self.explain(now_ms, &format_args!("{service}: {refused}"));
                let errno = match refused.errno {
                    // To the module these mean that the call is under way, or that there is none.
                    Errno::Busy | Errno::NotFound => Errno::Io,
                    errno => errno,
                };
                self.end_call(ticket, Err(errno));
            }
        }
    }

    fn reply(&mut self, now_ms: u64, reply: &RosReply<'_>) {
        if let Err(refused) = self.station.respond(reply.ticket, reply.bytes) {
            self.explain(now_ms, &format_args!("request {}: {refused}", reply.ticket));
        }
    }

    fn answer(&mut self, question: &RosQuestion<'_>) {
        let mut out = [0; MAX_ROS_CONTENT_BYTES];
        let answer = match question.node {
            Some(node) => match RosName::parse(node.as_bytes()) {
                Ok(node) => self.station.node(node, &mut out),
                Err(errno) => Err(errno),
            },
            None => self.station.topic(question.nth, &mut out),
        };
        let content = answer.map(|len| out.get(..len).unwrap_or_default().to_vec());
        // One question at a time: what came before is of no interest any more.
        self.answers.retain(|tell| tell.what != RosWhat::Answer);
        self.answers.push_back(about(RosWhat::Answer, question.ticket, content));
    }

    /// Puts the next thing on its way, if the last was taken.
    pub(super) fn advance(&mut self, now_ms: u64) {
        if self.end.is_free()
            && let Some(tell) = self.next()
        {
            self.end.tell(now_ms, tell);
        }
    }

    fn next(&mut self) -> Option<Tell> {
        self.end_calls();
        if let Some(answer) = self.answers.pop_front() {
            return Some(answer);
        }
        if let Some(text) = self.notices.pop_front() {
            return Some(notice(&text));
        }
        // The rest is asked for when this was taken.
        let (event, _) = self.station.next()?;
        Some(match event {
            Event::Message { topic, bytes } => {
                Tell { what: RosWhat::Message, name: topic, ticket: 0, content: Ok(bytes) }
            }
            Event::Request { service, ticket, bytes } => {
                let name = usize::try_from(service).ok().and_then(|nth| self.services.get(nth));
                let name = name.cloned().unwrap_or_default();
                Tell { what: RosWhat::Request, name, ticket, content: Ok(bytes) }
            }
            Event::Notice(text) => notice(&text),
        })
    }

    /// Takes the responses that there are.
    fn end_calls(&mut self) {
        let mut out = [0; MAX_ROS_CONTENT_BYTES];
        for (own, ticket) in std::mem::take(&mut self.calls) {
            match self.station.response(own, &mut out) {
                Err(Errno::Busy) => self.calls.push_back((own, ticket)),
                Ok(len) => self.end_call(ticket, Ok(out.get(..len).unwrap_or_default().to_vec())),
                Err(Errno::NoSpace) => {
                    self.notice(format!(
                        "a response is longer than the device takes, which is {MAX_ROS_CONTENT_BYTES} bytes"
                    ));
                    self.end_call(ticket, Err(Errno::Io));
                }
                Err(errno) => self.end_call(ticket, Err(errno)),
            }
        }
    }

    /// Ends of which there are more than a module can ask for are of no use.
    fn end_call(&mut self, ticket: u32, content: Result<Vec<u8>, Errno>) {
        if self.answers.len() > MAX_SERVICE_CALLS {
            self.answers.pop_front();
        }
        self.answers.push_back(about(RosWhat::Response, ticket, content));
    }

    /// The message that is due, to be said now.
    pub(super) fn poll(&mut self, now_ms: u64) -> Option<Vec<u8>> {
        self.end.poll(now_ms)
    }

    pub(super) fn next_deadline(&self) -> Option<u64> {
        self.end.next_deadline()
    }

    /// Tells the module's log something.
    pub(super) fn notice(&mut self, text: String) {
        if self.notices.len() < MAX_NOTICES {
            self.notices.push_back(text);
        }
    }

    /// The same, once a second at most for everything that a module does again and again.
    pub(super) fn explain(&mut self, now_ms: u64, why: &dyn fmt::Display) {
        if self.explained_ms.is_none_or(|explained| now_ms.saturating_sub(explained) >= QUIET_MS) {
            self.explained_ms = Some(now_ms);
            self.notice(why.to_string());
        }
    }

    /// What came of something that is wanted; the log says why nothing did.
    fn told<T>(&mut self, what: &str, said: Result<T, Refused>) -> Option<T> {
        said.map_err(|refused| self.notice(format!("{what}: {refused}"))).ok()
    }
}

fn name(text: &str) -> Result<RosName<'_>, Refused> {
    RosName::parse(text.as_bytes()).map_err(|errno| Refused::new(errno, "it is no name of ROS 2".to_owned()))
}

fn about(what: RosWhat, ticket: u32, content: Result<Vec<u8>, Errno>) -> Tell {
    Tell { what, name: String::new(), ticket, content }
}

/// A line of the log, as long as one may be.
fn notice(text: &str) -> Tell {
    let line = text.get(..text.floor_char_boundary(MAX_LOG_BYTES)).unwrap_or_default();
    about(RosWhat::Notice, 0, Ok(line.as_bytes().to_vec()))
}
