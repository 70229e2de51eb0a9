use std::{string::String, vec, vec::Vec};

use wasmbed_core::Platform as _;
use wasmbed_update::{ImageSlot, Layout, model::Nor};
use wasmbed_wire::{
    PublicKey, Seq,
    limits::Class,
    link::{Config as LinkConfig, Link},
    message::{ResetCause, State, Status},
};

use super::*;
use crate::heap::HeapUse;

const SECTOR: u32 = 0x1000;
const SHEET: Sheet = Sheet {
    name: "test",
    class: Class::Mcu,
    slot_bytes: 8192,
    block_bytes: 1024,
    window_blocks: 2,
    desired_bytes: 1024,
    layout: Layout::new(0, SECTOR, 0x4000, 0x1000),
};
const START: Start = Start { starts: 3, cause: ResetCause::Watchdog, last_boot: 40, crash: None };
/// Steps a world may take to get anywhere.
const STEPS: usize = 200;

/// The line between a board and its host, and their time.
#[derive(Default)]
struct Line {
    to_board: Vec<u8>,
    to_host: Vec<u8>,
    now_us: u64,
}

struct TestBoard(Rc<RefCell<Line>>);

impl Board for TestBoard {
    fn now_us(&self) -> u64 {
        self.0.borrow().now_us
    }

    fn read(&mut self, out: &mut [u8]) -> usize {
        let mut line = self.0.borrow_mut();
        let count = out.len().min(line.to_board.len());
        for (place, byte) in out.iter_mut().zip(line.to_board.drain(..count)) {
            *place = byte;
        }
        count
    }

    fn room(&self) -> usize {
        4096
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.borrow_mut().to_host.extend_from_slice(bytes);
    }

    fn sleep(&mut self, _: Option<u64>) {
        self.0.borrow_mut().now_us += 10_000;
    }

    fn reset(&mut self) -> ! {
        panic!("reset")
    }

    fn heap(&self) -> HeapUse {
        HeapUse { total: 100_000, ..HeapUse::default() }
    }

    fn stack_free(&self) -> usize {
        1000
    }
}

/// A board under test and a host that notes what it hears.
struct World {
    line: Rc<RefCell<Line>>,
    driver: Driver<TestBoard, Nor, 2>,
    host: Link<2048, 4096>,
    wills: Vec<State>,
    topics: Vec<String>,
    console: Vec<String>,
}

fn host_link(now: u64, session: u16) -> Link<2048, 4096> {
    Link::new(now, LinkConfig { window: 4, resend_ms: 100, ping_ms: Some(500), dead_ms: 2_000 }, session)
}

impl World {
    fn new() -> Self {
        World::running(None)
    }

    fn running(running: Option<Running>) -> Self {
        let line = Rc::new(RefCell::new(Line::default()));
        let port = open_port(TestBoard(Rc::clone(&line)), &SHEET, 7, largest_message_bytes(2));
        let keys: &'static [PublicKey] = &[];
        let device = "dut".parse().expect("a name");
        let provision =
            Provision { device, trusted: Seq::new(keys), boot_floor: 30, secret: None, broker: None };
        let mut blob = vec![0; 256];
        provision.write(&mut blob).expect("room");
        let board = SHEET.name.parse().expect("a name");
        let flash = Nor::new(SHEET.layout.end(), SECTOR);
        let setup = Box::new(Setup {
            sheet: &SHEET,
            provision: blob.leak(),
            flash,
            running,
            is_recovery: false,
            start: START,
            keep_boot: |_| {},
        });
        let mut driver = Driver::new(port, board, setup);
        driver.agent.wake();
        let (wills, topics, console) = (Vec::new(), Vec::new(), Vec::new());
        World { line, driver, host: host_link(0, 1), wills, topics, console }
    }

    fn step(&mut self) {
        self.driver.step();
        let (bytes, now) = {
            let mut line = self.line.borrow_mut();
            (core::mem::take(&mut line.to_host), line.now_us / 1000)
        };
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let taken = self.host.on_bytes(now, rest);
            rest = &rest[taken..];
            while let Some(event) = self.host.poll_event() {
                match event {
                    Event::Datagram(datagram) => {
                        let datagram = datagram.to_vec();
                        self.hear(&datagram);
                    }
                    Event::Console(text) => self.console.push(String::from_utf8_lossy(text).into_owned()),
                    Event::Up | Event::Down => {}
                }
            }
        }
        let mut frame = [0; 4096];
        loop {
            match self.host.transmit(now, &mut frame) {
                0 => break,
                len => self.line.borrow_mut().to_board.extend_from_slice(&frame[..len]),
            }
        }
    }

    fn hear(&mut self, datagram: &[u8]) {
        match FromBoard::decode(datagram).expect("a datagram") {
            FromBoard::Open { will, .. } => {
                self.wills.push(minicbor::decode(will).expect("a will"));
                self.say(&ToBoard::Session { up: true });
            }
            FromBoard::Publish { token, topic, .. } => {
                self.topics.push(topic.into());
                if token != 0 {
                    self.say(&ToBoard::Acked { token });
                }
            }
        }
    }

    fn say(&mut self, datagram: &ToBoard<'_>) {
        let mut bytes = [0; 256];
        let len = datagram.encode(&mut bytes).expect("room");
        self.host.send(&bytes[..len]).expect("room");
    }

    fn run_until(&mut self, what: &str, done: impl Fn(&World) -> bool) {
        for _ in 0..STEPS {
            if done(self) {
                return;
            }
            self.step();
        }
        panic!("not within {STEPS} steps: {what}; heard {:?} and {:?}", self.topics, self.console);
    }
}

#[test]
fn a_board_opens_its_session_and_introduces_itself() {
    let mut world = World::new();
    world.run_until("a heartbeat", |world| world.topics.iter().any(|topic| topic == "up/hb"));
    assert_eq!(world.topics[..3], ["up/info", "up/state", "up/reported"]);
    assert_eq!(world.wills, [State { status: Status::Offline, boot: 41 }]);
    assert!(world.console.iter().any(|line| line == "device dut"), "{:?}", world.console);
}

#[test]
fn the_version_is_that_of_the_image_that_runs() {
    let version = |world: &World| String::from(world.driver.agent.platform().facts().firmware);
    let running = Running { slot: ImageSlot::A, version: "1.2.3".try_into().expect("short"), tries: None };
    assert_eq!(version(&World::running(Some(running))), "1.2.3");
    assert_eq!(version(&World::new()), VERSION);
}

#[test]
fn a_host_that_starts_again_finds_the_board_under_a_higher_number() {
    let mut world = World::new();
    world.run_until("a heartbeat", |world| world.topics.iter().any(|topic| topic == "up/hb"));
    let now = world.line.borrow().now_us / 1000;
    world.host = host_link(now, 900);
    world.topics.clear();
    world.run_until("another heartbeat", |world| world.topics.iter().any(|topic| topic == "up/hb"));
    assert_eq!(world.wills.iter().map(|will| will.boot).collect::<Vec<_>>(), [41, 42]);
}

#[test]
fn a_message_that_means_nothing_is_told_and_does_no_harm() {
    let mut world = World::new();
    world.run_until("a session", |world| world.topics.len() > 2);
    world.say(&ToBoard::Deliver { topic: "dn/desired", payload: b"\xff\xff" });
    world.run_until("a complaint", |world| {
        world
            .console
            .iter()
            .any(|line| line == "dn/desired: refused: not signed, or not the message of its topic")
    });
    assert!(world.driver.agent.is_connected());
}
