//! A board without an emulator: the test holds the board's end of the serial line.

use std::{convert::Infallible, path::Path, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::{Instant, sleep, timeout},
};
use wasmbed_wire::{
    bridge::{FromBoard, ToBoard},
    link::{Config, Event, Link, console_frame, encoded_bytes},
    message::{State, Status},
};

use crate::broker::LIMIT;

const RX: usize = 2048;
const TX: usize = 2048;

/// What the bridge said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard {
    Up,
    Down,
    Session(bool),
    Acked(u16),
    Deliver(String, Vec<u8>),
}

pub(crate) struct Board {
    line: UnixStream,
    link: Link<RX, TX>,
    start: Instant,
}

impl Board {
    /// Power on: connects to the host as an emulator does.
    pub(crate) async fn start(socket: &Path, session: u16) -> Self {
        let line = timeout(LIMIT, async {
            loop {
                if let Ok(line) = UnixStream::connect(socket).await {
                    return line;
                }
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .expect("a host that listens");
        let config = Config { window: 3, resend_ms: 100, ping_ms: None, dead_ms: 5_000 };
        Board { line, link: Link::new(0, config, session), start: Instant::now() }
    }

    /// A restart that keeps the line, as a reset of the board does.
    pub(crate) fn reset(&mut self, session: u16) {
        let config = Config { window: 3, resend_ms: 100, ping_ms: None, dead_ms: 5_000 };
        self.link = Link::new(self.now(), config, session);
    }

    pub(crate) fn send(&mut self, datagram: &FromBoard<'_>) {
        let mut bytes = [0; 1024];
        let len = datagram.encode(&mut bytes).expect("a small datagram");
        self.link.send(&bytes[..len]).expect("room");
    }

    pub(crate) fn open(&mut self, boot: u32) {
        let will = minicbor::to_vec(State { status: Status::Offline, boot }).expect("CBOR");
        self.send(&FromBoard::Open { keep_alive_s: 5, will: &will });
    }

    pub(crate) fn publish(&mut self, token: u16, topic: &str, payload: &[u8]) {
        self.send(&FromBoard::Publish { token, topic, payload });
    }

    pub(crate) async fn print(&mut self, text: &str) {
        let mut frame = [0; 256];
        let len = console_frame(text.as_bytes(), &mut frame);
        self.line.write_all(&frame[..len]).await.expect("a line");
    }

    /// The next thing heard.
    pub(crate) async fn hear(&mut self) -> Heard {
        timeout(LIMIT, self.pump()).await.expect("something to hear")
    }

    /// Until this is heard.
    pub(crate) async fn until(&mut self, expected: &Heard) {
        while self.hear().await != *expected {}
    }

    /// Lives on, whatever is heard.
    pub(crate) async fn live(&mut self) -> Infallible {
        loop {
            self.pump().await;
        }
    }

    /// Lives on for a while in which nothing may be heard.
    pub(crate) async fn idle(&mut self, time: Duration) {
        if let Ok(heard) = timeout(time, self.pump()).await {
            panic!("heard {heard:?}");
        }
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    async fn pump(&mut self) -> Heard {
        let mut input = [0; 1];
        loop {
            if let Some(heard) = self.poll() {
                return heard;
            }
            let mut output = [0; encoded_bytes(TX)];
            let len = self.link.transmit(self.now(), &mut output);
            if len > 0 {
                self.line.write_all(&output[..len]).await.expect("a line");
                continue;
            }
            let wait = self.link.next_deadline().map_or(1000, |at| at.saturating_sub(self.now()));
            if let Ok(read) = timeout(Duration::from_millis(wait), self.line.read(&mut input)).await {
                assert_eq!(read.expect("a line"), 1, "the host closed the line");
                self.link.on_bytes(self.now(), &input);
            }
        }
    }

    fn poll(&mut self) -> Option<Heard> {
        Some(match self.link.poll_event()? {
            Event::Up => Heard::Up,
            Event::Down => Heard::Down,
            Event::Console(_) => return None,
            Event::Datagram(datagram) => match ToBoard::decode(datagram).expect("a datagram") {
                ToBoard::Session { up } => Heard::Session(up),
                ToBoard::Acked { token } => Heard::Acked(token),
                ToBoard::Deliver { topic, payload } => Heard::Deliver(topic.to_owned(), payload.to_vec()),
            },
        })
    }
}
