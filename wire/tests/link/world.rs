//! Two links, a serial line between them, and time that passes only when told to.
//!
//! The line is slow (11 bytes per millisecond, as 115200 baud) and first-in first-out, and does to its
//! bytes what [`Faults`] says. An end is called only when it asked for it: bytes arrived, something was
//! queued, the line became free, or [`Link::next_deadline`] passed; so a link that needs to be called
//! more often than it says stands still here.

use std::collections::VecDeque;

use wasmbed_wire::link::{Config, Event, Link, SendError, encoded_bytes};

/// Largest datagram either end takes.
pub(crate) const DATAGRAM_BYTES: usize = 300;
const RX: usize = DATAGRAM_BYTES + wasmbed_wire::link::RX_OVERHEAD_BYTES;
const TX: usize = 2_000;
const BYTES_PER_MS: u64 = 11;

pub(crate) const HOST_CONFIG: Config =
    Config { window: 8, resend_ms: 150, ping_ms: Some(500), dead_ms: 2_000 };
pub(crate) const BOARD_CONFIG: Config = Config { window: 4, resend_ms: 200, ping_ms: None, dead_ms: 2_000 };

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Board,
    Host,
}

use Side::{Board, Host};

impl Side {
    pub(crate) fn other(self) -> Side {
        match self {
            Board => Host,
            Host => Board,
        }
    }
}

/// What the line does, each with a chance in ten thousand per byte or per frame.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    pub(crate) lose_byte: u16,
    pub(crate) repeat_byte: u16,
    pub(crate) flip_byte: u16,
    /// A byte of noise in front of this one.
    pub(crate) noise_byte: u16,
    /// A zero in front of this one.
    pub(crate) zero_byte: u16,
    pub(crate) lose_frame: u16,
    pub(crate) repeat_frame: u16,
    /// Only the first part of the frame arrives.
    pub(crate) cut_frame: u16,
}

impl Faults {
    /// Everything is lost.
    pub(crate) const CUT: Faults = Faults {
        lose_frame: 10_000,
        lose_byte: 0,
        repeat_byte: 0,
        flip_byte: 0,
        noise_byte: 0,
        zero_byte: 0,
        repeat_frame: 0,
        cut_frame: 0,
    };
}

/// What one end was told, with datagrams as they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    Up,
    Down,
    Datagram(Vec<u8>),
    Console(Vec<u8>),
}

/// SplitMix64: small, seeded, good enough for noise.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn chance(&mut self, per_10_000: u16) -> bool {
        self.below(10_000) < u64::from(per_10_000)
    }
}

/// One direction of the line.
#[derive(Default)]
struct Wire {
    /// Bytes with the microsecond they arrive at.
    bytes: VecDeque<(u64, u8)>,
    free_at_us: u64,
}

struct End {
    link: Option<Link<RX, TX>>,
    config: Config,
    told: Vec<Told>,
    said: Vec<u8>,
    frames: u64,
    /// Whether something happened since the link was last asked for bytes.
    stirred: bool,
}

pub(crate) struct World {
    pub(crate) faults: Faults,
    /// A side of which nothing arrives.
    pub(crate) muted: Option<Side>,
    now: u64,
    random: Random,
    board: End,
    host: End,
    from_board: Wire,
    from_host: Wire,
}

impl World {
    /// Both ends start now.
    pub(crate) fn new(seed: u64) -> Self {
        let mut world = World::off(seed, BOARD_CONFIG, HOST_CONFIG);
        world.start(Board, 1);
        world.start(Host, 2);
        world
    }

    /// Neither end runs yet.
    pub(crate) fn off(seed: u64, board: Config, host: Config) -> Self {
        let end =
            |config| End { link: None, config, told: Vec::new(), said: Vec::new(), frames: 0, stirred: true };
        World {
            faults: Faults::default(),
            muted: None,
            now: 1_000,
            random: Random(seed),
            board: end(board),
            host: end(host),
            from_board: Wire::default(),
            from_host: Wire::default(),
        }
    }

    pub(crate) fn now(&self) -> u64 {
        self.now
    }

    /// Starts or restarts an end; what it was told before is forgotten.
    pub(crate) fn start(&mut self, side: Side, session: u16) {
        let now = self.now;
        let end = self.end(side);
        end.link = Some(Link::new(now, end.config, session));
        end.told.clear();
        end.stirred = true;
    }

    /// Power off: what the end would still say is lost, what it said is on the line.
    pub(crate) fn stop(&mut self, side: Side) {
        self.end(side).link = None;
    }

    pub(crate) fn send(&mut self, side: Side, datagram: &[u8]) -> Result<(), SendError> {
        let end = self.end(side);
        end.stirred = true;
        end.link.as_mut().ok_or(SendError::Down)?.send(datagram)
    }

    pub(crate) fn link(&mut self, side: Side) -> &Link<RX, TX> {
        self.end(side).link.as_ref().expect("the end runs")
    }

    /// Puts bytes on the line that no link made, as if this side had sent them.
    pub(crate) fn inject(&mut self, side: Side, bytes: &[u8]) {
        self.carry(side, bytes);
    }

    pub(crate) fn told(&mut self, side: Side) -> &[Told] {
        &self.end(side).told
    }

