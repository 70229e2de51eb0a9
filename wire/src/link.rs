//! A reliable datagram link over a serial line: framed, checked, acknowledged, in order.
//!
//! [`Link`] is sans-I/O. Bytes from the line go into [`Link::on_bytes`], bytes for the line come out of
//! [`Link::transmit`], what happened comes out of [`Link::poll_event`], and [`Link::next_deadline`] says
//! when to call `transmit` again even if nothing arrived. Times are milliseconds of any monotonic clock.
//!
//! Promised: between `Up` and `Down` every datagram accepted by [`Link::send`] arrives once, whole and
//! in order, whatever the line loses, repeats or corrupts (as far as CRC-32 can tell). A restart of
//! either end is a `Down` at the other; what was queued is dropped then, because nobody can know what
//! arrived. Above the link everything is level-triggered, so that is enough.
//!
//! The window is a go-back-N window: the receiver keeps one frame, which suits 16 KB boards; a damaged
//! or missing frame is asked for again at once instead of after a time-out.
//!
//! Not here: the meaning of datagrams ([`crate::bridge`]) and the UART.

mod cobs;
mod frame;
mod queue;

use frame::{Header, Kind};
use queue::Queue;

use crate::message::LinkCounters;

/// Bytes a receive buffer needs beyond the largest datagram.
pub const RX_OVERHEAD_BYTES: usize = frame::OVERHEAD_BYTES;
/// Bytes of a Hello's payload: largest datagram `u16`, window `u8`.
const HELLO_BYTES: usize = 3;
const HELLO_FIRST_MS: u64 = 50;
const HELLO_LAST_MS: u64 = 1_000;
/// Longest wait before unacknowledged datagrams are sent again, unless configured longer.
const RESEND_LAST_MS: u64 = 2_000;
/// From one session of an end to its next: far from the steps of a boot counter, so that a restart
/// does not meet the number this end went on to by itself.
const SESSION_STEP: u16 = 0x4e35;

/// Bytes [`Link::transmit`] needs for a datagram of this size at most.
pub const fn encoded_bytes(datagram: usize) -> usize {
    frame::encoded_bytes(datagram)
}

/// Bytes [`encode_body`] needs at most.
pub(crate) const fn encoded_body_bytes(body: usize) -> usize {
    frame::encoded_body_bytes(body)
}

/// Writes these parts as one checked and stuffed frame of another protocol and returns its length; `None`
/// if it does not fit.
pub(crate) fn encode_body(parts: &[&[u8]], out: &mut [u8]) -> Option<usize> {
    frame::encode_body(parts, out)
}

/// Collects what [`encode_body`] writes, up to `N` bytes with their check.
pub(crate) struct Bodies<const N: usize>(cobs::Decoder<[u8; N]>);

impl<const N: usize> Bodies<N> {
    pub(crate) const fn new() -> Self {
        Bodies(cobs::Decoder::new([0; N]))
    }

    /// Takes one byte; the body of a frame that ended with it, unless it is damaged.
    pub(crate) fn push(&mut self, byte: u8) -> Option<&[u8]> {
        let len = self.0.push(byte)?.ok()?;
        frame::decode_body(self.0.frame(len))
    }
}

/// How one end behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Datagrams the other end may have under way towards this end, 1 to 64.
    pub window: u8,
    /// Wait before an unacknowledged datagram is sent again, in milliseconds; longer than a full
    /// window takes on the line.
    pub resend_ms: u32,
    /// Silence after which the other end is asked for a sign of life, in milliseconds; `None` where
    /// the other end asks.
    pub ping_ms: Option<u32>,
    /// Time without an answer after which the link is down, in milliseconds.
    pub dead_ms: u32,
}

/// What happened on the link.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Both ends know each other; datagrams can be sent.
    Up,
    /// The other end restarted or fell silent; queued datagrams are gone.
    Down,
    /// A datagram arrived.
    Datagram(&'a [u8]),
    /// Text for people arrived.
    Console(&'a [u8]),
}

/// Why a datagram was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendError {
    /// The link is down.
    Down,
    /// No room until some are acknowledged.
    Full,
    /// More bytes than the other end, or this end's buffer, can ever take.
    TooLarge {
        /// The most it can take.
        limit: usize,
    },
}

/// One end of a link that holds its buffers: it receives frames of up to `RX` bytes (largest datagram plus
/// [`RX_OVERHEAD_BYTES`]) and queues up to `TX` bytes of datagrams (2 bytes more each).
pub type Link<const RX: usize, const TX: usize> = Endpoint<[u8; RX], [u8; TX]>;

