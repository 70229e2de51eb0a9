//! The board, its end of the link and its own way to the broker, shared by the driver and the running modules.

use alloc::boxed::Box;
use core::{
    cell::{Cell, RefCell},
    fmt,
};

use wasmbed_core::Token;
use wasmbed_wire::{
    bridge::{FromBoard, OVERHEAD_BYTES},
    link::{Config, Link, RX_OVERHEAD_BYTES, encoded_bytes},
    message::LinkCounters,
    topic::{MAX_BYTES as TOPIC_BYTES, Up},
};

use crate::{Board, Uplink, console::Line};

/// Largest datagram in either direction, in bytes: a block of 1 KiB, or the longest telemetry.
pub(crate) const DATAGRAM_BYTES: usize = 1024 + 16 + OVERHEAD_BYTES;
/// Datagrams waiting to be sent or acknowledged, in bytes.
const QUEUE_BYTES: usize = 3 * 1024;
/// Bytes of the largest frame.
pub(crate) const FRAME_BYTES: usize = encoded_bytes(DATAGRAM_BYTES);

/// The bridge looks for signs of life, the board answers; see there for the times.
const fn config(window: u8) -> Config {
    Config { window, resend_ms: 300, ping_ms: None, dead_ms: 6_000 }
}

pub(crate) type BoardLink = Link<{ DATAGRAM_BYTES + RX_OVERHEAD_BYTES }, QUEUE_BYTES>;

/// Board, link and uplink. Borrows are short: never across a call into the agent or a module.
pub(crate) struct Port<B> {
    pub(crate) board: RefCell<B>,
    pub(crate) link: RefCell<BoardLink>,
    /// What carries the messages, where it is not the link.
    pub(crate) uplink: RefCell<Option<Box<dyn Uplink>>>,
    counters: Cell<LinkCounters>,
    /// What the agent's next message may need.
    message_bytes: usize,
}

/// A message cannot be queued now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl<B: Board> Port<B> {
    pub(crate) fn new(board: B, session: u16, window: u8, message_bytes: usize) -> Self {
        let link = BoardLink::new(board.now_ms(), config(window), session);
        let message_bytes = message_bytes + OVERHEAD_BYTES;
        Port {
            board: RefCell::new(board),
            link: RefCell::new(link),
            uplink: RefCell::new(None),
            counters: Cell::default(),
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
        let mut bytes = [0; DATAGRAM_BYTES];
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
        let mut frame = [0; FRAME_BYTES];
        while board.room() >= FRAME_BYTES {
            let now = board.now_ms();
            match link.transmit(now, &mut frame) {
                0 => break,
                len => board.write(frame.get(..len).unwrap_or_default()),
            }
        }
        self.counters.set(link.counters());
    }
}