    pub(crate) fn datagrams(&mut self, side: Side) -> Vec<Vec<u8>> {
        let datagram = |told: &Told| match told {
            Told::Datagram(bytes) => Some(bytes.clone()),
            _ => None,
        };
        self.told(side).iter().filter_map(datagram).collect()
    }

    /// Every byte this side has put on the line.
    pub(crate) fn said(&mut self, side: Side) -> Vec<u8> {
        self.end(side).said.clone()
    }

    /// Frames this side has put on the line.
    pub(crate) fn frames(&mut self, side: Side) -> u64 {
        self.end(side).frames
    }

    pub(crate) fn both_up(&self) -> bool {
        [&self.board, &self.host].iter().all(|end| end.link.as_ref().is_some_and(Link::is_up))
    }

    pub(crate) fn run(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.now < end {
            self.tick();
        }
    }

    /// Runs until `done`, at most `limit_ms`; says how long it took.
    pub(crate) fn until(&mut self, limit_ms: u64, mut done: impl FnMut(&mut World) -> bool) -> u64 {
        let start = self.now;
        while !done(self) {
            assert!(self.now - start < limit_ms, "not done after {limit_ms} ms");
            self.tick();
        }
        self.now - start
    }

    fn tick(&mut self) {
        self.now += 1;
        for side in [Board, Host] {
            self.deliver(side);
            self.transmit(side);
        }
    }

    fn end(&mut self, side: Side) -> &mut End {
        match side {
            Board => &mut self.board,
            Host => &mut self.host,
        }
    }

    fn line_from(&mut self, side: Side) -> &mut Wire {
        match side {
            Board => &mut self.from_board,
            Host => &mut self.from_host,
        }
    }

    /// Hands this side the bytes that arrived, in pieces of any size.
    fn deliver(&mut self, side: Side) {
        let now = self.now;
        let wire = self.line_from(side.other());
        let count = wire.bytes.iter().take_while(|(due, _)| *due <= now * 1_000).count();
        let bytes: Vec<u8> = wire.bytes.drain(..count).map(|(_, byte)| byte).collect();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let piece = 1 + self.random.below(rest.len() as u64) as usize;
            let end = self.end(side);
            end.stirred = true;
            let taken = end.link.as_mut().map_or(piece, |link| link.on_bytes(now, &rest[..piece]));
            rest = &rest[taken..];
            end.collect();
        }
        self.end(side).collect();
    }

    /// Lets this side speak while its line is free.
    fn transmit(&mut self, side: Side) {
        let now = self.now;
        let mut out = vec![0; encoded_bytes(DATAGRAM_BYTES)];
        while self.line_from(side).free_at_us <= now * 1_000 {
            let end = self.end(side);
            let Some(link) = &mut end.link else { return };
            if !end.stirred && link.next_deadline().is_none_or(|at| at > now) {
                return;
            }
            let len = link.transmit(now, &mut out);
            end.stirred = len > 0;
            if len == 0 {
                assert!(link.next_deadline().is_none_or(|at| at > now), "nothing to say, yet asked again");
            }
            end.collect();
            if len > 0 {
                let end = self.end(side);
                end.frames += 1;
                end.said.extend_from_slice(&out[..len]);
                self.carry(side, &out[..len]);
            }
        }
    }

    fn carry(&mut self, side: Side, frame: &[u8]) {
        let faults = self.faults;
        let times = match () {
            () if self.muted == Some(side) || self.random.chance(faults.lose_frame) => 0,
            () if self.random.chance(faults.repeat_frame) => 2,
            () => 1,
        };
        let len = match self.random.chance(faults.cut_frame) {
            true => self.random.below(frame.len() as u64) as usize,
            false => frame.len(),
        };
        let mut bytes = Vec::new();
        for &byte in std::iter::repeat_n(&frame[..len], times).flatten() {
            if self.random.chance(faults.noise_byte) {
                bytes.push(self.random.next() as u8);
            }
            if self.random.chance(faults.zero_byte) {
                bytes.push(0);
            }
            if self.random.chance(faults.lose_byte) {
                continue;
            }
            let flip = if self.random.chance(faults.flip_byte) { 1 << self.random.below(8) } else { 0 };
            bytes.push(byte ^ flip);
            if self.random.chance(faults.repeat_byte) {
                bytes.push(byte);
            }
        }
        let now_us = self.now * 1_000;
        let wire = self.line_from(side);
        let mut at = wire.free_at_us.max(now_us);
        // A lost frame has still occupied the line.
        wire.free_at_us = at + frame.len().max(bytes.len()) as u64 * 1_000 / BYTES_PER_MS;
        for byte in bytes {
            at += 1_000 / BYTES_PER_MS;
            wire.bytes.push_back((at, byte));
        }
    }
}

impl End {
    fn collect(&mut self) {
        let Some(link) = &mut self.link else { return };
        while let Some(event) = link.poll_event() {
            self.stirred = true;
            self.told.push(match event {
                Event::Up => Told::Up,
                Event::Down => Told::Down,
                Event::Datagram(bytes) => Told::Datagram(bytes.to_vec()),
                Event::Console(bytes) => Told::Console(bytes.to_vec()),
            });
        }
    }
}
