//! Both ends with a way between them that loses, repeats and reorders, in virtual time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

// The fuzz target, so that ordinary tests run it too.
#[path = "../fuzz/src/lib.rs"]
#[allow(unreachable_pub, reason = "it is a crate of its own for the fuzzer")]
mod entries;

use std::collections::BTreeSet;

use proptest::prelude::*;
use wasmbed_abi::{Errno, RosName};
use wasmbed_gateway::{DeviceEnd, Event, GatewayEnd, Said, Tell};
use wasmbed_wire::{
    ros::{MAX_ROS_CONTENT_BYTES, RosHave, RosWhat},
    topic::{RosDown, RosUp},
};

const RUN: u32 = 77;
/// How long a call takes at the gateway, at most.
const PATIENCE_MS: u32 = 3_000;

fn name(text: &str) -> RosName<'_> {
    RosName::parse(text.as_bytes()).expect(text)
}

/// What becomes of a message on its way.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Arrives,
    Lost,
    Twice,
    /// After what is said next.
    Late,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![5 => Just(Fate::Arrives), 2 => Just(Fate::Lost), 1 => Just(Fate::Twice), 1 => Just(Fate::Late)]
}

/// A way in one direction: fates in turn, then everything arrives.
struct Way<K> {
    fates: Vec<Fate>,
    waiting: Vec<(K, Vec<u8>)>,
    late: Option<(K, Vec<u8>)>,
}

impl<K: Copy> Way<K> {
    fn new(mut fates: Vec<Fate>) -> Self {
        fates.reverse();
        Way { fates, waiting: Vec::new(), late: None }
    }

    fn put(&mut self, kind: K, message: &[u8]) {
        let message = (kind, message.to_vec());
        match self.fates.pop().unwrap_or(Fate::Arrives) {
            Fate::Lost => {}
            Fate::Late => self.waiting.extend(self.late.replace(message)),
            Fate::Arrives => self.waiting.extend([Some(message), self.late.take()].into_iter().flatten()),
            Fate::Twice => self.waiting.extend([message.clone(), message]),
        }
    }

    fn take(&mut self) -> Vec<(K, Vec<u8>)> {
        std::mem::take(&mut self.waiting)
    }
}

/// A device and a gateway.
struct World {
    now_ms: u64,
    device: DeviceEnd,
    gateway: Option<GatewayEnd>,
    up: Way<RosUp>,
    down: Way<RosDown>,
    /// What the gateway knows that the instance wants.
    topics: Vec<String>,
    /// Calls the gateway made.
    called: Vec<u32>,
    /// Responses that it has.
    to_tell: Vec<Tell>,
    published: Vec<Vec<u8>>,
    /// What the module was told.
    told: Vec<Event>,
    /// Whether there is a gateway.
    is_there: bool,
    /// The number of the first thing that a gateway tells.
    first: u64,
}

impl World {
    fn new(up: Vec<Fate>, down: Vec<Fate>) -> Self {
        World {
            now_ms: 0,
            device: DeviceEnd::new(0, RUN),
            gateway: None,
            up: Way::new(up),
            down: Way::new(down),
            topics: Vec::new(),
            called: Vec::new(),
            to_tell: Vec::new(),
            published: Vec::new(),
            told: Vec::new(),
            is_there: true,
            first: 1,
        }
    }

    fn perfect() -> Self {
        World::new(Vec::new(), Vec::new())
    }

