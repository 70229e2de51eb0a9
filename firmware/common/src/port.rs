//! The board, its end of the link and its own way to the broker, shared by the driver and the running modules.

use alloc::{boxed::Box, vec};
use core::{
    cell::{Cell, RefCell},
    fmt,
};

use wasmbed_core::Token;
use wasmbed_wire::{
    bridge::{FromBoard, OVERHEAD_BYTES},
    limits::MAX_KEYRING_BYTES,
    link::{Config, Endpoint, RX_OVERHEAD_BYTES, encoded_bytes},
    message::LinkCounters,
    topic::{MAX_BYTES as TOPIC_BYTES, Up},
};

#[cfg(not(feature = "ip"))]
use crate::Uplink as _;
use crate::{AnyUplink, Board, Sheet, console::Line, modules};

/// Bytes of a message around a block, or around what a module publishes.
const AROUND_BYTES: usize = 16;
/// The longest telemetry of modules, in bytes.
const TELEMETRY_BYTES: usize = 1024;
/// Datagrams of a board with modules that wait to be sent or acknowledged, in bytes.
const QUEUE_BYTES: usize = 3 * 1024;

/// What a queue takes beside its largest datagram, in bytes.
const MARGIN_BYTES: usize = 16;

/// What the buffers of a link need, in bytes.
struct Sizes {
    /// The largest datagram that comes: a block, a keyring, or a desired state.
    received: usize,
    /// The largest one that goes: what the agent or a module says.
    sent: usize,
    queue: usize,
}

impl Sizes {
    fn of(sheet: &Sheet, message_bytes: usize) -> Self {
        let payload = usize::from(sheet.block_bytes).max(MAX_KEYRING_BYTES).max(sheet.desired_bytes);
        let received = payload + AROUND_BYTES + OVERHEAD_BYTES;
        let message = message_bytes + OVERHEAD_BYTES;
        if !modules::ARE_RUN {
            // The largest message, or some of the usual ones.
            return Sizes { received, sent: message, queue: message + MARGIN_BYTES };
        }
        let sent = message.max(TELEMETRY_BYTES + AROUND_BYTES + OVERHEAD_BYTES);
        Sizes { received, sent, queue: QUEUE_BYTES.max(message + MARGIN_BYTES) }
    }
}

/// The bridge looks for signs of life, the board answers; see there for the times.
const fn config(window: u8) -> Config {
    Config { window, resend_ms: 300, ping_ms: None, dead_ms: 6_000 }
}

/// A board's end of the link; how large its buffers are depends on the board.
pub(crate) type BoardLink = Endpoint<Box<[u8]>, Box<[u8]>>;

/// Board, link and uplink. Borrows are short: never across a call into the agent or a module.
pub(crate) struct Port<B> {
    pub(crate) board: RefCell<B>,
    pub(crate) link: RefCell<BoardLink>,
    /// What carries the messages, where it is not the link.
    pub(crate) uplink: RefCell<Option<AnyUplink>>,
    /// Where a datagram or a frame is made.
    scratch: RefCell<Box<[u8]>>,
    counters: Cell<LinkCounters>,
    /// The line to an autopilot, where the board has one.
    #[cfg(feature = "px4")]
    pub(crate) autopilot: modules::Autopilot,
    /// What the agent's next message may need.
    message_bytes: usize,
}

/// A message cannot be queued now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl<B: Board> Port<B> {
    /// A port for messages of the agent up to this size.
    pub(crate) fn new(board: B, sheet: &Sheet, session: u16, message_bytes: usize) -> Self {
        // The blocks under way, and whatever else is said meanwhile.
        let window = sheet.window_blocks.saturating_add(1);
        let Sizes { received, sent, queue } = Sizes::of(sheet, message_bytes);
        let (rx, tx) = (zeros(received + RX_OVERHEAD_BYTES), zeros(queue));
        let link = BoardLink::with_buffers(board.now_ms(), config(window), session, rx, tx);
        let message_bytes = message_bytes + OVERHEAD_BYTES;
        Port {
            board: RefCell::new(board),
            link: RefCell::new(link),
            uplink: RefCell::new(None),
            scratch: RefCell::new(zeros(encoded_bytes(sent))),
            counters: Cell::default(),
            #[cfg(feature = "px4")]
            autopilot: modules::Autopilot::default(),
            message_bytes,
        }
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.board.borrow().now_ms()
    }

    pub(crate) fn now_us(&self) -> u64 {
        self.board.borrow().now_us()
    }

    /// When the link or the uplink has to be looked at even if nothing arrives.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        let link = self.link.borrow().next_deadline();
        let now_ms = self.now_ms();
        let uplink = self.uplink.borrow_mut().as_mut().and_then(|uplink| uplink.next_deadline(now_ms));
        [link, uplink].into_iter().flatten().min()
    }

    /// What the link went through until the last [`Port::transmit`].
    pub(crate) fn counters(&self) -> LinkCounters {
        self.counters.get()
    }

    /// Whether the agent's next message would be queued, or there is nothing that could carry it.
    pub(crate) fn has_room(&self) -> bool {
        if let Some(uplink) = &*self.uplink.borrow() {
            return uplink.has_room(self.message_bytes);
        }
        let link = self.link.borrow();
        !link.is_up() || link.can_send(self.message_bytes)
    }

    /// Queues a message.
    pub(crate) fn publish(&self, topic: Up, payload: &[u8], token: Token) -> Result<(), Full> {
        if let Some(uplink) = &mut *self.uplink.borrow_mut() {
            return uplink.publish(self.now_ms(), topic, payload, token);
        }
        let mut text = heapless::String::<TOPIC_BYTES>::new();
        fmt::write(&mut text, format_args!("{topic}")).map_err(|_| Full)?;
        self.send(&FromBoard::Publish { token: token.0, topic: &text, payload })
    }

    /// Queues a datagram.
    #[inline(never)]
    pub(crate) fn send(&self, datagram: &FromBoard<'_>) -> Result<(), Full> {
        let mut bytes = self.scratch.borrow_mut();
        let len = datagram.encode(&mut bytes).map_err(|_| Full)?;
        self.link.borrow_mut().send(bytes.get(..len).unwrap_or_default()).map_err(|_| Full)
    }

    /// Says a line on the console; it is lost if the line has no room for it.
    #[inline(never)]
    pub(crate) fn say(&self, text: fmt::Arguments<'_>) {
        let line = Line::new(text);
        let mut board = self.board.borrow_mut();
        if board.room() >= line.frame().len() {
            board.write(line.frame());
        }
    }

    /// Sends what is queued; on the link, while the line has room for the largest frame.
    #[inline(never)]
    pub(crate) fn transmit(&self) {
        if let Some(uplink) = &mut *self.uplink.borrow_mut() {
            uplink.transmit(self.now_ms());
        }
        let mut board = self.board.borrow_mut();
        let mut link = self.link.borrow_mut();
        let mut frame = self.scratch.borrow_mut();
        while board.room() >= frame.len() {
            let now = board.now_ms();
            match link.transmit(now, &mut frame) {
                0 => break,
                len => board.write(frame.get(..len).unwrap_or_default()),
            }
        }
        self.counters.set(link.counters());
    }
}

fn zeros(len: usize) -> Box<[u8]> {
    vec![0; len].into_boxed_slice()
}