/// One end of a link, receiving frames into `R` and queueing datagrams in `T`; see [`Link`].
pub struct Endpoint<R, T> {
    config: Config,
    counters: LinkCounters,
    mine: u16,
    peer: Option<Peer>,
    up: bool,
    rx: cobs::Decoder<R>,
    expected: u8,
    ready: Ready,
    tx: Queue<T>,
    /// Number of the oldest queued datagram.
    oldest: u8,
    /// How many of the queued ones have been sent.
    sent: u8,
    /// How many of the queued ones were ever sent, to tell first from repeated.
    ever_sent: u8,
    heard_ms: u64,
    progress_ms: u64,
    resend_at: Option<u64>,
    resend_ms: u64,
    hello_at: Option<u64>,
    hello_ms: u64,
    ping_at: Option<u64>,
    owed: Owed,
    /// Whether the current gap has been reported.
    gap_told: bool,
}

#[derive(Debug, Clone, Copy)]
struct Peer {
    session: u16,
    largest: usize,
    window: u8,
}

/// A frame owed to the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Owed {
    Nothing,
    Ack,
    Nak,
}

/// What [`Link::poll_event`] has to tell, in this order.
#[derive(Debug, Clone, Copy, Default)]
struct Ready {
    down: bool,
    up: bool,
    datagram: Option<usize>,
    console: Option<usize>,
}

impl Ready {
    fn is_empty(&self) -> bool {
        !self.down && !self.up && self.datagram.is_none() && self.console.is_none()
    }
}

impl<const RX: usize, const TX: usize> Link<RX, TX> {
    /// [`Endpoint::with_buffers`] with its own.
    pub fn new(now: u64, config: Config, session: u16) -> Self {
        Endpoint::with_buffers(now, config, session, [0; RX], [0; TX])
    }
}

impl<R: AsRef<[u8]> + AsMut<[u8]>, T: AsRef<[u8]> + AsMut<[u8]>> Endpoint<R, T> {
    /// A link that starts looking for its other end at `now`. `session` should differ from that of
    /// the last start: a random number or a boot counter.
    pub fn with_buffers(now: u64, config: Config, session: u16, rx: R, tx: T) -> Self {
        Endpoint {
            config,
            counters: LinkCounters::default(),
            mine: session.max(1),
            peer: None,
            up: false,
            rx: cobs::Decoder::new(rx),
            expected: 0,
            ready: Ready::default(),
            tx: Queue::new(tx),
            oldest: 0,
            sent: 0,
            ever_sent: 0,
            heard_ms: now,
            progress_ms: now,
            resend_at: None,
            resend_ms: u64::from(config.resend_ms),
            hello_at: Some(now),
            hello_ms: HELLO_FIRST_MS,
            ping_at: None,
            owed: Owed::Nothing,
            gap_told: false,
        }
    }

    /// Whether datagrams can be sent.
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// What the link went through.
    pub fn counters(&self) -> LinkCounters {
        self.counters
    }

    /// The largest datagram that can be sent; 0 while the link is down.
    pub fn largest_datagram(&self) -> usize {
        let peer = self.peer.filter(|_| self.up);
        peer.map_or(0, |peer| peer.largest.min(self.tx.largest()))
    }

    /// Whether a datagram of this size would be queued now.
    pub fn can_send(&self, size: usize) -> bool {
        self.up && size <= self.largest_datagram() && self.tx.has_room(size)
    }

    /// Queues a datagram.
    pub fn send(&mut self, datagram: &[u8]) -> Result<(), SendError> {
        let limit = self.largest_datagram();
        match () {
            () if !self.up => Err(SendError::Down),
            () if datagram.len() > limit => Err(SendError::TooLarge { limit }),
            () if !self.tx.push(datagram) => Err(SendError::Full),
            () => Ok(()),
        }
    }

    /// Takes bytes from the line and returns how many it took. It stops early when an event is
    /// ready: poll the events, then hand in the rest.
    pub fn on_bytes(&mut self, now: u64, bytes: &[u8]) -> usize {
        for (taken, &byte) in bytes.iter().enumerate() {
            if !self.ready.is_empty() {
                return taken;
            }
            if let Some(frame) = self.rx.push(byte) {
                self.on_frame(now, frame.ok());
            }
        }
        bytes.len()
    }