    /// Something that the module does.
    fn act<R>(&mut self, act: impl FnOnce(&mut DeviceEnd, u64, wasmbed_gateway::Port<'_>) -> R) -> R {
        let World { device, up, now_ms, .. } = self;
        act(device, *now_ms, &mut |kind, message| {
            up.put(kind, message);
            Ok(())
        })
    }

    fn tell(&mut self, nth: usize) {
        let content = Ok(nth.to_string().into_bytes());
        self.to_tell.push(Tell { what: RosWhat::Message, name: "/in".to_owned(), ticket: 0, content });
    }

    /// Lets everything happen that happens at this time.
    fn settle(&mut self) {
        loop {
            self.act(|device, now_ms, port| device.poll(now_ms, port));
            if let Some(event) = self.device.take_event(self.now_ms) {
                self.told.push(event);
                self.act(|device, now_ms, port| device.poll(now_ms, port));
            }
            let said = self.up.take();
            let heard = self.down.take();
            if said.is_empty() && heard.is_empty() && !self.gateway_speaks() {
                return;
            }
            let is_there = self.is_there;
            for (kind, message) in said.into_iter().filter(|_| is_there) {
                self.hear(kind, &message);
            }
            self.gateway_speaks();
            for (kind, message) in heard {
                self.device.on_message(self.now_ms, kind, &message).expect("a message");
            }
        }
    }

    fn hear(&mut self, kind: RosUp, message: &[u8]) {
        assert!(message.len() <= 1024, "{kind:?} of {} bytes", message.len());
        let said = Said::read(kind, message).expect("a message");
        if let Said::Want(want) = said {
            let gateway = self.gateway.get_or_insert_with(|| GatewayEnd::new(want.run, self.first));
            if gateway.is_newer(want.number) {
                self.topics = want.topics.iter().map(str::to_owned).collect();
            }
            let have = gateway.have(PATIENCE_MS);
            return self.down.put(RosDown::Have, &minicbor_of(have));
        }
        let Some(gateway) = &mut self.gateway else {
            return self.down.put(RosDown::Have, &minicbor_of(RosHave::default()));
        };
        match said {
            Said::Call(call) if gateway.is_first_call(call.ticket) => {
                self.called.push(call.ticket);
                let content = Ok(call.bytes.to_vec());
                let (ticket, name) = (call.ticket, String::new());
                self.to_tell.push(Tell { what: RosWhat::Response, name, ticket, content });
            }
            Said::Publish(publication) => self.published.push(publication.bytes.to_vec()),
            Said::Taken(taken) => gateway.on_taken(self.now_ms, taken.seq),
            _ => {}
        }
    }

    fn gateway_speaks(&mut self) -> bool {
        let Some(gateway) = self.gateway.as_mut().filter(|_| self.is_there) else { return false };
        if gateway.is_free() && !self.to_tell.is_empty() {
            gateway.tell(self.now_ms, self.to_tell.remove(0));
        }
        let due = gateway.poll(self.now_ms);
        due.iter().for_each(|message| self.down.put(RosDown::Tell, message));
        due.is_some()
    }

    /// Lets time pass up to there, from deadline to deadline.
    fn run_until(&mut self, end_ms: u64) {
        self.settle();
        for _ in 0..10_000 {
            let gateway = self.gateway.as_ref().and_then(GatewayEnd::next_deadline);
            let next = [self.device.next_deadline(), gateway].into_iter().flatten().min().unwrap_or(end_ms);
            assert!(next > self.now_ms, "something is due and does not happen");
            if next >= end_ms {
                self.now_ms = end_ms;
                return self.settle();
            }
            self.now_ms = next;
            self.settle();
        }
        panic!("too much happens");
    }

    fn response(&self, ticket: u32) -> Result<Vec<u8>, Errno> {
        let mut out = vec![0; MAX_ROS_CONTENT_BYTES];
        self.device.response(ticket, &mut out).map(|len| out[..len].to_vec())
    }
}

fn minicbor_of(have: RosHave) -> Vec<u8> {
    let mut bytes = Vec::new();
    minicbor::encode(have, &mut bytes).expect("vectors grow");
    bytes
}

fn numbers(told: &[Event]) -> Vec<usize> {
    let number = |event: &Event| match event {
        Event::Message { topic, bytes } if topic == "/in" => std::str::from_utf8(bytes).ok()?.parse().ok(),
        _ => None,
    };
    told.iter().filter_map(number).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whatever_the_way_does_both_ends_come_to_agree(
        up in prop::collection::vec(fate(), 0..60),
        down in prop::collection::vec(fate(), 0..60),
        calls in 0_usize..6,
    ) {
        let mut world = World::new(up, down);
        world.device.subscribe(0, name("/in")).expect("room");
        let client = world.device.client(0, name("/ask")).expect("room");
        world.settle();
        let mut tickets = BTreeSet::new();
        for nth in 0..calls {
            let request = [nth as u8];
            tickets.insert(world.act(|device, now, port| device.call(now, client, &request, port)).expect("room"));
            (0..3).for_each(|message| world.tell(nth * 3 + message));
            world.run_until(world.now_ms + 700);
        }
        world.device.subscribe(world.now_ms, name("/later")).expect("room");
        // As long as everything may be lost once more, with the longest pauses between.
        world.run_until(world.now_ms + 60 * 30_000);
        prop_assert_eq!(&world.topics, &["/in", "/later"]);
        prop_assert_eq!(numbers(&world.told), (0..calls * 3).collect::<Vec<_>>(), "once, and in order");
        let made: BTreeSet<u32> = world.called.iter().copied().collect();
        prop_assert_eq!(made.len(), world.called.len(), "a call was made twice");
        for (nth, ticket) in tickets.into_iter().enumerate() {
            match world.response(ticket) {
                Ok(response) => prop_assert_eq!(response, [nth as u8]),
                Err(errno) => prop_assert_eq!(errno, Errno::TimedOut),
            }
        }
    }
}

#[test]
fn a_request_is_answered_and_a_message_published() {
    let mut world = World::perfect();
    let service = world.device.offer(0, name("/set")).unwrap();
    world.act(|device, now, port| device.publish(now, name("/out"), b"hi", port)).unwrap();
    world.settle();
    assert_eq!(world.published, [b"hi"]);
    let content = Ok(b"on".to_vec());
    world.to_tell.push(Tell { what: RosWhat::Request, name: "/set".to_owned(), ticket: 9, content });
    world.settle();
    assert_eq!(world.told, [Event::Request { service, ticket: 9, bytes: b"on".to_vec() }]);
    let replies = |world: &mut World| world.act(|device, _, port| device.respond(9, b"done", port));
    assert_eq!((replies(&mut world), replies(&mut world)), (Ok(()), Err(Errno::NotFound)), "once");
}

#[test]
fn without_a_gateway_calls_end_and_the_log_says_why() {
    let mut world = World::perfect();
    world.is_there = false;
    let client = world.device.client(0, name("/ask")).unwrap();
    let ticket = world.act(|device, now, port| device.call(now, client, b"?", port)).unwrap();
    world.run_until(6_999);
    assert_eq!(world.response(ticket), Err(Errno::Busy));
    world.run_until(7_000);
    assert_eq!(world.response(ticket), Err(Errno::TimedOut));
    world.run_until(600_000);
    let [Event::Notice(text)] = &world.told[..] else { panic!("{:?}", world.told) };
    assert!(text.starts_with("no gateway of ROS 2 answers"), "{text}");
    // It comes after all.
    world.is_there = true;
    world.run_until(700_000);
    assert!(world.gateway.is_some());
}

#[test]
fn a_gateway_that_starts_again_is_told_and_goes_on() {
    let mut world = World::perfect();
    world.device.subscribe(0, name("/in")).unwrap();
    (0..5).for_each(|nth| world.tell(nth));
    world.settle();
    (world.gateway, world.first) = (None, 3);
    world.topics.clear();
    world.down.put(RosDown::Have, &minicbor_of(RosHave::default()));
    world.run_until(2_000);
    assert_eq!(world.topics, ["/in"]);
    // Its numbers are below those of the one before.
    (5..8).for_each(|nth| world.tell(nth));
    world.run_until(10_000);
    assert_eq!(numbers(&world.told), [0, 1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn another_run_hears_nothing_of_the_one_before() {
    let mut world = World::perfect();
    world.device.subscribe(0, name("/in")).unwrap();
    world.settle();
    world.device = DeviceEnd::new(0, RUN + 1);
    world.device.subscribe(0, name("/in")).unwrap();
    world.tell(0);
    world.run_until(100_000);
    assert_eq!(world.told.iter().filter(|told| !matches!(told, Event::Notice(_))).count(), 0);
}

#[test]
fn what_is_too_long_is_refused() {
    let mut world = World::perfect();
    let long = vec![0; MAX_ROS_CONTENT_BYTES - "/out".len()];
    assert_eq!(world.act(|device, now, port| device.publish(now, name("/out"), &long, port)), Ok(()));
    let longer = vec![0; long.len() + 1];
    assert_eq!(
        world.act(|device, now, port| device.publish(now, name("/out"), &longer, port)),
        Err(Errno::TooLong)
    );
    world.settle();
    assert_eq!(world.published, [long]);
}

#[test]
fn what_has_no_room_on_the_way_is_busy_and_costs_nothing() {
    let mut world = World::perfect();
    let client = world.device.client(0, name("/ask")).unwrap();
    let full = |device: &mut DeviceEnd| device.call(0, client, b"?", &mut |_, _| Err(Errno::Busy));
    assert_eq!(full(&mut world.device), Err(Errno::Busy));
    let ticket = world.act(|device, now, port| device.call(now, client, b"?", port)).unwrap();
    world.run_until(1_000);
    assert_eq!((ticket, world.response(ticket)), (0, Ok(b"?".to_vec())));
}

proptest! {
    #[test]
    fn any_bytes_are_taken(data in prop::collection::vec(any::<u8>(), 0..400)) {
        entries::ends(&data);
    }
}