    /// What happened, oldest first; call until `None`.
    pub fn poll_event(&mut self) -> Option<Event<'_>> {
        if core::mem::take(&mut self.ready.down) {
            return Some(Event::Down);
        }
        if core::mem::take(&mut self.ready.up) {
            return Some(Event::Up);
        }
        let payload = |len| {
            let frame = self.rx.frame(len);
            frame::decode(frame).map(|(_, payload)| payload).unwrap_or_default()
        };
        if let Some(len) = self.ready.datagram.take() {
            return Some(Event::Datagram(payload(len)));
        }
        self.ready.console.take().map(|len| Event::Console(payload(len)))
    }

    /// Writes the next bytes for the line into `out` and returns how many; 0 if there is nothing to
    /// say now. `out` should hold [`encoded_bytes`] of the largest datagram.
    pub fn transmit(&mut self, now: u64, out: &mut [u8]) -> usize {
        self.check_time(now);
        self.next_frame(now, out).unwrap_or(0)
    }

    /// When to call [`Link::transmit`] even if nothing arrives.
    pub fn next_deadline(&self) -> Option<u64> {
        let dead_at = self.waiting_since().map(|since| since + u64::from(self.config.dead_ms));
        [self.resend_at, self.hello_at, self.ping_at, dead_at].into_iter().flatten().min()
    }

    fn header(&self, kind: Kind, seq: u8) -> Header {
        let yours = self.peer.map_or(0, |peer| peer.session);
        Header { kind, mine: self.mine, yours, seq, ack: self.expected }
    }

    // ---- receiving ----

    fn on_frame(&mut self, now: u64, len: Option<usize>) {
        let decoded =
            len.and_then(|len| frame::decode(self.rx.frame(len)).map(|(header, p)| (len, header, p)));
        let Some((len, header, payload)) = decoded else {
            self.counters.corrupt = self.counters.corrupt.wrapping_add(1);
            self.report_gap();
            return;
        };
        match header.kind {
            Kind::Console => self.ready.console = Some(len),
            Kind::Hello => {
                if let Some(&[lo, hi, window]) = payload.first_chunk::<HELLO_BYTES>() {
                    let peer = Peer {
                        session: header.mine,
                        largest: usize::from(u16::from_le_bytes([lo, hi])),
                        window: window.clamp(1, 64),
                    };
                    self.on_hello(now, peer, header.yours);
                }
            }
            _ if !self.is_current(&header) => self.say_hello(now),
            kind => {
                self.establish(now);
                self.heard_ms = now;
                self.schedule_ping(now);
                self.on_ack(now, header.ack, kind == Kind::Nak);
                match kind {
                    Kind::Data => self.on_data(header.seq, len),
                    Kind::Ping => self.owe(Owed::Ack),
                    _ => {}
                }
            }
        }
    }

    fn is_current(&self, header: &Header) -> bool {
        header.yours == self.mine && self.peer.is_some_and(|peer| peer.session == header.mine)
    }

    fn on_hello(&mut self, now: u64, peer: Peer, yours: u16) {
        let known = self.peer.is_some_and(|known| known.session == peer.session);
        if self.up && !(known && yours == self.mine) {
            // The other end restarted, perhaps with the number it had before. Only an end that was up
            // takes a new number for that: two that are both still looking would chase each other.
            self.go_down(now);
        }
        self.peer = Some(peer);
        if yours != self.mine {
            self.say_hello(now);
            return;
        }
        self.establish(now);
        self.heard_ms = now;
        // The other end may still wait to hear that this one knows it. An acknowledgement tells it and,
        // unlike a Hello, is not answered.
        self.owe(Owed::Ack);
    }

    fn on_data(&mut self, seq: u8, len: usize) {
        if seq == self.expected {
            self.expected = self.expected.wrapping_add(1);
            self.counters.received = self.counters.received.wrapping_add(1);
            self.ready.datagram = Some(len);
            self.gap_told = false;
            self.owe(Owed::Ack);
        } else if seq.wrapping_sub(self.expected) < u8::MAX / 2 {
            self.report_gap();
        } else {
            // Seen before: its acknowledgement was lost.
            self.owe(Owed::Ack);
        }
    }

    fn on_ack(&mut self, now: u64, ack: u8, again: bool) {
        let acked = ack.wrapping_sub(self.oldest);
        if acked > self.ever_sent {
            return;
        }
        self.tx.pop(acked);
        self.oldest = ack;
        self.sent = self.sent.saturating_sub(acked);
        self.ever_sent -= acked;
        if acked > 0 {
            self.progress_ms = now;
            self.resend_ms = u64::from(self.config.resend_ms);
            self.resend_at = (self.sent > 0).then_some(now + self.resend_ms);
        }
        if again {
            self.sent = 0;
        }
    }

    /// Asks for what is missing, once per gap.
    fn report_gap(&mut self) {
        if self.up && !self.gap_told {
            self.gap_told = true;
            self.owe(Owed::Nak);
        }
    }

    fn owe(&mut self, owed: Owed) {
        self.owed = self.owed.max(owed);
    }

    // ---- state ----

    fn establish(&mut self, now: u64) {
        if self.up {
            return;
        }
        self.up = true;
        self.ready.up = true;
        self.hello_at = None;
        self.hello_ms = HELLO_FIRST_MS;
        self.progress_ms = now;
        self.schedule_ping(now);
    }

    fn say_hello(&mut self, now: u64) {
        self.hello_at = Some(now);
    }

    /// Ends the session. The next one has another number, so that what the other end still sends in this
    /// one is not taken for current.
    fn go_down(&mut self, now: u64) {
        let told_up = !core::mem::take(&mut self.ready.up);
        self.ready.down |= self.up && told_up;
        self.ready.datagram = None;
        self.up = false;
        self.peer = None;
        self.mine = self.mine.wrapping_add(SESSION_STEP).max(1);
        self.expected = 0;
        self.tx.clear();
        (self.oldest, self.sent, self.ever_sent) = (0, 0, 0);
        (self.resend_at, self.ping_at) = (None, None);
        self.resend_ms = u64::from(self.config.resend_ms);
        (self.owed, self.gap_told) = (Owed::Nothing, false);
        self.say_hello(now);
    }

    fn schedule_ping(&mut self, now: u64) {
        self.ping_at = self.config.ping_ms.map(|ms| now + u64::from(ms));
    }

    /// Since when the other end owes an answer.
    fn waiting_since(&self) -> Option<u64> {
        if !self.up {
            None
        } else if self.ever_sent > 0 {
            Some(self.progress_ms)
        } else {
            self.config.ping_ms.map(|_| self.heard_ms)
        }
    }

    fn check_time(&mut self, now: u64) {
        let dead = |since| now >= since + u64::from(self.config.dead_ms);
        if self.waiting_since().is_some_and(dead) {
            self.go_down(now);
        }
        if self.resend_at.is_some_and(|at| now >= at) {
            self.sent = 0;
            self.resend_at = None;
            let longest = RESEND_LAST_MS.max(u64::from(self.config.resend_ms));
            self.resend_ms = (self.resend_ms * 2).min(longest);
        }
    }

    // ---- sending ----

    fn next_frame(&mut self, now: u64, out: &mut [u8]) -> Option<usize> {
        if self.hello_at.is_some_and(|at| now >= at) {
            return self.send_hello(now, out);
        }
        if self.owed == Owed::Nak {
            self.owed = Owed::Nothing;
            return frame::encode(&self.header(Kind::Nak, 0), &[], out);
        }
        if let Some(len) = self.send_data(now, out) {
            self.owed = Owed::Nothing;
            return Some(len);
        }
        if self.owed == Owed::Ack {
            self.owed = Owed::Nothing;
            return frame::encode(&self.header(Kind::Ack, 0), &[], out);
        }
        if self.ping_at.is_some_and(|at| now >= at) {
            self.schedule_ping(now);
            return frame::encode(&self.header(Kind::Ping, 0), &[], out);
        }
        None
    }

    fn send_hello(&mut self, now: u64, out: &mut [u8]) -> Option<usize> {
        self.hello_at = (!self.up).then_some(now + self.hello_ms);
        self.hello_ms = (self.hello_ms * 2).min(HELLO_LAST_MS);
        let largest = self.rx.largest().saturating_sub(RX_OVERHEAD_BYTES).min(usize::from(u16::MAX)) as u16;
        let [lo, hi] = largest.to_le_bytes();
        frame::encode(&self.header(Kind::Hello, 0), &[lo, hi, self.config.window], out)
    }

    fn send_data(&mut self, now: u64, out: &mut [u8]) -> Option<usize> {
        let window = self.peer?.window;
        if !self.up || self.sent >= window {
            return None;
        }
        let seq = self.oldest.wrapping_add(self.sent);
        let len = frame::encode(&self.header(Kind::Data, seq), self.tx.get(self.sent)?, out)?;
        self.sent += 1;
        if self.sent > self.ever_sent {
            if self.ever_sent == 0 {
                self.progress_ms = now;
            }
            self.ever_sent = self.sent;
            self.counters.sent = self.counters.sent.wrapping_add(1);
        } else {
            self.counters.resent = self.counters.resent.wrapping_add(1);
        }
        self.resend_at.get_or_insert(now + self.resend_ms);
        Some(len)
    }
}

/// Writes one console frame to `out` and returns its length; 0 if it does not fit. It stands alone: a
/// panic handler can send it without a [`Link`].
pub fn console_frame(text: &[u8], out: &mut [u8]) -> usize {
    // A zero first, so that whatever half frame is on the line ends before this one.
    let Some((first, rest)) = out.split_first_mut() else {
        return 0;
    };
    *first = 0;
    let header = Header { kind: Kind::Console, mine: 0, yours: 0, seq: 0, ack: 0 };
    frame::encode(&header, text, rest).map_or(0, |len| len + 1)
}
